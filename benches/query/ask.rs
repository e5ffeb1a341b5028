//! The question: what a dashboard shows of a link's last 30 days, in one request.

use linktide_common::bucket::Hour;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};
use serde_json::json;

use crate::client::post;
use crate::data::{LINKS, tenant_of};
use linktide_common::id::{LinkId, TenantId};

/// What is broken down.
pub(crate) const BY: [&str; 4] = ["country", "referrer", "device", "browser"];

/// The request for one link: by hour, four breakdowns, uniques.
pub(crate) fn dashboard(link: u64, (start, end): (Hour, Hour)) -> Vec<u8> {
    let link = link.to_string();
    let mut questions = vec![json!({"ask": "timeseries", "link_id": link, "unit": "hour"})];
    questions.extend(BY.map(|by| json!({"ask": "breakdown", "link_id": link, "by": [by], "limit": 10})));
    questions.push(json!({"ask": "summary", "link_id": link}));
    let body = json!({
        "timezone": "UTC", "start": start.start().to_string(), "end": end.start().to_string(), "questions": questions,
    });
    post("/v1/query", &body.to_string())
}

/// Links in an order that a seed decides: as often as they are clicked, or each alike.
pub(crate) struct Links {
    random: StdRng,
    popular: Option<Zipf<f64>>,
}

impl Links {
    pub(crate) fn by_clicks(seed: u64) -> Self {
        let popular = Zipf::new(f64::from(LINKS), 1.1).expect("a positive number of links and exponent");
        Self { random: StdRng::seed_from_u64(seed), popular: Some(popular) }
    }

    pub(crate) fn alike(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), popular: None }
    }

    /// The next one of the tenant that needs no key.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is whole and at least 1")]
    pub(crate) fn next(&mut self) -> u64 {
        loop {
            let link = match &self.popular {
                Some(popular) => popular.sample(&mut self.random) as u64,
                None => self.random.random_range(1..=u64::from(LINKS)),
            };
            if tenant_of(LinkId(link)) == TenantId(0) {
                return link;
            }
        }
    }
}
