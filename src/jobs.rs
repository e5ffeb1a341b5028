//! The commands that change tables: how they open them, and what they say meanwhile.

use std::path::Path;
use std::sync::Arc;

use linktide_batch::{Lake, Nightly, Stage};
use linktide_common::clock::Clock;
use linktide_common::enrich::Rules;

use crate::cli::say;
use crate::config::Config;
use crate::services;

/// Jobs over the tables of the folder of a `linktide standalone`, which tell what they are doing.
///
/// # Errors
/// Where the folder holds no tables, or a GeoIP database cannot be used.
pub(crate) fn open(config: &Config, data: &Path) -> anyhow::Result<Nightly> {
    let folder = data.join("lake");
    anyhow::ensure!(
        folder.is_dir(),
        "{} holds no tables; is it the folder of `linktide standalone --data`?",
        data.display()
    );
    let rules = Arc::new(Rules::load(services::geo_files(config))?);
    let nightly = Nightly::new(Lake::in_folder(&folder)?, Clock::system(), rules, services::nightly_config(config));
    Ok(nightly.telling(|stage| {
        // Progress that nobody can read is no reason to stop.
        let _ = say(&describe(stage));
    }))
}

fn describe(stage: Stage) -> String {
    let date = |day: linktide_common::bucket::Day| day.start().to_string()[..10].to_owned();
    match stage {
        Stage::Resume { plan } => format!("finishing plan {plan}, which an earlier run began"),
        Stage::Increment { from, to } => format!("rolling up {} to {}", from.start(), to.start()),
        Stage::Merge { clicks } => format!("adding {clicks} clicks"),
        Stage::Compact { days } => format!("sorting {days} days of raw clicks"),
        Stage::Delete { through } => format!("deleting raw clicks received up to {}", date(through)),
        Stage::Correct { clicks, days } => format!("correcting {clicks} clicks and {days} days of rollups"),
        Stage::Publish => "publishing".to_owned(),
        Stage::Maintain => "cleaning up".to_owned(),
    }
}
