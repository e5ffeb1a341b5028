//! The command line.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use linktide_batch::BatchError;
use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::clock::Clock;

use crate::config::{self, Config, Sources};
use crate::services::ingest::FrontDoor;
use crate::services::{self, QueryService, Services, SpeedService};
use crate::{demo, explain, import, jobs, keys, people, telemetry};

/// The exit code where trying again may help: `EX_TEMPFAIL` of `sysexits.h`.
const TRY_AGAIN: u8 = 75;

/// Link analytics: exact counts, fresh within seconds, open history.
#[derive(Debug, Parser)]
#[command(name = "linktide", version, about)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Settings {
    /// A TOML file of settings; `linktide config show` prints one
    #[arg(long, global = true, value_name = "FILE", env = "LINKTIDE_CONFIG")]
    config: Option<PathBuf>,
    /// A setting, such as --set speed.flush_interval=1s; may be given several times
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all layers and the API in this process, with nothing else installed
    #[command(after_help = "Example:\n  linktide standalone --data ./data --listen 127.0.0.1:8080")]
    Standalone {
        /// The folder that holds everything
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where to listen: an address of this machine alone
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Run the front door alone, over Kafka: collector, imports and redirector
    #[command(
        after_help = "Example:\n  linktide ingest --listen 0.0.0.0:8081 --set kafka.brokers=kafka-1:9092,kafka-2:9092 --set ingest.links=links.csv"
    )]
    Ingest {
        /// Where to listen; it may be reached from other machines
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// End where no broker answers, instead of waiting for one
        #[arg(long)]
        fail_fast: bool,
    },
    /// Run with generated clicks: 60 days of them, then a few a second
    #[command(
        after_help = "Example:\n  linktide demo\n  linktide demo --days 7 --clicks 50000 --listen 127.0.0.1:9000"
    )]
    Demo(demo::Options),
    /// Bring access logs or clicks in JSON into a running Linktide; the same content counts once, today and next week
    #[command(
        after_help = "Example:\n  linktide import /var/log/nginx/access.log /var/log/nginx/access.log.1.gz\n  zcat old.gz | linktide import --shift-to-now -"
    )]
    Import(import::Options),
    /// Roll up what has been archived, publish it, and keep the tables in order
    #[command(
        after_help = "Ends with 0 whether there was anything to do or not, 75 where trying again may help, 1 otherwise.\n\nExample:\n  linktide nightly --data ./data\n  linktide nightly --lake s3://clicks/linktide --dry-run\n  linktide nightly --lake /srv/lake --every 1h --listen 127.0.0.1:9103"
    )]
    Nightly {
        #[command(flatten)]
        tables: jobs::Tables,
        /// Roll up no further than this hour
        #[arg(long, value_name = "TIME", value_parser = hour)]
        through: Option<Hour>,
        /// Go on until told to stop, and roll up whenever so many hours are over
        #[arg(long, value_name = "HOURS", conflicts_with_all = ["through", "dry_run"])]
        every: Option<config::Span>,
        /// Where to answer /healthz, /readyz and /metrics meanwhile
        #[arg(long, value_name = "ADDRESS", requires = "every")]
        listen: Option<std::net::SocketAddr>,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Correct stored clicks by what is known today, and what they were rolled up to
    #[command(after_help = "Example:\n  linktide backfill geo --data ./data --set enrich.geoip=city.mmdb --dry-run")]
    Backfill {
        #[command(flatten)]
        tables: jobs::Tables,
        /// What is looked at again
        what: jobs::Backfill,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
        /// What it came to, for programs; what it is doing is told on standard error
        #[arg(long)]
        json: bool,
    },
    /// Erase all clicks of a link or of a tenant, for good
    #[command(
        after_help = "Example:\n  linktide erase --data ./data --link 0/42 --dry-run\n  linktide erase --lake s3://clicks/linktide --tenant 7\n  linktide erase --lake s3://clicks/linktide --pending"
    )]
    Erase {
        #[command(flatten)]
        tables: jobs::Tables,
        #[command(flatten)]
        what: jobs::Erase,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// What comparing speed's counts with batch's found, increment by increment; ends with 1 where they differ
    #[command(after_help = "Example:\n  linktide audit --lake s3://clicks/linktide --day 2026-03-01")]
    Audit {
        #[command(flatten)]
        tables: jobs::Tables,
        /// Of clicks received on this UTC day alone
        #[arg(long, value_name = "DATE", value_parser = day)]
        day: Option<Day>,
    },
    /// Keep every click of Kafka in the tables
    #[command(after_help = "Example:\n  linktide archive --lake s3://clicks/linktide --set kafka.brokers=kafka:9092")]
    Archive {
        /// Where tables and publications lie: a folder, or s3://bucket/prefix
        #[arg(long, value_name = "URL")]
        lake: Option<String>,
        /// Where to answer /metrics, /healthz and /readyz
        #[arg(long, value_name = "ADDR")]
        listen: Option<std::net::SocketAddr>,
        /// End where a server does not answer at the start, instead of waiting for it
        #[arg(long)]
        fail_fast: bool,
    },
    /// Keep what came in lately in Redis, from Kafka
    #[command(
        after_help = "Example:\n  linktide speed --lake s3://clicks/linktide --set kafka.brokers=kafka:9092 --set redis.url=redis://redis:6379\n  linktide speed --lake /srv/lake rebuild"
    )]
    Speed {
        /// Where tables and publications lie: a folder, or s3://bucket/prefix
        #[arg(long, value_name = "URL")]
        lake: Option<String>,
        /// Where to answer /metrics, /healthz and /readyz
        #[arg(long, value_name = "ADDR")]
        listen: Option<std::net::SocketAddr>,
        /// End where a server does not answer at the start, instead of waiting for it
        #[arg(long)]
        fail_fast: bool,
        #[command(subcommand)]
        what: Option<SpeedCommand>,
    },
    /// Answer questions over the API, from Redis and the tables
    #[command(
        after_help = "Example:\n  linktide query --lake s3://clicks/linktide --listen 127.0.0.1:8080 --set redis.url=redis://redis:6379"
    )]
    Query {
        /// Where tables and publications lie: a folder, or s3://bucket/prefix
        #[arg(long, value_name = "URL")]
        lake: Option<String>,
        /// Where to listen: an address of this machine alone
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// End where Redis does not answer at the start, instead of answering history alone
        #[arg(long)]
        fail_fast: bool,
    },
    /// API keys: make one, list and revoke them
    #[command(
        after_help = "Example:\n  linktide keys create --data ./data --tenant 7 --scope read,export --name dashboard --expires 90d\n  linktide keys list --lake s3://clicks/linktide\n  linktide keys revoke --lake s3://clicks/linktide k3Jq0aXw7RtB"
    )]
    Keys {
        #[command(subcommand)]
        what: keys::Keys,
    },
    /// Show one link's numbers to whoever has a token, until it expires or is revoked
    #[command(
        after_help = "Example:\n  linktide share 42 --data ./data --tenant 7 --expires 30d\n  linktide share list --data ./data --tenant 7\n  linktide share revoke --data ./data --tenant 7 k3Jq0aXw7RtB"
    )]
    Share(keys::ShareOptions),
    /// How fresh a running Linktide is, what it lacks, and whether that needs someone
    #[command(
        after_help = "Ends with 0 where all is well, 1 where something needs someone, 2 where it was called wrongly, 3 where the service does not answer, or not to whoever asks.\n\nExample:\n  linktide status --url http://127.0.0.1:8080\n  linktide status --process http://127.0.0.1:8081,http://127.0.0.1:9101,http://127.0.0.1:9103 --watch 5s\n  linktide status --json | jq .faults"
    )]
    Status(people::Status),
    /// A link, or all of them, at a glance: clicks, visitors, a chart, and where they came from
    #[command(
        after_help = "Example:\n  linktide stats\n  linktide stats spring-sale --last 30d --timezone Europe/Berlin\n  linktide stats 42 --json"
    )]
    Stats(people::Stats),
    /// The links with the most clicks
    #[command(after_help = "Example:\n  linktide top --last 30d --limit 20\n  linktide top --search sale")]
    Top(people::Top),
    /// What is made of a click and why: place, agent, referrer, each sign of a bot, the verdict; nothing is sent
    #[command(
        after_help = "Example:\n  linktide explain '{\"link_id\": 1, \"user_agent\": \"curl/8.5.0\"}'\n  linktide --config linktide.toml explain --json - < click.json"
    )]
    Explain(explain::Options),
    /// Make what Linktide needs elsewhere, or tell how it differs from what is needed; what is there is never changed
    #[command(
        after_help = "Example:\n  linktide --config linktide.toml provision kafka --dry-run\n  linktide --set kafka.brokers=kafka:9092 provision kafka\n  linktide provision s3 --lake s3://clicks/linktide"
    )]
    Provision {
        #[command(subcommand)]
        what: ProvisionCommand,
    },
    /// Check settings, or show those in force
    #[command(
        after_help = "Example:\n  linktide --config linktide.toml config check\n  linktide config show > linktide.toml"
    )]
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum SpeedCommand {
    /// Empty the view and fill it again from the log, with progress; other workers may go on meanwhile
    Rebuild,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Tell every problem of the settings, and of the lists, databases and links that they name
    Check,
    /// Print the settings in force
    Show,
}

#[derive(Debug, Clone, Subcommand)]
enum ProvisionCommand {
    /// The topics of clicks, of rejects, and of the ledger of imports
    Kafka {
        /// Only tell how they stand
        #[arg(long)]
        dry_run: bool,
    },
    /// The bucket's rules: raw clicks to a cold class by age, leftovers removed
    S3 {
        /// Where tables and publications lie: s3://bucket/prefix
        #[arg(long, value_name = "URL")]
        lake: Option<String>,
        /// Only tell how they stand
        #[arg(long)]
        dry_run: bool,
    },
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn day(text: &str) -> Result<Day, String> {
    hour(&format!("{text}T00:00:00Z")).map(Hour::day).map_err(|_| "write a date such as 2026-03-01".to_owned())
}

fn hour(text: &str) -> Result<Hour, String> {
    let instant: jiff::Timestamp = text.parse().map_err(|_| "write a time such as 2026-03-01T00:00:00Z")?;
    Timestamp::from_millis(instant.as_millisecond()).map(Hour::of).ok_or_else(|| "the time is out of range".to_owned())
}

/// The arguments with all `--set` behind the command, in their order: given both before and behind it, the package forgets
/// those before, and a setting that is not in force must not look as if it were.
fn settings_last(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut others, mut settings, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--" {
            ended = std::iter::once(argument).chain(arguments.by_ref()).collect();
        } else if text == "--set" {
            settings.push(argument);
            settings.extend(arguments.next());
        } else if text.starts_with("--set=") {
            settings.push(argument);
        } else {
            others.push(argument);
        }
    }
    others.into_iter().chain(settings).chain(ended).collect()
}

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    // Where tests want it to die; does nothing in a build without failpoints.
    let _places_to_die = fail::FailScenario::setup();
    let cli = Cli::parse_from(settings_last(std::env::args_os()));
    let outcome = tokio::runtime::Runtime::new().context("starting the runtime").and_then(|runtime| {
        let outcome = runtime.block_on(run(cli));
        // All that matters has ended in order; a question to a broker that does not answer keeps no one.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to be told where even this cannot be written.
            let _ = writeln!(std::io::stderr(), "linktide: {error:#}");
            let passes = |error: &BatchError| error.is_transient() || matches!(error, BatchError::Fenced { .. });
            let passes = error.downcast_ref::<BatchError>().is_some_and(passes);
            if passes { ExitCode::from(TRY_AGAIN) } else { ExitCode::FAILURE }
        }
    }
}

/// Writes a line for people.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing to standard output")
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { settings, command } = cli;
    let mut set = settings.set;
    if let Command::Standalone { listen: Some(listen), .. }
    | Command::Query { listen: Some(listen), .. }
    | Command::Demo(demo::Options { listen: Some(listen), .. }) = &command
    {
        set.push(("api.listen".to_owned(), listen.clone()));
    }
    if let Command::Speed { lake: Some(lake), .. }
    | Command::Archive { lake: Some(lake), .. }
    | Command::Query { lake: Some(lake), .. }
    | Command::Nightly { tables: jobs::Tables { lake: Some(lake), .. }, .. }
    | Command::Backfill { tables: jobs::Tables { lake: Some(lake), .. }, .. }
    | Command::Audit { tables: jobs::Tables { lake: Some(lake), .. }, .. }
    | Command::Erase { tables: jobs::Tables { lake: Some(lake), .. }, .. }
    | Command::Provision { what: ProvisionCommand::S3 { lake: Some(lake), .. } } = &command
    {
        set.push(("lake.url".to_owned(), lake.clone()));
    }
    let tables = match &command {
        Command::Keys { what } => Some(what.tables()),
        Command::Share(options) => Some(options.tables()),
        _ => None,
    };
    if let Some(jobs::Tables { lake: Some(lake), .. }) = tables {
        set.push(("lake.url".to_owned(), lake.clone()));
    }
    if let Command::Ingest { listen: Some(listen), .. } = &command {
        set.push(("ingest.listen".to_owned(), listen.clone()));
    }
    let config = config::load(Sources::of_process(settings.config.as_deref(), set)?)?;
    telemetry::init(&config.telemetry)?;
    let done = match command {
        Command::Standalone { data, .. } => standalone(&config, &data).await,
        Command::Ingest { fail_fast, .. } => ingest(&config, fail_fast).await,
        Command::Demo(options) => Box::pin(demo::run(config, options)).await,
        Command::Import(options) => import::run(options).await,
        Command::Nightly { tables, through, every: None, dry_run, .. } => {
            jobs::nightly(&config, &tables, through, dry_run).await
        }
        Command::Nightly { tables, every: Some(every), listen, .. } => {
            jobs::nightly_every(&config, &tables, every.0, listen, told_to_stop()).await
        }
        Command::Backfill { tables, what, dry_run, json } => {
            jobs::backfill(&config, &tables, what, dry_run, json).await
        }
        Command::Audit { tables, day } => jobs::audit(&config, &tables, day).await,
        Command::Erase { tables, what, dry_run } => jobs::erase(&config, &tables, &what, dry_run).await,
        Command::Archive { listen, fail_fast, .. } => {
            services::archive::run(&config, listen, fail_fast, told_to_stop()).await
        }
        Command::Speed { listen, fail_fast, what, .. } => speed(&config, listen, fail_fast, what).await,
        Command::Query { fail_fast, .. } => query(&config, fail_fast).await,
        Command::Keys { what } => keys::keys(&config, what).await,
        Command::Share(options) => keys::share(&config, options).await,
        Command::Status(asked) => return people::status(&asked, told_to_stop()).await,
        Command::Stats(asked) => say(&people::stats(&asked).await?),
        Command::Top(asked) => say(&people::top(&asked).await?),
        Command::Explain(options) => say(&explain::run(&config, &options)?),
        Command::Provision { what: ProvisionCommand::Kafka { dry_run } } => {
            services::kafka::provision(&config.kafka, dry_run, say).await
        }
        Command::Provision { what: ProvisionCommand::S3 { dry_run, .. } } => {
            services::lake::provision(&config.lake, dry_run, say).await
        }
        Command::Config { what: ConfigCommand::Check } => {
            services::check_files(&config)?;
            say("the settings are right")
        }
        Command::Config { what: ConfigCommand::Show } => say(toml::to_string(&config)?.trim_end()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

async fn standalone(config: &Config, data: &std::path::Path) -> anyhow::Result<()> {
    let mut services = Services::spawn(config, data, Clock::system()).await?;
    services.roll_up_every(config.nightly.every.0);
    let reach = services::access::reach(&config.access, services.address);
    say(&format!("linktide listens on http://{}, {reach}", services.address))?;
    services.run(told_to_stop()).await
}

async fn speed(
    config: &Config,
    listen: Option<std::net::SocketAddr>,
    fail_fast: bool,
    what: Option<SpeedCommand>,
) -> anyhow::Result<()> {
    let service = SpeedService::spawn(config, listen, fail_fast).await?;
    match what {
        None => service.run(told_to_stop()).await,
        Some(SpeedCommand::Rebuild) => service.rebuild(told_to_stop(), &say).await,
    }
}

async fn query(config: &Config, fail_fast: bool) -> anyhow::Result<()> {
    let service = QueryService::spawn(config, fail_fast).await?;
    let reach = services::access::reach(&config.access, service.address);
    say(&format!("linktide query listens on http://{}, {reach}", service.address))?;
    service.run(told_to_stop()).await
}

async fn ingest(config: &Config, fail_fast: bool) -> anyhow::Result<()> {
    let door = FrontDoor::spawn(config, Clock::system(), fail_fast).await?;
    let tenants = match (config.access.is_required(), config.ingest.any_tenant) {
        (true, _) => "the clicks of a key's tenant",
        (false, true) => "any tenant's clicks",
        (false, false) => "tenant 0's clicks",
    };
    let reach = services::access::reach(&config.access, door.address);
    say(&format!(
        "linktide ingest listens on http://{}, {reach}; it shows no clicks, and takes {tenants}",
        door.address
    ))?;
    door.run(told_to_stop()).await
}

/// Returns when the process is told to end.
pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_on_either_side_of_the_command_are_in_force() {
        let arguments =
            ["linktide", "--set", "a.b=1", "query", "--set=c.d=2", "--listen", "127.0.0.1:0", "--set", "a.b=3"];
        let cli = Cli::parse_from(settings_last(arguments.into_iter().map(OsString::from)));
        let set: Vec<_> = cli.settings.set.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(set, [("a.b", "1"), ("c.d", "2"), ("a.b", "3")]);
        let nested = ["linktide", "--set", "a=1", "speed", "rebuild"].map(OsString::from);
        assert_eq!(Cli::parse_from(settings_last(nested.into_iter())).settings.set.len(), 1);
        let ended = ["linktide", "import", "--", "--set"].map(OsString::from);
        assert_eq!(settings_last(ended.clone().into_iter()), ended);
    }
}
