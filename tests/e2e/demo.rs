//! The demo, made small: days of the past made by moving the clock, then the present.

use linktide::demo::{self, Options};
use linktide_common::bucket::Day;
use serde_json::Value;

use crate::harness::{Linktide, config};

#[tokio::test(flavor = "multi_thread")]
async fn demo_has_a_past_and_answers_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { days: 3, clicks: 4000, seed: 7, data: None, listen: None };
    let (services, mut generator) = demo::begin(config(), &options, folder.path()).await.unwrap();
    demo::ready(&services).await.unwrap();
    let url = format!("http://{}", services.address);
    let linktide = Linktide { services, url, data: folder.path().to_owned() };
    let all = linktide.get("/v1/account/summary?interval=all&traffic=all").await;
    let past = all["results"]["clicks"].as_u64().unwrap() + all["results"]["previews"].as_u64().unwrap();
    assert!((3800..=4200).contains(&past), "{all}");
    let today = Day::of(linktide.services.clock.now()).start().to_string();
    assert_eq!(all["meta"]["freshness"]["complete_through"], today.as_str());

    let countries = linktide.get("/v1/account/breakdown?interval=all&by=country,city,device,trigger&limit=1000").await;
    for dimension in countries["results"].as_array().unwrap() {
        let values = dimension["values"].as_array().unwrap();
        assert!(values.len() > 1 && values.iter().all(|value| value["value"] != "(none)"), "{dimension}");
    }
    // The present: a click that is emitted now is counted within seconds.
    linktide.services.emitter.emit(generator.click_at(linktide.services.clock.now()));
    linktide.until_counted(past + 1).await;
    linktide.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_question_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { days: 1, clicks: 200, seed: 7, data: None, listen: None };
    let (services, _) = demo::begin(config(), &options, folder.path()).await.unwrap();
    let url = format!("http://{}", services.address);
    let linktide = Linktide { services, url, data: folder.path().to_owned() };
    demo::ready(&linktide.services).await.unwrap();
    let about = linktide.get("/v1/openapi.json").await;
    let paths = about["paths"].as_object().unwrap();
    assert!(paths.len() >= 14, "{:?}", paths.keys());
    // A stream has no end; `query` reads those.
    let ends = |path: &str| !path.ends_with("/live");
    for (path, methods) in paths.iter().filter(|(path, methods)| methods.get("get").is_some() && ends(path)) {
        let parameters = methods["get"]["parameters"].as_array().into_iter().flatten();
        let required = parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
        let given: Vec<String> = required
            .map(|parameter| match parameter["name"].as_str().unwrap() {
                "by" => "by=country".to_owned(),
                name => format!("{name}=1"),
            })
            .collect();
        let place = path.replace("{link_id}", "1").replace("{slug}", "none");
        let place = format!("{}?{}", place.replace("{id}", "none").replace("{number}", "0"), given.join("&"));
        let expected = if path.contains("{slug}") || path.contains("{id}") { 404 } else { 200 };
        assert_eq!(linktide.get_raw(&place).await.0, expected, "{place}");
    }
    the_terminal_shows_what_the_api_says(&linktide).await;
    let status = crate::harness::program().args(["status", "--url", &linktide.url]).output().unwrap();
    let told = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.success() && told.contains("complete through"), "{told}");
    linktide.services.stop().await.unwrap();
}

/// `linktide stats` and `linktide top`, as people and as programs read them.
async fn the_terminal_shows_what_the_api_says(linktide: &Linktide) {
    let told = |arguments: &[&str]| {
        let output = crate::harness::program().args(arguments).args(["--url", &linktide.url]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        told
    };
    let top = linktide.get("/v1/links?interval=7d&traffic=all&limit=3").await["results"].clone();
    let shown: Value = serde_json::from_str(&told(&["top", "--limit", "3", "--traffic", "all", "--json"])).unwrap();
    assert_eq!(shown["results"], top);
    let first = &top["links"][0];
    let (slug, clicks) = (first["label"]["slug"].as_str().unwrap(), first["clicks"].as_u64().unwrap());
    let list = told(&["top", "--limit", "3", "--traffic", "all"]);
    assert!(list.lines().next().unwrap().trim_start().starts_with(&format!("{clicks} ")), "{list}");
    assert!(list.contains(&format!("/{slug}")) && list.contains("as of 20"), "{list}");

    let stats = told(&["stats", slug, "--traffic", "all"]);
    assert!(stats.contains(&format!("{clicks}  clicks")), "{stats}");
    assert!(stats.contains('█') && stats.contains("country") && stats.contains("visitors"), "{stats}");
    // Of people alone: clicks without repeats, and visitors with the sign of how they were counted.
    let people = linktide.get("/v1/links?interval=7d&limit=3").await["results"]["links"][0].clone();
    let list = told(&["top", "--limit", "3"]);
    let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().take(2).collect();
    assert_eq!(row, [people["clicks"].to_string(), people["unique_clicks"].to_string()], "{list}");
    let id = people["link_id"].as_str().unwrap();
    let summary = linktide.get(&format!("/v1/links/{id}/summary?interval=7d")).await["results"].clone();
    let stats = told(&["stats", id]);
    assert!(stats.contains(&format!("{}  without repeats", people["unique_clicks"])), "{stats}");
    let sign = if summary["uniques"]["method"] == "exact" { "=" } else { "≈" };
    assert!(stats.contains(&format!("{sign} {}  visitors", summary["uniques"]["estimate"])), "{stats}");
    let place = format!("/v1/links/{}/summary?interval=30d&compare=previous", first["link_id"].as_str().unwrap());
    let summary = linktide.get(&place).await["results"].clone();
    let shown = told(&["stats", first["link_id"].as_str().unwrap(), "--last", "30d", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["results"][0]["results"], summary);

    let refused =
        crate::harness::program().args(["stats", "nobody-has-this", "--url", &linktide.url]).output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("`nobody-has-this`") && told.contains("linktide top"), "{told}");
}
