//! Redis: one alone, one with a replica, or a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::{free_ports, wait_until};

/// A Redis that keeps an append-only file.
pub struct Redis {
    port: u16,
    folder: TempDir,
    settings: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Starts an empty one.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&["--maxmemory-policy", "noeviction"])
    }

    /// Starts an empty one with settings of its own.
    #[must_use]
    pub fn with(settings: &[&str]) -> Self {
        let [port] = free_ports();
        let settings = settings.iter().copied().map(str::to_owned).collect();
        let mut redis = Self { port, folder: TempDir::new().expect("a temporary folder"), settings, process: None };
        redis.run();
        redis
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again with what its append-only file says.
    pub fn run(&mut self) {
        let fixed = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--bind", "127.0.0.1", "--dir"];
        let mut arguments: Vec<String> = vec!["--port".to_owned(), self.port.to_string()];
        arguments.extend(fixed.map(str::to_owned));
        arguments.push(self.folder.path().to_string_lossy().into_owned());
        arguments.extend(self.settings.clone());
        let output = self.folder.path().join("output");
        let process = Process::start("redis-server", &arguments, &output);
        wait_until("redis answers", || {
            assert!(process.runs(), "redis ended: {}", std::fs::read_to_string(&output).unwrap_or_default());
            self.cli(&["ping"]).trim() == "PONG"
        });
        self.process = Some(process);
    }

    /// Stops it in its tracks.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").resume();
    }

    /// What a command answers, as `redis-cli` prints it.
    #[must_use]
    pub fn cli(&self, command: &[&str]) -> String {
        cli(self.port, command)
    }

    /// Keeps its files as they are now, to be set back to.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let folder = TempDir::new().expect("a temporary folder");
        copy(&self.folder.path().join("appendonlydir"), &folder.path().join("appendonlydir"));
        Snapshot(folder)
    }

    /// Crashes it and starts it with older files.
    pub fn set_back(&mut self, snapshot: &Snapshot) {
        self.stop();
        let place = self.folder.path().join("appendonlydir");
        std::fs::remove_dir_all(&place).expect("the folder is its own");
        copy(&snapshot.0.path().join("appendonlydir"), &place);
        self.run();
    }
}

/// Files of a Redis at some moment.
pub struct Snapshot(TempDir);

/// Masters of a cluster, and a replica of each.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three masters with a replica each.
    #[must_use]
    pub fn start() -> Self {
        let settings = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--maxmemory-policy",
            "noeviction",
            "--repl-diskless-sync-delay",
            "0",
            "--cluster-replica-validity-factor",
            "0",
        ];
        let nodes: Vec<Redis> = (0..6).map(|_| Redis::with(&settings)).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli is there");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { nodes };
        wait_until("every node knows the whole cluster", || {
            cluster.nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"))
                && cluster.nodes.iter().filter(|node| node.cli(&["role"]).contains("connected")).count() >= 3
        });
        cluster
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// A node of it.
    #[must_use]
    pub fn node(&self, at: usize) -> &Redis {
        &self.nodes[at]
    }

    /// Crashes a master for good, and waits until its replica has taken over.
    pub fn lose_a_master(&mut self) {
        let master = self.nodes.iter().position(|node| node.cli(&["role"]).starts_with("master")).expect("a master");
        drop(self.nodes.remove(master));
        wait_until("a replica takes over", || {
            let masters = self.nodes.iter().filter(|node| node.cli(&["role"]).starts_with("master")).count();
            masters == 3 && self.nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"))
        });
    }
}

fn cli(port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(command)
        .output()
        .unwrap_or_else(|error| panic!("cannot run redis-cli ({error}); `./dev test` installs it"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let place: PathBuf = entry.expect("an entry").path();
        std::fs::copy(&place, to.join(place.file_name().expect("a file has a name"))).expect("a file can be copied");
    }
}
