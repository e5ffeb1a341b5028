//! What the system knows of this process, by the names that clients of Prometheus share (`process_*`). It is read from
//! `/proc` when it is asked for; where there is none, nothing is shown.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};

/// Ticks a second of the times in `/proc`: `USER_HZ`, which Linux shows as 100 whatever its own clock does.
const TICKS: f64 = 100.0;

/// Reads the figures anew whenever they are collected.
pub(super) struct Process {
    cpu: Counter,
    memory: Gauge,
    files: Gauge,
    most_files: Gauge,
    threads: Gauge,
    began: Gauge,
}

impl Process {
    pub(super) fn new() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("a metric's name is valid");
        let cpu = Opts::new("process_cpu_seconds_total", "Time of processors that the process has used");
        Self {
            cpu: Counter::with_opts(cpu).expect("a metric's name is valid"),
            memory: gauge("process_resident_memory_bytes", "Memory that the process holds"),
            files: gauge("process_open_fds", "Files and connections that the process has open"),
            most_files: gauge("process_max_fds", "Files and connections that it may have open"),
            threads: gauge("process_threads", "Threads of the process"),
            began: gauge("process_start_time_seconds", "When the process began, in seconds since 1970"),
        }
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [&self.cpu, &self.memory, &self.files, &self.most_files, &self.threads, &self.began]
    }

    /// None where the system does not tell.
    fn read(&self) -> Option<()> {
        let about = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may hold anything.
        let fields: Vec<f64> =
            about.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let used = (field(14)? + field(15)?) / TICKS;
        self.cpu.inc_by((used - self.cpu.get()).max(0.0));
        self.threads.set(field(20)?);
        self.began.set(named(&fs::read_to_string("/proc/stat").ok()?, "btime")? + field(22)? / TICKS);
        self.memory.set(named(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")? * 1024.0);
        // The folder itself is open while it is read.
        self.files.set(f64::from(u32::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.saturating_sub(1)));
        if let Some(most) = named(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files") {
            self.most_files.set(most);
        }
        Some(())
    }
}

/// The first number behind a name at the beginning of a line.
fn named(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if self.read().is_none() {
            return Vec::new();
        }
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_knows_what_it_uses_and_since_when() {
        let process = Process::new();
        assert_eq!(process.collect().len(), process.desc().len());
        let (used, memory) = (process.cpu.get(), process.memory.get());
        assert!(memory > 1e6 && process.threads.get() >= 1.0, "{memory}");
        let open = process.files.get();
        assert!(open >= 3.0 && open < process.most_files.get(), "{open}");
        let born = fs::metadata("/proc/self").unwrap().modified().unwrap();
        let born = born.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((process.began.get() - born).abs() < 3600.0, "{} and {born}", process.began.get());
        // It ends as soon as what is used up here is seen.
        while {
            process.read().unwrap();
            process.cpu.get()
        } <= used
        {
            std::hint::black_box((0..1_000_000_u64).fold(0, u64::wrapping_add));
        }
    }
}
