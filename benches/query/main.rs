//! `./dev bench query`: the 30-day dashboard of a link, over HTTP, on this machine. Nothing fails for being slow.
//!
//! - `data`: makes the history that is asked about, once; what was made is kept, and gone on with. `LINKTIDE_BENCH_CLICKS`
//!   says how many clicks a day has, `LINKTIDE_BENCH_DATA` where it lies.
//! - `[SECTION]…`: `warm`, `cold`, `year`, `load`, `isolation`, `peers`; all of them where none is named.
//!
//! What is measured has a process of its own, so that memory and processor time are its alone.

mod ask;
mod client;
mod data;
mod figures;
mod isolation;
mod lake;
mod load;
mod neighbour;
mod peers;
#[path = "../batch/process.rs"]
#[expect(dead_code, reason = "what the other benchmark takes of it")]
mod process;
mod sections;
mod servers;
#[path = "../batch/world.rs"]
#[expect(dead_code, reason = "what the other benchmark takes of it")]
mod world;
mod year;

use std::path::Path;

use data::Data;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLICKS_A_DAY: usize = 1_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let clicks = match std::env::var("LINKTIDE_BENCH_CLICKS") {
        Ok(clicks) => clicks.parse()?,
        Err(_) => CLICKS_A_DAY,
    };
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", redis, lake] => servers::serve(redis, Path::new(lake), None, false).await,
        ["serve", redis, lake, "with-keys"] => servers::serve(redis, Path::new(lake), None, true).await,
        ["serve", redis, lake, endpoint] => servers::serve(redis, Path::new(lake), Some(endpoint), false).await,
        ["neighbour", kind, seed, address, key] => {
            neighbour::ask(kind, seed.parse()?, address.parse()?, key.to_owned()).await
        }
        ["busy"] => {
            isolation::keep_busy();
            Ok(())
        }
        ["data"] => Data::of(clicks)?.make().await,
        ref sections => sections::measure(&Data::of(clicks)?, sections).await,
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
fn say(line: &str) {
    println!("{line}");
}
