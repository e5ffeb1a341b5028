//! How far the sketch's estimates lie from the truth: `./dev bench sketch [SEEDS] [--svg FILE]`.
//!
//! Elements are random hashes, drawn anew for each seed, so that a figure is of the registers and of the estimator alone.
//! Prints a table, and draws it where a file is named.

use std::fmt::Write as _;

use linktide_common::sketch::{STANDARD_ERROR, Sketch};

const COUNTS: [u64; 9] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
const SEEDS: u64 = 200;

/// Relative errors of one count, in order.
struct Errors {
    count: u64,
    sorted: Vec<f64>,
}

impl Errors {
    fn of(count: u64, seeds: u64) -> Self {
        let mut sorted: Vec<f64> = (0..seeds).map(|seed| error(count, seed)).collect();
        sorted.sort_by(f64::total_cmp);
        Self { count, sorted }
    }

    fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len() as f64
    }

    fn root_mean_square(&self) -> f64 {
        (self.sorted.iter().map(|error| error * error).sum::<f64>() / self.sorted.len() as f64).sqrt()
    }

    /// The error that so many parts of a thousand are below.
    fn quantile(&self, thousandths: usize) -> f64 {
        self.sorted[(self.sorted.len() - 1) * thousandths / 1000]
    }

    fn worst(&self) -> f64 {
        self.sorted.iter().fold(0.0, |worst: f64, error| worst.max(error.abs()))
    }
}

/// By how much the estimate of so many random elements is off, as a part of them.
fn error(count: u64, seed: u64) -> f64 {
    // SplitMix64: every state once, so no element comes twice.
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(count);
    let mut sketch = Sketch::new();
    for _ in 0..count {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        sketch.insert_hash(mixed ^ (mixed >> 31));
    }
    sketch.count() as f64 / count as f64 - 1.0
}

fn table(all: &[Errors]) -> String {
    let mut text =
        String::from("| visitors | mean | root mean square | 95 % of seeds within | worst |\n|---|---|---|---|---|\n");
    for errors in all {
        let within = errors.quantile(25).abs().max(errors.quantile(975).abs());
        let percent = [errors.root_mean_square(), within, errors.worst()].map(|part| format!("{:.2} %", part * 100.0));
        let mean = format!("{:+.2} %", errors.mean() * 100.0);
        writeln!(text, "| {} | {mean} | {} |", errors.count, percent.join(" | "))
            .expect("a text takes what is written");
    }
    text
}

/// Bands within which a half, 95 % and all of the estimates lie, beside one standard error.
fn drawing(all: &[Errors]) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 300.0;
    const LEFT: f64 = 60.0;
    const RIGHT: f64 = 40.0;
    const MOST: f64 = 0.03;
    let (first, last) = (all[0].count as f64, all[all.len() - 1].count as f64);
    let across = |count: f64| LEFT + (count / first).ln() / (last / first).ln() * (WIDTH - LEFT - RIGHT);
    let down = |error: f64| HEIGHT / 2.0 - error / MOST * (HEIGHT / 2.0 - 30.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (low, high, fill) in [(0, 1000, "#dbe7f3"), (25, 975, "#a9c8e6"), (250, 750, "#5b93c7")] {
        let edge = |thousandths| move |errors: &Errors| (errors.count as f64, errors.quantile(thousandths));
        let corners = all.iter().map(edge(low)).chain(all.iter().rev().map(edge(high)));
        let points: Vec<String> =
            corners.map(|(count, error)| format!("{:.1},{:.1}", across(count), down(error))).collect();
        svg.push_str(&format!("<polygon points=\"{}\" fill=\"{fill}\"/>\n", points.join(" ")));
    }
    for error in [-2.0, -1.0, 0.0, 1.0, 2.0] {
        let y = down(error / 100.0);
        svg.push_str(&format!("<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#999\" stroke-width=\"0.5\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{error:+} %</text>\n", WIDTH - RIGHT, LEFT - 6.0, y + 4.0));
    }
    for standard in [-STANDARD_ERROR, STANDARD_ERROR] {
        let y = down(standard);
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#c33\" stroke-dasharray=\"4 3\"/>\n",
            WIDTH - RIGHT
        ));
    }
    for errors in all.iter().step_by(2) {
        let x = across(errors.count as f64);
        svg.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            HEIGHT - 8.0,
            errors.count
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let seeds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(SEEDS).max(1);
    let all: Vec<Errors> = COUNTS.iter().map(|count| Errors::of(*count, seeds)).collect();
    print!("{}", table(&all));
    let file = arguments.iter().position(|argument| argument == "--svg").and_then(|at| arguments.get(at + 1));
    if let Some(file) = file {
        std::fs::write(file, drawing(&all)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}
