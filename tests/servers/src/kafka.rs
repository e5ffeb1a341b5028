//! Apache Kafka: one broker that is its own controller.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::clock::Clock;
use crate::process::Process;
use crate::{fetched, free_ports, listens, wait_until};

/// Names the cluster. It is the same every time, as nobody meets two of them.
const CLUSTER: &str = "bGlua3RpZGUtdGVzdHMtMQ";
/// Waits for the end of the process that started it, then removes a folder that nobody else would.
const BROOM: &str = r#"read -r _; while [ -e "$0" ]; do rm -rf "$0"; sleep 0.1; done"#;

/// A broker.
pub struct Kafka {
    port: u16,
    sasl: u16,
    clock: Option<Clock>,
    // Dropped in this order: a broker that runs makes its folder anew.
    process: Option<Process>,
    folder: TempDir,
}

impl Kafka {
    /// Starts a broker without topics.
    #[must_use]
    pub fn start() -> Self {
        Self::with_clock(None)
    }

    /// Starts a broker without topics, whose clock lies behind this machine's, by as much as [`Self::set_behind`] says.
    #[must_use]
    pub fn behind(seconds: u32) -> Self {
        Self::with_clock(Some(seconds))
    }

    fn with_clock(behind: Option<u32>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let [port, sasl, controller] = free_ports();
        let properties = folder.path().join("server.properties");
        let mut settings = settings([port, sasl, controller], folder.path());
        if behind.is_some() {
            // Producers live in its future.
            settings.push_str("log.message.timestamp.after.max.ms=9223372036854775807\n");
        }
        std::fs::write(&properties, settings).expect("the folder can be written");
        let about = properties.to_string_lossy();
        java(&["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER, "-c", &about]);
        let clock = behind.map(|seconds| Clock::behind(folder.path(), seconds));
        let mut kafka = Self { port, sasl, clock, process: None, folder };
        kafka.run();
        kafka
    }

    /// One broker for all tests of a process, each of which makes topics of its own.
    ///
    /// # Panics
    /// Where it cannot start.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            let kafka = Self::start();
            // What lives as long as the process is never dropped.
            let broom = Command::new("sh").args(["-c", BROOM]).arg(kafka.folder.path()).stdin(Stdio::piped()).spawn();
            std::mem::forget(broom.expect("there is a shell"));
            kafka
        })
    }

    /// Where clients with a name and a password reach it (`SASL_PLAINTEXT`, `PLAIN`): [`Self::USER`], [`Self::PASSWORD`].
    #[must_use]
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.sasl)
    }

    /// Who may come in by [`Self::sasl_address`].
    pub const USER: &'static str = "linktide";
    /// Who may come in, too, and may do nothing.
    pub const STRANGER: &'static str = "stranger";
    /// The password of both.
    pub const PASSWORD: &'static str = "open-sesame";

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The id of its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Leaves it the processor time that nobody else wants, as if it ran on a machine of its own: for benchmarks of others.
    pub fn stand_back(&self) {
        let all_threads = ["-a", "-i", "-p", "0", &self.process().to_string()];
        let done = Command::new("chrt").args(all_threads).status().expect("util-linux has chrt");
        assert!(done.success(), "chrt cannot change the broker's scheduling");
    }

    /// Moves the clock of a broker that has one of its own.
    ///
    /// # Panics
    /// Where the broker follows this machine's.
    pub fn set_behind(&self, seconds: u32) {
        self.clock.as_ref().expect("its clock is this machine's").set(seconds);
    }

    /// Ends it as a crash does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again with what it had.
    pub fn run(&mut self) {
        let properties = self.folder.path().join("server.properties").to_string_lossy().into_owned();
        let jars = jars();
        let arguments = ["-Xmx512m", "-XX:+UseSerialGC", "-cp", &jars, "kafka.Kafka", &properties].map(str::to_owned);
        let output = self.folder.path().join("output");
        let process = match &self.clock {
            None => Process::start("java", &arguments, &output),
            Some(clock) => {
                let java = std::iter::once("java".to_owned()).chain(arguments);
                let arguments: Vec<String> = clock.variables().into_iter().chain(java).collect();
                Process::start("env", &arguments, &output)
            }
        };
        wait_until("kafka listens", || {
            assert!(process.runs(), "kafka ended: {}", std::fs::read_to_string(&output).unwrap_or_default());
            listens(self.port)
        });
        self.process = Some(process);
    }
}

fn settings([port, sasl, controller]: [u16; 3], folder: &Path) -> String {
    let (data, user, stranger, password) = (folder.join("data"), Kafka::USER, Kafka::STRANGER, Kafka::PASSWORD);
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT\n\
         listener.name.sasl.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\" user_{stranger}=\"{password}\";\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS;User:{user}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n\
         log.retention.check.interval.ms=1000\n\
         log.dirs={}\n",
        data.display()
    )
}

fn java(arguments: &[&str]) -> String {
    let output = Command::new("java")
        .args(["-cp", &jars()])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run java ({error}); `./dev test` installs it"));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The jars that `./dev test` fetched.
fn jars() -> String {
    let folder = fetched("LINKTIDE_KAFKA", Path::new("kafka"));
    assert!(folder.is_dir(), "kafka is not in {}; `./dev test` fetches it", folder.display());
    format!("{}/*", folder.display())
}
