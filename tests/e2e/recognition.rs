//! How well programs are told from people, on user agents that others gathered: what `docs/bots.md` says of it is what
//! comes out here. With `LINKTIDE_WRITE_DOCS=1` the page is written anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use linktide_common::bucket::Timestamp;
use linktide_common::click::Click;
use linktide_common::enrich::{
    AgentList, BotConfig, EnrichConfig, Enricher, GeoFiles, Level, Points, Stamp, VisitorIdentity,
};
use linktide_common::id::{Epoch, Offset, PartitionId};
use linktide_common::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

/// Of browsers that are in use, no more may be taken for programs than one in so many.
const MODERN_BROWSERS_WRONG: usize = 1000;

/// A user agent, and what it is.
#[derive(Deserialize)]
struct Case {
    source: String,
    bot: bool,
    user_agent: String,
    headers: Option<BTreeMap<String, String>>,
}

impl Case {
    fn click(&self) -> Click {
        let mut click = json!({ "link_id": 1, "user_agent": self.user_agent });
        if let Some(headers) = &self.headers {
            let hint = |name: &str| headers.get(name);
            click["signals"] = json!({
                "https": true, "headers": headers.keys().collect::<Vec<_>>(), "sec_ch_ua": hint("sec-ch-ua"),
                "sec_ch_ua_mobile": hint("sec-ch-ua-mobile"), "sec_ch_ua_platform": hint("sec-ch-ua-platform"),
            });
        }
        Click::parse(click.to_string().as_bytes()).unwrap()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the script of foreign user agents says.
fn foreign(arguments: &[&str]) -> String {
    let script = root().join("tests/foreign/agents.py");
    let output = Command::new(linktide_servers::python("python")).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn enricher(agents: Vec<AgentList>) -> Enricher {
    let config = EnrichConfig {
        salt_secret: Secret::new(b"test".to_vec()),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles::default(),
        floor_days: 36_530,
    };
    Enricher::with_bots(config, BotConfig { agents, ..BotConfig::default() }).unwrap()
}

fn judged(enricher: &Enricher, click: Click) -> (Level, String) {
    let received_at = Timestamp::from_millis(1_795_000_000_000).unwrap();
    let stamp = Stamp { epoch: Epoch(0), partition: PartitionId(0), offset: Offset(0), received_at };
    let explained = enricher.explain(click, stamp).unwrap();
    let reason = explained.click.bot.or(explained.click.suspected);
    (explained.level, reason.map(|reason| reason.to_string()).unwrap_or_default())
}

/// How many were taken for what.
#[derive(Default, Clone, Copy)]
struct Taken {
    all: usize,
    bots: usize,
    suspected: usize,
}

impl Taken {
    fn add(&mut self, level: Level) {
        self.all += 1;
        self.bots += usize::from(level == Level::Bot);
        self.suspected += usize::from(level == Level::Suspected);
    }

    fn shown(self) -> String {
        format!("{} ({:.2} %)", self.bots, 100.0 * self.bots as f64 / self.all as f64)
    }
}

fn measured(cases: &[Case], patterns: &Path) -> String {
    let named = |name: &str| AgentList { name: name.into(), file: patterns.into(), weight: Points::new(100).unwrap() };
    let lists = [enricher(Vec::new()), enricher(vec![named("crawlers")])];
    let mut sources: BTreeMap<(bool, &str), [Taken; 2]> = BTreeMap::new();
    let mut reasons: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for case in cases {
        for (with_list, enricher) in lists.iter().enumerate() {
            let (level, reason) = judged(enricher, case.click());
            sources.entry((!case.bot, &case.source)).or_default()[with_list].add(level);
            if level != Level::Human && with_list == 0 {
                reasons.entry(reason).or_default()[usize::from(case.bot)] += 1;
            }
        }
    }
    for source in ["fake-useragent", "browserforge"] {
        for taken in sources[&(true, source)] {
            let wrong = taken.bots + taken.suspected;
            assert!(wrong * MODERN_BROWSERS_WRONG <= taken.all, "{wrong} of {} browsers of {source}", taken.all);
        }
    }
    let mut page = "| user agents of | from | how many | bots, built-in lists | bots, with `crawler-user-agents` too | suspected |\n|---|---|---|---|---|---|\n".to_owned();
    for ((people, source), [alone, with_list]) in &sources {
        let who = if *people { "people" } else { "programs" };
        let (alone, with_list, suspected) = (*alone, *with_list, alone.suspected);
        writeln!(
            page,
            "| {who} | {source} | {} | {} | {} | {suspected} |",
            alone.all,
            alone.shown(),
            with_list.shown()
        )
        .unwrap();
    }
    page.push_str("\n| reason, built-in lists | programs | people | right |\n|---|---|---|---|\n");
    let mut sums = [0, 0];
    for (reason, [people, programs]) in &reasons {
        let right = 100.0 * *programs as f64 / (people + programs) as f64;
        writeln!(page, "| `{reason}` | {programs} | {people} | {right:.1} % |").unwrap();
        sums = [sums[0] + people, sums[1] + programs];
    }
    let right = 100.0 * sums[1] as f64 / (sums[0] + sums[1]) as f64;
    writeln!(page, "| all | {} | {} | {right:.1} % |", sums[1], sums[0]).unwrap();
    page
}

/// The same of a log of a real site, whose requests nobody has labelled.
fn measured_log(log: &Path) -> String {
    let enricher = enricher(Vec::new());
    let log = std::fs::read(log).unwrap();
    let log = String::from_utf8_lossy(&log);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for agent in log.lines().filter_map(|line| line.split('"').nth(5)) {
        let click: Value = json!({ "link_id": 1, "user_agent": Some(agent).filter(|agent| *agent != "-") });
        let (_, reason) = judged(&enricher, Click::parse(click.to_string().as_bytes()).unwrap());
        *reasons.entry(reason).or_default() += 1;
    }
    let mut page = "| reason | requests |\n|---|---|\n".to_owned();
    for (reason, requests) in &reasons {
        let reason = if reason.is_empty() { "a person" } else { &format!("`{reason}`") };
        writeln!(page, "| {reason} | {requests} |").unwrap();
    }
    page
}

/// Puts `text` between the marks of that name, or tells that it is not what stands there.
fn keep(page: &mut String, name: &str, text: &str) {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let from = page.find(&begin).unwrap() + begin.len();
    let to = page.find(&end).unwrap();
    if &page[from..to] != text {
        assert!(
            std::env::var_os("LINKTIDE_WRITE_DOCS").is_some(),
            "docs/bots.md says otherwise of {name}; LINKTIDE_WRITE_DOCS=1 writes it anew:\n{text}"
        );
        page.replace_range(from..to, text);
    }
}

#[test]
fn recognition_is_as_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let patterns = folder.path().join("crawlers.json");
    std::fs::write(&patterns, foreign(&["patterns"])).unwrap();
    let cases: Vec<Case> = foreign(&[]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let path: PathBuf = root().join("docs/bots.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    let before = page.clone();
    keep(&mut page, "recognition", &measured(&cases, &patterns));
    let log = root().join("../shared/data/access.log");
    if log.exists() {
        keep(&mut page, "log", &measured_log(&log));
    } else {
        eprintln!("skipped: no {}", log.display());
    }
    if page != before {
        std::fs::write(&path, page).unwrap();
    }
}
