//! What the signals of a click say against it: each check is a function of the claim and of what was seen.
//!
//! A check holds only what no browser of its kind does. What was not looked at, or may have been taken away on the way,
//! is held against nobody: a redirector that tells no headers finds none missing.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::claim::{Claim, Engine, Platform, brand};
use super::config::Weights;
use super::verdict::{Evidence, Family, Sign};
use crate::click::{Challenge, Edge, Headers, Signals};

/// The first Chromium that sends client hints of itself over https (March 2021).
const HINTS_SINCE: u16 = 89;
/// The first Chromium that sends `Sec-Fetch-*` over https (February 2020; 76 sent part of them).
const FETCH_SINCE: u16 = 80;

macro_rules! signs {
    ($($field:ident = $family:ident, $reason:literal, $weight:ident;)*) => {
        /// The signs that checks find, with the points they have here.
        pub(super) struct Signs { $(pub(super) $field: Sign,)* }

        impl Signs {
            pub(super) fn of(weights: &Weights) -> Self {
                Self { $($field: Sign::new(Family::$family, $reason, weights.$weight.get()),)* }
            }
        }
    };
}

signs! {
    webdriver = Program, "signal:webdriver", webdriver;
    ja4 = Program, "signal:ja4", ja4;
    edge_forged = Program, "signal:edge_forged", edge_forged;
    edge_expired = Program, "signal:edge_expired", edge_expired;
    challenge_failed = Challenge, "challenge:failed", challenge_failed;
    challenge_unanswered = Challenge, "challenge:unanswered", challenge_unanswered;
    edge_score = Edge, "signal:edge_score", edge_score;
    hint_headless = Program, "hints:headless", hint_headless;
    hint_platform = Hints, "hints:platform", hint_platform;
    hint_mobile = Hints, "hints:mobile", hint_mobile;
    hint_version = Hints, "hints:version", hint_version;
    hint_foreign = Hints, "hints:foreign", hint_foreign;
    no_hints = Headers, "headers:no_hints", no_hints;
    no_language = Headers, "headers:no_language", no_language;
    no_accept = Headers, "headers:no_accept", no_accept;
    no_fetch = Headers, "headers:no_fetch", no_fetch;
    hosting = Network, "network:hosting", hosting;
}

impl Signs {
    /// Adds what the signals say.
    pub(super) fn check<'a>(
        &'a self,
        signals: &Signals,
        claim: Claim,
        programs: &FxHashSet<Arc<str>>,
        evidence: &mut Evidence<'a>,
    ) {
        match signals.challenge {
            Some(Challenge::Passed) => evidence.pass(),
            Some(Challenge::Failed) => evidence.add(&self.challenge_failed),
            Some(Challenge::Unanswered) => evidence.add(&self.challenge_unanswered),
            Some(Challenge::Pressed) | None => {}
        }
        if signals.webdriver == Some(true) {
            evidence.add(&self.webdriver);
        }
        if signals.ja4.as_deref().is_some_and(|ja4| programs.contains(ja4)) {
            evidence.add(&self.ja4);
        }
        match signals.edge {
            Some(Edge::Forged) => evidence.add(&self.edge_forged),
            Some(Edge::Expired) => evidence.add(&self.edge_expired),
            Some(Edge::Signed) | None => {}
        }
        if let Some(score) = signals.bot_score {
            evidence.add_as(&self.edge_score, share(self.edge_score.points, score));
        }
        self.check_hints(signals, claim, evidence);
        if let Some(headers) = signals.headers {
            self.check_headers(signals, headers, claim, evidence);
        }
    }

    fn check_hints<'a>(&'a self, signals: &Signals, claim: Claim, evidence: &mut Evidence<'a>) {
        let brands = signals.sec_ch_ua.as_deref().unwrap_or_default();
        if brand(brands, "HeadlessChrome").is_some() {
            evidence.add(&self.hint_headless);
        }
        let (major, hinted) = match claim.engine {
            Some(Engine::Chromium(major)) => (major, signals.sec_ch_ua_platform.as_deref().and_then(Platform::hinted)),
            Some(Engine::Other) if !brands.is_empty() => return evidence.add(&self.hint_foreign),
            _ => return,
        };
        if let (Some(hinted), Some(claimed)) = (hinted, claim.platform) {
            if !claimed.agrees_with(hinted) {
                evidence.add(&self.hint_platform);
            }
            let says_mobile = signals.sec_ch_ua_mobile.as_deref() == Some("?1");
            let says_not = signals.sec_ch_ua_mobile.as_deref() == Some("?0");
            if claimed == hinted && (claim.mobile && says_not || !claim.mobile && says_mobile) {
                evidence.add(&self.hint_mobile);
            }
        }
        if brand(brands, "Chromium").is_some_and(|hinted| hinted != major) {
            evidence.add(&self.hint_version);
        }
    }

    fn check_headers<'a>(&'a self, signals: &Signals, headers: Headers, claim: Claim, evidence: &mut Evidence<'a>) {
        let Some(engine) = claim.engine else { return };
        if !headers.has("accept-language") {
            evidence.add(&self.no_language);
        }
        if !headers.has("accept") || !headers.has("accept-encoding") {
            evidence.add(&self.no_accept);
        }
        let (Engine::Chromium(major), Some(true)) = (engine, signals.https) else { return };
        if major >= HINTS_SINCE && signals.sec_ch_ua.is_none() {
            evidence.add(&self.no_hints);
        }
        let fetch = ["sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site"];
        if major >= FETCH_SINCE && !fetch.into_iter().any(|name| headers.has(name)) {
            evidence.add(&self.no_fetch);
        }
    }
}

/// So many hundredths of `points`.
fn share(points: u8, hundredths: u8) -> u8 {
    u8::try_from(u16::from(points) * u16::from(hundredths.min(100)) / 100).unwrap_or(u8::MAX)
}
