//! Counts as they come: a stream of server-sent events that may be taken up again where it broke off.
//!
//! A stream counts a subject's clicks from an instant on, its `since`. Each event tells the sum up to then and what is new
//! since the event before; its id is the sum itself. Whoever comes back with the last id it saw is told what came in
//! between, by whichever process: no stream is kept anywhere, and no click is told twice or left out.

use std::fmt;
use std::str::FromStr;

use linktide_common::bucket::{Quarter, Range, Timestamp, Zone};
use linktide_common::count::{Counts, Traffic};
use linktide_common::id::Subject;
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ask::At;
use crate::freshness::Basis;
use crate::needs::{Needs, Wanted};
use crate::state::Query;

/// How far a click may lie ahead of its receipt, in milliseconds.
const AHEAD: i64 = 5 * 60 * 1000;

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) since: Quarter,
    /// Without repeats.
    pub(crate) counts: Counts,
    /// Clicks of people that are repeats, where that is told.
    pub(crate) repeats: Option<u64>,
}

/// What a stream counts.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) subject: Subject,
    pub(crate) traffic: Traffic,
    pub(crate) zone: Zone,
    /// Whether clicks are told without repeats, too.
    pub(crate) unique: bool,
}

/// What an event tells.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Told {
    /// From when on clicks are counted, by event time.
    since: String,
    /// Clicks of the traffic asked for since then.
    clicks: u64,
    /// Clicks of people without repeats since then; null as in a summary, and for all links together.
    unique_clicks: Option<u64>,
    /// Clicks of machines since then.
    bots: u64,
    /// HEAD requests since then.
    previews: u64,
    /// What of it came since the event before.
    new: Newer,
    /// Every click that was received before it is counted.
    as_of: String,
    /// Whether counts are older or poorer than they should be.
    stale: bool,
    /// Why they are.
    reasons: Vec<String>,
}

/// What came since the event before.
#[derive(Debug, Serialize, ToSchema)]
struct Newer {
    clicks: u64,
    unique_clicks: Option<u64>,
    bots: u64,
    previews: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { humans, bots, previews, .. } = self.counts;
        write!(f, "{}-{humans}-{bots}-{previews}", self.since.0)?;
        self.repeats.map_or(Ok(()), |repeats| write!(f, "-{repeats}"))
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |part: &str| if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None };
        let numbers: Vec<u64> = text.split('-').map(number).collect::<Option<_>>().ok_or(())?;
        let (since, humans, bots, previews, repeats) = match numbers[..] {
            [since, humans, bots, previews] => (since, humans, bots, previews, None),
            [since, humans, bots, previews, repeats] => (since, humans, bots, previews, Some(repeats)),
            _ => return Err(()),
        };
        let since = Quarter(i32::try_from(since).map_err(drop)?);
        let is_instant = Timestamp::from_millis(i64::from(since.0) * 900_000).is_some();
        let mark = Self { since, counts: Counts { humans, bots, previews, repeats: 0 }, repeats };
        if is_instant { Ok(mark) } else { Err(()) }
    }
}

impl Mark {
    /// Where a stream begins.
    pub(crate) fn nothing(since: Quarter) -> Self {
        Self { since, counts: Counts::default(), repeats: Some(0) }
    }

    fn unique_clicks(&self) -> Option<u64> {
        self.repeats.map(|repeats| self.counts.humans.saturating_sub(repeats))
    }
}

impl Live {
    /// The sum up to now, with what it rests on.
    pub(crate) async fn count(&self, query: &Query, since: Quarter) -> Result<(Mark, Basis), Problem> {
        let range = Range::new(since, Quarter::of(query.clock.now().plus_millis(AHEAD)).next());
        let mut wanted = Wanted::default();
        wanted.subject(self.subject, Needs { sums: vec![range], repeats: self.unique, ..Needs::default() });
        let answers = query.ask(&At::Newest, &wanted).await?;
        let answer = answers.of(self.subject);
        let counts = answer.totals(None).within(range).sum();
        let repeats = self.unique.then_some(counts.repeats);
        Ok((Mark { since, counts: Counts { repeats: 0, ..counts }, repeats }, answer.basis.clone()))
    }

    /// An event at `mark`, behind the one at `before`.
    pub(crate) fn tell(&self, query: &Query, before: Mark, mark: Mark, basis: &Basis) -> Told {
        let freshness = basis.freshness(query.clock.now(), &query.config, Vec::new());
        // A correction may have made the sum smaller: nothing is new then.
        let more = |of: fn(&Counts, Traffic) -> u64| {
            of(&mark.counts, self.traffic).saturating_sub(of(&before.counts, self.traffic))
        };
        Told {
            since: self.zone.format(mark.since.start()),
            clicks: mark.counts.clicks(self.traffic),
            unique_clicks: mark.unique_clicks(),
            bots: mark.counts.bots,
            previews: mark.counts.previews,
            new: Newer {
                clicks: more(Counts::clicks),
                unique_clicks: mark
                    .unique_clicks()
                    .zip(before.unique_clicks())
                    .map(|(now, before)| now.saturating_sub(before)),
                bots: more(|counts, _| counts.bots),
                previews: more(|counts, _| counts.previews),
            },
            as_of: freshness.as_of,
            stale: freshness.stale,
            reasons: freshness.reasons,
        }
    }
}

/// A stream more than there is room for.
pub(crate) fn too_many(most: usize) -> Problem {
    let detail = format!("{most} live streams are open, which is the most; close one, or try again");
    Problem::new(ProblemKind::TooManyRequests, detail).retry_after(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_read_as_it_is_written_and_nothing_else_is() {
        let counts = Counts { humans: 3, bots: u64::MAX, previews: 0, repeats: 0 };
        for repeats in [None, Some(0), Some(2)] {
            let mark = Mark { since: Quarter(1_992_192), counts, repeats };
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        let wrong = [
            "",
            "1-2-3",
            "1-2-3-4-",
            "1-2-3-4-+5",
            "1-2-3-4-5-6",
            "2147483647-0-0-0",
            "1--1-2-3",
            "a-1-2-3",
            "1-2-3-18446744073709551616",
        ];
        for text in wrong {
            assert_eq!(text.parse::<Mark>(), Err(()), "{text}");
        }
    }
}
