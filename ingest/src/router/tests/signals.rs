//! What the redirector sees of who follows a link, and what an edge tells it.

use linktide_common::click::Edge;
use linktide_common::click::Signals;
use linktide_common::click::edge::EdgeKey;
use linktide_common::secret::Secret;

use super::*;

fn key(secret: &[u8]) -> EdgeKey {
    EdgeKey::new(Secret::new(secret.to_vec()), Duration::from_secs(60))
}

fn door(trusted_proxies: usize) -> Door {
    let edge = Some(Arc::new(key(b"secret")));
    Door::with(0, EmitterConfig::default(), IngestConfig { trusted_proxies, edge, ..IngestConfig::default() })
}

async fn signals(door: Door, headers: &[(&str, &str)]) -> Signals {
    let request =
        headers.iter().fold(Request::get("/r/spring"), |request, (name, value)| request.header(*name, *value));
    assert_eq!(door.send(request.body(Body::empty()).unwrap()).await.status(), StatusCode::FOUND);
    door.emitter.shutdown(Duration::from_secs(20)).await;
    let mut clicks = door.clicks().await;
    assert!(clicks[0].edge_signals.is_none());
    *clicks.remove(0).signals.unwrap()
}

#[tokio::test]
async fn redirector_tells_what_it_sees() {
    let sent = [
        ("user-agent", "Firefox"),
        ("accept", "*/*"),
        ("accept-language", "de"),
        ("sec-ch-ua", "\"Chromium\";v=\"124\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Windows\""),
        ("x-forwarded-proto", "https"),
    ];
    let seen = signals(door(0), &sent).await;
    assert_eq!(seen.sec_ch_ua.as_deref(), Some("\"Chromium\";v=\"124\""));
    assert_eq!(
        (seen.sec_ch_ua_mobile.as_deref(), seen.sec_ch_ua_platform.as_deref()),
        (Some("?0"), Some("\"Windows\""))
    );
    let headers = seen.headers.unwrap();
    assert!(headers.has("accept") && headers.has("accept-language") && !headers.has("accept-encoding"));
    assert_eq!(seen.https, Some(false), "a visitor's own header tells nothing");
    assert_eq!(signals(door(1), &sent).await.https, Some(true));
    assert_eq!(signals(door(1), &[]).await.https, None);
}

#[tokio::test]
async fn edge_is_believed_where_it_signs_and_told_where_it_does_not() {
    let told = Signals { bot_score: Some(70), https: Some(true), ..Signals::default() };
    let now = Day(20_000).start();
    for (token, edge, score) in [
        (key(b"secret").sign(&told, now), Some(Edge::Signed), Some(70)),
        (key(b"guess!").sign(&told, now), Some(Edge::Forged), None),
        ("nonsense".to_owned(), Some(Edge::Forged), None),
        (key(b"secret").sign(&told, now.plus_millis(-60_001)), Some(Edge::Expired), None),
    ] {
        let seen = signals(door(0), &[("linktide-signals", &token)]).await;
        assert_eq!((seen.edge, seen.bot_score), (edge, score), "{token}");
        assert_eq!(seen.https, Some(edge == Some(Edge::Signed)), "the edge's word goes before what is seen here");
    }
}

#[tokio::test]
async fn collector_takes_what_an_edge_signed() {
    let door = door(0);
    let told = Signals { bot_score: Some(70), ..Signals::default() };
    let token = |secret: &[u8]| key(secret).sign(&told, Day(20_000).start());
    let click = |token: String| format!("{{\"link_id\":1,\"edge_signals\":\"{token}\"}}\n");
    let (status, _) = door.post(click(token(b"secret")) + &click(token(b"guess!"))).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let seen: Vec<_> =
        door.clicks().await.into_iter().map(|click| (click.edge_signals, *click.signals.unwrap())).collect();
    let outcomes: Vec<_> =
        seen.iter().map(|(token, signals)| (token.clone(), signals.edge, signals.bot_score)).collect();
    assert_eq!(outcomes, [(None, Some(Edge::Signed), Some(70)), (None, Some(Edge::Forged), None)]);
}
