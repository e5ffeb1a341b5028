//! Believable clicks from a seed: the demo's traffic, and the load of the benchmarks.
//!
//! Popularity of links and user agents is Zipf's, days have evenings in each city's own time, weeks have weekends, some
//! visitors come again, and about one click in nine is a machine's. The same seed gives the same clicks.

use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::click::{Click, Kind, Trigger};
use linktide_common::id::{ClickId, LinkId, TenantId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::weighted::WeightedIndex;
use rand_distr::{Distribution as _, Zipf};
use uuid::Builder;

use super::agents::{self, Family};
use super::geography::{self, CITIES};

const HOUR_MS: i64 = 3_600_000;

/// How large the generated world is.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Links that are followed.
    pub links: u32,
    /// Different strings of user agents.
    pub user_agents: u32,
    /// Different visitors a city has.
    pub visitors_per_city: u16,
}

impl Default for World {
    fn default() -> Self {
        Self { links: 240, user_agents: 600, visitors_per_city: 4000 }
    }
}

/// Gives clicks, one after the other.
pub struct Generator {
    random: StdRng,
    world: World,
    links: Zipf<f64>,
    agents: Zipf<f64>,
    cities: WeightedIndex<u32>,
    people: Vec<String>,
    machines: Vec<String>,
}

impl Generator {
    /// A generator whose clicks depend on `seed` and `world` alone.
    #[must_use]
    pub fn new(seed: u64, world: World) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let people: Vec<String> = (0..world.user_agents).map(|_| agents::person(&mut random)).collect();
        Self {
            links: zipf(world.links),
            agents: zipf(world.user_agents),
            cities: WeightedIndex::new(CITIES.iter().map(|city| city.weight)).expect("every city has a weight"),
            machines: agents::MACHINES.iter().map(|name| (*name).to_owned()).collect(),
            people,
            random,
            world,
        }
    }

    /// How busy an hour is, around 1: nights are quiet, weekends quieter, and the business grows.
    #[must_use]
    pub fn busyness(hour: Hour, days_since_start: i32) -> f64 {
        let total: u32 = CITIES.iter().map(|city| city.weight).sum();
        let awake: f64 = CITIES
            .iter()
            .map(|city| {
                let local = f64::from((hour.0 + city.utc_offset).rem_euclid(24));
                // Quietest at four in the morning, busiest at four in the afternoon.
                let day = 1.0 - 0.75 * ((local - 4.0) * std::f64::consts::TAU / 24.0).cos();
                day * f64::from(city.weight) / f64::from(total)
            })
            .sum();
        // 1970-01-01 was a Thursday: days 2 and 3 of that week were Saturday and Sunday.
        let weekend = matches!(hour.day().0.rem_euclid(7), 2 | 3);
        awake * if weekend { 0.7 } else { 1.1 } * (1.0 + 0.006 * f64::from(days_since_start))
    }

    /// A click at a random instant of the hour.
    pub fn click_in(&mut self, hour: Hour) -> Click {
        let at = hour.start().plus_millis(self.random.random_range(0..HOUR_MS));
        self.click_at(at)
    }

    /// A click at that instant.
    pub fn click_at(&mut self, at: Timestamp) -> Click {
        let link = rank(&self.links, &mut self.random);
        let city = self.cities.sample(&mut self.random);
        let machine = self.random.random_bool(0.11);
        let host = self.random.random_range(0..self.world.visitors_per_city);
        let user_agent = if machine {
            self.machines[self.random.random_range(0..self.machines.len())].clone()
        } else if self.random.random_bool(0.7) {
            // A visitor keeps the browser; the rest sit behind a shared address.
            self.people[(usize::from(host) * 31 + city * 17) % self.people.len()].clone()
        } else {
            self.people[rank(&self.agents, &mut self.random) as usize - 1].clone()
        };
        let family = Family::of(&user_agent);
        let trigger =
            if family == Family::Phone && self.random.random_bool(0.28) { Trigger::Qr } else { Trigger::Link };
        Click {
            tenant_id: TenantId(0),
            link_id: LinkId(u64::from(link)),
            click_id: Some(self.click_id(at)),
            clicked_at: Some(at),
            ip: Some(geography::address(city, host)),
            referrer: self.referrer(machine, trigger),
            language: (!machine).then(|| CITIES[city].language.to_owned()),
            destination: Some(destination(link)),
            slug: Some(slug(link)),
            title: Some(title(link)),
            kind: if self.random.random_bool(if machine { 0.06 } else { 0.004 }) { Kind::Preview } else { Kind::Click },
            user_agent: Some(user_agent),
            trigger,
            imported: false,
            signals: None,
            edge_signals: None,
        }
    }

    fn click_id(&mut self, at: Timestamp) -> ClickId {
        let millis = u64::try_from(at.as_millis()).unwrap_or_default();
        ClickId(Builder::from_unix_timestamp_millis(millis, &self.random.random()).into_uuid())
    }

    fn referrer(&mut self, machine: bool, trigger: Trigger) -> Option<String> {
        if machine || trigger == Trigger::Qr || self.random.random_bool(0.34) {
            return None;
        }
        let at = self.random.random_range(0..REFERRERS.len() * REFERRERS.len());
        // The square root makes the first ones far more frequent than the last.
        Some(REFERRERS[REFERRERS.len() - 1 - at.isqrt()].to_owned())
    }
}

/// A rank from 1 on.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is whole and at least 1")]
fn rank(ranks: &Zipf<f64>, random: &mut StdRng) -> u32 {
    ranks.sample(random) as u32
}

fn zipf(values: u32) -> Zipf<f64> {
    Zipf::new(f64::from(values), 1.1).expect("a positive number of values and exponent")
}

const REFERRERS: &[&str] = &[
    "https://www.google.com/",
    "https://t.co/9fXq2",
    "https://www.instagram.com/",
    "https://l.facebook.com/l.php?u=x",
    "https://www.linkedin.com/feed/",
    "https://news.ycombinator.com/item?id=4821",
    "https://www.youtube.com/watch?v=kJQP7",
    "https://mail.google.com/mail/u/0/",
    "https://chatgpt.com/",
    "https://www.bing.com/search?q=tide",
    "https://duckduckgo.com/",
    "https://www.reddit.com/r/dataengineering/",
    "https://www.perplexity.ai/search",
    "https://blog.harbour.example/2026/spring",
    "https://claude.ai/",
    "https://outlook.live.com/mail/0/inbox",
    "https://partner.example/offers",
    "https://yandex.ru/search/",
    "https://harbour.example/news",
];

const WORDS: &[&str] = &[
    "spring",
    "tide",
    "menu",
    "tickets",
    "harbour",
    "launch",
    "survey",
    "jobs",
    "lighthouse",
    "regatta",
    "ferry",
    "newsletter",
    "map",
    "guide",
    "wifi",
    "pier",
    "museum",
    "boats",
    "summer",
    "festival",
];

fn word(link: u32, step: u32) -> &'static str {
    WORDS[(link.wrapping_mul(2_654_435_761).rotate_left(step) as usize) % WORDS.len()]
}

fn slug(link: u32) -> String {
    format!("{}-{link}", word(link, 3))
}

fn title(link: u32) -> String {
    format!("The {} {}", word(link, 11), word(link, 3))
}

fn destination(link: u32) -> String {
    let campaign = ["spring-sale", "relaunch", "onboarding", "flyer"][link as usize % 4];
    match link % 5 {
        0 => format!("https://harbour.example/{}", word(link, 3)),
        1 => format!(
            "https://harbour.example/{}?utm_source=newsletter&utm_medium=email&utm_campaign={campaign}",
            word(link, 3)
        ),
        2 => format!("https://shop.example/p/{link}?utm_source=instagram&utm_medium=social&utm_campaign={campaign}"),
        3 => format!(
            "https://harbour.example/{}?utm_source=poster&utm_medium=print&utm_campaign={campaign}",
            word(link, 3)
        ),
        _ => format!("https://docs.example/{}/{link}", word(link, 11)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_clicks() {
        let hour = Hour(495_000);
        let clicks = |seed| {
            let mut generator = Generator::new(seed, World::default());
            (0..200).map(|_| generator.click_in(hour)).collect::<Vec<_>>()
        };
        assert_eq!(clicks(7), clicks(7));
        assert_ne!(clicks(7), clicks(8));
    }

    #[test]
    fn clicks_lie_in_their_hour_and_go_to_known_links() {
        let hour = Hour(495_000);
        let mut generator = Generator::new(1, World::default());
        for _ in 0..2000 {
            let click = generator.click_in(hour);
            assert_eq!(Hour::of(click.clicked_at.unwrap()), hour);
            assert!((1..=240).contains(&click.link_id.0));
        }
    }
}
