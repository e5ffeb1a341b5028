//! The verdict: a pure function of the signs that speak against a click, and of two thresholds.
//!
//! 1. Each sign has points from 0 to 100 and belongs to a family of signs that tell of the same thing.
//! 2. Of a family, the strongest sign counts: two that tell of the same thing are no more than one.
//! 3. A challenge that a script passed takes back what is only likely: the families of the edge's score, client hints,
//!    headers and networks. What a client says of itself (its user agent, `webdriver`) and what is known of its
//!    handshake stays: a program can run a script.
//! 4. The points of the families are added. From `bot` on, the click is a bot's; from `suspect` on, it is suspected.
//! 5. The reason is the strongest sign; of equals, the family's that stands first in [`Family`]. Where no sign alone
//!    would have made it a bot's, the reason says so: `several:` and the strongest.

use super::super::Text;

/// What stands before the reason of a click that is only suspected: it counts as a person's.
pub const SUSPECTED: &str = "suspected:";
/// The reason of a bot's click whose address clicked too often.
pub const RATE: &str = "rate";
/// The reason of a click whose address seems to.
pub const SUSPECTED_RATE: &str = "suspected:rate";
/// What stands before the reason where only several signs together are enough.
const SEVERAL: &str = "several:";

/// Signs that tell of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// What the client calls itself.
    Agent,
    /// What gives a program away for certain: automation, its handshake, a forged signature.
    Program,
    /// What became of a challenge.
    Challenge,
    /// How sure an edge is.
    Edge,
    /// Client hints that contradict the user agent.
    Hints,
    /// Headers that a browser would have sent.
    Headers,
    /// Where it comes from.
    Network,
}

impl Family {
    const COUNT: usize = Self::Network as usize + 1;

    /// Whether a passed challenge takes its signs back.
    fn is_only_likely(self) -> bool {
        matches!(self, Self::Edge | Self::Hints | Self::Headers | Self::Network)
    }
}

/// The names of a reason, made once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) plain: Text,
    several: Text,
    suspected: Text,
}

/// A kind of sign.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sign {
    pub(crate) family: Family,
    pub(crate) reason: Reason,
    pub(crate) points: u8,
}

impl Sign {
    pub(crate) fn new(family: Family, reason: &str, points: u8) -> Self {
        let named = |front: &str| Text::from(format!("{front}{reason}"));
        let reason = Reason { plain: named(""), several: named(SEVERAL), suspected: named(SUSPECTED) };
        Self { family, reason, points }
    }
}

/// From how many points on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) suspect: u16,
    pub(crate) bot: u16,
}

/// How a click is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A person's.
    Human,
    /// Counted as a person's, with a reason to doubt it.
    Suspected,
    /// A bot's.
    Bot,
}

/// The signs that were found in one click.
#[derive(Debug, Default, Clone)]
pub(crate) struct Evidence<'a> {
    strongest: [Option<(&'a Sign, u8)>; Family::COUNT],
    passed: bool,
    /// Every sign, for whoever wants to know more than the verdict.
    told: Option<Vec<(&'a Sign, u8)>>,
}

/// One sign of a click, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// What it is called.
    pub reason: Text,
    /// What it tells of.
    pub family: Family,
    /// What it weighs in this click.
    pub points: u8,
    /// Whether it was added up: not where its family has a stronger one, or a passed challenge takes it back.
    pub counts: bool,
}

impl<'a> Evidence<'a> {
    /// Evidence that can tell of every sign.
    pub(crate) fn telling() -> Self {
        Self { told: Some(Vec::new()), ..Self::default() }
    }

    /// Every sign in the order it was found; none where the evidence does not tell.
    pub(crate) fn found(&self) -> Vec<Found> {
        let found = |(sign, points): &(&Sign, u8)| {
            let strongest =
                self.strongest[sign.family as usize].is_some_and(|(counted, _)| std::ptr::eq(counted, *sign));
            let (reason, family) = (Text::clone(&sign.reason.plain), sign.family);
            Found { reason, family, points: *points, counts: strongest && !self.takes_back(sign) }
        };
        self.told.iter().flatten().map(found).collect()
    }

    fn takes_back(&self, sign: &Sign) -> bool {
        self.passed && sign.family.is_only_likely()
    }

    /// Adds a sign with its own points.
    pub(crate) fn add(&mut self, sign: &'a Sign) {
        self.add_as(sign, sign.points);
    }

    /// Adds a sign that weighs differently in this click.
    pub(crate) fn add_as(&mut self, sign: &'a Sign, points: u8) {
        if let Some(told) = self.told.as_mut().filter(|_| points > 0) {
            told.push((sign, points));
        }
        let strongest = &mut self.strongest[sign.family as usize];
        if points > 0 && strongest.is_none_or(|(_, most)| points > most) {
            *strongest = Some((sign, points));
        }
    }

    /// Notes that a challenge was passed.
    pub(crate) fn pass(&mut self) {
        self.passed = true;
    }

    /// The verdict.
    pub(crate) fn weigh(&self, thresholds: Thresholds) -> Weighed<'a> {
        let counts = |(sign, _): &(&Sign, u8)| !self.takes_back(sign);
        let counted = || self.strongest.iter().flatten().copied().filter(counts);
        let points = counted().map(|(_, points)| u16::from(points)).sum();
        let strongest = counted().reduce(|first, next| if next.1 > first.1 { next } else { first });
        let level = match points {
            points if points >= thresholds.bot => Level::Bot,
            points if points >= thresholds.suspect => Level::Suspected,
            _ => Level::Human,
        };
        let reason = strongest.filter(|_| level != Level::Human).map(|(sign, own)| match level {
            Level::Bot if u16::from(own) >= thresholds.bot => &sign.reason.plain,
            Level::Bot => &sign.reason.several,
            _ => &sign.reason.suspected,
        });
        Weighed { level, points, reason }
    }
}

/// What the signs come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weighed<'a> {
    pub(crate) level: Level,
    pub(crate) points: u16,
    /// Why; none for a person.
    pub(crate) reason: Option<&'a Text>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { suspect: 50, bot: 100 };

    fn weighed(signs: &[(Family, u8)], passed: bool) -> (Level, u16, Option<String>) {
        let signs: Vec<Sign> = signs
            .iter()
            .enumerate()
            .map(|(number, (family, points))| Sign::new(*family, &format!("sign:{number}"), *points))
            .collect();
        let mut evidence = Evidence::default();
        signs.iter().for_each(|sign| evidence.add(sign));
        if passed {
            evidence.pass();
        }
        let Weighed { level, points, reason } = evidence.weigh(THRESHOLDS);
        (level, points, reason.map(|reason| reason.to_string()))
    }

    /// Signs, whether a challenge was passed, and what comes of it.
    type Case = (&'static [(Family, u8)], bool, Level, u16, Option<&'static str>);

    #[test]
    fn verdict_follows_its_rules() {
        use Family::*;
        use Level::*;
        let table: &[Case] = &[
            // Nothing is nothing, and a sign without points is none.
            (&[], false, Human, 0, None),
            (&[(Agent, 0)], false, Human, 0, None),
            // Thresholds are where they say.
            (&[(Network, 49)], false, Human, 49, None),
            (&[(Network, 50)], false, Suspected, 50, Some("suspected:sign:0")),
            (&[(Network, 99)], false, Suspected, 99, Some("suspected:sign:0")),
            (&[(Network, 100)], false, Bot, 100, Some("sign:0")),
            // Of a family the strongest counts, of families the sum.
            (&[(Headers, 40), (Headers, 30), (Headers, 40)], false, Human, 40, None),
            (&[(Headers, 40), (Network, 40)], false, Suspected, 80, Some("suspected:sign:0")),
            (&[(Network, 40), (Hints, 70)], false, Bot, 110, Some("several:sign:1")),
            (&[(Network, 40), (Agent, 100)], false, Bot, 140, Some("sign:1")),
            // Of equals the first family is the reason, in whatever order they were found.
            (&[(Network, 60), (Headers, 60)], false, Bot, 120, Some("several:sign:1")),
            // A passed challenge takes back what is only likely, and nothing else.
            (&[(Edge, 99), (Hints, 70), (Headers, 40), (Network, 100)], true, Human, 0, None),
            (&[(Agent, 100), (Network, 100)], true, Bot, 100, Some("sign:0")),
            (&[(Program, 100)], true, Bot, 100, Some("sign:0")),
            (&[(Challenge, 100)], false, Bot, 100, Some("sign:0")),
        ];
        for (signs, passed, level, points, reason) in table {
            assert_eq!(weighed(signs, *passed), (*level, *points, reason.map(str::to_owned)), "{signs:?} {passed}");
        }
    }
}
