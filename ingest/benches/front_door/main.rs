//! `./dev bench redirect`: what tracking costs a redirect. Nothing fails for being slow.
//!
//! Redirectors, each a process of its own over a real Kafka: two that do not track (what differs between them is noise),
//! one that does, and one that tracks into a Kafka that is gone. `wrk` asks them in turn at a moderate load (few connections, each with a pause
//! between two requests, so that neither the redirector nor the machine is at its limits), several rounds within one run;
//! the order changes from round to round. Printed are the medians of the rounds' percentiles, and of their ratios to the
//! same round's without tracking. `./dev bench redirect PROGRAM…` asks redirectors of other builds of this benchmark in the
//! same rounds: what two runs find differs by more than most changes.
//!
//! `./dev bench emitter`: what the emitter itself does: clicks a second with acknowledgements of 50 ms and into Kafka, and
//! what `emit` costs before and during an outage.

mod emitter;
mod servers;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use servers::{Door, Mode};

const ROUNDS: usize = 25;
const SECONDS: u32 = 2;
const CONNECTIONS: u32 = 8;
/// Milliseconds between an answer and the next request of its connection, on average: the connections do not march in step.
const PAUSE_MS: u32 = 4;

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    match arguments.next().as_deref() {
        // This program again, as one of the redirectors.
        Some("serve") => servers::serve(&arguments.collect::<Vec<_>>()),
        Some("emitter") => emitter::run(),
        Some("redirect") => redirect(&arguments.map(PathBuf::from).collect::<Vec<_>>()),
        _ => redirect(&[]),
    }
}

fn print(text: &str) {
    // A table that nobody reads is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// What one round found of one redirector, in microseconds.
#[derive(Clone, Copy)]
struct Found {
    p50: f64,
    p99: f64,
    rate: f64,
}

fn redirect(others: &[PathBuf]) {
    let mut brokers = servers::Brokers::start();
    let this = std::env::current_exe().expect("this program has a path");
    let of_this = [Mode::Off, Mode::OffAgain, Mode::On, Mode::Gone].map(|mode| Door::start(&this, mode, &brokers));
    let of_others =
        others.iter().flat_map(|other| [Mode::Off, Mode::On].map(|mode| Door::start(other, mode, &brokers)));
    let doors: Vec<Door> = of_this.into_iter().chain(of_others).collect();
    brokers.end_the_one_that_goes();
    for door in &doors {
        // Caches and connections warm up; the buffer of the one whose Kafka is gone fills.
        ask(door, 3);
    }
    let mut found = vec![Vec::new(); doors.len()];
    for round in 0..ROUNDS {
        for turn in 0..doors.len() {
            let which = (round + turn) % doors.len();
            found[which].push(ask(&doors[which], SECONDS));
        }
        let row = found.iter().map(|rounds: &Vec<Found>| format!("{:.0}/{:.0}", rounds[round].p50, rounds[round].p99));
        print(&format!("round {:>2}: {} µs (p50/p99)", round + 1, row.collect::<Vec<_>>().join(", ")));
    }
    report(&doors, &found);
}

fn report(doors: &[Door], found: &[Vec<Found>]) {
    let column = |which: usize, of: fn(&Found) -> f64| median(found[which].iter().map(of).collect());
    let ratio = |which: usize, of: fn(&Found) -> f64| {
        median(found[which].iter().zip(&found[0]).map(|(one, off)| of(one) / of(off)).collect())
    };
    print(&format!(
        "\n{:<44} {:>9} {:>9} {:>10} {:>9} {:>9}",
        "tracking", "p50 µs", "p99 µs", "requests/s", "p50 ratio", "p99 ratio"
    ));
    for (which, door) in doors.iter().enumerate() {
        print(&format!(
            "{:<44} {:>9.0} {:>9.0} {:>10.0} {:>9.3} {:>9.3}",
            door.name(),
            column(which, |found| found.p50),
            column(which, |found| found.p99),
            column(which, |found| found.rate),
            ratio(which, |found| found.p50),
            ratio(which, |found| found.p99),
        ));
        print(&format!("{:<44} {}", "", door.counted()));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ask(door: &Door, seconds: u32) -> Found {
    let script = door.folder.path().join("pause.lua");
    // The latencies are told by the script, to a microsecond.
    let text = format!(
        "function delay() return math.random(0, 2 * {PAUSE_MS}) end\n\
         function done(summary, latency, requests)\n\
           io.write(string.format('found %f %f %f %d\\n', latency:percentile(50), latency:percentile(99),\n\
             summary.requests / summary.duration * 1e6, summary.errors.status + summary.errors.timeout))\n\
         end\n"
    );
    std::fs::write(&script, text).expect("the folder can be written");
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-H",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
        ])
        .args(["-H", "Referer: https://news.example/a/b", "-H", "Accept-Language: en-GB,en;q=0.7", "-s"])
        .arg(&script)
        .arg(format!("http://{}/r/spring", door.address))
        .output()
        .unwrap_or_else(|error| panic!("cannot run wrk ({error}); `./dev bench redirect` installs it"));
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told.lines().find_map(|line| line.strip_prefix("found ")).unwrap_or_else(|| panic!("wrk said: {told}"));
    let values: Vec<f64> = line.split(' ').map(|value| value.parse().expect("a number")).collect();
    assert!(values[3] == 0.0, "{} answers of {} were errors", values[3], door.name());
    Found { p50: values[0], p99: values[1], rate: values[2] }
}
