//! A part of the benchmark in a process of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// This program, run with other arguments.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn();
        Ok(Self(child.context("starting a process of this program")?))
    }

    /// Tells it to begin, where it waits until it is told to.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let told = self.0.stdin.as_mut().context("it was let go of")?;
        Ok(told.write_all(b"\n")?)
    }

    pub(crate) fn used(&self) -> Used {
        Used::by(&self.0.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Seconds of processor time, user and system.
    pub(crate) processor: f64,
    /// The most memory it has had, in MiB.
    pub(crate) memory: f64,
}

impl Used {
    /// By this very process.
    pub(crate) fn here() -> Self {
        Self::by("self")
    }

    /// By the process of that id.
    pub(crate) fn by(process: &str) -> Self {
        const TICKS_A_SECOND: f64 = 100.0;
        let place = PathBuf::from("/proc").join(process);
        let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
        let status = read("status");
        let most = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        Self { processor: (ticks(11) + ticks(12)) / TICKS_A_SECOND, memory: most.unwrap_or_default() / 1024.0 }
    }
}

/// Waits until whoever started this process tells it to begin.
pub(crate) fn told_to_begin() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Waits until whoever started this process lets go of it.
pub(crate) fn let_go() {
    let _ = std::io::read_to_string(std::io::stdin());
}
