//! Challenges in front of chosen links: who answers is a person's browser, or takes the trouble to look like one.
//!
//! 1. A GET of such a link is answered by a page instead of the redirect. Its token is signed, and bound to the link and to
//!    a hash of the address; the click waits here for its outcome.
//! 2. The page's script does a little work and posts the answer; without scripts a button posts the form without it. A
//!    provider of CAPTCHAs may take the work's place.
//! 3. The answer to the post is the redirect: one round trip more than without. The click is emitted with the outcome:
//!    `passed`, `pressed` (the button), or `failed`, which is not led on.
//! 4. Where nobody answers in time, the click is emitted as `unanswered`.
//!
//! A token is answered once: others are refused. The click's id stands in the token, so wherever it is answered, and
//! whatever is forgotten, the click counts once. What waits is bounded: beyond that no challenge is put, and the visitor
//! is led on at once. A crash loses the clicks that wait, as it does those in the emitter's buffer.

mod book;
mod captcha;
mod page;
mod token;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use linktide_common::bucket::Timestamp;
use linktide_common::click::{Challenge, Click};
use linktide_common::clock::Clock;
use linktide_common::secret::Secret;
use parking_lot::Mutex;
use serde::Deserialize;
use url::form_urlencoded;

use crate::emitter::{Emitter, new_id};
use crate::links::Link;
use crate::metrics;
use crate::sighting::Sighting;
use book::Book;
use captcha::Captcha;
pub use captcha::{CaptchaConfig, Provider};
use token::{Claims, Refusal, Seal};

/// Bytes that an answer may have.
pub(crate) const LARGEST_ANSWER: usize = 32 << 10;
/// Bytes of the referrer that a token carries.
const REFERRER: usize = 1024;
/// Most bits of work: a second or two of a telephone.
pub const MOST_BITS: u32 = 20;

/// Whom a link challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    /// Everyone.
    Always,
    /// Whose click is suspected.
    Suspects,
}

/// Says whether a click is suspected.
pub type Suspicion = Arc<dyn Fn(&Click) -> bool + Send + Sync>;

/// How challenges are put.
#[derive(Clone)]
pub struct ChallengeConfig {
    /// What tokens are signed with: the same for every process behind one name.
    pub key: Secret,
    /// How long an answer may take.
    pub lifetime: Duration,
    /// Leading zero bits of the proof of work: each doubles it. 12 are some 4,000 hashes.
    pub bits: u32,
    /// Challenges that may wait for an answer at once, and answers that are remembered.
    pub most: usize,
    /// A provider in place of the work.
    pub captcha: Option<CaptchaConfig>,
    /// Whom links that challenge suspects mean.
    pub suspicion: Suspicion,
}

/// The challenges of one process.
pub struct Challenges {
    seal: Seal,
    bits: u32,
    captcha: Option<Captcha>,
    suspicion: Suspicion,
    book: Mutex<Book>,
    emitter: Arc<Emitter>,
    clock: Clock,
}

impl Challenges {
    /// Challenges whose clicks go to `emitter`.
    #[must_use]
    pub fn new(config: ChallengeConfig, emitter: Arc<Emitter>, clock: Clock) -> Self {
        Self {
            seal: Seal::new(config.key, config.lifetime),
            bits: config.bits.min(MOST_BITS),
            captcha: config.captcha.map(Captcha::new),
            suspicion: config.suspicion,
            book: Mutex::new(Book::new(config.most)),
            emitter,
            clock,
        }
    }

    /// Emits the clicks whose challenges nobody answered. Call it every second or so.
    pub fn expire(&self) {
        let left = self.book.lock().expire(self.clock.now());
        for click in left {
            self.emit(click, Some(Challenge::Unanswered), None);
        }
    }

    /// Emits every click that still waits, without an outcome: before the emitter is shut down.
    pub fn close(&self) {
        let left = self.book.lock().close();
        for click in left {
            self.emit(click, None, None);
        }
    }

    /// The page for a click on `link`; the click itself where there is no challenge to put.
    pub(crate) fn put(&self, link: &Link, when: When, mut click: Click) -> Result<Response, Box<Click>> {
        if when == When::Suspects && !(self.suspicion)(&click) {
            return Err(Box::new(click));
        }
        let now = self.clock.now();
        let id = *click.click_id.get_or_insert_with(|| new_id(now));
        click.clicked_at.get_or_insert(now);
        let claims = Claims {
            click: id,
            slug: link.slug.clone(),
            qr: click.trigger == linktide_common::click::Trigger::Qr,
            at: now.as_millis(),
            bits: self.bits,
            from: self.seal.address(click.ip),
            referrer: click.referrer.as_deref().map(|text| text[..text.floor_char_boundary(REFERRER)].to_owned()),
        };
        let mut book = self.book.lock();
        if book.is_full() {
            drop(book);
            count("skipped");
            return Err(Box::new(click));
        }
        book.put(id, click, self.seal.expiry(claims.at));
        drop(book);
        count("put");
        let widget = self.captcha.as_ref().map(Captcha::widget);
        Ok(page::challenge(&self.seal.token(&claims), self.bits, widget))
    }

    /// Leads on whoever answers a challenge of `link`, or refuses the answer.
    pub(crate) async fn answer(&self, link: &Link, seen: Sighting, form: &[u8], lead_on: Response) -> Response {
        let form = Form::of(form, self.captcha.as_ref());
        let now = self.clock.now();
        let claims = match self.seal.open(&form.token, &link.slug, seen.ip, now) {
            Ok(claims) => claims,
            Err(refusal) => return refused(refusal),
        };
        // Noted before anything is waited for: of two answers at once, one is taken.
        let Some(waiting) = self.book.lock().answer(claims.click, self.seal.expiry(claims.at)) else {
            return refused(Refusal::Replayed);
        };
        let click = waiting.unwrap_or_else(|| click_of(&claims, seen, link));
        let outcome = self.outcome(&form, &claims).await;
        self.emit(click, outcome, form.webdriver);
        match outcome {
            Some(Challenge::Failed) => page::refused(),
            _ => (StatusCode::SEE_OTHER, lead_on.headers().clone()).into_response(),
        }
    }

    /// What an answer comes to; none where the provider cannot be asked, which is not the visitor's fault.
    async fn outcome(&self, form: &Form, claims: &Claims) -> Option<Challenge> {
        let outcome = match &self.captcha {
            _ if form.answer.is_empty() => Challenge::Pressed,
            None if work::is_done(&form.token, &form.answer, claims.bits) => Challenge::Passed,
            None => Challenge::Failed,
            Some(captcha) => match captcha.verify(&form.answer).await {
                Ok(true) => Challenge::Passed,
                Ok(false) => Challenge::Failed,
                Err(error) => {
                    tracing::warn!(error, "the provider of CAPTCHAs does not verify; the visitor is led on");
                    count("unverified");
                    return None;
                }
            },
        };
        Some(outcome)
    }

    fn emit(&self, mut click: Click, outcome: Option<Challenge>, webdriver: Option<bool>) {
        if let Some(outcome) = outcome {
            count(outcome.name());
        }
        let signals = click.signals.get_or_insert_default();
        signals.challenge = outcome;
        signals.webdriver = webdriver.or(signals.webdriver);
        self.emitter.emit(click);
    }
}

fn count(outcome: &str) {
    metrics::CHALLENGES.with_label_values(&[outcome]).inc();
}

fn refused(refusal: Refusal) -> Response {
    count(refusal.name());
    page::refused()
}

/// The click of a challenge that another process put: what its token and the answer's own request say.
fn click_of(claims: &Claims, seen: Sighting, link: &Link) -> Click {
    let mut click = seen.into_click(link);
    click.click_id = Some(claims.click);
    click.clicked_at = Timestamp::from_millis(claims.at);
    click.referrer.clone_from(&claims.referrer);
    click.trigger = claims.trigger();
    click.edge_signals = None;
    click
}

/// What a form posts.
#[derive(Default)]
struct Form {
    token: String,
    answer: String,
    webdriver: Option<bool>,
}

impl Form {
    fn of(body: &[u8], captcha: Option<&Captcha>) -> Self {
        let answer = captcha.map_or("answer", Captcha::field);
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "token" => form.token = value.into_owned(),
                "webdriver" if value == "1" => form.webdriver = Some(true),
                "webdriver" if value == "0" => form.webdriver = Some(false),
                name if name == answer => form.answer = value.into_owned(),
                _ => {}
            }
        }
        form
    }
}
