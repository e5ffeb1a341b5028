//! What readers ask of one subject: its cells of the received hours that are not kept yet, in one transaction with the
//! positions, and the visitors of the event hours that have any.

use std::ops;
use std::sync::Arc;

use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::id::Subject;
use linktide_common::label::Label;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;
use redis::{Value, pipe};

use super::RedisView;
use super::keys::{self, ValueField, Who};
use super::read::{Fields, count_of, hours, parse, shard_state, totals};
use super::settled::{ReadOn, Settled, read_on};
use crate::series::{Series, ValueCounts};
use crate::shard::Shard;
use crate::view::gathered::Gathered;
use crate::view::{Held, Slice, ViewError, Want};

/// All of event time.
const ALWAYS: Range = Range { start: Quarter(i32::MIN), end: Quarter(i32::MAX) };

/// What one transaction gave beside the state: the label, and the hashes of each hour that was asked for.
struct Cells {
    label: Option<Label>,
    cells: Vec<(Hour, Fields, Value)>,
    /// Repeats of a tenant's links, by received hour.
    repeats: Vec<(Hour, Fields)>,
}

impl RedisView {
    pub(super) async fn slice(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError> {
        let (newest, known) = (&self.newest[Shard::of(subject).index()], self.kept.find(subject, from, want));
        let read = |hours: ops::Range<Hour>, is_known| async move {
            // What is kept is of more than this question where others asked for more.
            let wider = if is_known { want.clone() } else { self.kept.widened(subject, want) };
            let (mut held, mut cells) = self.cells(subject, hours.clone(), !wider.dimensions.is_empty()).await?;
            if subject.link().is_none() && wider.repeats {
                let (of_repeats, repeats) = self.repeats(subject.tenant(), hours).await?;
                // They lie in every shard, and one of them may be behind.
                (held, cells.repeats) = (held.and(&of_repeats), repeats);
            }
            Ok((held, (wider, cells)))
        };
        self.added_up(subject, want, read_on(newest, from, known, read).await?).await
    }

    /// The shard's state, and the cells of some hours with the label, all of one moment.
    async fn cells(
        &self,
        subject: Subject,
        received: ops::Range<Hour>,
        with_values: bool,
    ) -> Result<(Held, Cells), ViewError> {
        let received = hours(received.start, Some(received.end));
        let mut questions = pipe();
        questions.atomic().hgetall(keys::positions(Shard::of(subject))).get(keys::label(subject));
        for hour in received.clone() {
            questions.hgetall(keys::totals(subject, hour));
            if with_values {
                questions.hgetall(keys::cell(subject, hour));
            }
        }
        let mut answers = self.ask::<Vec<Value>>(&questions).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let held = shard_state(&parse(next())?);
        let label: Option<String> = parse(next())?;
        let mut cells = Vec::new();
        for hour in received {
            cells.push((hour, parse(next())?, if with_values { next() } else { Value::Nil }));
        }
        let label = label.and_then(|text| keys::parse_label(&text));
        Ok((held, Cells { label, cells, repeats: Vec::new() }))
    }

    /// What was kept and what was read, cut to what is wanted. Of what was read, hours that are over are kept.
    async fn added_up(
        &self,
        subject: Subject,
        want: &Want,
        read: ReadOn<Settled, (Want, Cells)>,
    ) -> Result<Slice, ViewError> {
        let over = if read.known.is_some() { read.hours.start } else { read.over() };
        let ReadOn { known, hours, mut held, read: (wider, Cells { label, cells, repeats }) } = read;
        let everything = Want { range: ALWAYS, ..wider.clone() };
        let (mut settling, mut recent) = (Gathered::new(&everything), Gathered::new(want));
        let (mut settling_visited, mut recent_visited) = (Visited::default(), Visited::default());
        for (hour, totals, values) in &cells {
            let (into, visited) = match *hour < over {
                true => (&mut settling, &mut settling_visited),
                false => (&mut recent, &mut recent_visited),
            };
            gather_totals(*hour, totals, into, visited);
            gather_values(*hour, values, into)?;
        }
        for (hour, by_quarter) in &repeats {
            let into = if *hour < over { &mut settling } else { &mut recent };
            for (quarter, count) in by_quarter {
                let Some((quarter, repeats)) = keys::parse_quarter(*hour, quarter).zip(count.parse().ok()) else {
                    continue;
                };
                into.total(quarter, Counts { repeats, ..Counts::default() }, false);
            }
        }
        let settled = match known {
            Some(settled) => settled,
            None => {
                let mut slice = settling.into_slice(Slice { held: held.clone(), ..Slice::default() });
                if wider.visitors {
                    (slice.visitors, slice.days) =
                        self.visitors(subject, wider.range, settling_visited, &mut held).await?;
                }
                self.kept.keep(subject, Settled::new(hours.start..over, &wider, slice))
            }
        };
        let mut slice = recent.into_slice(Slice { held, label, ..Slice::default() });
        if want.visitors {
            (slice.visitors, slice.days) = self.visitors(subject, want.range, recent_visited, &mut slice.held).await?;
        }
        Ok(settled.with(slice, want))
    }

    /// Sketches of the event hours in which there were people, and visitors one by one of their event days, each once and in
    /// order. Newer visitors than the counts may be among them, never fewer: where something was deleted meanwhile,
    /// `held_from` has moved.
    async fn visitors(
        &self,
        subject: Subject,
        range: Range,
        visited: Visited,
        held: &mut Held,
    ) -> Result<(Vec<(Hour, Arc<Sketch>)>, Vec<(Day, Arc<VisitorSet>)>), ViewError> {
        let Visited { hours, received } = visited.within(range);
        if hours.is_empty() && received.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut questions = pipe();
        questions.atomic().hget(keys::positions(Shard::of(subject)), keys::HELD_FROM);
        for hour in &hours {
            questions.get(keys::visitors(subject, *hour));
        }
        for (day, hour) in &received {
            questions.smembers(keys::visitor_set(subject, *hour, *day));
        }
        let mut answers = self.ask::<Vec<Value>>(&questions).await?.into_iter();
        let held_from: Option<i32> = parse(answers.next().unwrap_or(Value::Nil))?;
        held.from = held.from.max(held_from.map(Hour));
        let mut sketches = Vec::with_capacity(hours.len());
        for (hour, answer) in hours.into_iter().zip(answers.by_ref()) {
            let bytes: Option<Vec<u8>> = parse(answer)?;
            let Some(bytes) = bytes else { continue };
            let sketch = Sketch::from_bytes(&bytes).map_err(|error| {
                ViewError::Unusable(format!("redis: {} is no sketch: {error}", keys::visitors(subject, hour)))
            })?;
            sketches.push((hour, Arc::new(sketch)));
        }
        let mut days: Series<Day, VisitorSet> = Series::default();
        for ((day, _), answer) in received.into_iter().zip(answers) {
            let members: Vec<i64> = parse(answer)?;
            // There were people: a set that is not there was left out.
            let set = if members.is_empty() { VisitorSet::MANY } else { members.into_iter().collect() };
            days.at(day).merge(&set);
        }
        Ok((sketches, days.into_entries().into_iter().map(|(day, set)| (day, Arc::new(set))).collect()))
    }
}

/// When there were people.
#[derive(Default)]
struct Visited {
    /// Event hours.
    hours: Vec<Hour>,
    /// Event days, each with the hours they were received in.
    received: Vec<(Day, Hour)>,
}

impl Visited {
    fn add(&mut self, quarter: Quarter, received: Hour) {
        self.hours.push(quarter.hour());
        self.received.push((quarter.day(), received));
    }

    /// Each hour and day that a range touches, once and in order.
    fn within(mut self, range: Range) -> Self {
        let (hours, days) = (range.hours_touched(), range.days_touched());
        self.hours.retain(|hour| hours.contains(hour));
        self.hours.sort_unstable();
        self.hours.dedup();
        self.received.retain(|(day, _)| days.contains(day));
        self.received.sort_unstable();
        self.received.dedup();
        self
    }
}

fn gather_totals(received: Hour, fields: &Fields, into: &mut Gathered<'_>, visited: &mut Visited) {
    let instant = |name: &str| {
        let (_, value) = fields.iter().find(|(field, _)| field == name)?;
        Timestamp::from_millis(value.parse().ok()?)
    };
    let left_out = fields.iter().any(|(field, _)| field == keys::LEFT_OUT);
    for (quarter, who, count) in totals(received, fields) {
        let mut counts = Counts::default();
        *count_of(&mut counts, who) = count;
        into.total(quarter, counts, left_out);
        if who == Who::People {
            visited.add(quarter, received);
        }
    }
    into.seen(instant(keys::FIRST), instant(keys::LAST));
}

/// The fields of a hash where they are: most of a breakdown's are of dimensions that nobody asked for.
fn fields(hash: &Value) -> Result<Vec<(&str, &str)>, ViewError> {
    let unusable = || ViewError::Unusable("redis gave what was not written: a hash that is none".to_owned());
    let pairs: Vec<(&Value, &Value)> = match hash {
        Value::Nil => Vec::new(),
        Value::Array(parts) => parts.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        Value::Map(pairs) => pairs.iter().map(|(field, value)| (field, value)).collect(),
        _ => return Err(unusable()),
    };
    pairs.into_iter().map(|(field, value)| text(field).zip(text(value)).ok_or_else(unusable)).collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn gather_values(received: Hour, hash: &Value, into: &mut Gathered<'_>) -> Result<(), ViewError> {
    for (field, value) in fields(hash)? {
        let (Some((quarter, field)), Ok(count)) = (keys::parse_value(field), value.parse()) else { continue };
        let Some(quarter) = keys::parse_quarter(received, quarter) else { continue };
        let counted =
            |bots: bool| ValueCounts { humans: if bots { 0 } else { count }, bots: if bots { count } else { 0 } };
        match field {
            ValueField::Value(dimension, value, bots) => into.value(dimension, value, quarter, counted(bots)),
            ValueField::LeftOut(dimension, bots) => into.left_out(dimension, quarter, counted(bots)),
        }
    }
    Ok(())
}
