//! A child process that ends with its owner, even when the owner is killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The shell ends the program when its own standard input closes: that happens however the owner ends.
const GUARD: &str = r#""$@" </dev/null >"$LINKTIDE_OUTPUT" 2>&1 & echo $!; read -r _; kill -KILL $!; wait"#;

/// A running program.
pub(crate) struct Process {
    guard: Child,
    pid: Pid,
}

impl Process {
    /// Starts `program`; what it prints goes to `output`.
    pub(crate) fn start(program: &str, arguments: &[String], output: &Path) -> Self {
        drop(File::create(output).expect("the folder can be written"));
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh", program])
            .args(arguments)
            .env("LINKTIDE_OUTPUT", output)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        let told = guard.stdout.take().expect("it is piped");
        BufReader::new(told).read_line(&mut line).expect("the shell tells the process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        Self { guard, pid }
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&self) -> bool {
        rustix::process::test_kill_process(self.pid).is_ok()
    }

    /// Stops it in its tracks.
    pub(crate) fn pause(&self) {
        kill_process(self.pid, Signal::STOP).expect("it runs");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        kill_process(self.pid, Signal::CONT).expect("it runs");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard waits for the program, and has nothing to tell.
        let _ = self.guard.wait();
    }
}
