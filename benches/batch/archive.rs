//! A backlog in Kafka, archived to S3 by one process.

use std::path::Path;
use std::time::{Duration, Instant};

use linktide_batch::{ArchiveConfig, Archiver, Lake, S3Config, S3Keys};
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::id::Epoch;
use linktide_common::log::LogWriter as _;
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, TopicPlan};
use linktide_servers::{Kafka, S3};
use tokio_util::sync::CancellationToken;

use crate::process::{Process, Used, let_go};
use crate::sizes::{Sizes, files};
use crate::{say, world};

const PARTITIONS: u32 = 10;
const BUCKET: &str = "clicks";
const AT_ONCE: usize = 20_000;
const LOOK: Duration = Duration::from_millis(50);

fn kafka_config(brokers: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers.to_owned(),
        topic: "click-events".to_owned(),
        least_partitions: PARTITIONS,
        epoch: Epoch(0),
        settings: [].into(),
    }
}

/// Fills a log, has it archived, and tells how fast that went and what a click takes.
#[expect(clippy::cast_precision_loss, reason = "figures are for people")]
pub(crate) async fn measure(clicks: usize) -> anyhow::Result<()> {
    let (kafka, s3, folder) = (Kafka::start(), S3::start(BUCKET), tempfile::tempdir()?);
    world::write_cities(folder.path())?;
    fill(&kafka, clicks).await?;
    let table = s3.bucket(BUCKET).join("tables/click_event");
    let kafka_before = Used::by(&kafka.process().to_string()).processor;
    let archiver = Process::start(&[
        "archiver".to_owned(),
        kafka.address(),
        s3.url(),
        folder.path().to_string_lossy().into_owned(),
    ])?;
    // The group takes a moment to come together, and what is left at the end waits for its age: time runs from the first
    // commit to the last but one.
    let (mut commits, mut archived) = (Vec::new(), Sizes::default());
    while archived.rows < clicks as f64 {
        tokio::time::sleep(LOOK).await;
        let found = if table.is_dir() { files(&table)? } else { continue };
        if found.len() > archived.files {
            // A file that is not whole yet is looked at again.
            archived = Sizes::of(&found).unwrap_or_default();
            commits.extend((archived.files > 0).then(|| (Instant::now(), archived.rows)));
        }
    }
    let used = archiver.used();
    let [first, .., last, _] = commits[..] else { anyhow::bail!("{clicks} clicks are too few to tell a speed") };
    let (seconds, rows) = ((last.0 - first.0).as_secs_f64(), last.1 - first.1);
    say(&format!("archived {rows} clicks in {seconds:.1} s: {:.0} clicks/s (wanted: 150,000)", rows / seconds));
    let kafka_used = Used::by(&kafka.process().to_string()).processor - kafka_before;
    let hundred_thousands = clicks as f64 / 1e5;
    say(&format!(
        "archiver: {:.0} MiB at most, {:.3} s of processor time a 100,000 clicks; kafka: {:.3} s",
        used.memory,
        used.processor / hundred_thousands,
        kafka_used / hundred_thousands
    ));
    say(&format!("click_event: {:.1} bytes a click in {} files (wanted: 45)", archived.a_row(), archived.files));
    say(&archived.table());
    Ok(())
}

async fn fill(kafka: &Kafka, clicks: usize) -> anyhow::Result<()> {
    let config = kafka_config(&kafka.address());
    let plan = TopicPlan { partitions: PARTITIONS, replication: 1, retention: Duration::from_secs(7 * 86_400) };
    KafkaLog::provision(&config, &plan).await?;
    let log = KafkaLog::open(config).await?;
    let (mut generator, hour) = (world::generator(), Hour(Hour::of(Clock::system().now()).0 - 1));
    let mut left = clicks;
    while left > 0 {
        let count = left.min(AT_ONCE);
        log.append(world::records(&mut generator, hour, count)).await?;
        left -= count;
    }
    Ok(())
}

/// What the process of the archiver does.
pub(crate) async fn work(brokers: &str, s3: &str, folder: &Path) -> anyhow::Result<()> {
    let lake = Lake::in_bucket(&S3Config {
        url: format!("s3://{BUCKET}").parse()?,
        endpoint: Some(s3.to_owned()),
        region: None,
        keys: Some(S3Keys { access: S3::ACCESS_KEY.to_owned(), secret: S3::SECRET_KEY.to_owned() }),
        allow_http: true,
        virtual_hosted: false,
        timeout: Duration::from_secs(30),
    })?;
    let log = KafkaLog::open(kafka_config(brokers)).await?;
    let intake = world::intake(log.reader("linktide-archive")?, folder, Clock::system())?;
    // What is left at the end of the log is committed soon.
    let config = ArchiveConfig { commit_age: Duration::from_secs(2), ..ArchiveConfig::default() };
    let (archiver, _flusher) = Archiver::open(lake, intake, Clock::system(), config).await?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    std::thread::spawn(move || {
        let_go();
        told.cancel();
    });
    Ok(archiver.run(stop).await?)
}
