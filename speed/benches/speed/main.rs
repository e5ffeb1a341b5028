//! `./dev bench speed` and `./dev bench fairness`: the speed layer over a real Kafka and a real Redis on this machine. Nothing fails for being slow.

mod clicks;
mod stage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::prelude::*;
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::log::{Append, LogWriter as _};
use linktide_speed::view::{Limits, Shard};
use tokio::task::JoinSet;

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
        ["worker", brokers, redis, folder, cells] => {
            stage::work(brokers, redis, Path::new(folder), cells.parse()?).await
        }
        ["fairness"] => fairness().await,
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
    let worker = stage.worker(Limits::default())?;
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
    let worker = stage.worker(Limits::default())?;
    let times = probe(stage, RATE, SECONDS, |clicks, _| clicks.next(1)).await?;
    say(&format!(
        "steady {RATE} clicks/s for {SECONDS} s: from emission to Redis {times} (wanted: p50 1 s, p99 2 s); {} records behind at the end",
        stage.behind(&stage.log.reader("bench-steady")?).await?
    ));
    say(&format!("worker: {:.0} MiB at most", worker.used().1));
    Ok(())
}

/// What one tenant's rush costs the others.
async fn fairness() -> anyhow::Result<()> {
    const OTHERS: usize = 5_000;
    const SECONDS: usize = 40;
    let roomy = Limits { tenant_cells: usize::MAX >> 1, ..Limits::default() };
    let tight = Limits { tenant_cells: 200, ..Limits::default() };
    let ordinary = |clicks: &mut Clicks, number: usize| clicks.next(10 + number as u64 % 20);
    let rushes: [(&str, Limits, usize, Rush); 4] = [
        ("20 tenants alone", roomy, OTHERS, ordinary),
        ("and as many clicks on one link", roomy, 2 * OTHERS, |clicks, number| match number % 2 {
            0 => clicks.on(1, format_args!("1")),
            _ => clicks.next(10 + number as u64 % 20),
        }),
        ("and as many on new links of one tenant, no guard", roomy, 2 * OTHERS, |clicks, number| match number % 2 {
            0 => clicks.on(1, format_args!("{number}")),
            _ => clicks.next(10 + number as u64 % 20),
        }),
        ("the same, 200 breakdowns a tenant and shard", tight, 2 * OTHERS, |clicks, number| match number % 2 {
            0 => clicks.on(1, format_args!("{number}")),
            _ => clicks.next(10 + number as u64 % 20),
        }),
    ];
    for (name, limits, rate, next) in rushes {
        let stage = Stage::new().await?;
        let before = Servers::now(&stage).await?;
        let _worker = stage.worker(limits)?;
        let times = probe(&stage, rate, SECONDS, next).await?;
        let memory = (Servers::now(&stage).await?.memory - before.memory) / 1024.0 / 1024.0;
        say(&format!("{name}: the others' clicks stand in Redis after {times}; Redis grew by {memory:.0} MiB"));
    }
    Ok(())
}

type Rush = fn(&mut Clicks, usize) -> Append;

/// How long probes took: links of a tenant that has no other click.
struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent: usize| self.0[(self.0.len() - 1) * percent / 100].as_secs_f64();
        write!(f, "p50 {:.2} s, p99 {:.2} s, worst {:.2} s", at(50), at(99), at(100))
    }
}

/// Sends `rate` clicks a second, and looks how long one in each 50 ms takes.
async fn probe(
    stage: &Stage,
    rate: usize,
    seconds: usize,
    mut next: impl FnMut(&mut Clicks, usize) -> Append,
) -> anyhow::Result<Times> {
    const A_SECOND: usize = 20;
    // The group takes so long to come together.
    const WARM_UP: usize = 10 * A_SECOND;
    let redis = Builder::from_config(Config::from_url(&stage.redis.url())?).build()?;
    redis.init().await?;
    let mut clicks = Clicks::new(2);
    let (mut looks, mut appends, mut sent) = (JoinSet::new(), JoinSet::new(), 0);
    let mut due = tokio::time::interval(Duration::from_millis(1000 / A_SECOND as u64));
    for tick in 0..WARM_UP + seconds * A_SECOND {
        due.tick().await;
        let emitted = Instant::now();
        let mut batch: Vec<_> = (sent..sent + rate / A_SECOND).map(|number| next(&mut clicks, number)).collect();
        sent += batch.len();
        batch.push(clicks.on(2, format_args!("{tick}")));
        let log = Arc::clone(&stage.log);
        appends.spawn(async move { log.append(batch).await });
        while let Some(appended) = appends.try_join_next() {
            appended??;
        }
        if tick >= WARM_UP {
            let redis = redis.clone();
            looks.spawn(async move { seen(&redis, tick as u64).await.map(|()| emitted.elapsed()) });
        }
    }
    let mut times = looks.join_all().await.into_iter().collect::<Result<Vec<Duration>, _>>()?;
    times.sort_unstable();
    Ok(Times(times))
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
