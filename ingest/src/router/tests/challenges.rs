//! Challenges as a browser, a program, and a forger meet them.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::routing::post;
use linktide_common::click::Challenge;
use linktide_common::secret::Secret;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{CaptchaConfig, Provider};

const HOME: &str = "203.0.113.9:5000";

pub(super) fn config() -> ChallengeConfig {
    ChallengeConfig {
        key: Secret::new(b"key".to_vec()),
        lifetime: Duration::from_secs(60),
        bits: 8,
        most: 3,
        captcha: None,
        suspicion: Arc::new(|click| click.user_agent.as_deref().is_some_and(|agent| agent.contains("Suspect"))),
    }
}

fn door(challenge: ChallengeConfig) -> Door {
    Door::challenging(Gate::open(), 0, EmitterConfig::default(), IngestConfig::default(), challenge)
}

impl Door {
    async fn ask(&self, method: &str, path: &str, from: &str, agent: &str, body: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri(path).header("user-agent", agent);
        let mut request = request.header("referer", "https://from.example/").body(Body::from(body.to_owned())).unwrap();
        let peer: SocketAddr = from.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.send(request).await;
        let location = response.headers().get(header::LOCATION).map(|place| place.to_str().unwrap().to_owned());
        let status = response.status();
        let page = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, location.unwrap_or_default(), String::from_utf8(page.to_vec()).unwrap())
    }

    /// The token of a new challenge.
    async fn challenged(&self, path: &str, from: &str) -> String {
        let (status, _, page) = self.ask("GET", path, from, "Firefox", "").await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    async fn answer(&self, path: &str, from: &str, token: &str, answer: &str) -> (StatusCode, String) {
        let body = format!("token={token}&answer={answer}&webdriver=0");
        let (status, location, _) = self.ask("POST", path, from, "Firefox", &body).await;
        (status, location)
    }

    /// What became of the clicks.
    async fn outcomes(&self) -> Vec<(u64, Option<Challenge>)> {
        self.emitter.shutdown(Duration::from_secs(20)).await;
        let outcome = |click: Click| (click.link_id.0, click.signals.and_then(|signals| signals.challenge));
        self.clicks().await.into_iter().map(outcome).collect()
    }
}

/// An answer, found as the page's script finds it.
fn solve(token: &str) -> String {
    let solves = |number: &u64| Sha256::digest(format!("{token}.{number}"))[0] == 0;
    (0..).find(solves).unwrap().to_string()
}

const TAKEN: (StatusCode, &str) = (StatusCode::SEE_OTHER, "https://b.example/");
const REFUSED: (StatusCode, &str) = (StatusCode::FORBIDDEN, "");

fn shown(answer: &(StatusCode, String)) -> (StatusCode, &str) {
    (answer.0, &answer.1)
}

#[tokio::test]
async fn answer_leads_on_and_the_click_has_its_outcome_once() {
    let door = door(config());
    let token = door.challenged("/r/summer", HOME).await;
    assert!(door.clicks().await.is_empty(), "the click waits for its outcome");
    let answered = door.answer("/r/summer", HOME, &token, &solve(&token)).await;
    assert_eq!(shown(&answered), TAKEN);
    assert_eq!(shown(&door.answer("/r/summer", HOME, &token, &solve(&token)).await), REFUSED, "it was answered");
    let token = door.challenged("/q/summer", HOME).await;
    assert_eq!(shown(&door.answer("/q/summer", HOME, &token, "").await), TAKEN, "the button");
    door.clock.set(Day(20_000).start().plus_millis(60_000));
    door.challenges.expire();
    door.emitter.shutdown(Duration::from_secs(20)).await;
    let clicks = door.clicks().await;
    let outcomes: Vec<_> = clicks
        .iter()
        .map(|click| (click.trigger, click.referrer.as_deref(), click.signals.as_ref().unwrap().challenge))
        .collect();
    let from = Some("https://from.example/");
    assert_eq!(
        outcomes,
        [(Trigger::Link, from, Some(Challenge::Passed)), (Trigger::Qr, from, Some(Challenge::Pressed))]
    );
    assert!(clicks.iter().all(|click| click.signals.as_ref().unwrap().webdriver == Some(false)));
}

#[tokio::test]
async fn answers_that_are_not_theirs_are_refused() {
    let door = door(config());
    let token = door.challenged("/r/summer", HOME).await;
    let answer = solve(&token);
    assert_eq!(shown(&door.answer("/r/spring", HOME, &token, &answer).await), REFUSED, "another link's");
    assert_eq!(shown(&door.answer("/r/summer", "203.0.113.10:1", &token, &answer).await), REFUSED, "another address's");
    let mut forged = token.clone();
    forged.replace_range(10..11, if &token[10..11] == "A" { "B" } else { "A" });
    assert_eq!(shown(&door.answer("/r/summer", HOME, &forged, &solve(&forged)).await), REFUSED, "forged");
    assert_eq!(shown(&door.answer("/r/summer", HOME, "", "").await), REFUSED, "none at all");
    assert_eq!(door.answer("/r/nowhere", HOME, &token, &answer).await.0, StatusCode::NOT_FOUND);
    // None of them used the token up.
    assert_eq!(shown(&door.answer("/r/summer", HOME, &token, &answer).await), TAKEN);

    let late = door.challenged("/r/summer", HOME).await;
    door.clock.set(Day(20_000).start().plus_millis(60_000));
    assert_eq!(shown(&door.answer("/r/summer", HOME, &late, &solve(&late)).await), REFUSED, "expired");
    door.challenges.expire();
    assert_eq!(door.outcomes().await, [(8, Some(Challenge::Passed)), (8, Some(Challenge::Unanswered))]);
}

#[tokio::test]
async fn wrong_answer_is_not_led_on() {
    let door = door(config());
    let token = door.challenged("/r/summer", HOME).await;
    let wrong =
        (0..).map(|number: u64| number.to_string()).find(|number| Sha256::digest(format!("{token}.{number}"))[0] != 0);
    assert_eq!(shown(&door.answer("/r/summer", HOME, &token, &wrong.unwrap()).await), REFUSED);
    assert_eq!(shown(&door.answer("/r/summer", HOME, &token, &solve(&token)).await), REFUSED, "it was answered");
    assert_eq!(door.outcomes().await, [(8, Some(Challenge::Failed))]);
}

#[tokio::test]
async fn only_those_who_are_meant_are_challenged() {
    let door = door(config());
    for (method, path, agent, status) in [
        ("GET", "/r/spring", "Suspect", StatusCode::FOUND),
        ("GET", "/r/autumn", "Firefox", StatusCode::FOUND),
        ("GET", "/r/autumn", "Suspect", StatusCode::OK),
        ("HEAD", "/r/summer", "Suspect", StatusCode::FOUND),
    ] {
        assert_eq!(door.ask(method, path, HOME, agent, "").await.0, status, "{method} {path} {agent}");
    }
    door.challenges.close();
    let mut outcomes = door.outcomes().await;
    outcomes.sort_by_key(|(link, _)| *link);
    assert_eq!(outcomes, [(7, None), (8, None), (9, None), (9, None)], "each click is there, once");
}

#[tokio::test]
async fn beyond_the_bound_visitors_are_led_on_at_once() {
    let door = door(config());
    for _ in 0..3 {
        door.challenged("/r/summer", HOME).await;
    }
    assert_eq!(door.ask("GET", "/r/summer", HOME, "Firefox", "").await.0, StatusCode::FOUND);
    door.clock.set(Day(20_000).start().plus_millis(60_000));
    door.challenges.expire();
    door.challenged("/r/summer", HOME).await;
    assert_eq!(door.outcomes().await.len(), 4);
}

#[tokio::test]
async fn another_process_takes_the_answer_and_the_click_counts_once() {
    let (one, other) = (door(config()), door(config()));
    let token = one.challenged("/r/summer", HOME).await;
    assert_eq!(shown(&other.answer("/r/summer", HOME, &token, &solve(&token)).await), TAKEN);
    assert_eq!(shown(&other.answer("/r/summer", HOME, &token, &solve(&token)).await), REFUSED);
    one.clock.set(Day(20_000).start().plus_millis(60_000));
    one.challenges.expire();
    one.emitter.shutdown(Duration::from_secs(20)).await;
    other.emitter.shutdown(Duration::from_secs(20)).await;
    let (unanswered, passed) = (one.clicks().await.remove(0), other.clicks().await.remove(0));
    assert_eq!(passed.click_id, unanswered.click_id, "the later one is a copy");
    assert_eq!((passed.clicked_at, passed.referrer), (unanswered.clicked_at, unanswered.referrer));
    assert_eq!(passed.signals.unwrap().challenge, Some(Challenge::Passed));
}

#[tokio::test]
async fn page_loads_nothing_from_elsewhere() {
    let door = door(config());
    let response = door.send(Request::get("/r/summer").body(Body::empty()).unwrap()).await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("http"), "{policy}");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "private, no-store");
    let page = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(!page.contains("http") && !page.contains("b.example"), "{page}");
    assert!(page.len() < 4096, "{} bytes", page.len());
}

#[tokio::test]
async fn answer_beyond_all_bounds_is_refused() {
    let door = door(config());
    let (status, ..) = door.ask("POST", "/r/summer", HOME, "Firefox", &"x".repeat(40 << 10)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// A provider as its documentation describes `siteverify`: a form with `secret` and `response`; a response is good once.
async fn provider() -> String {
    let used = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let verify = move |form: String| async move {
        let said: std::collections::HashMap<String, String> =
            url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert!(!said.contains_key("remoteip"), "the visitor's address is not sent");
        let error = match (said["secret"].as_str(), said["response"].as_str()) {
            (secret, _) if secret != "hush" => Some("invalid-input-secret"),
            (_, response) if !response.starts_with("good") => Some("invalid-input-response"),
            (_, response) if used.lock().contains(&response.to_owned()) => Some("timeout-or-duplicate"),
            (_, response) => {
                used.lock().push(response.to_owned());
                None
            }
        };
        axum::Json(json!({
            "success": error.is_none(), "error-codes": error.into_iter().collect::<Vec<_>>(),
            "challenge_ts": "2024-10-04T00:00:00Z", "hostname": "go.example",
        }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/siteverify", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/siteverify", post(verify))).await });
    place
}

#[tokio::test]
async fn provider_of_captchas_decides_by_its_protocol() {
    let verify_url = Some(provider().await);
    let with = |provider, secret: &str, verify_url: &Option<String>| {
        let secret = Secret::new(secret.as_bytes().to_vec());
        let (site_key, verify_url) = ("site\"key".to_owned(), verify_url.clone());
        let captcha = Some(CaptchaConfig { provider, site_key, secret, verify_url, script_url: None });
        door(ChallengeConfig { captcha, most: 10, ..config() })
    };
    for (provider, field, place) in [
        (Provider::Turnstile, "cf-turnstile-response", "https://challenges.cloudflare.com/turnstile/v0/api.js"),
        (Provider::Hcaptcha, "h-captcha-response", "https://js.hcaptcha.com/1/api.js"),
        (Provider::Recaptcha, "g-recaptcha-response", "https://www.google.com/recaptcha/api.js"),
    ] {
        let door = with(provider, "hush", &verify_url);
        let (_, _, page) = door.ask("GET", "/r/summer", HOME, "Firefox", "").await;
        assert!(page.contains(place) && page.contains("data-sitekey=\"site&quot;key\""), "{page}");
        let mut answers = Vec::new();
        for response in [format!("good-{field}"), format!("good-{field}"), String::new()] {
            let token = door.challenged("/r/summer", HOME).await;
            let body = format!("token={token}&{field}={response}");
            let (status, ..) = door.ask("POST", "/r/summer", HOME, "Firefox", &body).await;
            answers.push(status);
        }
        assert_eq!(answers, [StatusCode::SEE_OTHER, StatusCode::FORBIDDEN, StatusCode::SEE_OTHER]);
        let outcomes = door.outcomes().await;
        let of = |outcome| outcomes.iter().filter(|(_, seen)| *seen == Some(outcome)).count();
        assert_eq!([of(Challenge::Passed), of(Challenge::Failed), of(Challenge::Pressed)], [1, 1, 1], "{provider:?}");
    }
    // Where the provider cannot be asked, or does not know us, the visitor is led on and the click has no outcome.
    let nobody = Some("http://127.0.0.1:9/siteverify".to_owned());
    for (secret, place) in [("wrong", &verify_url), ("hush", &nobody)] {
        let door = with(Provider::Turnstile, secret, place);
        let token = door.challenged("/r/summer", HOME).await;
        let body = format!("token={token}&cf-turnstile-response=good");
        assert_eq!(door.ask("POST", "/r/summer", HOME, "Firefox", &body).await.0, StatusCode::SEE_OTHER);
        assert_eq!(door.outcomes().await, [(8, None)]);
    }
}
