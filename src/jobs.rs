//! The commands that change tables: how they open them, and what they say.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use linktide_batch::{
    Access, Audit, BatchError, Correct, Corrected, DayReasons, Difference, Lake, Nightly, Outcome, Reason, Stage,
    audits, overall, reclassifications,
};
use linktide_common::bucket::{Day, Hour};
use linktide_common::clock::Clock;
use linktide_common::dimension::NONE;
use linktide_common::enrich::SUSPECTED;
use linktide_common::id::{LinkId, Subject, TenantId};
use serde_json::json;

use crate::cli::say;
use crate::config::Config;
use crate::people::number;
use crate::services;

/// Which tables.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// The folder of a `linktide standalone`
    #[arg(long, value_name = "DIR", conflicts_with = "lake")]
    data: Option<PathBuf>,
    /// Where tables and publications lie: a folder, or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub(crate) lake: Option<String>,
    /// End where the lake does not answer, instead of waiting for it
    #[arg(long)]
    fail_fast: bool,
}

/// What a backfill looks at again.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Backfill {
    /// Places that could not be looked up when the click came in
    Geo,
    /// Who is a bot, by today's rules for user agents
    Bots,
}

/// What is erased.
#[derive(Debug, Args)]
#[group(id = "subject", required = true, multiple = false)]
pub(crate) struct Erase {
    /// A link, with its tenant
    #[arg(long, value_name = "TENANT/LINK", value_parser = link)]
    link: Option<Subject>,
    /// All links of a tenant
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    tenant: Option<Subject>,
    /// Nothing: tell which erasures have no receipt yet, and why
    #[arg(long)]
    pending: bool,
}

fn link(text: &str) -> Result<Subject, String> {
    let wrong = || format!("`{text}` is no link; write its tenant and its id, such as 0/42");
    let (tenant, link) = text.split_once('/').ok_or_else(wrong)?;
    let tenant = tenant.parse::<TenantId>().map_err(|_| wrong())?;
    Ok(Subject::Link(tenant, link.parse::<LinkId>().map_err(|_| wrong())?))
}

fn tenant(text: &str) -> Result<Subject, String> {
    let tenant = text.parse().map_err(|_| format!("`{text}` is no tenant; write its id, such as 7"))?;
    Ok(Subject::Tenant(tenant))
}

/// Where the tables lie.
///
/// # Errors
/// Where a setting is wrong or missing, or the place cannot be used.
pub(crate) async fn lake(config: &Config, tables: &Tables, access: Access) -> anyhow::Result<Lake> {
    match &tables.data {
        None => services::lake::open(&config.lake, access, tables.fail_fast).await,
        Some(data) => {
            let folder = data.join("lake");
            anyhow::ensure!(
                folder.is_dir(),
                "{} holds no tables; is it the folder of `linktide standalone --data`?",
                data.display()
            );
            Ok(Lake::in_folder(&folder)?)
        }
    }
}

/// Opens the tables, and jobs over them that tell what they are doing.
async fn open(config: &Config, tables: &Tables) -> anyhow::Result<(Lake, Nightly)> {
    open_telling(config, tables, |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = say(line);
    })
    .await
}

/// The same, telling it to `progress`.
async fn open_telling(
    config: &Config,
    tables: &Tables,
    progress: impl Fn(&str) + Send + Sync + 'static,
) -> anyhow::Result<(Lake, Nightly)> {
    let lake = lake(config, tables, Access::Write).await?;
    let rules = services::rules(config)?;
    let nightly = Nightly::new(lake.clone(), Clock::system(), rules, services::nightly_config(config));
    let nightly = nightly.telling(move |stage| progress(&describe(stage)));
    // The speed layer of a `standalone` lives in its process.
    let recounter = if tables.data.is_none() { services::redis_recounter(config)? } else { None };
    let nightly = match recounter {
        Some(recounter) => nightly.auditing(recounter),
        None => nightly,
    };
    Ok((lake, nightly))
}

/// `linktide nightly`
///
/// # Errors
/// What ended the run.
pub(crate) async fn nightly(
    config: &Config,
    tables: &Tables,
    through: Option<Hour>,
    dry_run: bool,
) -> anyhow::Result<()> {
    let (_, nightly) = open(config, tables).await?;
    if dry_run {
        return nightly.foresee_run(through).await?.iter().try_for_each(|line| say(line));
    }
    match nightly.run(through).await? {
        Outcome::Nothing { why } => say(&format!("nothing to do: {why}")),
        Outcome::Published { number, to, clicks, .. } => {
            say(&format!("publication {number}: complete through {}, {clicks} clicks more", to.start()))
        }
    }
}

/// `linktide nightly --every`
///
/// # Errors
/// Where the tables cannot be opened, or `listen` cannot be listened on.
pub(crate) async fn nightly_every(
    config: &Config,
    tables: &Tables,
    every: Duration,
    listen: Option<SocketAddr>,
    told: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (lake, nightly) = open(config, tables).await?;
    services::nightly::run(lake, nightly, every, listen, told).await
}

/// `linktide backfill`
///
/// # Errors
/// What ended the job.
pub(crate) async fn backfill(
    config: &Config,
    tables: &Tables,
    what: Backfill,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<()> {
    let progress = move |line: &str| {
        let _ = if json { writeln!(std::io::stderr(), "{line}").map_err(Into::into) } else { say(line) };
    };
    let (lake, nightly) = open_telling(config, tables, progress).await?;
    let correct = match what {
        Backfill::Geo => Correct::Geo,
        Backfill::Bots => Correct::Bots,
    };
    let done = lake.publications().latest().await?.and_then(|newest| newest.plan_done);
    let corrected = do_or_foresee(&nightly, correct, dry_run).await?;
    let (older, finished): (Vec<_>, Vec<_>) =
        reclassifications(&lake).await?.into_iter().partition(|one| Some(one.plan) <= done);
    if json {
        let mut answer = serde_json::to_value(&corrected)?;
        answer["dry_run"] = json!(dry_run);
        answer["reasons"] = json!(overall(&corrected.reasons));
        answer["finished"] = json!(finished);
        return say(&serde_json::to_string_pretty(&answer)?);
    }
    // What an earlier run had begun, and this one finished: all of it is told here.
    for begun in finished.iter().filter(|one| one.corrected != corrected) {
        say(&format!("plan {}, which an earlier run began, {}", begun.plan, summary(&begun.corrected, false)))?;
        changes(&begun.corrected.reasons).iter().try_for_each(|line| say(line))?;
    }
    say(&summary(&corrected, dry_run))?;
    changes(&corrected.reasons).iter().try_for_each(|line| say(line))?;
    match older.last() {
        Some(last) if correct == Correct::Bots && corrected.clicks == 0 && finished.is_empty() => {
            say(&format!("what was changed last is told in {}", last.place()))
        }
        _ => Ok(()),
    }
}

/// How many clicks had each reason and have it now, as a table; then what changed, day by day.
fn changes(days: &[DayReasons]) -> Vec<String> {
    if days.is_empty() {
        return Vec::new();
    }
    let reasons = overall(days);
    let width = reasons.iter().map(|one| one.reason.len()).max().unwrap_or_default().max(20);
    let row = |name: &str, before: u64, after: u64| {
        let change = i128::from(after) - i128::from(before);
        let sign = if change < 0 { '-' } else { '+' };
        let change = number(u64::try_from(change.unsigned_abs()).unwrap_or(u64::MAX));
        let change = if before == after { String::new() } else { format!("{sign}{change}") };
        format!("{name:<width$}  {:>13}  {:>13}  {change:>13}", number(before), number(after)).trim_end().to_owned()
    };
    let listed = |one: &Reason| row(&one.reason, one.before, one.after);
    let is_person = |one: &&Reason| one.reason == NONE || one.reason.starts_with(SUSPECTED);
    let (people, bots): (Vec<&Reason>, Vec<&Reason>) = reasons.iter().partition(is_person);
    let sum = |name: &str, of: &[&Reason]| {
        row(name, of.iter().map(|one| one.before).sum(), of.iter().map(|one| one.after).sum())
    };
    let mut lines = vec![format!("{:<width$}  {:>13}  {:>13}  {:>13}", "reason", "before", "after", "change")];
    lines.extend(reasons.iter().map(listed));
    lines.extend([sum("people in all", &people), sum("bots in all", &bots)]);
    for day in days {
        let changed: Vec<String> = day.reasons.iter().filter(|one| one.before != one.after).map(listed).collect();
        if !changed.is_empty() {
            let sealed = if day.sealed { "  (sealed: raw clicks alone)" } else { "" };
            lines.push(format!("{}{sealed}", date(day.day)));
            lines.extend(changed);
        }
    }
    lines
}

/// `linktide erase`
///
/// # Errors
/// What ended the job.
pub(crate) async fn erase(config: &Config, tables: &Tables, what: &Erase, dry_run: bool) -> anyhow::Result<()> {
    let (_, nightly) = open(config, tables).await?;
    if let Some(subject) = what.link.or(what.tenant) {
        say(&summary(&do_or_foresee(&nightly, Correct::Erase(subject), dry_run).await?, dry_run))?;
    }
    for erasure in nightly.erasures().await? {
        let (tombstone, end) = (erasure.tombstone, erasure.tombstone.received_before.start());
        let subject = match tombstone.link_id {
            Some(link) => format!("link {}/{link}", tombstone.tenant_id),
            None => format!("tenant {}", tombstone.tenant_id),
        };
        say(&format!(
            "receipt {} ({subject}, received before {end}) waits for {}",
            tombstone.plan,
            erasure.waits_for.join("; ")
        ))?;
    }
    Ok(())
}

/// `linktide audit`
///
/// # Errors
/// Where the reports cannot be read, or the layers differ.
pub(crate) async fn audit(config: &Config, tables: &Tables, day: Option<Day>) -> anyhow::Result<()> {
    let (lake, _) = open(config, tables).await?;
    let received = day.map_or(Hour(i32::MIN)..Hour(i32::MAX), hours_of);
    let audits = audits(&lake, received).await?;
    if audits.is_empty() {
        say("no increment of these hours was audited")?;
    }
    for audit in &audits {
        audit_lines(audit).iter().try_for_each(|line| say(line))?;
    }
    let drifted = audits.iter().filter(|audit| audit.drift > 0).count();
    anyhow::ensure!(drifted == 0, "speed and batch differ in {drifted} of {} audits", audits.len());
    Ok(())
}

fn hours_of(day: Day) -> std::ops::Range<Hour> {
    Hour::of(day.start())..Hour::of(day.next().start())
}

fn audit_lines(audit: &Audit) -> Vec<String> {
    let hours = format!("received {} to {}", audit.from.start(), audit.to.start());
    if let Some(why) = &audit.not_compared {
        return vec![format!("{hours}: {} clicks by batch, not compared: {why}", audit.batch)];
    }
    let mut lines = vec![format!(
        "{hours}: {} clicks by batch, {} by speed; {} of {} links differ, by {} clicks",
        audit.batch, audit.speed, audit.drifted, audit.links, audit.drift
    )];
    let line = |one: &Difference| {
        format!("  link {}/{}: {} by batch, {} by speed", one.tenant_id, one.link_id, one.batch, one.speed)
    };
    lines.extend(audit.differences.iter().map(line));
    lines
}

async fn do_or_foresee(nightly: &Nightly, correct: Correct, dry_run: bool) -> Result<Corrected, BatchError> {
    if dry_run { nightly.foresee_correction(correct).await } else { nightly.correct(correct).await }
}

fn summary(corrected: &Corrected, dry_run: bool) -> String {
    let verb = if dry_run { "would change" } else { "changed" };
    let mut text = format!(
        "{verb} {} clicks received on {} days, and the rollups of {} event days",
        corrected.clicks,
        corrected.received.len(),
        corrected.days.len()
    );
    if let (Some(first), Some(last)) = (corrected.sealed.first(), corrected.sealed.last()) {
        text += &format!(
            "; {} event days from {} to {} are sealed, as raw clicks of theirs were deleted: their rollups stay",
            corrected.sealed.len(),
            date(*first),
            date(*last)
        );
    }
    text
}

fn date(day: Day) -> String {
    day.start().to_string()[..10].to_owned()
}

fn describe(stage: Stage) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_judging_again_changes_is_a_table_of_all_days_and_then_of_each() {
        let reason = |reason: &str, before, after| Reason { reason: reason.to_owned(), before, after };
        let day = |day, sealed, reasons: &[Reason]| DayReasons { day: Day(day), sealed, reasons: reasons.to_vec() };
        let days = [
            day(20_000, true, &[reason("(none)", 1_200, 1_190), reason("ua:isbot", 0, 10)]),
            day(20_001, false, &[reason("(none)", 7, 7), reason("suspected:ua:bare", 2, 1), reason("ua:bare", 0, 1)]),
            day(20_002, false, &[reason("(none)", 3, 3)]),
        ];
        let expected = "
reason                       before          after         change
(none)                        1,210          1,200            -10
suspected:ua:bare                 2              1             -1
ua:bare                           0              1             +1
ua:isbot                          0             10            +10
people in all                 1,212          1,201            -11
bots in all                       0             11            +11
2024-10-04  (sealed: raw clicks alone)
(none)                        1,200          1,190            -10
ua:isbot                          0             10            +10
2024-10-05
suspected:ua:bare                 2              1             -1
ua:bare                           0              1             +1";
        assert_eq!(changes(&days).join("\n"), expected.trim_start());
        assert!(changes(&[]).is_empty());
    }

    #[test]
    fn subject_is_named_by_its_ids() {
        assert_eq!(link("0/42"), Ok(Subject::Link(TenantId(0), LinkId(42))));
        assert_eq!(tenant("18446744073709551615"), Ok(Subject::Tenant(TenantId(u64::MAX))));
        for wrong in ["42", "0/", "/1", "0/x", "-1/2", "0/1/2"] {
            assert!(link(wrong).unwrap_err().contains("0/42"), "{wrong}");
        }
        assert!(tenant("x").unwrap_err().contains("`x`"));
    }
}
