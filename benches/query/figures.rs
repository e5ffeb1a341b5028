//! What was found: a table for people, a file for programs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::say;

/// Latencies of many questions.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut all: Vec<Duration>) -> anyhow::Result<Self> {
        anyhow::ensure!(!all.is_empty(), "nothing was asked");
        all.sort_unstable();
        Ok(Self(all))
    }

    /// In milliseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    pub(crate) fn at(&self, share: f64) -> f64 {
        let at = ((self.0.len() as f64 * share) as usize).min(self.0.len() - 1);
        self.0[at].as_secs_f64() * 1e3
    }

    pub(crate) fn p50(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(0.99)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

struct Figure {
    section: &'static str,
    name: String,
    unit: &'static str,
    found: f64,
    wanted: Option<f64>,
}

/// All that was found.
#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Notes a figure, and what it should be at most.
    pub(crate) fn note(
        &mut self,
        section: &'static str,
        name: &str,
        found: f64,
        unit: &'static str,
        wanted: Option<f64>,
    ) {
        let figure = Figure { section, name: name.to_owned(), unit, found, wanted };
        say(&line(&figure));
        self.0.push(figure);
    }

    /// Notes the median and the 99th percentile of latencies.
    pub(crate) fn latencies(&mut self, section: &'static str, name: &str, found: &Latencies, wanted: [Option<f64>; 2]) {
        let name = format!("{name}, {} questions", found.count());
        self.note(section, &format!("{name}: p50"), found.p50(), "ms", wanted[0]);
        self.note(section, &format!("{name}: p99"), found.p99(), "ms", wanted[1]);
    }

    /// Prints the table and writes the file.
    pub(crate) fn report(&self) -> anyhow::Result<()> {
        let mut table = format!("\n{:<10} {:<70} {:>10} {:>10}\n", "", "", "found", "at most");
        for figure in &self.0 {
            writeln!(table, "{}", line(figure))?;
        }
        let described = |figure: &Figure| -> Value {
            json!({"section": figure.section, "name": figure.name, "unit": figure.unit, "found": figure.found, "wanted": figure.wanted})
        };
        let folder = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let file = Path::new(&folder).join("bench-query.json");
        std::fs::write(&file, serde_json::to_string_pretty(&self.0.iter().map(described).collect::<Vec<_>>())?)?;
        say(&format!("{table}\n{}", file.display()));
        Ok(())
    }
}

fn line(figure: &Figure) -> String {
    let wanted = figure.wanted.map_or_else(String::new, |wanted| format!("{wanted}"));
    format!("{:<10} {:<70} {:>10.2} {:>10} {}", figure.section, figure.name, figure.found, wanted, figure.unit)
}
