//! The description is true to the code: every documented request is sent, and every answer is as its schema says.

use serde_json::{Value, json};

use super::questions::clicked;
use super::stage::{Stage, ask, post};
use crate::openapi;

/// A place of the description with all that it requires.
fn asked(path: &str) -> String {
    let place = path.replace("{link_id}", "7");
    match path.rsplit('/').next() {
        Some("breakdown") => format!("{place}?by=country"),
        Some("compare") => format!("{place}?links=7"),
        _ => place,
    }
}

/// A question of every kind.
fn questions() -> Value {
    json!({ "timezone": "Asia/Kolkata", "questions": [
        { "ask": "summary", "link_id": 7, "compare": "year" }, { "ask": "timeseries", "unit": "week" },
        { "ask": "breakdown", "by": ["country", "language"] }, { "ask": "heatmap", "country": ["-US"] },
        { "ask": "links", "search": "s" }, { "ask": "compare", "links": ["7", "8"], "unit": "month" },
    ] })
}

pub(super) fn description() -> Value {
    let mut about = serde_json::to_value(openapi()).unwrap();
    assert!(about["openapi"].as_str().unwrap().starts_with("3.1"));
    // A member that is not documented is a fault as well.
    for schema in about["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        if schema.get("properties").is_some() {
            schema["additionalProperties"] = json!(false);
        }
    }
    about
}

/// Holds an answer to the schema of its status.
pub(super) fn check(about: &Value, operation: &Value, place: &str, (status, answer): (u16, Value)) {
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{place}: {status} is not documented: {answer}");
    let content = &response["content"];
    let json = content.get("application/json").or_else(|| content.get("application/problem+json"));
    let Some(schema) = json.map(|content| &content["schema"]) else { return };
    fits(about, schema, &answer).unwrap_or_else(|why| panic!("{place}: {why} in {answer}"));
}

/// Whether a value is as a schema says, in the words of JSON Schema that the description uses.
fn fits(about: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.strip_prefix("#/components/schemas/")) {
        return fits(about, &about["components"]["schemas"][name], value).map_err(|why| format!("{name}: {why}"));
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(about, part, value)?;
    }
    for one_of in ["oneOf", "anyOf"].into_iter().filter_map(|name| schema[name].as_array()) {
        let fitting = one_of.iter().filter(|one| fits(about, one, value).is_ok()).count();
        if fitting == 0 {
            return Err(format!("{value} is none of {one_of:?}"));
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        several => several.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let is_one = kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number");
    if !kinds.is_empty() && !is_one {
        return Err(format!("{value} is no {kinds:?}"));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema.get("items").is_some()) {
        fits(about, &schema["items"], item)?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(lacking) = required.into_iter().find(|name| !object.contains_key(*name)) {
        return Err(format!("`{lacking}` is missing"));
    }
    for (name, member) in object {
        let of_it =
            [&schema["properties"][name], &schema["additionalProperties"]].into_iter().find(|schema| !schema.is_null());
        match of_it {
            Some(Value::Bool(false)) => return Err(format!("`{name}` is not documented")),
            Some(schema) => fits(about, schema, member).map_err(|why| format!("{name}: {why}"))?,
            None => {}
        }
    }
    Ok(())
}

/// Every place that answers and ends: streams, exports, webhooks and share links have tests of their own.
fn operations(about: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let elsewhere = ["/live", "/export", "/webhooks", "/share-links"];
    about["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(move |(path, _)| !elsewhere.iter().any(|part| path.contains(part)))
}

/// Holds an answer to what is said of its place.
pub(crate) fn holds(path: &str, method: &str, status: u16, answer: &Value) {
    let about = description();
    check(&about, &about["paths"][path][method], path, (status, answer.clone()));
}

async fn send(stage: &Stage, about: &Value, path: &str, item: &Value) {
    if let Some(operation) = item.get("get") {
        let place = asked(path);
        let answer = ask(&stage.router, &place).await;
        assert_eq!(answer.0, 200, "{place}: {}", answer.1);
        check(about, operation, &place, answer);
        let wrong = format!("{place}{}nothing=1", if place.contains('?') { '&' } else { '?' });
        let refused = ask(&stage.router, &wrong).await;
        if refused.0 != 200 {
            check(about, operation, &wrong, refused);
        }
    }
    if let Some(operation) = item.get("post") {
        let answer = post(&stage.router, path, &questions()).await;
        assert_eq!(answer.0, 200, "{path}: {}", answer.1);
        check(about, operation, path, answer);
        check(about, operation, path, post(&stage.router, path, &json!({})).await);
    }
}

#[tokio::test]
async fn every_documented_request_is_answered_as_its_schema_says() {
    let (stage, about) = (clicked().await, description());
    assert_eq!(operations(&about).count(), 15);
    for (path, item) in operations(&about) {
        send(&stage, &about, path, item).await;
    }
}

#[tokio::test]
async fn every_documented_value_is_taken_and_no_other_parameter_is() {
    let (stage, about) = (clicked().await, description());
    for (path, item) in operations(&about) {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let question = ["links", "account", "compare"].iter().any(|part| path.contains(part));
        assert_eq!(question, !parameters.is_empty(), "{path}");
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            for value in parameter["schema"]["enum"].as_array().into_iter().flatten() {
                let place = asked(path);
                let and = if place.contains('?') { '&' } else { '?' };
                let place = format!("{place}{and}{name}={}", value.as_str().unwrap());
                let answer = stage.ask(&place).await;
                // Whose clicks are suspected is told by their reason, and rollups know one dimension at a time.
                let of_two = value == "suspected" && (path.contains("breakdown") || path == "/v1/links");
                assert_eq!(answer.0, if of_two { 422 } else { 200 }, "{place}: {}", answer.1);
                check(&about, &item["get"], &place, answer);
            }
        }
    }
    let elsewhere = ["freshness?a=1", "links?by=country", "account/summary?unit=day", "links/7/timeseries?limit=3"];
    for place in elsewhere {
        assert_eq!(stage.ask(&format!("/v1/{place}")).await.0, 400, "{place}");
    }
}
