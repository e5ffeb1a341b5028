//! Apache Kafka: one broker that is its own controller.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::{free_ports, listens, wait_until};

/// A broker.
pub struct Kafka {
    port: u16,
    folder: TempDir,
    process: Option<Process>,
}

impl Kafka {
    /// Starts a broker without topics.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let [port, controller] = free_ports();
        let properties = folder.path().join("server.properties");
        std::fs::write(&properties, settings(port, controller, folder.path())).expect("the folder can be written");
        let id = java(&["kafka.tools.StorageTool", "random-uuid"]);
        let about = properties.to_string_lossy();
        java(&["kafka.tools.StorageTool", "format", "--standalone", "-t", id.trim(), "-c", &about]);
        let mut kafka = Self { port, folder, process: None };
        kafka.run();
        kafka
    }

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

    /// Ends it as a crash does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again with what it had.
    pub fn run(&mut self) {
        let properties = self.folder.path().join("server.properties").to_string_lossy().into_owned();
        let jars = jars();
        let arguments = ["-Xmx512m", "-cp", &jars, "kafka.Kafka", &properties].map(str::to_owned);
        let output = self.folder.path().join("output");
        let process = Process::start("java", &arguments, &output);
        wait_until("kafka listens", || {
            assert!(process.runs(), "kafka ended: {}", std::fs::read_to_string(&output).unwrap_or_default());
            listens(self.port)
        });
        self.process = Some(process);
    }
}

fn settings(port: u16, controller: u16, folder: &Path) -> String {
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
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
    let folder = std::env::var_os("LINKTIDE_KAFKA").map_or_else(default_folder, PathBuf::from);
    assert!(folder.is_dir(), "kafka is not in {}; `./dev test` fetches it", folder.display());
    format!("{}/*", folder.display())
}

fn default_folder() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    cache.join("linktide/kafka")
}
