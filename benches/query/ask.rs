//! The question: what a dashboard shows of a link's last 30 days, in one request.

use linktide_common::bucket::Hour;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};
use serde_json::json;

use crate::client::post;
use crate::data::{LINKS, OTHER, tenant_of};
use linktide_common::id::{LinkId, TenantId};

/// What is broken down.
pub(crate) const BY: [&str; 4] = ["country", "referrer", "device", "browser"];

/// The request for one link: by hour, four breakdowns, uniques.
pub(crate) fn dashboard(link: u64, range: (Hour, Hour)) -> Vec<u8> {
    body(link, range, "human", 10)
}

fn body(link: u64, (start, end): (Hour, Hour), traffic: &str, limit: u32) -> Vec<u8> {
    let link = link.to_string();
    let mut questions = vec![json!({"ask": "timeseries", "link_id": link, "unit": "hour"})];
    questions.extend(BY.map(|by| json!({"ask": "breakdown", "link_id": link, "by": [by], "limit": limit})));
    questions.push(json!({"ask": "summary", "link_id": link}));
    let body = json!({
        "timezone": "UTC", "traffic": traffic, "start": start.start().to_string(), "end": end.start().to_string(), "questions": questions,
    });
    post("/v1/query", &body.to_string())
}

/// The same with all that can be compared: every value, all traffic.
pub(crate) fn whole_dashboard(link: u64, range: (Hour, Hour)) -> Vec<u8> {
    body(link, range, "all", 1000)
}

/// Links in an order that a seed decides: as often as they are clicked, or each alike.
pub(crate) struct Links {
    random: StdRng,
    popular: Option<Zipf<f64>>,
    tenant: TenantId,
}

impl Links {
    pub(crate) fn by_clicks(seed: u64) -> Self {
        let popular = Zipf::new(f64::from(LINKS), 1.1).expect("a positive number of links and exponent");
        Self { random: StdRng::seed_from_u64(seed), popular: Some(popular), tenant: TenantId(0) }
    }

    pub(crate) fn alike(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), popular: None, tenant: TenantId(0) }
    }

    /// Those of the tenant that needs a key, as often as they are clicked.
    pub(crate) fn of_other(seed: u64) -> Self {
        Self { tenant: OTHER, ..Self::by_clicks(seed) }
    }

    /// The next one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is whole and at least 1")]
    pub(crate) fn next(&mut self) -> u64 {
        loop {
            let link = match &self.popular {
                Some(popular) => popular.sample(&mut self.random) as u64,
                None => self.random.random_range(1..=u64::from(LINKS)),
            };
            if tenant_of(LinkId(link)) == self.tenant {
                return link;
            }
        }
    }
}
