//! Lists of user agents from files.
//!
//! A text file has a pattern a line, `bot [from DATE] [to DATE]: PATTERN`:
//!
//! ```text
//! # A comment stands on a line of its own.
//! bot: ExampleFetcher/
//! bot from 2024-01-01 to 2025-06-30: ^Harbour
//!     not: HarbourBrowser
//! bot: /^quay[0-9]+$/
//! person: CUBOT
//! ```
//!
//! A pattern is a text that the user agent contains, whatever the case; with `^` in front, one that it begins with;
//! between slashes, a regular expression. `not` belongs to the pattern above: a user agent that fits it as well is none
//! of that pattern's. `person` takes user agents out of every list, the built-in ones too. Dates are UTC days of the
//! click, both of them inside; so the verdict on a click does not depend on the day it is judged.
//!
//! A file of JSON is read as the package `crawler-user-agents` is published: an array of objects with a regular
//! expression as `pattern`.

use std::path::Path;
use std::sync::Arc;

use regex::{RegexSet, RegexSetBuilder};

use super::list::{ListError, each_line, is_json, json};
use super::verdict::Sign;
use crate::bucket::{Day, Timestamp};

/// Memory that the compiled patterns of all lists may take.
const COMPILED: usize = 256 << 20;

/// Days of clicks, both ends inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Period {
    from: Option<Day>,
    to: Option<Day>,
}

impl Period {
    pub(super) fn holds(self, day: Day) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to)
    }
}

/// What the lists say of one user agent.
#[derive(Debug, Default)]
pub(super) struct Listed {
    signs: Vec<(Period, Arc<Sign>)>,
    persons: Vec<Period>,
}

impl Listed {
    /// Whether nothing is said, on whatever day.
    pub(super) fn is_silent(&self) -> bool {
        self.signs.is_empty() && self.persons.is_empty()
    }

    /// Whether it is a person's on that day, whatever lists say.
    pub(super) fn is_person(&self, day: Day) -> bool {
        self.persons.iter().any(|period| period.holds(day))
    }

    /// The strongest sign of that day; of equals, the list's that is named first.
    pub(super) fn sign(&self, day: Day) -> Option<&Arc<Sign>> {
        let of_day = self.signs.iter().filter(|(period, _)| period.holds(day)).map(|(_, sign)| sign);
        of_day.reduce(|first, second| if second.points > first.points { second } else { first })
    }
}

enum Kind {
    Bot(Arc<Sign>),
    Person,
    /// Takes its user agents out of the pattern at that place.
    Not(usize),
}

struct Entry {
    kind: Kind,
    period: Period,
}

/// Patterns of one or more lists, not yet compiled.
#[derive(Default)]
pub(super) struct Patterns {
    texts: Vec<String>,
    entries: Vec<Entry>,
}

impl Patterns {
    /// Adds the patterns of a file, which are of `sign`.
    pub(super) fn read(&mut self, path: &Path, sign: &Arc<Sign>) -> Result<(), ListError> {
        if is_json(path) {
            return self.read_json(path, sign);
        }
        let mut above = None;
        each_line(path, &[], |_, line| {
            if line.starts_with('#') {
                return Ok(());
            }
            let (head, pattern) =
                line.split_once(':').ok_or("write `bot: PATTERN`, `person: PATTERN` or `not: PATTERN`")?;
            let (kind, period) = head_of(head)?;
            let kind = match kind {
                "bot" => Kind::Bot(Arc::clone(sign)),
                "person" => Kind::Person,
                "not" => Kind::Not(above.ok_or("`not` belongs below a pattern")?),
                other => return Err(format!("`{other}` is none of bot, person and not")),
            };
            if !matches!(kind, Kind::Not(_)) {
                above = Some(self.entries.len());
            }
            self.push(expression(pattern.trim())?, Entry { kind, period })
        })
    }

    fn read_json(&mut self, path: &Path, sign: &Arc<Sign>) -> Result<(), ListError> {
        let document = json(path)?;
        let entries = document.as_array().ok_or_else(|| ListError::of(path, "it is no array of patterns"))?;
        for (entry, number) in entries.iter().zip(1..) {
            let at = |problem: String| ListError::of(path, format!("entry {number}: {problem}"));
            let pattern = entry["pattern"].as_str().ok_or_else(|| at("there is no text `pattern`".to_owned()))?;
            let entry = Entry { kind: Kind::Bot(Arc::clone(sign)), period: Period::default() };
            self.push(pattern.to_owned(), entry).map_err(at)?;
        }
        Ok(())
    }

    fn push(&mut self, expression: String, entry: Entry) -> Result<(), String> {
        let read = regex::Regex::new(&expression).map_err(|error| match error {
            regex::Error::Syntax(what) => what.lines().last().unwrap_or_default().trim().to_owned(),
            error => error.to_string(),
        })?;
        if read.is_match("") {
            return Err("the pattern fits every user agent".to_owned());
        }
        self.texts.push(expression);
        self.entries.push(entry);
        Ok(())
    }

    /// The patterns, ready to be asked.
    pub(super) fn compile(self) -> Result<AgentLists, String> {
        let mut builder = RegexSetBuilder::new(&self.texts);
        let patterns =
            builder.size_limit(COMPILED).dfa_size_limit(COMPILED / 8).build().map_err(|error| {
                format!("the patterns of bots.agents are too many to be compiled together: {error}")
            })?;
        Ok(AgentLists { patterns, entries: self.entries })
    }
}

/// The word in front and the days behind it.
fn head_of(head: &str) -> Result<(&str, Period), String> {
    let mut words = head.split_whitespace();
    let kind = words.next().ok_or("the line begins with a colon")?;
    let mut period = Period::default();
    while let Some(word) = words.next() {
        let day = words.next().ok_or_else(|| format!("`{word}` has no date behind it"))?;
        match word {
            "from" => period.from = Some(date(day)?),
            "to" => period.to = Some(date(day)?),
            _ => return Err(format!("`{word}` is neither from nor to")),
        }
    }
    match period {
        Period { from: Some(from), to: Some(to) } if to < from => Err("it ends before it begins".to_owned()),
        _ if kind == "not" && period != Period::default() => Err("`not` has the days of the pattern above".to_owned()),
        _ => Ok((kind, period)),
    }
}

fn date(text: &str) -> Result<Day, String> {
    let instant = format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().ok();
    let at = instant.and_then(|instant| Timestamp::from_millis(instant.as_millisecond()));
    at.map(Day::of).ok_or_else(|| format!("`{text}` is no date; write 2024-01-31"))
}

/// A pattern as a regular expression.
fn expression(pattern: &str) -> Result<String, String> {
    let inner = pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    match (inner, pattern.strip_prefix('^')) {
        _ if pattern.is_empty() => Err("there is no pattern behind the colon".to_owned()),
        (Some(expression), _) => Ok(format!("(?i:{expression})")),
        (None, Some(start)) => Ok(format!("^(?i:{})", regex::escape(start))),
        (None, None) => Ok(format!("(?i:{})", regex::escape(pattern))),
    }
}

/// The lists, ready to be asked.
#[derive(Default)]
pub(super) struct AgentLists {
    patterns: RegexSet,
    entries: Vec<Entry>,
}

impl AgentLists {
    /// What the lists say of a user agent.
    pub(super) fn ask(&self, user_agent: &str) -> Listed {
        let mut listed = Listed::default();
        if self.entries.is_empty() {
            return listed;
        }
        let fits = self.patterns.matches(user_agent);
        let is_not = |place: usize| {
            let mut others = fits.iter();
            others.any(|other| matches!(self.entries[other].kind, Kind::Not(of) if of == place))
        };
        for place in fits.iter().filter(|place| !is_not(*place)) {
            let entry = &self.entries[place];
            match &entry.kind {
                Kind::Bot(sign) => listed.signs.push((entry.period, Arc::clone(sign))),
                Kind::Person => listed.persons.push(entry.period),
                Kind::Not(_) => {}
            }
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Family;
    use super::*;

    fn sign(name: &str, points: u8) -> Arc<Sign> {
        Arc::new(Sign::new(Family::Agent, &format!("ua:{name}"), points))
    }

    fn read(name: &str, text: &str) -> Result<AgentLists, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut patterns = Patterns::default();
        patterns.read(&path, &sign("own", 100)).map_err(|error| error.to_string())?;
        patterns.compile()
    }

    fn day(text: &str) -> Day {
        date(text).unwrap()
    }

    #[test]
    fn patterns_hold_on_their_days_and_not_for_their_exceptions() {
        let lists = read(
            "own.txt",
            "# ours\nbot: ExampleFetcher/\n\nbot from 2024-01-01 to 2024-12-31: ^Harbour\n    not: HarbourBrowser\nbot: /^quay[0-9]+$/\nperson to 2024-06-30: cubot\n",
        )
        .unwrap();
        let bot = |text: &str, on: &str| lists.ask(text).sign(day(on)).is_some();
        assert!(bot("x EXAMPLEfetcher/1.0", "1999-01-01"));
        for (on, listed) in [("2023-12-31", false), ("2024-01-01", true), ("2024-12-31", true), ("2025-01-01", false)] {
            assert_eq!(bot("harbour/2", on), listed, "{on}");
        }
        assert!(!bot("a Harbour/2", "2024-05-01") && !bot("HarbourBrowser/2 Harbour", "2024-05-01"));
        assert!(bot("Quay77", "2024-05-01") && !bot("quay77 ", "2024-05-01"));
        let person = lists.ask("Linux; CUBOT NOTE");
        assert!(person.is_person(day("2024-06-30")) && !person.is_person(day("2024-07-01")) && !person.is_silent());
        assert!(lists.ask("Firefox").is_silent());
    }

    #[test]
    fn strongest_list_is_the_reason_and_of_equals_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.txt");
        std::fs::write(&path, "bot: Fetcher\n").unwrap();
        let mut patterns = Patterns::default();
        for (name, points) in [("weak", 60), ("first", 100), ("second", 100)] {
            patterns.read(&path, &sign(name, points)).unwrap();
        }
        let listed = patterns.compile().unwrap().ask("Fetcher");
        assert_eq!(&*listed.sign(Day(0)).unwrap().reason.plain, "ua:first");
    }

    #[test]
    fn published_package_is_read() {
        let lists = read("crawlers.json", r#"[{"pattern":"Harbour\\/","url":"x"},{"pattern":"[wW]get"}]"#).unwrap();
        let bot = |text: &str| lists.ask(text).sign(Day(0)).is_some();
        assert!(bot("Harbour/1") && bot("wget") && !bot("harbour/1"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (name, text, told) in [
            ("a.txt", "bot: x\nFetcher\n", "a.txt, line 2: write `bot: PATTERN`"),
            ("a.txt", "robot: x\n", "line 1: `robot` is none of bot, person and not"),
            ("a.txt", "not: x\n", "line 1: `not` belongs below a pattern"),
            ("a.txt", "bot:\n", "line 1: there is no pattern"),
            ("a.txt", "bot: /(/\n", "line 1: error: unclosed group"),
            ("a.txt", "bot: /x*/\n", "line 1: the pattern fits every user agent"),
            ("a.txt", "bot since 2024-01-01: x\n", "line 1: `since` is neither from nor to"),
            ("a.txt", "bot from: x\n", "line 1: `from` has no date"),
            ("a.txt", "bot from 2024-13-01: x\n", "line 1: `2024-13-01` is no date"),
            ("a.txt", "bot from 2024-02-01 to 2024-01-01: x\n", "line 1: it ends before it begins"),
            ("a.txt", "bot: x\nnot from 2024-01-01: y\n", "line 2: `not` has the days"),
            ("a.json", "[{\"pattern\":\"a\"},{\"pattern\":\"(\"}]", "a.json: entry 2: error: unclosed group"),
            ("a.json", "[{}]", "a.json: entry 1: there is no text `pattern`"),
            ("a.json", "{}", "a.json: it is no array"),
        ] {
            let error = read(name, text).err().unwrap();
            assert!(error.contains(told), "{error}");
        }
    }
}
