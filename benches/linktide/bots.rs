//! What lists and signals add to a click, and what a network's lookup costs.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use linktide_common::click::{Click, Headers, Signals};
use linktide_common::enrich::{AgentList, BotConfig, NetworkList, NetworkTable, Points};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Figure, RUNS, enriched, enricher};

const PATTERNS: usize = 1500;
const PREFIXES: usize = 100_000;
const MANY: usize = 10_000_000;
const LOOKUPS: usize = 2_000_000;

/// The first 16 bits of most IPv6 networks that are announced.
const IPV6: [u128; 8] = [0x2001, 0x2400, 0x2401, 0x2600, 0x2602, 0x2800, 0x2a00, 0x2a02];

/// A list of networks as they are announced: of IPv6 they gather, and some lie within others. Neighbours have other points,
/// so that none can be joined.
fn write_networks(path: &Path, count: usize, random: &mut StdRng) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..count {
        let points = number % 50;
        if number % 4 == 0 {
            let length = random.random_range(29..=64);
            let network = Ipv6Addr::from_bits(ipv6(random) >> (128 - length) << (128 - length));
            writeln!(file, "{network}/{length} {points}")?;
        } else {
            let length = random.random_range(20..=32);
            let bits = random.random::<u32>();
            writeln!(file, "{}/{length} {points}", Ipv4Addr::from_bits(bits >> (32 - length) << (32 - length)))?;
        }
    }
    Ok(file.flush()?)
}

fn ipv6(random: &mut StdRng) -> u128 {
    IPV6[random.random_range(0..IPV6.len())] << 112 | random.random::<u128>() >> 16
}

/// Lists of everything, in a folder.
fn lists(folder: &Path) -> anyhow::Result<BotConfig> {
    let mut random = StdRng::seed_from_u64(7);
    let (agents, networks, hosting, ja4) =
        (folder.join("agents.txt"), folder.join("networks.txt"), folder.join("asn.txt"), folder.join("ja4.txt"));
    let patterns = (0..PATTERNS).map(|number| format!("bot to 2030-01-01: HarbourFetch{number}/\n"));
    std::fs::write(&agents, patterns.collect::<String>())?;
    write_networks(&networks, PREFIXES, &mut random)?;
    std::fs::write(&hosting, (64_500..65_000).map(|asn| format!("AS{asn}\n")).collect::<String>())?;
    std::fs::write(&ja4, "t13d190900_9dc949149365_97f8aa674fd9\n")?;
    let (weight, name) = (points(40), "own".to_owned());
    Ok(BotConfig {
        agents: vec![AgentList { name: name.clone(), file: agents, weight: points(100) }],
        networks: vec![NetworkList { name, file: networks, weight }],
        hosting: Some(hosting),
        ja4: Some(ja4),
        ..BotConfig::default()
    })
}

fn points(points: u8) -> Points {
    Points::new(points).expect("no more than 100")
}

/// What a redirector behind an edge sees of a browser.
fn signals() -> Signals {
    Signals {
        bot_score: Some(12),
        ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6".to_owned()),
        sec_ch_ua: Some("\"Chromium\";v=\"124\", \"Google Chrome\";v=\"124\", \"Not-A.Brand\";v=\"99\"".to_owned()),
        sec_ch_ua_mobile: Some("?0".to_owned()),
        sec_ch_ua_platform: Some("\"Windows\"".to_owned()),
        headers: Some(Headers::seen(|_| true)),
        https: Some(true),
        ..Signals::default()
    }
}

/// Enrichment with all lists on, of clicks with signals.
pub(super) fn enrich(clicks: &[Click]) -> anyhow::Result<Figure> {
    let folder = tempfile::tempdir()?;
    let enricher = enricher(folder.path(), lists(folder.path())?)?;
    let clicks = with_signals(clicks);
    Ok(enriched("enrich, warm, one core, lists and signals", 400.0, &enricher, &clicks))
}

/// The same clicks with what a redirector behind an edge sees.
pub(super) fn with_signals(clicks: &[Click]) -> Vec<Click> {
    let seen = |click: &Click| Click { signals: Some(Box::new(signals())), ..click.clone() };
    clicks.iter().map(seen).collect()
}

/// Lookups in tables of networks, and what a very large one takes.
pub(super) fn networks() -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("networks.txt");
    let mut random = StdRng::seed_from_u64(8);
    let config = BotConfig {
        networks: vec![NetworkList { name: "own".to_owned(), file: file.clone(), weight: points(40) }],
        ..BotConfig::default()
    };
    write_networks(&file, PREFIXES, &mut random)?;
    let table = NetworkTable::read(&config)?;
    let mut figures = vec![
        lookups("lookup among 100,000 networks, IPv4", 100.0, &table, &addresses_v4(&mut random)),
        lookups("lookup among 100,000 networks, IPv6", 100.0, &table, &addresses_v6(&mut random)),
    ];
    write_networks(&file, MANY, &mut random)?;
    let before = resident("VmRSS")?;
    forget_peak()?;
    let began = Instant::now();
    let table = NetworkTable::read(&config)?;
    let seconds = began.elapsed().as_secs_f64();
    let (peak, kept) = (resident("VmHWM")? - before, resident("VmRSS")? - before);
    let figure = |name, unit, wanted, value| Figure { name, unit, wanted, runs: vec![value] };
    figures.extend([
        lookups("lookup among 10 million networks, IPv4", 1000.0, &table, &addresses_v4(&mut random)),
        lookups("lookup among 10 million networks, IPv6", 1000.0, &table, &addresses_v6(&mut random)),
        figure("10 million networks: read in", "s", 30.0, seconds),
        figure("10 million networks: memory meanwhile", "MB", 1000.0, peak),
        figure("10 million networks: memory kept", "MB", 500.0, kept),
    ]);
    Ok(figures)
}

fn addresses_v4(random: &mut StdRng) -> Vec<IpAddr> {
    (0..LOOKUPS).map(|_| Ipv4Addr::from_bits(random.random()).into()).collect()
}

fn addresses_v6(random: &mut StdRng) -> Vec<IpAddr> {
    (0..LOOKUPS).map(|_| Ipv6Addr::from_bits(ipv6(random)).into()).collect()
}

/// Nanoseconds a lookup, of addresses that no cache has seen.
fn lookups(name: &'static str, wanted: f64, table: &NetworkTable, addresses: &[IpAddr]) -> Figure {
    let run = |_| {
        let began = Instant::now();
        let points: u64 = addresses.iter().map(|ip| u64::from(table.points(*ip))).sum();
        black_box(points);
        began.elapsed().as_secs_f64() * 1e9 / addresses.len() as f64
    };
    Figure { name, unit: "ns", wanted, runs: (0..RUNS).map(run).collect() }
}

/// Megabytes of this process, as the kernel counts them.
fn resident(field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kilobytes.unwrap_or_default() / 1000.0)
}

/// Lets the highest memory be counted anew (`proc(5)`, `clear_refs`).
fn forget_peak() -> anyhow::Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}
