//! `linktide explain`: what is made of a click, step by step, and why. Nothing is sent, and nothing is kept.

use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;
use linktide_common::click::{Click, Kind, Reject, edge};
use linktide_common::clock::Clock;
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::{EnrichedClick, Explained, Found, Level, Stamp, Text};
use linktide_common::id::{Epoch, Offset, PartitionId};
use linktide_common::secret::Secret;
use serde_json::{Value, json};

use crate::config::Config;
use crate::services;

/// Which click is explained, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The click's JSON, or - to read it from standard input
    click: String,
    /// What is known of it, for programs
    #[arg(long)]
    json: bool,
}

/// Explains it.
///
/// # Errors
/// Where a list or database cannot be used, or the click is refused: with its reason, field and byte.
pub(crate) fn run(config: &Config, options: &Options) -> anyhow::Result<String> {
    let record = if options.click == "-" { standard_input()? } else { options.click.clone() };
    let now = Clock::system().now();
    let mut click = Click::parse(record.trim().as_bytes()).map_err(refused)?;
    let has_address = click.ip.is_some();
    let has_time = click.clicked_at.is_some();
    edge::resolve(&mut click, services::edge(&config.ingest)?.as_deref(), now);
    // Hashes are shown nowhere: any salt does.
    let enricher = services::enricher_of(config, Secret::new(rand::random::<[u8; 32]>().to_vec()))?;
    let stamp = Stamp { epoch: Epoch(0), partition: PartitionId(0), offset: Offset(0), received_at: now };
    let explained = enricher.explain(click, stamp).map_err(refused)?;
    let steps = Steps { explained, has_address, has_time, rules: enricher.rules_version() };
    Ok(if options.json { serde_json::to_string_pretty(&steps.to_json())? } else { steps.to_text() })
}

fn refused(reject: Reject) -> anyhow::Error {
    anyhow::anyhow!("the click is refused: {reject}")
}

fn standard_input() -> anyhow::Result<String> {
    let mut record = String::new();
    std::io::stdin().read_to_string(&mut record).context("reading standard input")?;
    Ok(record)
}

/// What is told. The address is not: it ends in enrichment.
struct Steps {
    explained: Explained,
    has_address: bool,
    has_time: bool,
    rules: String,
}

impl Steps {
    fn to_json(&self) -> Value {
        let Explained { click, signs, level, points, suspect, bot } = &self.explained;
        let dimensions =
            Dimension::ALL.iter().map(|dimension| (dimension.name().to_owned(), dimension.value(click).into()));
        json!({
            "click": {
                "tenant_id": click.tenant_id, "link_id": click.link_id, "clicked_at": click.clicked_at,
                "preview": click.kind == Kind::Preview, "trigger": click.trigger.name(),
            },
            "place": {
                "address": self.has_address, "continent": click.geo.continent, "country": click.geo.country,
                "region": click.geo.region, "city": click.geo.city, "looked_up": click.geo.pending.is_none(),
                "asn": click.geo.asn, "network_owner": click.geo.network_owner,
            },
            "agent": { "browser": click.agent.browser, "os": click.agent.os, "device": click.agent.device.name() },
            "referrer": { "host": click.referrer.host, "class": click.referrer.class.name() },
            "utm": {
                "source": click.utm.source, "medium": click.utm.medium, "campaign": click.utm.campaign,
                "term": click.utm.term, "content": click.utm.content,
            },
            "language": click.language,
            "signs": signs,
            "verdict": {
                "level": level, "points": points, "suspected_from": suspect, "bot_from": bot,
                "reason": click.bot.as_ref().or(click.suspected.as_ref()),
            },
            "dimensions": dimensions.collect::<serde_json::Map<_, _>>(),
            "rules": self.rules,
        })
    }

    fn to_text(&self) -> String {
        let Explained { click, .. } = &self.explained;
        let kind = if click.kind == Kind::Preview { "a preview" } else { "a click" };
        let time = if self.has_time { "as sent" } else { "now, because none was sent" };
        let mut lines = vec![
            step(
                "click",
                &format!("{kind} on link {} of tenant {}, by {}", click.link_id, click.tenant_id, click.trigger.name()),
            ),
            step("time", &format!("{} ({time})", click.clicked_at)),
            step("place", &self.place()),
            step("agent", &agent(click)),
            step("referrer", &format!("{}, {}", shown(click.referrer.host.as_ref()), click.referrer.class.name())),
            step("campaign", &campaign(click)),
            step("language", shown(click.language.as_ref())),
        ];
        lines.extend(self.signs());
        lines.push(step("verdict", &self.verdict()));
        let values =
            Dimension::ALL.iter().map(|dimension| format!("{} = {}", dimension.name(), dimension.value(click)));
        lines.extend(rows("counted as", values.collect()));
        lines.push(step("rules", &self.rules));
        lines.join("\n")
    }

    fn place(&self) -> String {
        let geo = &self.explained.click.geo;
        let parts = [&geo.city, &geo.region, &geo.country, &geo.continent].map(Option::as_deref);
        let place = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let owner = geo.asn.map(|asn| format!("AS{asn} {}", geo.network_owner.as_deref().unwrap_or_default()));
        let place = match (self.has_address, geo.pending.is_some()) {
            (false, _) => "no address was sent".to_owned(),
            (true, true) => {
                "there is no database of places (enrich.geoip): its network can be looked up later".to_owned()
            }
            (true, false) if place.is_empty() => "not known".to_owned(),
            (true, false) => place,
        };
        owner.map_or_else(|| place.clone(), |owner| format!("{place}, network {}", owner.trim()))
    }

    fn signs(&self) -> Vec<String> {
        let told = |sign: &Found| {
            let more = if sign.counts {
                ""
            } else {
                ", not counted: its family has a stronger sign, or a passed challenge takes it back"
            };
            format!("{:>3}  {} ({}{more})", sign.points, sign.reason, family(sign))
        };
        let signs: Vec<String> = self.explained.signs.iter().map(told).collect();
        if signs.is_empty() { vec![step("signs", "none")] } else { rows("signs", signs) }
    }

    fn verdict(&self) -> String {
        let Explained { click, level, points, suspect, bot, .. } = &self.explained;
        let bounds = format!("{points} points; suspected from {suspect}, a bot from {bot}");
        let reason = click.bot.as_ref().or(click.suspected.as_ref()).map_or(NONE, AsRef::as_ref);
        match level {
            Level::Human => format!("a person ({bounds})"),
            Level::Suspected => format!("{reason}: suspected, and counted as a person ({bounds})"),
            Level::Bot => format!("{reason}: a bot ({bounds})"),
        }
    }
}

fn step(name: &str, what: &str) -> String {
    format!("{name:<11} {what}")
}

/// A step of several lines.
fn rows(name: &str, lines: Vec<String>) -> Vec<String> {
    lines.into_iter().enumerate().map(|(row, line)| step(if row == 0 { name } else { "" }, &line)).collect()
}

fn shown(text: Option<&Text>) -> &str {
    text.map_or(NONE, AsRef::as_ref)
}

fn agent(click: &EnrichedClick) -> String {
    let agent = &click.agent;
    format!("{} on {}, {}", shown(agent.browser.as_ref()), shown(agent.os.as_ref()), agent.device.name())
}

fn campaign(click: &EnrichedClick) -> String {
    let utm = &click.utm;
    let named = [
        ("source", &utm.source),
        ("medium", &utm.medium),
        ("campaign", &utm.campaign),
        ("term", &utm.term),
        ("content", &utm.content),
    ];
    let said: Vec<String> =
        named.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} = {value}"))).collect();
    if said.is_empty() { NONE.to_owned() } else { said.join(", ") }
}

fn family(sign: &Found) -> String {
    serde_json::to_value(sign.family).ok().and_then(|family| family.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36";

    fn explained(click: &Value, json: bool) -> anyhow::Result<String> {
        run(&Config::default(), &Options { click: click.to_string(), json })
    }

    #[test]
    fn each_step_is_told_and_the_address_is_not() {
        let click = json!({
            "link_id": 42, "ip": "203.0.113.199", "user_agent": BROWSER, "referrer": "https://www.google.com/",
            "destination": "https://a.example/?utm_source=letter", "language": "de-DE",
            "signals": { "https": true, "headers": ["accept", "accept-encoding"], "sec_ch_ua_platform": "\"Linux\"" },
        });
        let text = explained(&click, false).unwrap();
        for line in [
            "click       a click on link 42 of tenant 0, by link",
            "agent       Chrome on Windows, desktop",
            "referrer    google.com, search",
            "campaign    source = letter",
            "language    de",
            "signs        70  hints:platform (hints)",
            "             40  headers:no_language (headers)",
            "verdict     several:hints:platform: a bot (110 points; suspected from 50, a bot from 100)",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.contains("not counted") && text.contains("bot_reason = several:hints:platform"), "{text}");
        let json = explained(&click, true).unwrap();
        assert!(!text.contains("113") && !json.contains("113"), "{text}\n{json}");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["verdict"]["level"], &json["verdict"]["points"]), (&json!("bot"), &json!(110)));
        assert_eq!(
            (&json["signs"][0]["reason"], &json["place"]["looked_up"]),
            (&json!("hints:platform"), &json!(false))
        );
        assert_eq!(json["dimensions"]["referrer_class"], "search");
    }

    #[test]
    fn click_that_is_refused_says_why() {
        let error = explained(&json!({ "link_id": -1 }), false).unwrap_err();
        assert!(format!("{error:#}").contains("the click is refused: link_id: `-1`"), "{error:#}");
        let old = json!({ "link_id": 1, "clicked_at": "1980-01-01T00:00:00Z" });
        assert!(format!("{:#}", explained(&old, false).unwrap_err()).contains("the oldest a click may be"));
    }
}
