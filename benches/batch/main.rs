//! `./dev bench batch`: the batch layer on this machine. Nothing fails for being slow.
//!
//! - `archive [CLICKS]`: a backlog in a real Kafka, archived to a real S3 server; then what a click takes, by column.
//! - `nightly [CLICKS]`: one day of clicks rolled up, and the same counts by other engines from the same raw files.
//!
//! What is measured has a process of its own, so that memory and processor time are its alone.

mod archive;
mod nightly;
#[expect(dead_code, reason = "what the other benchmark takes of it")]
mod process;
mod sizes;
mod world;

use std::path::Path;

use linktide_common::bucket::Hour;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ARCHIVED: usize = 3_000_000;
const ROLLED_UP: usize = 5_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["archiver", brokers, s3, folder] => archive::work(brokers, s3, Path::new(folder)).await,
        ["roller", lake, hour] => nightly::work(Path::new(lake), Hour(hour.parse()?)).await,
        ["archive"] => archive::measure(ARCHIVED).await,
        ["archive", clicks] => archive::measure(clicks.parse()?).await,
        ["nightly"] => nightly::measure(ROLLED_UP).await,
        ["nightly", clicks] => nightly::measure(clicks.parse()?).await,
        [] => {
            archive::measure(ARCHIVED).await?;
            nightly::measure(ROLLED_UP).await
        }
        _ => anyhow::bail!("nothing, `archive [CLICKS]` or `nightly [CLICKS]`"),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
fn say(line: &str) {
    println!("{line}");
}
