//! Reading configuration: every problem at once, with where it comes from and the way out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize as _;
use toml::{Table, Value};

use super::Config;

const PREFIX: &str = "LINKTIDE_";

/// Where configuration comes from; each one overrides those before it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The text of a TOML file, and what it is called.
    pub file: Option<(String, String)>,
    /// Environment variables: `LINKTIDE_SPEED__FLUSH_INTERVAL` is `speed.flush_interval`.
    pub environment: Vec<(String, String)>,
    /// Flags, as a dotted key and a value.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The file at `path`, where one is given, and this process's environment.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of_process(path: Option<&Path>, flags: Vec<(String, String)>) -> Result<Self, ConfigError> {
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).map_err(|error| {
                ConfigError(vec![Problem {
                    source: path.display().to_string(),
                    key: String::new(),
                    what: error.to_string(),
                }])
            })?;
            Ok((path.display().to_string(), text))
        };
        let environment = std::env::vars().filter(|(name, _)| name.starts_with(PREFIX) && name.contains("__"));
        Ok(Self { file: path.map(read).transpose()?, environment: environment.collect(), flags })
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, the environment variable, or the flag.
    pub source: String,
    /// The dotted key; empty where it is about a whole source.
    pub key: String,
    /// What is wrong, and what may be there instead.
    pub what: String,
}

/// Everything that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s)", self.0.len())?;
        for Problem { source, key, what } in &self.0 {
            write!(f, "\n  {source}: ")?;
            if !key.is_empty() {
                write!(f, "{key}: ")?;
            }
            f.write_str(what)?;
        }
        Ok(())
    }
}

/// The configuration that the sources make together.
///
/// # Errors
/// [`ConfigError`] with all problems there are.
pub fn load(sources: Sources) -> Result<Config, ConfigError> {
    let mut merged = Merged::default();
    if let Some((name, text)) = sources.file {
        match text.parse::<Table>() {
            Ok(table) => merged.take_table(&name, "", table),
            Err(error) => merged.problem(&name, "", error.to_string().trim_end().replace('\n', " ")),
        }
    }
    for (name, text) in sources.environment {
        let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        merged.set(&name, &key, parse_value(&text));
    }
    for (key, text) in sources.flags {
        merged.set(&format!("--set {key}"), &key, parse_value(&text));
    }
    merged.into_config()
}

/// Leaves by dotted key, with where each comes from.
#[derive(Default)]
struct Merged {
    leaves: BTreeMap<String, (String, Value)>,
    problems: Vec<Problem>,
}

impl Merged {
    fn problem(&mut self, source: &str, key: &str, what: String) {
        self.problems.push(Problem { source: source.to_owned(), key: key.to_owned(), what });
    }

    fn take_table(&mut self, source: &str, prefix: &str, table: Table) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(table) => self.take_table(source, &key, table),
                value => self.set(source, &key, value),
            }
        }
    }

    fn set(&mut self, source: &str, key: &str, value: Value) {
        self.leaves.insert(key.to_owned(), (source.to_owned(), value));
    }

    /// Takes away what is wrong, one key after the other, until the rest is right: so all problems are found.
    fn into_config(mut self) -> Result<Config, ConfigError> {
        loop {
            let table = self.table();
            match serde_path_to_error::deserialize::<_, Config>(Value::Table(table)) {
                Ok(config) => {
                    for (key, what) in config.bots.problems() {
                        let found = self.leaves.get(&key).map_or("configuration", |(source, _)| source).to_owned();
                        self.problem(&found, &key, what);
                    }
                    return if self.problems.is_empty() { Ok(config) } else { Err(ConfigError(self.problems)) };
                }
                Err(error) => {
                    let (path, what) = (error.path().to_string(), error.inner().to_string());
                    let wrong =
                        self.leaves.keys().find(|key| **key == path || key.starts_with(&format!("{path}."))).cloned();
                    let Some((source, _)) = wrong.as_ref().and_then(|key| self.leaves.remove(key)) else {
                        self.problem("configuration", &path, what);
                        return Err(ConfigError(self.problems));
                    };
                    self.problem(&source, wrong.as_deref().unwrap_or(&path), what.trim_end().replace('\n', " "));
                }
            }
        }
    }

    fn table(&self) -> Table {
        let mut root = Table::new();
        for (key, (_, value)) in &self.leaves {
            let mut names = key.split('.').peekable();
            let mut table = &mut root;
            while let Some(name) = names.next() {
                if names.peek().is_none() {
                    table.insert(name.to_owned(), value.clone());
                    break;
                }
                let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
                // A value where a section belongs is told as the wrong value that it is.
                let Value::Table(inner) = inner else { break };
                table = inner;
            }
        }
        root
    }
}

/// A value as TOML would read it, or the text itself.
fn parse_value(text: &str) -> Value {
    toml::de::ValueDeserializer::parse(text)
        .ok()
        .and_then(|value| Value::deserialize(value).ok())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let sources = Sources {
            file: Some(pair(
                "linktide.toml",
                "[speed]\nflush_interval = \"1s\"\nkeep_behind = \"2s\"\n[log]\npartitions = 7\n",
            )),
            environment: vec![pair("LINKTIDE_SPEED__FLUSH_INTERVAL", "3s")],
            flags: vec![pair("log.partitions", "9"), pair("api.listen", "127.0.0.1:0")],
        };
        let config = load(sources).unwrap();
        assert_eq!((config.speed.flush_interval, config.speed.keep_behind), (Span::seconds(3), Span::seconds(2)));
        assert_eq!((config.log.partitions, config.api.listen.port()), (9, 0));
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_source() {
        let sources = Sources {
            file: Some(pair(
                "linktide.toml",
                "[speed]\nflush_intervall = \"1s\"\n[log]\npartitions = -1\nsync = \"maybe\"\n",
            )),
            environment: vec![pair("LINKTIDE_API__DEADLINE", "5")],
            flags: vec![pair("enrich.visitor", "cookie")],
        };
        let ConfigError(mut problems) = load(sources).unwrap_err();
        problems.sort_by(|one, other| one.key.cmp(&other.key));
        let told: Vec<_> = problems.iter().map(|problem| (problem.key.as_str(), problem.source.as_str())).collect();
        assert_eq!(
            told,
            [
                ("api.deadline", "LINKTIDE_API__DEADLINE"),
                ("enrich.visitor", "--set enrich.visitor"),
                ("log.partitions", "linktide.toml"),
                ("log.sync", "linktide.toml"),
                ("speed.flush_intervall", "linktide.toml"),
            ]
        );
        assert!(problems[4].what.contains("flush_interval"), "{}", problems[4].what);
    }

    #[test]
    fn settings_that_contradict_each_other_are_told_with_the_others() {
        let file = "[bots]\nsuspect = 200\nagents = [{ name = \"isbot\", file = \"x\" }]\n[log]\npartitions = -1\n";
        let sources = Sources {
            file: Some(pair("linktide.toml", file)),
            flags: vec![pair("bots.weights.hosting", "101")],
            ..Sources::default()
        };
        let ConfigError(problems) = load(sources).unwrap_err();
        let mut told: Vec<_> = problems.iter().map(|problem| (problem.key.as_str(), problem.source.as_str())).collect();
        told.sort_unstable();
        let file = "linktide.toml";
        assert_eq!(
            told,
            [
                ("bots.agents", file),
                ("bots.suspect", file),
                ("bots.weights.hosting", "--set bots.weights.hosting"),
                ("log.partitions", file)
            ]
        );
    }

    #[test]
    fn what_is_shown_is_read_again() {
        let config = Config::default();
        let shown = toml::to_string(&config).unwrap();
        assert_eq!(load(Sources { file: Some(("shown".into(), shown)), ..Sources::default() }).unwrap(), config);
    }
}
