//! The demo, made small: days of the past made by moving the clock, then the present.

use linktide::demo::{self, Options};
use linktide_common::bucket::Day;

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
    for (path, methods) in paths.iter().filter(|(_, methods)| methods.get("get").is_some()) {
        let required =
            methods["get"]["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["name"] == "by");
        let place =
            path.replace("{link_id}", "1").replace("{slug}", "none") + if required { "?by=country" } else { "" };
        let expected = if path.contains("{slug}") { 404 } else { 200 };
        assert_eq!(linktide.get_raw(&place).await.0, expected, "{place}");
    }
    let status = crate::harness::program().args(["status", "--url", &linktide.url]).output().unwrap();
    let told = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.success() && told.contains("complete through"), "{told}");
    linktide.services.stop().await.unwrap();
}
