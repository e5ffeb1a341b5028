//! Clicks as a busy shortener sees them: 100,000 links after Zipf(1.1), user agents and referrers of real length, and a
//! value in eight dimensions (country and continent, device, browser, operating system, referrer with its class, language).

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use bytes::Bytes;
use linktide_common::id::ClickId;
use linktide_common::log::Append;
use mmdb_writer::{Value, Writer};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};
use uuid::Uuid;

pub(crate) const LINKS: f64 = 100_000.0;
const AGENTS: f64 = 20_000.0;
/// Number of the country, by the address: `240.<number>.0.0/16`, which was never given to anyone.
const COUNTRIES: [(&str, &str); 12] = [
    ("NA", "US"),
    ("EU", "DE"),
    ("AS", "IN"),
    ("SA", "BR"),
    ("EU", "FR"),
    ("AS", "JP"),
    ("EU", "GB"),
    ("OC", "AU"),
    ("AF", "NG"),
    ("NA", "CA"),
    ("AS", "ID"),
    ("EU", "PL"),
];
const REFERRERS: [&str; 8] = [
    "https://www.google.com/search?q=spring+sale+best+offers+near+me&client=firefox-b-d",
    "https://t.co/4kQ9xZb1Lw",
    "https://www.facebook.com/groups/1838472910374/permalink/2938471029384/",
    "https://www.linkedin.com/feed/update/urn:li:activity:7129384710293847102/",
    "https://www.reddit.com/r/rust/comments/1a2b3c4/link_shorteners_compared_2026/",
    "https://news.example.com/2026/11/25/technology/what-a-short-link-knows-about-you.html",
    "https://mail.google.com/mail/u/0/",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PLx0sYbCqOb8TBPRdmBHs5Iftvv9TPboYG",
];
const LANGUAGES: [&str; 6] = [
    "en-US,en;q=0.9",
    "de-DE,de;q=0.9,en;q=0.7",
    "pt-BR,pt;q=0.9",
    "fr-FR,fr;q=0.9",
    "hi-IN,hi;q=0.8",
    "ja-JP,ja;q=0.9",
];

/// Makes clicks of one tenant, or of several.
pub(crate) struct Clicks {
    random: StdRng,
    links: Zipf<f64>,
    agents: Zipf<f64>,
}

impl Clicks {
    pub(crate) fn new(seed: u64) -> Self {
        let zipf = |count| Zipf::new(count, 1.1).expect("the exponent is positive");
        Self { random: StdRng::seed_from_u64(seed), links: zipf(LINKS), agents: zipf(AGENTS) }
    }

    /// A click of a tenant on one of its links.
    pub(crate) fn next(&mut self, tenant: u64) -> Append {
        let link = self.links.sample(&mut self.random);
        self.on(tenant, format_args!("{link}"))
    }

    /// A click of a tenant on this link.
    pub(crate) fn on(&mut self, tenant: u64, link: std::fmt::Arguments<'_>) -> Append {
        let random = &mut self.random;
        let id = Uuid::from_u128(random.random());
        let country = u8::try_from(random.random_range(0..COUNTRIES.len())).expect("there are few countries");
        let address = Ipv4Addr::new(240, country, random.random(), random.random());
        let mut json = String::with_capacity(512);
        let agent = agent(self.agents.sample(random));
        write!(
            json,
            r#"{{"tenant_id":{tenant},"link_id":"{link}","click_id":"{id}","ip":"{address}","user_agent":"{agent}","language":"{}""#,
            LANGUAGES[random.random_range(0..LANGUAGES.len())]
        )
        .expect("a text takes what is written");
        if random.random_bool(0.7) {
            write!(json, r#","referrer":"{}""#, REFERRERS[random.random_range(0..REFERRERS.len())])
                .expect("a text takes what is written");
        }
        json.push('}');
        Append { key: ClickId(id), payload: Bytes::from(json) }
    }
}

/// Of the 20,000 agents the one at a rank.
fn agent(rank: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a small whole number")]
    let rank = rank as u32;
    let (major, build) = (100 + rank % 44, 5000 + rank / 4);
    match rank % 4 {
        0 => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.{build}.0 Safari/537.36"
        ),
        1 => format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{} Mobile/15E{build} Safari/604.1",
            rank % 7,
            rank % 5
        ),
        2 => format!(
            "Mozilla/5.0 (Linux; Android 1{}; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.{build}.0 Mobile Safari/537.36",
            rank % 6
        ),
        _ => format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7; rv:{build}.0) Gecko/20100101 Firefox/{major}.0"),
    }
}

/// Writes the database of the countries' networks.
pub(crate) fn write_countries(path: &Path) -> anyhow::Result<()> {
    let mut writer =
        Writer::builder("Linktide-Bench-Country").description(&[("en", "countries nobody lives in")]).build();
    for (number, (continent, country)) in COUNTRIES.iter().enumerate() {
        let record = Value::map([
            ("continent", Value::map([("code", Value::from(*continent))])),
            ("country", Value::map([("iso_code", Value::from(*country))])),
        ]);
        writer.insert_value(format!("240.{number}.0.0/16").parse::<ipnet::IpNet>()?, record)?;
    }
    Ok(std::fs::write(path, writer.to_bytes()?)?)
}
