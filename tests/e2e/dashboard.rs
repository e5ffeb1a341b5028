//! The web page in a real browser: what its own tests in `query/dashboard/browser/` say, over services that are begun here.
//!
//! They need Node, Chromium, the packages of the page, and the page itself in this build: `./dev test` sees to all of it.
//! Where one is missing they are skipped, and say so.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use linktide::demo::{self, Options};
use linktide_common::clock::Clock;
use linktide_common::id::{Epoch, PartitionId};
use linktide_common::publication::{Publication, PublicationStore};
use object_store::local::LocalFileSystem;
use serde_json::{Value, json};

use crate::access::{REVOKED_WITHIN, Running, key, run};
use crate::harness::{Linktide, PATIENCE, config, program};
use crate::speed::stage::{Api, SALT};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/query/dashboard");

/// A program of the page's browser tests, if all is there that it needs.
pub(crate) fn browser(file: &str, url: &str) -> Option<Command> {
    let chromium =
        std::env::var_os("LINKTIDE_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    let page = Path::new(PAGE);
    let node =
        Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let needs = [
        (node, "node is not installed"),
        (chromium.exists(), "chromium is not installed"),
        (page.join("node_modules/playwright-core").exists(), "npm ci was not run in query/dashboard"),
        (page.join("dist/index.html").exists(), "the page was not built"),
    ];
    if let Some((_, missing)) = needs.iter().find(|(is_there, _)| !is_there) {
        eprintln!("skipped: {missing}; ./dev test sees to that");
        return None;
    }
    let mut command = Command::new("node");
    command.current_dir(page).env("LINKTIDE_URL", url).env("LINKTIDE_CHROMIUM", chromium);
    // Pictures of the page stay beside the build output.
    command.env("LINKTIDE_PICTURES", Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard"));
    command.arg(format!("browser/{file}"));
    Some(command)
}

/// Runs tests of the page to their end.
async fn passes(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    // What was measured is worth reading.
    told.lines().filter(|line| line.contains("measured:")).for_each(|line| eprintln!("{line}"));
}

/// A page in a browser that stays open.
pub(crate) struct OpenPage {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl OpenPage {
    pub(crate) fn in_browser(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asked, told) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asked, told }
    }

    /// Waits until the badge says so, takes a picture of that name, and tells what is shown.
    pub(crate) fn until(&mut self, badge: &str, picture: &str) -> Value {
        self.asks(&json!({ "badge": badge, "picture": picture }))
    }

    /// The same for a text anywhere on the page.
    pub(crate) fn until_it_says(&mut self, text: &str, picture: &str) -> Value {
        self.asks(&json!({ "text": text, "picture": picture }))
    }

    /// Waits until it shows more clicks than that.
    pub(crate) fn until_above(&mut self, clicks: u64) -> Value {
        self.asks(&json!({ "above": clicks }))
    }

    fn asks(&mut self, what: &Value) -> Value {
        writeln!(self.asked, "{what}").unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        let shown: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the browser said `{line}`"));
        assert!(shown["never"].is_null() && shown["faults"] == json!([]), "{what}: {shown}");
        shown
    }
}

impl Drop for OpenPage {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_what_the_api_says_to_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    let links = folder.path().join("links.csv");
    std::fs::write(&links, "slug,link_id,destination\nlighthouse-1,1,https://harbour.example/\n").unwrap();
    config.ingest.links = Some(links);
    // Less than all the clicks that the demo makes.
    config.export.stream_rows = 3_000;
    let options = Options { days: 9, clicks: 6000, seed: 7, data: None, listen: None };
    let data = folder.path().join("data");
    let (services, _) = demo::begin(config, &options, &data).await.unwrap();
    let url = format!("http://{}", services.address);
    let Some(command) = browser("page.test.mjs", &url) else { return services.stop().await.unwrap() };
    demo::ready(&services).await.unwrap();
    let linktide = Linktide { services, url, data };
    passes(command).await;
    linktide.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn page_asks_for_a_key_and_a_share_link_opens_its_link_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let place = ["--data", data.to_str().unwrap()];
    let linktide =
        Running::begin(folder.path(), "standalone", &["standalone", "--data", place[1], "--listen", "127.0.0.1:0"]);
    linktide.until("keys are read", PATIENCE, async || linktide.get("/v1/links", None).await.0 == 401).await;
    let Some(mut command) = browser("access.test.mjs", &linktide.url("")) else { return };
    // The page itself is for everyone, and nothing comes with it.
    for (open, status) in [("/", 200), ("/index.html", 404), ("/assets/", 404), ("/assets/index.html", 404)] {
        assert_eq!(linktide.client.get(linktide.url(open)).send().await.unwrap().status(), status, "{open}");
    }
    let [reader, admin] = ["read,ingest,export", "read,admin"].map(|scopes| key(&place, "1", scopes));
    let shared = run(&[&["share", "7", "--tenant", "1", "--expires", "1h"], &place[..]].concat());
    let opens = async |place: &str, credential: &str| linktide.status(place, credential).await == 200;
    linktide.until("the keys work", REVOKED_WITHIN, async || opens("/v1/links", &admin).await).await;
    linktide.until("both do", REVOKED_WITHIN, async || opens("/v1/links", &reader).await).await;
    linktide.until("the link is shared", REVOKED_WITHIN, async || opens("/v1/links/7/summary", &shared).await).await;
    command.envs([("LINKTIDE_KEY", reader), ("LINKTIDE_ADMIN_KEY", admin), ("LINKTIDE_SHARE", shared.clone())]);
    passes(command).await;

    // One that was taken back says so.
    run(&[&["share", "revoke", "--tenant", "1", shared.split('_').nth(1).unwrap()], &place[..]].concat());
    linktide
        .until("it is taken back", REVOKED_WITHIN, async || linktide.status("/v1/freshness", &shared).await == 401)
        .await;
    let mut command = browser("revoked.test.mjs", &linktide.url("")).unwrap();
    command.env("LINKTIDE_SHARE", shared);
    passes(command).await;
    linktide.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn page_waits_for_a_service_that_begins_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("salt.key"), SALT).unwrap();
    let mut query = program();
    query.args(["query", "--listen", "127.0.0.1:0", "--lake"]).arg(folder.path());
    query.args(["--set", &format!("enrich.salt_key={}", folder.path().join("salt.key").display())]);
    // Nobody listens there: the store of recent clicks is away from the beginning.
    query.args(["--set", "redis.url=redis://127.0.0.1:1", "--set", "lake.look_every=200ms"]);
    let api = Api::of(query.stdout(Stdio::piped()));
    let Some(command) = browser("watch.mjs", api.url()) else { return };
    let mut page = OpenPage::in_browser(command);
    let waiting = page.until_it_says("Linktide is starting", "starting");
    assert_eq!(waiting["clicks"], Value::Null, "{waiting}");
    let objects = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let first = Publication::first(Epoch(0), &[PartitionId(0)], "r".into(), Clock::system().now());
    PublicationStore::new(Arc::new(objects)).publish(first).await.unwrap();
    let shown = page.until_it_says("No click yet", "begun");
    assert!(shown["badge"].as_str().unwrap().contains("are missing"), "{shown}");
    assert_eq!(shown["loads"], 1, "{shown}");
}
