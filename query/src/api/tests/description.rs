//! The description is true to the code.

use super::stage::stage;
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

#[tokio::test]
async fn every_documented_path_answers() {
    let stage = stage().await;
    let about = openapi();
    let questions = |path: &&String| !path.contains("/export") && !path.contains("/webhooks");
    assert_eq!(about.paths.paths.keys().filter(questions).count(), 17);
    let read = about.paths.paths.iter().filter(|(_, item)| item.get.is_some()).map(|(path, _)| path);
    // Streams have no end; their tests read them.
    for path in read.filter(questions).filter(|path| !path.ends_with("/live")) {
        let (status, answer) = stage.ask(&asked(path)).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

#[tokio::test]
async fn every_documented_value_is_taken_and_no_other_parameter_is() {
    let stage = stage().await;
    let about = serde_json::to_value(openapi()).unwrap();
    assert!(about["openapi"].as_str().unwrap().starts_with("3.1"));
    // What exports and webhooks take is sent by their own tests.
    let questions = |path: &str| !path.contains("/export") && !path.contains("/webhooks");
    for (path, item) in about["paths"].as_object().unwrap().iter().filter(|(path, _)| questions(path)) {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let question = ["links", "account", "compare"].iter().any(|part| path.contains(part));
        assert_eq!(question, !parameters.is_empty(), "{path}");
        assert_eq!(question, item["get"]["responses"].get("400").is_some(), "{path}");
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            for value in parameter["schema"]["enum"].as_array().into_iter().flatten() {
                if path.ends_with("/live") {
                    continue;
                }
                let place = asked(path);
                let and = if place.contains('?') { '&' } else { '?' };
                let place = format!("{place}{and}{name}={}", value.as_str().unwrap());
                let (status, answer) = stage.ask(&place).await;
                assert_eq!(status, 200, "{place}: {answer}");
            }
        }
    }
    let elsewhere = ["freshness?a=1", "links?by=country", "account/summary?unit=day", "links/7/timeseries?limit=3"];
    for place in elsewhere {
        assert_eq!(stage.ask(&format!("/v1/{place}")).await.0, 400, "{place}");
    }
}
