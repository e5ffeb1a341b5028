use std::net::IpAddr;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn click(record: &str) -> Click {
    Click::parse(record.as_bytes()).unwrap()
}

fn reject(record: &str) -> Reject {
    Click::parse(record.as_bytes()).unwrap_err()
}

fn json(click: &Click) -> String {
    let mut json = Vec::new();
    click.to_json(&mut json);
    String::from_utf8(json).unwrap()
}

#[test]
fn whole_click_is_read_and_written_back() {
    let record = r#"{"tenant_id":"7","link_id":"42","click_id":"0190a3c4-7b1e-7cc1-8f00-0123456789ab","clicked_at":1767225600001,"ip":"2001:db8::1","user_agent":"Mozilla/5.0 \"x\"","referrer":"https://a.example/","language":"en","destination":"https://b.example/?utm_source=x","slug":"spring","title":"Fr\u00fchling","method":"HEAD","trigger":"qr","imported":true,"signals":{"challenge":"passed","bot_score":3,"webdriver":false,"ja4":"t13d1516h2_8daaf6152771_b186095e22b6","sec_ch_ua":"\"Chromium\";v=\"124\"","sec_ch_ua_mobile":"?0","sec_ch_ua_platform":"\"Linux\"","headers":["accept","sec-fetch-site"],"https":true,"edge":"signed"},"edge_signals":"v1.1.e30.00"}"#;
    let read = click(record);
    assert_eq!((read.tenant_id, read.link_id), (TenantId(7), LinkId(42)));
    assert_eq!((read.kind, read.trigger, read.imported), (Kind::Preview, Trigger::Qr, true));
    assert_eq!(read.title.as_deref(), Some("Frühling"));
    assert_eq!(json(&read), record.replace("\\u00fc", "ü"));
    assert_eq!(json(&click(r#"{"tenant_id":0,"link_id":3}"#)), r#"{"link_id":"3"}"#);
}

#[test]
fn ids_are_numbers_or_strings_of_64_bits() {
    for id in ["18446744073709551615", "\"18446744073709551615\""] {
        assert_eq!(click(&format!("{{\"link_id\":{id}}}")).link_id, LinkId(u64::MAX));
    }
    for id in ["-1", "\"-1\"", "\"+1\"", "18446744073709551616", "1.5", "true", "\"x\"", "1e3", "[1]", "{\"a\":1}"] {
        let reject = reject(&format!("{{\"tenant_id\":1,\"link_id\": {id}}}"));
        assert_eq!(
            (reject.reason, reject.field, reject.position),
            (RejectReason::BadValue, Some("link_id"), Some(26)),
            "{id}"
        );
    }
    for record in ["{}", "{\"link_id\":null}", "{\"link_id\":\"\"}"] {
        let reject = reject(record);
        assert_eq!((reject.reason, reject.position), (RejectReason::MissingField, Some(record.len())));
    }
}

#[test]
fn unknown_fields_are_passed_over_whatever_they_hold() {
    let read = click(r#"{"signals":{"a":[1,{"b":null}]},"link_id":1,"x":"\ud83d\ude00","x":2}"#);
    assert_eq!(read.link_id, LinkId(1));
}

#[test]
fn signals_that_cannot_be_refuse_the_click_and_unknown_ones_do_not() {
    for (signals, told) in [
        (r#"{"challenge":"won"}"#, "`won` is not passed, pressed, failed or unanswered, as challenge"),
        (r#"{"bot_score":101}"#, "`101` is not a whole number from 0 to 100, as bot_score"),
        (r#"{"bot_score":0.5}"#, "`0.5` is not a whole number from 0 to 100, as bot_score"),
        (r#"{"webdriver":"yes"}"#, "`yes` is not true or false, as webdriver"),
        (r#"{"headers":"accept"}"#, "an array of names as headers"),
        (r#"{"https":true,"https":true}"#, "each field once"),
        ("[]", "each field once"),
        ("7", "each field once"),
    ] {
        let reject = reject(&format!("{{\"link_id\":1,\"signals\":{signals}}}"));
        assert_eq!(
            (reject.reason, reject.field, reject.position),
            (RejectReason::BadValue, Some("signals"), Some(23)),
            "{signals}"
        );
        assert!(reject.detail.contains(told), "{reject}");
    }
    for nothing in ["null", "\"\"", "{}", r#"{"challenge":null,"new":[1],"ja4":""}"#] {
        assert_eq!(click(&format!("{{\"link_id\":1,\"signals\":{nothing}}}")).signals, None, "{nothing}");
    }
    let read = click(r#"{"link_id":1,"signals":{"headers":["accept","x-new"]}}"#).signals.unwrap().headers.unwrap();
    assert!(read.has("accept") && !read.has("accept-language") && !read.has("x-new"));
}

#[test]
fn token_of_an_edge_is_no_free_text() {
    for token in ["a b", "é", "\\u0001", &"x".repeat(limits::EDGE_SIGNALS + 1)] {
        let reject = reject(&format!("{{\"link_id\":1,\"edge_signals\":\"{token}\"}}"));
        assert_eq!((reject.reason, reject.field), (RejectReason::BadValue, Some("edge_signals")), "{token}");
    }
}

#[test]
fn depth_of_what_is_passed_over_breaks_nothing() {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(click(&format!("{{\"link_id\":1,\"x\":{deep}}}")).link_id, LinkId(1));
    let reject = reject(&format!("{{\"link_id\":1,\"slug\":{deep}}}"));
    assert_eq!((reject.reason, reject.field), (RejectReason::BadValue, Some("slug")));
}

#[test]
fn null_and_empty_texts_are_absent() {
    let read = click(
        r#"{"link_id":1,"ip":"","user_agent":"","referrer":null,"clicked_at":"","click_id":null,"method":null,"trigger":"","imported":null}"#,
    );
    assert_eq!(read, click(r#"{"link_id":1}"#));
}

#[test]
fn what_is_no_object_is_refused_with_its_byte() {
    assert_eq!(reject("{\"link_id\":1,}").position, Some(13));
    assert_eq!(reject("{\"link_id\":1,\n\"slug\":x}").position, Some(21));
    for record in
        ["", " ", "[]", "[1]", "7", "null", "\"x\"", "{\"link_id\":1} x", "{\"link_id\":1", "{\"link_id\":\n 1"]
    {
        assert_eq!(reject(record).reason, RejectReason::Syntax, "{record}");
    }
    let twice = reject("{\"link_id\":1,\"link_id\":2}");
    assert_eq!((twice.reason, twice.field, twice.position), (RejectReason::Syntax, Some("link_id"), Some(23)));
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_the_first() {
    for field in ["slug", "unknown"] {
        let record = [b"{\"link_id\":1,\"", field.as_bytes(), b"\":\"\xff\"}"].concat();
        let reject = Click::parse(&record).unwrap_err();
        assert_eq!((reject.reason, reject.position), (RejectReason::NotUtf8, Some(17 + field.len())));
    }
}

#[test]
fn record_above_the_limit_is_refused() {
    let record = |length| format!("{{\"link_id\":1,\"x\":\"{}\"}}", "y".repeat(length - 20));
    assert_eq!(click(&record(limits::RECORD)).link_id, LinkId(1));
    assert_eq!(reject(&record(limits::RECORD + 1)).reason, RejectReason::TooLarge);
}

#[test]
fn host_name_as_address_is_refused() {
    for ip in ["crawler.example", "10.0.0.1:80", "[::1]", "fe80::1%eth0", "300.1.1.1", "1.2.3"] {
        let reject = reject(&format!("{{\"link_id\":1,\"ip\":\"{ip}\"}}"));
        assert_eq!((reject.reason, reject.field, reject.position), (RejectReason::BadValue, Some("ip"), Some(18)));
    }
}

#[test]
fn refused_address_is_never_told() {
    for (record, secret) in [
        (r#"{"link_id":1,"ip":"crawler-66-249-66-1.example"}"#, "249"),
        (r#"{"link_id":1,"ip":3405803785}"#, "3405803785"),
        (r#"{"link_id":"203.0.113.9"}"#, "113"),
        (r#"{"link_id":1,"imported":"203.0.113.9"}"#, "113"),
        (r#"{"link_id":1,"click_id":"for 2001:db8::9, 203.0.113.9"}"#, "db8"),
        (r#"{"link_id":1,"method":"x203.0.113.9:443"}"#, "113"),
        (r#"{"link_id":1,"trigger":"0:0:0:0:0:ffff:cb00:7109"}"#, "7109"),
        (r#""203.0.113.9""#, "113"),
    ] {
        let reject = reject(record);
        assert!(!reject.to_string().contains(secret), "{reject}");
    }
    let told = reject(r#"{"link_id":1,"clicked_at":"2026-13-01T10:00:00.125+05:30"}"#).to_string();
    assert_eq!(
        told,
        "clicked_at: `2026-13-01T10:00:00.125+05:30` is not a time such as 2026-03-01T10:00:00Z, or milliseconds since 1970 (at byte 26)"
    );
}

#[test]
fn refused_value_is_told_cut_short() {
    let reject = reject(&format!("{{\"link_id\":\"{}\"}}", "é".repeat(500)));
    assert!(reject.detail.contains('…') && reject.detail.chars().count() < 200, "{reject}");
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let referrer = format!("https://a.example/{}", "é".repeat(10_000));
    let kept = click(&format!("{{\"link_id\":1,\"referrer\":\"{referrer}\"}}")).referrer.unwrap();
    assert!(referrer.starts_with(&kept) && (limits::REFERRER - 1..=limits::REFERRER).contains(&kept.len()));
}

#[test]
fn what_is_written_fits_in_a_record_however_long_it_was() {
    let mut long = click("{\"link_id\":1}");
    for text in [&mut long.user_agent, &mut long.referrer, &mut long.language, &mut long.destination, &mut long.slug] {
        *text = Some("\u{1}".repeat(limits::RECORD));
    }
    long.title = long.slug.clone();
    let text = long.slug.clone();
    let (ja4, sec_ch_ua, sec_ch_ua_mobile, sec_ch_ua_platform) = (text.clone(), text.clone(), text.clone(), text);
    long.signals =
        Some(Box::new(Signals { ja4, sec_ch_ua, sec_ch_ua_mobile, sec_ch_ua_platform, ..Signals::default() }));
    long.edge_signals = Some("x".repeat(limits::EDGE_SIGNALS));
    let json = json(&long);
    assert_eq!(click(&json).destination.unwrap().len(), limits::DESTINATION);
}

#[test]
fn time_is_text_or_milliseconds_of_any_year() {
    for (time, ms) in [
        ("\"1970-01-01T00:00:01Z\"", 1000),
        ("1000", 1000),
        ("-5", -5),
        ("\"2100-01-01T05:30:00+05:30\"", 4_102_444_800_000),
    ] {
        assert_eq!(click(&format!("{{\"link_id\":1,\"clicked_at\":{time}}}")).clicked_at.unwrap().as_millis(), ms);
    }
    for time in ["\"2026-03-01\"", "\"2026-03-01T10:00:00\"", "99999999999999999", "\"soon\"", "0.5", "true"] {
        assert_eq!(reject(&format!("{{\"link_id\":1,\"clicked_at\":{time}}}")).field, Some("clicked_at"), "{time}");
    }
}

#[test]
fn methods_and_triggers_that_are_no_click_are_refused() {
    for (field, value) in [("method", "POST"), ("method", "get"), ("trigger", "nfc"), ("imported", "yes")] {
        let reject = reject(&format!("{{\"link_id\":1,\"{field}\":\"{value}\"}}"));
        assert_eq!((reject.reason, reject.field), (RejectReason::BadValue, Some(field)));
    }
}

fn any_signals() -> impl Strategy<Value = Option<Box<Signals>>> {
    let texts = prop::collection::vec(prop::option::of("(?s).{1,12}"), 4);
    let facts = (prop::option::of(0..=100u8), any::<Option<bool>>(), any::<Option<[bool; 6]>>(), 0..9usize);
    (texts, facts).prop_map(|(texts, (bot_score, webdriver, headers, which))| {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        let challenges = [Challenge::Passed, Challenge::Pressed, Challenge::Failed, Challenge::Unanswered];
        let headers = headers
            .map(|there| Headers::seen(|name| there[Headers::NAMES.iter().position(|known| *known == name).unwrap()]));
        let signals = Signals {
            challenge: challenges.get(which).copied(),
            bot_score,
            webdriver,
            ja4: text(),
            sec_ch_ua: text(),
            sec_ch_ua_mobile: text(),
            sec_ch_ua_platform: text(),
            headers,
            https: webdriver.map(|truth| !truth),
            edge: [Edge::Signed, Edge::Forged, Edge::Expired].get(which).copied(),
        };
        Some(Box::new(signals)).filter(|signals| **signals != Signals::default())
    })
}

fn any_click() -> impl Strategy<Value = Click> {
    let texts = prop::collection::vec(prop::option::of("(?s).{1,40}"), 6);
    let place =
        (any::<u64>(), any::<u64>(), any::<Option<u128>>(), prop::option::of(-9_999_999_999i64..9_999_999_999_999));
    let seen = (any_signals(), prop::option::of("[A-Za-z0-9._-]{1,20}"));
    (place, prop::option::of(any::<IpAddr>()), texts, any::<[bool; 3]>(), seen).prop_map(
        |(place, ip, texts, flags, seen)| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten();
            Click {
                tenant_id: TenantId(place.0),
                link_id: LinkId(place.1),
                click_id: place.2.map(|id| ClickId(Uuid::from_u128(id))),
                clicked_at: place.3.and_then(Timestamp::from_millis),
                ip,
                user_agent: text(),
                referrer: text(),
                language: text(),
                destination: text(),
                slug: text(),
                title: text(),
                kind: if flags[0] { Kind::Preview } else { Kind::Click },
                trigger: if flags[1] { Trigger::Qr } else { Trigger::Link },
                imported: flags[2],
                signals: seen.0,
                edge_signals: seen.1,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(click in any_click()) {
        let mut json = Vec::new();
        click.to_json(&mut json);
        prop_assert_eq!(Click::parse(&json).unwrap(), click);
    }

    #[test]
    fn no_bytes_make_it_panic(record in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Click::parse(&record);
    }

    #[test]
    fn no_change_of_a_click_makes_it_panic(click in any_click(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = Vec::new();
        click.to_json(&mut json);
        let at = at.index(json.len());
        json[at] = byte;
        if let Err(reject) = Click::parse(&json) {
            prop_assert!(reject.position.is_some_and(|position| position <= json.len()));
        }
    }
}
