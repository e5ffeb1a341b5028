//! What is counted of clicks, and which of it a question asks for.

use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Clicks by who made them. A preview (a HEAD request) is no click and stands apart, whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// Clicks that no bot rule matched.
    pub humans: u64,
    /// Clicks that a bot rule matched.
    pub bots: u64,
    /// HEAD requests.
    pub previews: u64,
    /// Those of `humans` that closely follow a click of the same visitor on the same link. Not known by value of a dimension,
    /// and 0 there.
    #[serde(default)]
    pub repeats: u64,
}

impl Counts {
    /// Clicks of `traffic`; previews are in none of them.
    #[must_use]
    pub fn clicks(&self, traffic: Traffic) -> u64 {
        match traffic {
            Traffic::Human => self.humans,
            Traffic::Bot => self.bots,
            Traffic::All => self.humans + self.bots,
        }
    }

    /// Clicks of people that follow no other click of the same visitor closely.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.humans.saturating_sub(self.repeats)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.humans += other.humans;
        self.bots += other.bots;
        self.previews += other.previews;
        self.repeats += other.repeats;
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// Whose clicks a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// People: what most questions mean.
    #[default]
    Human,
    /// Machines.
    Bot,
    /// Both.
    All,
}

impl FromStr for Traffic {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "human" => Ok(Self::Human),
            "bot" => Ok(Self::Bot),
            "all" => Ok(Self::All),
            _ => Err(()),
        }
    }
}
