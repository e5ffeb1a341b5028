//! `./dev bench speed`: the speed layer over a real Kafka and a real Redis on this machine. Nothing fails for being slow.

mod clicks;
mod stage;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fred::prelude::*;
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::log::LogWriter as _;
use linktide_speed::view::Shard;

use clicks::Clicks;
use stage::{Stage, Worker, processor_seconds};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BACKLOG: usize = 5_000_000;
const LOOK: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", brokers, redis, folder] => stage::work(brokers, redis, Path::new(folder)).await,
        ["drain", clicks] => drain(&Stage::new().await?, clicks.parse()?).await,
        ["steady"] => steady(&Stage::new().await?).await,
        _ => {
            let stage = Stage::new().await?;
            drain(&stage, BACKLOG).await?;
            steady(&stage).await
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
fn say(line: &str) {
    println!("{line}");
}

/// A backlog is drained.
#[expect(clippy::cast_precision_loss, reason = "figures are for people")]
async fn drain(stage: &Stage, backlog: usize) -> anyhow::Result<()> {
    stage.fill(backlog, |clicks| clicks.next(1)).await?;
    let reader = stage.log.reader("bench")?;
    let before = Servers::now(stage).await?;
    let worker = stage.worker()?;
    // The group takes a moment to come together: time runs from the first click on.
    let all = stage.behind(&reader).await?;
    let mut began = Instant::now();
    loop {
        let behind = stage.behind(&reader).await?;
        if behind == all {
            began = Instant::now();
        }
        if behind == 0 {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    report_drain(stage, &worker, &before, backlog as f64, seconds).await
}

async fn report_drain(
    stage: &Stage,
    worker: &Worker,
    before: &Servers,
    clicks: f64,
    seconds: f64,
) -> anyhow::Result<()> {
    let after = Servers::now(stage).await?;
    let (processor, memory) = worker.used();
    let hundred_thousands = clicks / 1e5;
    say(&format!("drained {clicks} clicks in {seconds:.1} s: {:.0} clicks/s (wanted: 100,000)", clicks / seconds));
    say(&format!(
        "worker: {memory:.0} MiB at most (wanted: 300), {:.3} s of processor time a 100,000 clicks",
        processor / hundred_thousands
    ));
    say(&format!(
        "redis: {:.3} s in scripts a 100,000 clicks (budget: 0.5), {:.3} s of processor time; kafka: {:.3} s",
        (after.scripts - before.scripts) / hundred_thousands,
        (after.redis - before.redis) / hundred_thousands,
        (after.kafka - before.kafka) / hundred_thousands
    ));
    say(&format!("redis, calls within scripts a 100,000 clicks: {}", after.commands(before, hundred_thousands)));
    let cells = count_keys(stage, "cell:").await?;
    say(&format!(
        "redis: {:.0} MiB for {cells} cells: {:.0} bytes a cell, all that belongs to it included",
        (after.memory - before.memory) / 1024.0 / 1024.0,
        (after.memory - before.memory) / cells as f64
    ));
    Ok(())
}

/// What the servers have used so far.
struct Servers {
    scripts: f64,
    redis: f64,
    kafka: f64,
    memory: f64,
    /// Calls and seconds by command.
    commands: BTreeMap<String, (f64, f64)>,
}

impl Servers {
    /// What was called since, by command.
    fn commands(&self, before: &Self, hundred_thousands: f64) -> String {
        let since = |(name, (calls, seconds)): (&String, &(f64, f64))| {
            let (old_calls, old_seconds) = before.commands.get(name).copied().unwrap_or_default();
            (name.clone(), (calls - old_calls) / hundred_thousands, (seconds - old_seconds) / hundred_thousands)
        };
        let mut commands: Vec<_> =
            self.commands.iter().map(since).filter(|(name, calls, _)| *calls > 100.0 && name != "evalsha").collect();
        commands.sort_by(|(_, _, one), (_, _, other)| other.total_cmp(one));
        let texts: Vec<_> =
            commands.iter().map(|(name, calls, seconds)| format!("{name} {calls:.0} ({seconds:.3} s)")).collect();
        texts.join(", ")
    }

    async fn now(stage: &Stage) -> anyhow::Result<Self> {
        let about = stage.redis.cli(&["info", "all"]);
        let number = |name: &str| {
            about.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or_default()
        };
        let commands: BTreeMap<String, (f64, f64)> = about.lines().filter_map(command).collect();
        Ok(Self {
            scripts: commands.get("evalsha").map_or(0.0, |(_, seconds)| *seconds),
            redis: number("used_cpu_sys:") + number("used_cpu_user:"),
            kafka: processor_seconds(stage.kafka.process()),
            memory: number("used_memory:"),
            commands,
        })
    }
}

/// `cmdstat_hset:calls=5,usec=7,…`
fn command(line: &str) -> Option<(String, (f64, f64))> {
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let (calls, rest) = rest.split_once(",usec=")?;
    Some((name.to_owned(), (calls.parse().ok()?, rest.split(',').next()?.parse::<f64>().ok()? / 1e6)))
}

async fn count_keys(stage: &Stage, kind: &str) -> anyhow::Result<usize> {
    let keys = stage.redis.cli(&["--scan", "--pattern", &format!("*:{kind}*")]);
    Ok(keys.lines().count())
}

/// From a click's emission until it stands in Redis, at 20,000 clicks a second.
async fn steady(stage: &Stage) -> anyhow::Result<()> {
    const RATE: usize = 20_000;
    const SECONDS: usize = 60;
    const PROBES_A_SECOND: usize = 20;
    let redis = Builder::from_config(Config::from_url(&stage.redis.url())?).build()?;
    redis.init().await?;
    let mut clicks = Clicks::new(2);
    let worker = stage.worker()?;
    let reader = stage.log.reader("bench-steady")?;
    let mut looks = tokio::task::JoinSet::new();
    let mut due = tokio::time::interval(Duration::from_millis(1000 / PROBES_A_SECOND as u64));
    let mut appends = tokio::task::JoinSet::new();
    for tick in 0..(SECONDS + 5) * PROBES_A_SECOND {
        due.tick().await;
        let mut batch: Vec<_> = (0..RATE / PROBES_A_SECOND).map(|_| clicks.next(1)).collect();
        // A link of a tenant that has no other click.
        batch.push(clicks.on(2, format_args!("{tick}")));
        let (log, emitted) = (std::sync::Arc::clone(&stage.log), Instant::now());
        appends.spawn(async move { log.append(batch).await });
        while appends.try_join_next().is_some() {}
        if tick < 5 * PROBES_A_SECOND {
            continue;
        }
        let redis = redis.clone();
        looks.spawn(async move { seen(&redis, tick as u64).await.map(|()| emitted.elapsed()) });
    }
    let mut times = looks.join_all().await.into_iter().collect::<Result<Vec<Duration>, _>>()?;
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
    say(&format!(
        "steady {RATE} clicks/s for {SECONDS} s: from emission to Redis p50 {:.2} s (wanted: 1), p99 {:.2} s (wanted: 2), worst {:.2} s; {} records behind at the end",
        at(50),
        at(99),
        at(100),
        stage.behind(&reader).await?
    ));
    say(&format!("worker: {:.0} MiB at most", worker.used().1));
    Ok(())
}

/// Waits until a click on this link of tenant 2 stands in Redis.
async fn seen(redis: &Client, link: u64) -> anyhow::Result<()> {
    let (shard, hour) = (Shard::of(Subject::Link(TenantId(2), LinkId(link))).index(), Hour::of(Clock::system().now()));
    let key = |hour: Hour| format!("{{s{shard}}}:totals:2/{link}:{}", hour.0);
    while redis.exists::<u64, _>(vec![key(hour), key(hour.next())]).await? == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
