//! What cannot be asked, and how the caller is told.

use insta::assert_json_snapshot;

use super::stage::stage;

#[tokio::test]
async fn wrong_parameter_is_named_with_its_value_and_what_is_allowed() {
    let stage = stage().await;
    let long = "x".repeat(5_000);
    let cases = [
        ("account/summary?timezone=Mars/Olympus", "timezone", "Mars/Olympus", "IANA"),
        ("account/summary?timezone=", "timezone", "", "IANA"),
        ("account/summary?interval=1y", "interval", "1y", "24h, 7d, 30d"),
        ("account/summary?interval=30D", "interval", "30D", "24h, 7d, 30d"),
        ("account/summary?interval=7d&start=2026-01-01", "interval", "7d", "either"),
        ("account/summary?interval=7d&start=2026-01-01&end=2026-01-02", "interval", "7d", "either"),
        ("account/summary?start=2026-02-02&end=2026-01-01", "end", "2026-01-01", "not after its start"),
        ("account/summary?start=2026-02-02T10:00&end=2026-02-02T10:00", "end", "2026-02-02T10:00", "not after"),
        ("account/summary?start=1826-01-01&end=2026-01-01", "start", "1826-01-01", "1972-02-01"),
        ("account/summary?start=1973-01-01&end=2173-01-01", "end", "2173-01-01", "at most"),
        ("account/summary?start=yesterday&end=2026-01-01", "start", "yesterday", "2026-03-01"),
        ("account/summary?start=2026-02-30&end=2026-03-01", "start", "2026-02-30", "2026-03-01"),
        ("account/summary?start=2026-01-01T00:00:00+05:30&end=2026-01-02", "start", "2026-01-01T00:00:00 05:30", "%2B"),
        ("account/summary?traffic=robots", "traffic", "robots", "human, suspected, bot, all"),
        ("account/summary?traffic=bot&traffic=all", "traffic", "all", "twice"),
        ("account/timeseries?unit=minute", "unit", "minute", "quarter, hour, day"),
        ("account/timeseries?unit=quarter&interval=12mo", "unit", "quarter", "larger unit"),
        ("account/breakdown?by=planet", "by", "planet", "country, region"),
        ("account/breakdown?by=country,", "by", "", "country, region"),
        ("account/breakdown?by=country&limit=0", "limit", "0", "1 to 1000"),
        ("account/breakdown?by=country&limit=1001", "limit", "1001", "1 to 1000"),
        ("links?limit=-1", "limit", "-1", "1 to 1000"),
        ("links?limit=ten", "limit", "ten", "1 to 1000"),
        ("account/summary?compare=week", "compare", "week", "previous, year"),
        ("account/summary?compare=year&interval=all", "compare", "year", "everything there is"),
        ("account/summary?country=", "country", "", "none of them empty"),
        ("account/summary?country=US,-BR", "country", "US,-BR", "with a minus"),
        ("account/breakdown?by=os&os=(other)", "os", "(other)", "it is none"),
        ("compare?links=7,x", "links", "x", "whole number"),
        ("compare?links=1,2&unit=minute", "unit", "minute", "quarter, hour, day"),
        ("links?sort=label", "sort", "label", "clicks, link_id"),
        ("links?cursor=1-2-3", "cursor", "1-2-3", "`next`"),
        ("links?cursor=1-2-1999999999-2000000000", "cursor", "1-2-1999999999-2000000000", "`next`"),
        ("links/0x7/summary", "link_id", "0x7", "whole number"),
        ("links/+7/summary", "link_id", "+7", "whole number"),
        ("links/18446744073709551616/summary", "link_id", "18446744073709551616", "18446744073709551615"),
        (&format!("account/summary?traffic={long}"), "traffic", &long[..100], "human"),
    ];
    for (place, parameter, value, says) in cases {
        let (status, problem) = stage.ask(&format!("/v1/{place}")).await;
        assert_eq!((status, problem["status"].as_u64()), (400, Some(400)), "{place}: {problem}");
        assert_eq!(problem["type"], "/problems/invalid-parameter", "{place}: {problem}");
        let named = (problem["parameter"].as_str(), problem["value"].as_str());
        assert_eq!(named, (Some(parameter), Some(value)), "{place}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{place}: {detail}");
        assert!(detail.len() < 400, "{place}: {detail}");
    }
}

#[tokio::test]
async fn missing_parameter_is_named_without_a_value() {
    let stage = stage().await;
    for (place, parameter) in [
        ("account/summary?start=2026-01-01", "end"),
        ("account/summary?end=2026-01-01", "start"),
        ("account/breakdown", "by"),
        ("compare", "links"),
    ] {
        let (status, problem) = stage.ask(&format!("/v1/{place}")).await;
        assert_eq!((status, problem["parameter"].as_str()), (400, Some(parameter)), "{place}");
        assert!(problem["value"].is_null() && problem["detail"].as_str().unwrap().contains("is missing"), "{problem}");
    }
}

#[tokio::test]
async fn unknown_parameter_is_an_error_that_says_what_was_meant() {
    let stage = stage().await;
    for (name, meant) in [
        ("timezon", Some("timezone")),
        ("Interval", Some("interval")),
        ("stat", Some("start")),
        ("tz", None),
        ("key", None),
    ] {
        let (status, problem) = stage.ask(&format!("/v1/account/summary?{name}=1")).await;
        assert_eq!((status, problem["type"].as_str()), (400, Some("/problems/unknown-parameter")));
        assert_eq!((problem["parameter"].as_str(), problem["suggestion"].as_str()), (Some(name), meant), "{problem}");
    }
}

#[tokio::test]
async fn problems_are_documents() {
    let stage = stage().await;
    assert_json_snapshot!(stage.ask("/v1/account/summary?timezon=UTC").await.1, @r#"
    {
      "allowed": [
        "start",
        "end",
        "interval",
        "timezone",
        "traffic",
        "publication",
        "compare",
        "country",
        "region",
        "city",
        "continent",
        "referrer",
        "referrer_class",
        "device",
        "browser",
        "os",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "trigger",
        "language",
        "bot_reason"
      ],
      "detail": "`timezon` is no parameter here; did you mean `timezone`? there are: start, end, interval, timezone, traffic, publication, compare, country, region, city, continent, referrer, referrer_class, device, browser, os, utm_source, utm_medium, utm_campaign, trigger, language, bot_reason",
      "parameter": "timezon",
      "status": 400,
      "suggestion": "timezone",
      "title": "Unknown parameter",
      "type": "/problems/unknown-parameter",
      "value": "UTC"
    }
    "#);
    assert_json_snapshot!(stage.ask("/v1/links?traffic=robots").await.1, @r#"
    {
      "allowed": [
        "human",
        "suspected",
        "bot",
        "all"
      ],
      "detail": "`traffic` is one of: human, suspected, bot, all",
      "parameter": "traffic",
      "status": 400,
      "title": "Invalid parameter",
      "type": "/problems/invalid-parameter",
      "value": "robots"
    }
    "#);
    assert_json_snapshot!(stage.ask("/v1/link").await.1, @r#"
    {
      "detail": "nothing is at `/v1/link`; /v1/openapi.json says what there is",
      "status": 404,
      "title": "Not found",
      "type": "/problems/not-found"
    }
    "#);
}

#[tokio::test]
async fn what_no_text_can_be_made_of_is_a_problem_too() {
    let stage = stage().await;
    // `ask` itself insists on a problem document.
    assert_eq!(stage.ask("/v1/links/%FF/summary").await.0, 400);
    assert_eq!(stage.ask("/v1/account/summary?%FF=1").await.0, 400);
    assert_eq!(stage.ask("/v1").await.0, 404);
}
