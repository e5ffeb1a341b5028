//! Large exports.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use linktide_batch::Correct;
use linktide_common::bucket::Hour;
use linktide_common::id::{LinkId, Subject, TenantId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::decode::rows;
use super::streams::{Asked, FORMATS, compared};
use super::world::{PATIENCE, Row, W, World, config};
use crate::api::tests::description::holds;
use crate::export::worker::step;
use crate::export::{ExportConfig, janitor};
use crate::params::Parameters;

/// A world with clicks of several files.
async fn world(seed: u64, config: ExportConfig) -> World {
    let mut world = World::new(seed, config).await;
    for hours in [1, 3, 40, 60] {
        world.send(80).await;
        world.roll_up(Hour(W.0 + hours)).await;
    }
    world
}

fn all() -> Value {
    json!({ "interval": "all", "traffic": "all", "previews": true })
}

impl World {
    async fn ask(&self, body: Value) -> String {
        let answer = self.send_request(Method::POST, "/v1/exports", Some(body)).await;
        assert_eq!(answer.status, 202, "{:?}", answer.body);
        holds("/v1/exports", "post", 202, &answer.json());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), format!("/v1/exports/{id}"));
        id
    }

    async fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/exports/{id}")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        holds("/v1/exports/{id}", "get", 200, &answer.json());
        answer.json()
    }

    /// Works until nothing is left to do.
    async fn work(&self) {
        while step(&self.exports, &self.query).await.unwrap() {}
    }

    /// The files of a job that is done, each checked against what is said of it.
    async fn files(&self, id: &str) -> Vec<Bytes> {
        let job = self.job(id).await;
        assert_eq!(job["state"], "done", "{job}");
        let mut files = Vec::new();
        for file in job["result"]["files"].as_array().unwrap() {
            let answer = self.get(file["url"].as_str().unwrap()).await;
            let name = file["name"].as_str().unwrap();
            assert_eq!(
                (answer.status, answer.header("content-disposition")),
                (200, &*format!("attachment; filename=\"{name}\""))
            );
            let body = answer.body.unwrap();
            let sha256: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((file["bytes"].as_u64(), file["sha256"].as_str()), (Some(body.len() as u64), Some(&*sha256)));
            files.push(body);
        }
        files
    }

    /// All rows of a job that is done.
    async fn rows(&self, id: &str, format: &str) -> Vec<Row> {
        let files = self.files(id).await;
        let read: Vec<Row> = files.iter().flat_map(|file| rows(format, file)).collect();
        assert_eq!(self.job(id).await["result"]["rows"], read.len());
        read
    }

    fn names(&self, id: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.folder().join("export")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().contains(id) {
                    names.push(path.to_string_lossy().rsplit_once(id).unwrap().1.to_owned());
                }
            }
        }
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_makes_the_rows_of_a_plain_filter_in_every_format() {
    let mut world = world(20, config()).await;
    for (number, format) in FORMATS.iter().cycle().take(8).enumerate() {
        let asked = Asked::any(&mut world, None);
        let mut body: Value = asked.parameters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        body["format"] = json!(format);
        let id = world.ask(body).await;
        assert_eq!(world.job(&id).await["state"], "queued");
        world.work().await;
        assert_eq!(compared(world.rows(&id, format).await), asked.expected(&world), "{number} {format}");
        // What made it is gone; the result and what it says of itself stay.
        let kept = world.names(&id);
        assert!(
            kept.iter().all(|name| name.starts_with("/data/") || ["/request.json", "/end.json"].contains(&&**name)),
            "{kept:?}"
        );
    }
    let listed = world.get("/v1/exports").await.json();
    holds("/v1/exports", "get", 200, &listed);
    assert_eq!(listed["results"].as_array().unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_has_several_files_and_says_how_far_it_is() {
    let world = world(21, config()).await;
    let id = world.ask(all()).await;
    *world.exports.stop_at.lock() = Some("export::part::behind");
    assert!(step(&world.exports, &world.query).await.unwrap());
    let job = world.job(&id).await;
    let progress = &job["progress"];
    assert_eq!((job["state"].as_str(), progress["steps_done"].as_u64()), (Some("running"), Some(1)), "{job}");
    let number = |name: &str| progress[name].as_u64().unwrap();
    assert!(number("steps") >= 2 && number("source_rows") > number("source_rows_done"), "{job}");
    let part = world.get(&format!("/v1/exports/{id}/parts/0")).await;
    assert_eq!(part.status, 404, "{:?}", part.body);
    *world.exports.stop_at.lock() = None;
    world.work().await;
    assert!(world.files(&id).await.len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_was_stopped_anywhere_is_gone_on_with_and_comes_out_the_same() {
    let world = world(22, config()).await;
    let id = world.ask(all()).await;
    world.work().await;
    let whole = world.rows(&id, "csv").await;
    for place in [
        "export::plan::behind",
        "export::file::behind",
        "export::part::before",
        "export::part::behind",
        "export::end::before",
        "export::end::behind",
    ] {
        let id = world.ask(all()).await;
        for _ in 0..2 {
            *world.exports.stop_at.lock() = Some(place);
            step(&world.exports, &world.query).await.unwrap();
        }
        let part = |names: &[String]| names.iter().filter(|name| name.starts_with("/part/")).count();
        let made = part(&world.names(&id));
        *world.exports.stop_at.lock() = None;
        world.work().await;
        assert_eq!(world.rows(&id, "csv").await, whole, "{place}");
        if place == "export::part::behind" {
            assert_eq!(made, 2, "each attempt went on where the one before had ended");
            // What was made before the crash is in the result, by its own name.
            let names = world.names(&id);
            assert!(names.iter().any(|name| name.starts_with("/data/000000.1.")), "{names:?}");
            assert!(names.iter().any(|name| name.starts_with("/data/000001.2.")), "{names:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_that_lives_is_left_alone_until_its_lease_is_over() {
    let world = world(23, ExportConfig { lease: Duration::from_secs(3600), ..config() }).await;
    let id = world.ask(all()).await;
    *world.exports.stop_at.lock() = Some("export::plan::behind");
    assert!(step(&world.exports, &world.query).await.unwrap());
    *world.exports.stop_at.lock() = None;
    assert!(!step(&world.exports, &world.query).await.unwrap(), "another attempt may still live");
    assert_eq!(world.job(&id).await["state"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_make_a_job_once() {
    let world = world(24, ExportConfig { lease: Duration::from_secs(3600), ..config() }).await;
    let ids = [world.ask(all()).await, world.ask(all()).await];
    let workers: Vec<_> = (0..2).map(|_| tokio::spawn(world.query.clone().work())).collect();
    let done = async {
        for id in &ids {
            while world.job(id).await["state"] != "done" {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, done).await.unwrap();
    world.query.stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(world.rows(&ids[0], "csv").await, world.rows(&ids[1], "csv").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_cancelled_before_it_begins_while_it_is_made_and_when_it_is_done() {
    let world = world(25, config()).await;
    let delete = async |id: &str| world.send_request(Method::DELETE, &format!("/v1/exports/{id}"), None).await.status;
    let queued = world.ask(all()).await;
    assert_eq!(delete(&queued).await, 204);
    let begun = world.ask(all()).await;
    *world.exports.stop_at.lock() = Some("export::part::behind");
    step(&world.exports, &world.query).await.unwrap();
    *world.exports.stop_at.lock() = None;
    assert_eq!(delete(&begun).await, 204);
    world.work().await;
    for id in [queued, begun] {
        assert_eq!(world.job(&id).await["state"], "cancelled");
        assert_eq!(world.names(&id), ["/end.json", "/request.json"]);
    }
    let done = world.ask(all()).await;
    world.work().await;
    assert_eq!(delete(&done).await, 204);
    assert_eq!(world.job(&done).await["state"], "gone");
    assert_eq!(world.get(&format!("/v1/exports/{done}/parts/0")).await.status, 410);
    assert_eq!(delete(&uuid::Uuid::from_u128(1).to_string()).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_another_tenant_is_not_found() {
    let world = world(26, config()).await;
    let parameters = Parameters::of(vec![("interval".into(), "all".into()), ("traffic".into(), "all".into())]);
    let job = world.exports.take_in(&world.query, TenantId(7), &parameters).await.unwrap();
    world.work().await;
    let id = job.key.id;
    assert!(world.names(&id.to_string()).iter().any(|name| name.starts_with("/data/")));
    for place in [format!("/v1/exports/{id}"), format!("/v1/exports/{id}/parts/0")] {
        assert_eq!(world.get(&place).await.status, 404, "{place}");
    }
    let deleted = world.send_request(Method::DELETE, &format!("/v1/exports/{id}"), None).await;
    assert_eq!(deleted.status, 404);
    assert_eq!(world.get("/v1/exports").await.json()["results"], json!([]));
    let theirs = world.exports.job(&world.query, job.key).await.unwrap().unwrap();
    assert!(matches!(theirs.state, crate::export::job::State::Done { .. }));
    for id in [
        "..",
        "%2e%2e",
        "..%2f0%2fx",
        "1",
        "0/../7",
        &id.to_string().to_uppercase(),
        &format!("{{{id}}}"),
        &id.simple().to_string(),
    ] {
        let answer = world.get(&format!("/v1/exports/{id}")).await;
        assert_eq!(answer.status, 404, "{id}: {:?}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn result_is_refused_and_deleted_once_clicks_that_may_be_in_it_are_erased() {
    let world = world(27, config()).await;
    let (every, one, other) = (
        world.ask(all()).await,
        world.ask(json!({ "interval": "all", "links": ["1"] })).await,
        world.ask(json!({ "interval": "all", "links": [2], "traffic": "all" })).await,
    );
    world.work().await;
    let begun = world.ask(all()).await;
    *world.exports.stop_at.lock() = Some("export::part::behind");
    step(&world.exports, &world.query).await.unwrap();
    *world.exports.stop_at.lock() = None;
    world.nightly().correct(Correct::Erase(Subject::Link(TenantId(0), LinkId(1)))).await.unwrap();
    for id in [&every, &one] {
        assert_eq!(world.get(&format!("/v1/exports/{id}/parts/0")).await.status, 410);
        assert_eq!(world.job(id).await["state"], "gone");
        assert!(!world.names(id).iter().any(|name| name.starts_with("/data/")));
    }
    assert!(!world.rows(&other, "csv").await.is_empty(), "another link's export stays");
    // One that was half made: clicks are in it that must not be.
    world.work().await;
    let job = world.job(&begun).await;
    assert!(job["state"] == "failed" && job["reason"].as_str().unwrap().contains("erased"), "{job}");
    // And one that is asked for now does not have them.
    let after = world.ask(all()).await;
    world.work().await;
    let links: Vec<String> = world.rows(&after, "csv").await.into_iter().map(|row| row["link_id"].clone()).collect();
    assert!(!links.is_empty() && !links.contains(&"1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_go_by_age_and_the_job_is_forgotten_later() {
    let world = world(28, config()).await;
    let id = world.ask(all()).await;
    world.work().await;
    let later = |days: i64| world.clock.set(world.clock.now().plus_millis(days * 86_400_000));
    later(6);
    janitor::look(&world.exports, &world.query).await.unwrap();
    assert_eq!(world.job(&id).await["state"], "done");
    later(2);
    janitor::look(&world.exports, &world.query).await.unwrap();
    assert_eq!(world.names(&id), ["/end.json", "/gone.json", "/request.json"]);
    let job = world.job(&id).await;
    assert!(job["state"] == "gone" && job["reason"].as_str().unwrap().contains("export.keep"), "{job}");
    later(22);
    janitor::look(&world.exports, &world.query).await.unwrap();
    assert_eq!(world.names(&id), [""; 0]);
    assert_eq!(world.get(&format!("/v1/exports/{id}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_publication_is_no_longer_kept_fails_and_says_so() {
    let world = world(29, config()).await;
    let id = world.ask(all()).await;
    let number = world.job(&id).await["publication"].as_u64().unwrap();
    world.roll_up(Hour(W.0 + 80)).await;
    world.lake.publications().remove(number).await.unwrap();
    world.work().await;
    let job = world.job(&id).await;
    assert!(job["state"] == "failed" && job["reason"].as_str().unwrap().contains("no longer kept"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_has_so_many_jobs_at_most_and_requests_that_are_none_are_refused() {
    let world = world(30, ExportConfig { jobs_per_tenant: 2, ..config() }).await;
    world.ask(all()).await;
    world.ask(all()).await;
    let third = world.send_request(Method::POST, "/v1/exports", Some(all())).await;
    assert_eq!((third.status, third.headers.contains_key("retry-after")), (429, true), "{:?}", third.body);
    world.work().await;
    world.ask(all()).await;
    for (body, status) in [
        (json!([]), 400),
        (json!({ "format": "xlsx" }), 400),
        (json!({ "format": { "name": "csv" } }), 400),
        (json!({ "filename": "../../etc/passwd" }), 400),
        (json!({ "of": "breakdown" }), 400),
        (json!({ "tenant_id": "7" }), 400),
    ] {
        let answer = world.send_request(Method::POST, "/v1/exports", Some(body.clone())).await;
        assert_eq!(answer.status, status, "{body}: {:?}", answer.body);
    }
    let answer = world.send_request(Method::POST, "/v1/exports", None).await;
    assert_eq!(answer.status, 415, "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_with_no_rows_has_a_file_with_its_columns_and_one_of_a_rollup_its_rows() {
    let world = world(31, config()).await;
    for format in FORMATS {
        let none = world.ask(json!({ "interval": "all", "links": ["9"], "format": format })).await;
        let links = world.ask(json!({ "interval": "all", "of": "links", "traffic": "all", "format": format })).await;
        world.work().await;
        assert_eq!((world.files(&none).await.len(), world.rows(&none, format).await.len()), (1, 0));
        let clicks: u64 =
            world.rows(&links, format).await.iter().map(|row| row["clicks"].parse::<u64>().unwrap()).sum();
        let plain = world.archived().iter().filter(|(click, _)| click.tenant == 0 && !click.preview).count();
        assert_eq!(clicks, plain as u64);
        let people = world.ask(json!({ "interval": "all", "of": "links", "format": format })).await;
        world.work().await;
        let rows = world.rows(&people, format).await;
        let known = |row: &Row| row["clicks"].parse::<u64>().unwrap() >= row["unique_clicks"].parse().unwrap();
        assert!(!rows.is_empty() && rows.iter().all(known), "history has all of it: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn result_in_a_bucket_is_read_by_a_signed_address_without_a_key() {
    use linktide_batch::{Lake, S3Config, S3Keys};
    use linktide_servers::S3;
    let s3 = S3::start("clicks");
    let settings = S3Config {
        url: "s3://clicks/tide".parse().unwrap(),
        endpoint: Some(s3.url()),
        region: Some("us-east-1".to_owned()),
        keys: Some(S3Keys { access: S3::ACCESS_KEY.to_owned(), secret: S3::SECRET_KEY.to_owned() }),
        allow_http: true,
        virtual_hosted: false,
        timeout: Duration::from_secs(30),
    };
    let lake = Lake::in_bucket(&settings).unwrap();
    let mut world = World::over(lake, tempfile::tempdir().unwrap(), 40, config()).await;
    for hours in [1, 40] {
        world.send(80).await;
        world.roll_up(Hour(W.0 + hours)).await;
    }
    let id = world.ask(all()).await;
    world.work().await;
    let job = world.job(&id).await;
    assert_eq!(job["state"], "done", "{job}");
    let client = reqwest::Client::new();
    let mut read = Vec::new();
    for (number, file) in job["result"]["files"].as_array().unwrap().iter().enumerate() {
        let url = file["url"].as_str().unwrap();
        assert!(url.starts_with(&s3.url()) && job["result"]["urls_valid_for_seconds"] == 900, "{job}");
        let answer = client.get(url).send().await.unwrap();
        let disposition = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert_eq!(
            (answer.status().as_u16(), disposition),
            (200, format!("attachment; filename=\"{}\"", file["name"].as_str().unwrap()))
        );
        let body = answer.bytes().await.unwrap();
        // The API serves the same bytes.
        assert_eq!(world.get(&format!("/v1/exports/{id}/parts/{number}")).await.body.unwrap(), body);
        read.extend(rows("csv", &body));
        // The signature is for this object and nothing else.
        let other = url.replace("/data/", "/other/");
        assert_eq!(client.get(other).send().await.unwrap().status().as_u16(), 403);
        assert_eq!(client.get(url.split('?').next().unwrap()).send().await.unwrap().status().as_u16(), 403);
    }
    assert_eq!(read.len() as u64, job["result"]["rows"].as_u64().unwrap());
    assert!(!read.is_empty());
    // Once it is deleted, no address leads to it.
    let url = job["result"]["files"][0]["url"].as_str().unwrap();
    assert_eq!(world.send_request(Method::DELETE, &format!("/v1/exports/{id}"), None).await.status, 204);
    assert_eq!(client.get(url).send().await.unwrap().status().as_u16(), 404);
}
