//! Configuration: one typed struct a concern, from defaults < file < environment < flags.
//!
//! Unknown keys are refused, and every problem is told at once, before anything is opened. `linktide config show` prints
//! what is in force.

mod access;
mod export;
mod ingest;
mod load;
#[cfg(test)]
mod page;
mod repeats;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use linktide_batch::ColdClass;
use linktide_common::enrich::{BotConfig, VisitorIdentity};
use serde::{Deserialize, Serialize};

pub use access::{Access, Jwt, Limits};
pub use export::{Export, Webhook};
pub use ingest::{Captcha, Challenge, Ingest, Quota};
pub use load::{ConfigError, Problem, Sources, load};
pub use repeats::Repeats;
pub use values::{ByteSize, Hidden, Settings, Span, Threshold, Window};

/// All of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the service listens, and how it answers.
    pub api: Api,
    /// Who may ask what, and how much.
    pub access: Access,
    /// How clicks come in.
    pub ingest: Ingest,
    /// The embedded log, and what is true of every log.
    pub log: Log,
    /// The log in Kafka.
    pub kafka: Kafka,
    /// The view in Redis.
    pub redis: Redis,
    /// Tables and publications.
    pub lake: Lake,
    /// What is learnt from a click.
    pub enrich: Enrich,
    /// Who is taken for a bot.
    pub bots: BotConfig,
    /// The last hours.
    pub speed: Speed,
    /// Raw clicks in open tables.
    pub archive: Archive,
    /// Rolling up.
    pub nightly: Nightly,
    /// Which clicks are repeats of others.
    pub repeats: Repeats,
    /// What is kept, and how long.
    pub retention: Retention,
    /// Rows as files.
    pub export: Export,
    /// Telling other services what was counted.
    pub webhook: Webhook,
    /// What the process says of itself.
    pub telemetry: Telemetry,
}

/// Where the service listens, and how it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address and port. Where no keys are asked for, only one of this machine alone.
    pub listen: SocketAddr,
    /// How long a layer may take before the answer goes without it.
    pub deadline: Span,
    /// How far an answer may lie behind before it is called stale.
    pub stale_after: Span,
    /// Memory for footers of rollups' files, and for rows that were read from them.
    pub file_cache: ByteSize,
    /// Memory for what links and lists of them received in hours of the view that are over.
    pub recent_cache: ByteSize,
    /// What clients may take up.
    pub connections: Connections,
    /// Visitors of a link or tenant on a UTC day up to which they are counted one by one, 128 at most, or `off`: what is more
    /// is estimated.
    pub exact_visitors: Threshold,
    /// How often a live stream looks for new counts.
    pub live_every: Span,
    /// The most live streams of a process.
    pub live_streams: usize,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            deadline: Span::seconds(5),
            stale_after: Span::seconds(60),
            file_cache: ByteSize(192 << 20),
            recent_cache: ByteSize(32 << 20),
            connections: Connections::default(),
            exact_visitors: Threshold(Some(128)),
            live_every: Span::seconds(1),
            live_streams: 1_000,
        }
    }
}

/// What clients may take up, at every address that a process listens on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// Connections at once; further ones wait until one ends.
    pub most: usize,
    /// How long a client may take to send the head of a request, the idle time before it included.
    pub idle: Span,
    /// How long a client may pause while it sends a body or reads an answer.
    pub stall: Span,
    /// How long a client may take to send a body.
    pub body: Span,
    /// Bytes of the largest head of a request: its line and its headers.
    pub head: ByteSize,
    /// Headers a request may have.
    pub headers: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            most: 4096,
            idle: Span::seconds(30),
            stall: Span::seconds(20),
            body: Span::seconds(300),
            head: ByteSize(16 << 10),
            headers: 64,
        }
    }
}

/// The embedded log, and what is true of every log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How many partitions it has; more may be added, never fewer.
    pub partitions: u32,
    /// Whether an append is on the disk before it is acknowledged.
    pub sync: bool,
    /// Free space below which clicks are refused.
    pub reserve: ByteSize,
    /// How many offsets back a copy of a click is recognised.
    pub copy_window: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { partitions: 4, sync: true, reserve: ByteSize(64 << 20), copy_window: 1 << 18 }
    }
}

/// The log in Kafka.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// The topic of clicks; what is no click goes to `<topic>-rejected`.
    pub topic: String,
    /// Fewer partitions are refused; `linktide provision kafka` makes so many.
    pub partitions: u32,
    /// Copies of each partition that `linktide provision kafka` asks for.
    pub replication: u32,
    /// How long the topic keeps clicks: longer than any reader may stand still.
    pub retention: Span,
    /// The consumer groups are `<group>-speed` and `<group>-archive`.
    pub group: String,
    /// Which life of the topic this is: raise it when the topic was recreated.
    pub epoch: u32,
    /// Settings of librdkafka, such as `security.protocol` and `sasl.password`. Those that are secret are never shown.
    pub settings: Settings,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic: "click-events".to_owned(),
            partitions: 10,
            replication: 3,
            retention: Span::days(7),
            group: "linktide".to_owned(),
            epoch: 0,
            settings: Settings::default(),
        }
    }
}

/// The view in Redis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://host:port/db`; with several hosts, whichever is the master; `redis-cluster://host:port,host:port` for a
    /// cluster; `rediss://` and `rediss-cluster://` with TLS.
    pub url: String,
    /// A user of Redis' access control; none for the default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password; never shown.
    #[serde(skip_serializing)]
    pub password: Option<Hidden>,
}

impl Default for Redis {
    fn default() -> Self {
        Self { url: "redis://127.0.0.1:6379".to_owned(), user: None, password: None }
    }
}

/// Tables and publications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lake {
    /// Where they lie: a folder, `s3://bucket` or `s3://bucket/prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A server that speaks like S3, such as `https://minio:9000`; none for AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The bucket's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The key that requests are signed with; what the environment or the machine grants where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// The secret of that key; never shown.
    #[serde(skip_serializing)]
    pub secret_key: Option<Hidden>,
    /// Whether the endpoint may be reached by plain http.
    pub allow_http: bool,
    /// Whether the bucket's name is part of the host's, as in `https://bucket.host`.
    pub virtual_hosted: bool,
    /// How long one request to the bucket may take.
    pub timeout: Span,
    /// How often a process looks for what others have published.
    pub look_every: Span,
    /// Age at which raw clicks go to the cold class, by a rule that `linktide provision s3` makes.
    pub cold_after: Span,
    /// That class: `GLACIER_IR`, `STANDARD_IA`, `ONEZONE_IA` or `INTELLIGENT_TIERING`.
    pub cold_class: ColdClass,
    /// How long a bucket that keeps old versions of objects keeps them, by another rule.
    pub old_versions: Span,
}

impl Default for Lake {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            allow_http: false,
            virtual_hosted: false,
            timeout: Span::seconds(30),
            look_every: Span::seconds(2),
            cold_after: Span::days(90),
            cold_class: ColdClass::GlacierInstantRetrieval,
            old_versions: Span::days(30),
        }
    }
}

/// What is learnt from a click.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Enrich {
    /// A GeoIP database of cities, in MaxMind's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geoip: Option<PathBuf>,
    /// A GeoIP database of autonomous systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<PathBuf>,
    /// What uniques count: `ip` or `ip_user_agent`.
    pub visitor: VisitorIdentity,
    /// A click further back is refused, unless an import sends it.
    pub oldest: Span,
    /// The file of the secret that salts are made from: the same for every process of a Linktide. `standalone` keeps its
    /// own in its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt_key: Option<PathBuf>,
}

impl Default for Enrich {
    fn default() -> Self {
        Self { geoip: None, asn: None, visitor: VisitorIdentity::Ip, oldest: Span::days(3653), salt_key: None }
    }
}

/// The last hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Speed {
    /// The shortest time between two flushes.
    pub flush_interval: Span,
    /// How long cells behind the watermark stay for queries that began before it moved.
    pub keep_behind: Span,
    /// Clicks gathered at most before they are flushed: bounds the memory of a worker.
    pub fold_clicks: usize,
    /// Fields of a cell from which on values of cities, regions, referrers and campaigns are no longer added.
    pub cell_fields: usize,
    /// Breakdowns of one tenant's links in each of 256 shards from which on further links get totals alone.
    pub tenant_cells: usize,
}

impl Default for Speed {
    fn default() -> Self {
        Self {
            flush_interval: Span::millis(200),
            keep_behind: Span::seconds(30),
            fold_clicks: 200_000,
            cell_fields: 10_000,
            tenant_cells: 20_000,
        }
    }
}

/// Raw clicks in open tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archive {
    /// Clicks after which a commit is made.
    pub commit_clicks: usize,
    /// How long the oldest click waits for a commit.
    pub commit_age: Span,
}

impl Default for Archive {
    fn default() -> Self {
        Self { commit_clicks: 200_000, commit_age: Span::seconds(60) }
    }
}

/// Rolling up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nightly {
    /// How many hours of received time are rolled up at once inside `standalone`.
    pub every: Span,
    /// Clicks of one address in one minute above which they are a bot's, or `off`. Before they are rolled up, they are suspected.
    pub rate_bots: Threshold,
    /// Whether each increment is compared, link by link, with what the speed layer counted.
    pub audit: bool,
}

impl Default for Nightly {
    fn default() -> Self {
        Self { every: Span::hours(1), rate_bots: Threshold(Some(300)), audit: true }
    }
}

/// What is kept, and how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Whole days of receipt whose raw clicks are kept; without it, all are. Counts and sketches stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_days: Option<u32>,
    /// How long a publication can still be asked for once another has followed it.
    pub publications: Span,
}

impl Default for Retention {
    fn default() -> Self {
        Self { raw_days: None, publications: Span::days(30) }
    }
}

/// What the process says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Which log lines are written: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `linktide_speed=debug,warn`.
    pub level: String,
    /// `text` for people, `json` for machines.
    pub format: Format,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { level: "warn,linktide=info".to_owned(), format: Format::Text }
    }
}
