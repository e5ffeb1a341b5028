//! What readers ask of the whole view: keys known in advance, in one transaction a shard, so that what comes back belongs
//! together.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use linktide_common::bucket::{Hour, Quarter};
use linktide_common::count::Counts;
use linktide_common::id::TenantId;
use linktide_common::intake::Lag;
use redis::{FromRedisValue, Value, pipe};

use super::keys::{self, Who};
use super::{IN_FLIGHT, RedisView};
use crate::shard::{SHARDS, Shard};
use crate::view::{Counted, Held, Place, ViewError};

/// A hash as it comes.
pub(super) type Fields = Vec<(String, String)>;

/// What one shard says of itself.
pub(super) fn shard_state(fields: &Fields) -> Held {
    let mut held = Held::default();
    for (field, value) in fields {
        if field == keys::HELD_FROM {
            held.from = value.parse().ok().map(Hour);
        } else if field == keys::BEGUN_AT {
            held.beginnings = value.parse().unwrap_or_default();
        } else if let Some(gap) = keys::parse_gap(field, value) {
            held.gaps.push(gap);
        } else if let (Some(place), Some(position)) = (keys::parse_place(field), keys::parse_position(value)) {
            held.positions.insert(place, position);
        }
    }
    held
}

/// The received hours from `from` to before `end`.
pub(super) fn hours(from: Hour, end: Option<Hour>) -> impl Iterator<Item = Hour> + Clone {
    (from.0..end.map_or(from.0, |end| end.0)).map(Hour)
}

pub(super) fn parse<T: FromRedisValue>(value: Value) -> Result<T, ViewError> {
    redis::from_redis_value(value)
        .map_err(|error| ViewError::Unusable(format!("redis gave what was not written: {error}")))
}

impl RedisView {
    pub(super) async fn states(&self) -> Result<Vec<Held>, ViewError> {
        // A question each: one to several servers of a cluster would have to be taken apart.
        let ask = |shard| async move {
            let mut question = pipe();
            question.hgetall(keys::positions(shard));
            Ok(self.ask::<Vec<Fields>>(&question).await?.first().map(shard_state).unwrap_or_default())
        };
        stream::iter(Shard::all().map(ask)).buffered(SHARDS).try_collect().await
    }

    pub(super) async fn lags(&self) -> Result<BTreeMap<Place, Lag>, ViewError> {
        let mut question = pipe();
        question.hgetall(keys::LAGS);
        let answers: Vec<Fields> = self.ask(&question).await?;
        let told = answers.into_iter().flatten();
        Ok(told
            .filter_map(|(field, json)| Some((keys::parse_place(&field)?, serde_json::from_str(&json).ok()?)))
            .collect())
    }

    pub(super) async fn counted_in(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        let part = |shard| self.counted_by(shard, received.clone());
        let parts: Vec<Counted> =
            stream::iter(Shard::all().map(part)).buffer_unordered(IN_FLIGHT).try_collect().await?;
        let whole = parts.into_iter().reduce(|mut whole, part| {
            whole.held = whole.held.and(&part.held);
            whole.links.extend(part.links);
            whole
        });
        Ok(whole.unwrap_or_default())
    }

    /// Repeats on all links of a tenant that were received in these hours, and the state of all shards.
    pub(super) async fn repeats(
        &self,
        tenant: TenantId,
        received: std::ops::Range<Hour>,
    ) -> Result<(Held, Vec<(Hour, Fields)>), ViewError> {
        let ask = |shard| {
            let received = hours(received.start, Some(received.end));
            async move {
                let mut questions = pipe();
                questions.atomic().hgetall(keys::positions(shard));
                received.clone().for_each(|hour| _ = questions.hgetall(keys::repeats(shard, tenant, hour)));
                let mut answers = self.ask::<Vec<Fields>>(&questions).await?.into_iter();
                let held = shard_state(&answers.next().unwrap_or_default());
                Ok::<_, ViewError>((held, received.zip(answers).collect::<Vec<_>>()))
            }
        };
        let parts: Vec<_> = stream::iter(Shard::all().map(ask)).buffer_unordered(SHARDS).try_collect().await?;
        let whole = parts.into_iter().reduce(|(held, mut repeats), (other, more)| {
            repeats.extend(more);
            (held.and(&other), repeats)
        });
        Ok(whole.unwrap_or_default())
    }

    /// What was counted in one shard: a link's clicks all lie in its own.
    async fn counted_by(&self, shard: Shard, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        let hours: Vec<Hour> = (received.start.0..received.end.0).map(Hour).collect();
        let mut questions = pipe();
        for hour in &hours {
            questions.smembers(keys::tenants(shard, *hour));
        }
        let tenants: Vec<Vec<String>> = if hours.is_empty() { Vec::new() } else { self.ask(&questions).await? };
        let of_hour = |(hour, tenants): (&Hour, Vec<String>)| {
            let hour = *hour;
            tenants.into_iter().filter_map(move |tenant| Some((hour, tenant.parse().ok()?))).collect::<Vec<_>>()
        };
        let lists: Vec<(Hour, TenantId)> = hours.iter().zip(tenants).flat_map(of_hour).collect();
        let mut questions = pipe();
        questions.atomic().hgetall(keys::positions(shard));
        for (hour, tenant) in &lists {
            questions.zrange_withscores(keys::top(shard, *tenant, *hour), 0, -1);
        }
        let mut answers = self.ask::<Vec<Value>>(&questions).await?.into_iter();
        let held = shard_state(&parse(answers.next().unwrap_or(Value::Nil))?);
        let mut counted = Counted { held, ..Counted::default() };
        for ((_, tenant), answer) in lists.into_iter().zip(answers) {
            for (member, score) in parse::<Vec<(String, f64)>>(answer)? {
                let Some((_, link, _)) = keys::parse_member(&member) else { continue };
                *counted.links.entry((tenant, link)).or_default() += whole_number(score);
            }
        }
        Ok(counted)
    }
}

/// A score counts clicks.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a double is exact up to 2^53 clicks")]
pub(super) fn whole_number(score: f64) -> u64 {
    score as u64
}

pub(super) fn count_of(counts: &mut Counts, who: Who) -> &mut u64 {
    match who {
        Who::People => &mut counts.humans,
        Who::Bots => &mut counts.bots,
        Who::Previews => &mut counts.previews,
        Who::Repeats => &mut counts.repeats,
    }
}

/// The counts of a totals hash.
pub(super) fn totals(received: Hour, fields: &Fields) -> impl Iterator<Item = (Quarter, Who, u64)> {
    fields.iter().filter_map(move |(field, value)| {
        let (quarter, who) = keys::parse_total(field);
        Some((keys::parse_quarter(received, quarter)?, who, value.parse().ok()?))
    })
}
