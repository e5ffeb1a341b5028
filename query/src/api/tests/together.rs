//! Many questions in one body: what cannot be asked, and how the caller is told which it was.

use serde_json::{Value, json};

use super::stage::{ask, click, minute, post, stage};

#[tokio::test]
async fn one_question_that_cannot_be_asked_refuses_the_body_and_is_named() {
    let stage = stage().await;
    let good = json!({ "ask": "summary" });
    let many: Vec<Value> = vec![good.clone(); 51];
    let cases = [
        (json!({ "questions": [good, { "ask": "timeseries", "unit": "minute" }] }), "unit", "questions[1]"),
        (json!({ "questions": [good, { "ask": "planet" }] }), "ask", "questions[1]"),
        (json!({ "questions": [{ "link_id": "7" }] }), "ask", "questions[0]"),
        (json!({ "questions": [{ "ask": "breakdown" }] }), "by", "is missing"),
        (json!({ "questions": [{ "ask": "summary", "limit": 3 }] }), "limit", "no parameter here"),
        (json!({ "questions": [{ "ask": "summary", "link_id": -7 }] }), "link_id", "whole number"),
        (json!({ "questions": [{ "ask": "links", "link_id": "7" }] }), "link_id", "no parameter here"),
        (json!({ "questions": [{ "ask": "summary", "publication": 0 }] }), "publication", "beside `questions`"),
        (
            json!({ "questions": [{ "ask": "summary", "interval": { "a": 1 } }] }),
            "interval",
            "a text, a number or a list",
        ),
        (json!({ "questions": [good], "timezon": "UTC" }), "timezon", "did you mean `timezone`"),
        (json!({ "questions": [good], "timezone": "Mars/Olympus" }), "timezone", "IANA"),
        (json!({ "questions": [] }), "", "from 1 to 50"),
        (json!({ "questions": many }), "", "from 1 to 50"),
        (json!({ "question": [good] }), "", "`questions` is missing"),
        (json!([good]), "", "JSON object"),
    ];
    for (body, parameter, says) in cases {
        let (status, problem) = post(&stage.router, "/v1/query", &body).await;
        assert_eq!(status, 400, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
        assert_eq!(problem["parameter"].as_str().unwrap_or_default(), parameter, "{body}: {problem}");
    }
    let large = json!({ "questions": [{ "ask": "links", "search": "x".repeat(70_000) }] });
    assert_eq!(post(&stage.router, "/v1/query", &large).await.0, 413);
    assert_eq!(post(&stage.router, "/v1/query", &json!({ "questions": [{ "ask": "summary" }] })).await.0, 200);
}

#[tokio::test]
async fn what_no_rollup_holds_names_the_export_that_does() {
    let stage = stage().await;
    stage.count(&[click(7, minute(1), minute(1))]).await;
    let cases = [
        ("/v1/links/7/summary?language=en&device=mobile", "/v1/links/7/export?language=en&device=mobile", "together"),
        (
            "/v1/links/7/breakdown?by=country&language=-en,hi",
            "/v1/links/7/export?language=-en%2Chi",
            "`country` of the clicks",
        ),
        ("/v1/links?language=en", "/v1/account/export?language=en", "links by"),
    ];
    for (place, export, says) in cases {
        let (status, problem) = ask(&stage.router, place).await;
        assert_eq!((status, &problem["type"]), (422, &json!("/problems/not-in-rollups")), "{place}: {problem}");
        assert!(
            problem["export"]
                .as_str()
                .unwrap()
                .replace("device=mobile&language=en", "language=en&device=mobile")
                .starts_with(export),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}

#[tokio::test]
async fn value_of_a_list_is_one_value_whatever_is_in_it() {
    let stage = stage().await;
    let body = json!({ "questions": [{ "ask": "summary", "city": ["Oslo, NO-03", "-5"] }, { "ask": "summary", "city": ["-Oslo, NO-03", "Bergen"] }] });
    let (status, problem) = post(&stage.router, "/v1/query", &body).await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("city")), "a minus among others is no value: {problem}");
    let body = json!({ "questions": [{ "ask": "summary", "city": ["Oslo, NO-03", 5] }, { "ask": "summary", "city": ["-Oslo, NO-03", "Bergen"] }] });
    let (status, answer) = post(&stage.router, "/v1/query", &body).await;
    assert_eq!(status, 200, "{answer}");
    let city = |number: usize| answer["results"][number]["query"]["filters"]["city"].clone();
    assert_eq!([city(0), city(1)], ["5,Oslo\\, NO-03", "-Bergen,Oslo\\, NO-03"]);
}
