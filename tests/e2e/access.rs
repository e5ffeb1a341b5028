//! Who may ask what, of the programs as people run them: keys in a folder and in a real S3, tokens of an issuer, share links,
//! and clients that mean no good.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linktide_common::bucket::Timestamp;
use linktide_common::clock::Clock;
use linktide_common::id::{Epoch, PartitionId};
use linktide_common::publication::{Publication, PublicationStore};
use linktide_servers::{Issuer, S3};
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use reqwest::Client;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, program};

/// How long a revoked key may go on: the programs look every 200 ms.
pub(crate) const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// A program that answers, and what it has said.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    said: PathBuf,
    pub(crate) client: Client,
}

impl Running {
    /// Begins a program with access required, and waits until it tells where it listens. It says all it can.
    pub(crate) fn begin(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let said = folder.join(format!("{name}.log"));
        let settings = ["access.required=true", "lake.look_every=200ms", "telemetry.level=trace", "log.reserve=0B"];
        let mut command = program();
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.args(arguments).env_remove("LINKTIDE_KEY").stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&said).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // A connection a request: one that idles is closed, and a request may meet that.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let place = line.split("http://").nth(1).unwrap_or_else(|| panic!("{line}{}", read(&said)));
        let address = place.split([',', ' ']).next().unwrap().parse().unwrap();
        Self { child, address, said, client }
    }

    pub(crate) fn url(&self, place: &str) -> String {
        format!("http://127.0.0.1:{}{place}", self.address.port())
    }

    pub(crate) async fn get(&self, place: &str, credential: Option<&str>) -> (u16, Value) {
        let request = self.client.get(self.url(place));
        let request = credential.into_iter().fold(request, |request, credential| request.bearer_auth(credential));
        told(request).await
    }

    pub(crate) async fn status(&self, place: &str, credential: &str) -> u16 {
        self.get(place, Some(credential)).await.0
    }

    pub(crate) async fn until(&self, what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + within;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !holds().await {
            assert!(Instant::now() < deadline, "never: {what}\n{}", read(&self.said));
            look.tick().await;
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.address.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Asks it to end, waits until it has, and returns all that it said.
    pub(crate) fn end(mut self) -> String {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success() && self.child.wait().unwrap().success(), "{}", read(&self.said));
        read(&self.said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn told(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status >= 400 {
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{}", response.url());
    }
    (status, response.json().await.unwrap_or(Value::Null))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What a command prints.
pub(crate) fn run(arguments: &[&str]) -> String {
    let output = program().args(["--set", "access.required=true"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Why a command fails.
fn fails(arguments: &[&str]) -> String {
    let output = program().args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn key(place: &[&str], tenant: &str, scopes: &str) -> String {
    // A place by its settings, or by an argument of the command.
    let create = ["keys", "create", "--tenant", tenant, "--scope", scopes];
    run(&if place[0] == "--set" { [place, &create].concat() } else { [&create, place].concat() })
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_share_links_of_a_folder_open_what_they_say_and_are_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let place = ["--data", data.to_str().unwrap()];
    // Any address may be listened on where everyone is asked.
    let linktide =
        Running::begin(folder.path(), "standalone", &["standalone", "--data", place[1], "--listen", "0.0.0.0:0"]);
    for open in ["/healthz", "/metrics", "/v1/openapi.json"] {
        assert_eq!(linktide.client.get(linktide.url(open)).send().await.unwrap().status(), 200, "{open}");
    }
    linktide.until("keys are read", PATIENCE, async || linktide.get("/v1/links", None).await.0 == 401).await;

    let [one, two, admin] = [("1", "read,ingest"), ("2", "read,ingest"), ("1", "admin")]
        .map(|(tenant, scopes)| key(&place, tenant, scopes));
    linktide
        .until("a new key works", REVOKED_WITHIN, async || linktide.status("/v1/account/summary", &two).await == 200)
        .await;
    linktide
        .until("so does the other", REVOKED_WITHIN, async || linktide.status("/v1/account/summary", &one).await == 200)
        .await;
    let send = async |key: &str, body: &'static str| {
        told(linktide.client.post(linktide.url("/v1/clicks")).bearer_auth(key).body(body)).await
    };
    let (status, outcome) = send(&one, "{\"link_id\":7}\n{\"link_id\":7}\n{\"link_id\":7,\"tenant_id\":2}\n").await;
    assert_eq!((status, &outcome["taken"], &outcome["refused"]), (202, &json!(2), &json!(1)), "{outcome}");
    assert_eq!(send(&two, "{\"link_id\":7}\n{\"link_id\":8}").await.0, 202);
    let clicks = async |place: &str, key: &str| linktide.get(place, Some(key)).await.1["results"]["clicks"].clone();
    let all = "?traffic=all";
    linktide
        .until("clicks are counted", PATIENCE, async || {
            clicks(&format!("/v1/account/summary{all}"), &one).await == json!(2)
                && clicks(&format!("/v1/account/summary{all}"), &two).await == json!(2)
        })
        .await;
    assert_eq!(clicks(&format!("/v1/links/7/summary{all}"), &two).await, json!(1), "its own link 7");
    assert_eq!(clicks(&format!("/v1/links/8/summary{all}"), &one).await, json!(0), "nobody's, as far as it learns");
    let limited = linktide.client.get(linktide.url("/v1/links")).bearer_auth(&one).send().await.unwrap();
    assert!(limited.headers()["ratelimit"].to_str().unwrap().starts_with("\"tenant\";r="));
    assert_eq!(linktide.status("/v1/share-links", &one).await, 403);

    // Share links: by the command, and over HTTP.
    let shared = run(&[&["share", "7", "--tenant", "1", "--expires", "1h"], &place[..]].concat());
    linktide
        .until("a share link works", REVOKED_WITHIN, async || {
            linktide.get(&format!("/v1/links/7/summary?share={shared}"), None).await.0 == 200
        })
        .await;
    assert_eq!(clicks(&format!("/v1/links/7/summary{all}"), &shared).await, json!(2));
    assert_eq!(linktide.get(&format!("/v1/links/8/summary?share={shared}"), None).await.0, 403);
    assert_eq!(linktide.status("/v1/account/summary", &shared).await, 403);
    let expires: Timestamp = Clock::system().now().plus_millis(60_000);
    let wanted = json!({ "link_id": "8", "expires_at": expires.to_string() }).to_string();
    let made = told(linktide.client.post(linktide.url("/v1/share-links")).bearer_auth(&admin).body(wanted)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let second = made.1["token"].as_str().unwrap().to_owned();
    assert_eq!(linktide.status("/v1/links/8/summary", &second).await, 200, "at once, where it was made");
    let listed = run(&[&["share", "list", "--tenant", "1", "--json"], &place[..]].concat());
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().len(), 2, "{listed}");
    run(&[&["share", "revoke", "--tenant", "1", id_of(&shared)], &place[..]].concat());
    linktide
        .until("it is revoked", REVOKED_WITHIN, async || linktide.status("/v1/links/7/summary", &shared).await == 401)
        .await;
    assert_eq!(linktide.status("/v1/links/8/summary", &second).await, 200);

    // A key that is revoked while it is in use, also by the whole of it.
    run(&[&["keys", "revoke", &one], &place[..]].concat());
    linktide
        .until("the key is revoked", REVOKED_WITHIN, async || linktide.status("/v1/account/summary", &one).await == 401)
        .await;
    assert_eq!(send(&one, "{\"link_id\":7}").await.0, 401);
    assert_eq!(linktide.status("/v1/account/summary", &two).await, 200);
    let keys: Value = serde_json::from_str(&run(&[&["keys", "list", "--json"], &place[..]].concat())).unwrap();
    let state =
        |key: &str| keys.as_array().unwrap().iter().find(|known| known["id"] == id_of(key)).unwrap()["state"].clone();
    assert_eq!((state(&one), state(&two)), (json!("revoked"), json!("valid")));
    assert!(run(&[&["keys", "list"], &place[..]].concat()).contains("revoked"));
    let brief =
        run(&[&["keys", "create", "--tenant", "1", "--scope", "read", "--expires", "1ms"], &place[..]].concat());
    linktide
        .until("it has expired", REVOKED_WITHIN, async || {
            linktide.get("/v1/links", Some(&brief)).await.1["detail"] == "the credential has expired"
        })
        .await;

    // The commands that ask take their key from the environment.
    let status = |key: Option<&str>| {
        let mut command = program();
        command.args(["status", "--url", &linktide.url("")]).env_remove("LINKTIDE_KEY");
        command.envs(key.map(|key| ("LINKTIDE_KEY", key)));
        command.output().unwrap()
    };
    assert!(status(Some(&two)).status.success());
    assert!(String::from_utf8(status(None).stderr).unwrap().contains("who asks?"));

    let metrics = linktide.client.get(linktide.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("linktide_access_refused_total{reason=\"revoked\"}"), "{metrics}");
    let logs = linktide.end();
    assert!(logs.contains("a share link was made") && logs.contains(id_of(&second)), "it says what was done: {logs}");
    for secret in [&one, &two, &admin, &brief, &shared, &second] {
        let told = secret.rsplit('_').next().unwrap();
        assert!(!logs.contains(told) && !metrics.contains(told), "a secret is told");
    }
    assert!(!logs.contains("share=") && !logs.to_lowercase().contains("authorization"), "{logs}");
    let kept = read_all(&data.join("lake"));
    assert!(
        [&one, &two, &admin].iter().all(|key| !kept.contains(key.rsplit('_').next().unwrap())),
        "only hashes are kept"
    );
}

/// The text of every small object below a folder.
fn read_all(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.extension() {
            _ if path.is_dir() => read_all(&path),
            Some(extension) if extension == "json" => read(&path),
            _ => String::new(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_s3_are_everywhere_within_seconds_and_outlive_an_outage() {
    let (mut s3, folder) = (S3::start("clicks"), tempfile::tempdir().unwrap());
    let bucket = AmazonS3Builder::new()
        .with_endpoint(s3.url())
        .with_allow_http(true)
        .with_bucket_name("clicks")
        .with_access_key_id(S3::ACCESS_KEY)
        .with_secret_access_key(S3::SECRET_KEY)
        .build()
        .unwrap();
    let publications = PublicationStore::new(Arc::new(PrefixStore::new(bucket, "lake")));
    let first = Publication::first(Epoch(0), &[PartitionId(0)], "r".into(), Clock::system().now());
    publications.publish(first).await.unwrap();

    let (endpoint, access, secret) = (
        format!("lake.endpoint={}", s3.url()),
        format!("lake.access_key={}", S3::ACCESS_KEY),
        format!("lake.secret_key={}", S3::SECRET_KEY),
    );
    let reached = [
        "--set",
        &endpoint,
        "--set",
        &access,
        "--set",
        &secret,
        "--set",
        "lake.allow_http=true",
        "--set",
        "lake.region=us-east-1",
        "--set",
        "lake.timeout=2s",
        "--set",
        "redis.url=redis://127.0.0.1:1",
    ];
    // Settings stand before the command, together: given on both sides, only those behind it count.
    let lake = [&reached[..], &["--set", "lake.url=s3://clicks/lake"]].concat();
    let query =
        |name: &str| Running::begin(folder.path(), name, &[&lake[..], &["query", "--listen", "127.0.0.1:0"]].concat());
    let [one, two] = ["one", "two"].map(query);
    let ingest = ["--set", "kafka.brokers=127.0.0.1:1", "ingest", "--listen", "127.0.0.1:0"];
    let door = Running::begin(folder.path(), "ingest", &[&lake[..], &ingest].concat());
    let [reader, sender] = ["read", "ingest"].map(|scope| key(&lake, "7", scope));
    let works = async |process: &Running, key: &str| process.status("/v1/links/7/summary", key).await == 200;
    for process in [&one, &two] {
        process.until("the key works", REVOKED_WITHIN, async || works(process, &reader).await).await;
        process
            .until("the sender is known, and asks nothing", REVOKED_WITHIN, async || {
                process.status("/v1/links/7/summary", &sender).await == 403
            })
            .await;
    }
    let send = async |key: &str| {
        told(door.client.post(door.url("/v1/clicks")).bearer_auth(key).body("{\"link_id\":1}")).await.0
    };
    // There is no log behind this door: what passes the gate is told so.
    door.until("the sender passes", REVOKED_WITHIN, async || send(&sender).await == 503).await;
    assert_eq!(send(&reader).await, 403);
    assert_eq!(send("lt_nobody").await, 401);

    // An outage of S3: the keys that are known go on, and nothing can be changed.
    s3.stop();
    let begun = Instant::now();
    one.until("several looks fail", PATIENCE, async || {
        assert!(works(&one, &reader).await && works(&two, &reader).await, "an outage revokes no key");
        read(&one.said).contains("keys cannot be read") && begun.elapsed() > Duration::from_secs(2)
    })
    .await;
    assert_eq!(one.status("/v1/links/7/summary", "lt_nobody").await, 401);
    let refused = fails(&[&lake[..], &["keys", "revoke", "--fail-fast", id_of(&reader)]].concat());
    assert!(!refused.contains(S3::SECRET_KEY), "{refused}");
    s3.run();
    run(&[&lake[..], &["keys", "revoke", id_of(&reader)]].concat());
    for process in [&one, &two] {
        process
            .until("it is revoked", REVOKED_WITHIN, async || {
                process.status("/v1/links/7/summary", &reader).await == 401
            })
            .await;
    }
    // A share link made by one process is known to the other.
    let admin = key(&lake, "7", "admin,read");
    one.until("the key works", REVOKED_WITHIN, async || works(&one, &admin).await).await;
    let wanted =
        json!({ "link_id": "7", "expires_at": Clock::system().now().plus_millis(60_000).to_string() }).to_string();
    let made = told(one.client.post(one.url("/v1/share-links")).bearer_auth(&admin).body(wanted)).await.1;
    let token = made["token"].as_str().unwrap();
    two.until("the share link works", REVOKED_WITHIN, async || works(&two, token).await).await;
    let place = format!("/v1/share-links/{}", made["id"].as_str().unwrap());
    assert_eq!(one.client.delete(one.url(&place)).bearer_auth(&admin).send().await.unwrap().status(), 204);
    two.until("it is revoked", REVOKED_WITHIN, async || !works(&two, token).await).await;
    for process in [one, two, door] {
        let logs = process.end();
        for secret in [&reader, &sender, &admin, token] {
            assert!(!logs.contains(secret.rsplit('_').next().unwrap()), "a secret is told");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_issuer_are_taken_and_forged_ones_are_not() {
    let (issuer, folder) = (Issuer::new(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let jwks = format!("access.jwt.jwks={}", issuer.url());
    let settings = [
        "--set",
        &jwks,
        "--set",
        "access.jwt.issuer=https://id.example",
        "--set",
        "access.jwt.audience=[\"linktide\"]",
        "--set",
        "access.jwt.scope_claim=scp",
    ];
    let standalone = ["standalone", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let linktide = Running::begin(folder.path(), "tokens", &[&settings[..], &standalone].concat());
    let now = Clock::system().now().as_millis() / 1000;
    let claims = json!({ "iss": "https://id.example", "aud": ["linktide"], "sub": "ada", "exp": now + 300, "tenant_id": "7", "scp": ["read"] });
    let with = |member: &str, value: Value| {
        let mut claims = claims.clone();
        claims[member] = value;
        claims
    };
    for algorithm in linktide_servers::ALGORITHMS {
        let token = issuer.token(algorithm, &claims);
        linktide.until(algorithm, PATIENCE, async || linktide.status("/v1/account/summary", &token).await == 200).await;
    }
    let none = |kid: &str| issuer.sign("none", &json!({ "alg": "none", "kid": kid }), &claims);
    let public = issuer.jwks()["keys"][0]["n"].as_str().unwrap().to_owned();
    let confused = issuer.sign(&format!("HS256:{public}"), &json!({ "alg": "HS256", "kid": "RS256" }), &claims);
    for (what, token, status) in [
        ("none", none("RS256"), 401),
        ("none, nameless", issuer.sign("none", &json!({ "alg": "none" }), &claims), 401),
        ("HS256 by the public key", confused, 401),
        ("another issuer's key", Issuer::new().token("RS256", &claims), 401),
        ("expired", issuer.token("RS256", &with("exp", json!(now - 300))), 401),
        ("too early", issuer.token("RS256", &with("nbf", json!(now + 300))), 401),
        ("for someone else", issuer.token("RS256", &with("aud", json!("elsewhere"))), 401),
        ("of someone else", issuer.token("RS256", &with("iss", json!("https://evil.example"))), 401),
        ("without a tenant", issuer.token("RS256", &with("tenant_id", json!(null))), 401),
        ("without a scope", issuer.token("RS256", &with("scp", json!([]))), 403),
        ("with more than tokens may give", issuer.token("RS256", &with("scp", json!(["admin"]))), 403),
    ] {
        let (found, problem) = linktide.get("/v1/account/summary", Some(&token)).await;
        assert_eq!((found, problem["status"].as_u64()), (status, Some(u64::from(status))), "{what}: {problem}");
    }
    // The issuer changes its keys: the first token that names the new one has them fetched, and what is made up does not.
    let newer = Issuer::new();
    let mut changed = newer.jwks();
    changed["keys"][2]["kid"] = json!("2027");
    issuer.publish(&changed);
    let token = newer.sign("EdDSA", &json!({ "alg": "EdDSA", "kid": "2027" }), &claims);
    assert_eq!(linktide.status("/v1/account/summary", &token).await, 200);
    let asked = issuer.asked();
    for number in 0..50 {
        let made_up = newer.sign("EdDSA", &json!({ "alg": "EdDSA", "kid": format!("made up {number}") }), &claims);
        assert_eq!(linktide.status("/v1/account/summary", &made_up).await, 401);
    }
    assert!(issuer.asked() <= asked + 1, "{} after {asked}", issuer.asked());
    assert_eq!(
        linktide.status("/v1/account/summary", &issuer.token("RS256", &claims)).await,
        401,
        "the old key is gone"
    );
    let logs = linktide.end();
    assert!(!logs.contains(token.rsplit('.').next().unwrap()), "a token is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_mean_no_good_are_refused_or_closed_and_cost_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let place = ["--data", data.to_str().unwrap()];
    let settings =
        ["--set", "api.connections.idle=500ms", "--set", "api.connections.stall=500ms", "--set", "ingest.body=64KiB"];
    let standalone = ["standalone", "--data", place[1], "--listen", "127.0.0.1:0"];
    let linktide = Running::begin(folder.path(), "bounds", &[&settings[..], &standalone].concat());
    let key = key(&place, "1", "read,ingest");
    linktide.until("the key works", PATIENCE, async || linktide.status("/v1/links", &key).await == 200).await;
    let problem = async |request: reqwest::RequestBuilder| {
        let (status, problem) = told(request.bearer_auth(&key)).await;
        (status, problem["type"].as_str().unwrap_or_default().to_owned())
    };
    let get = |place: &str| linktide.client.get(linktide.url(place));
    let huge = "x".repeat(20 << 10);
    assert_eq!(problem(get(&format!("/v1/links?limit={huge}"))).await, (431, "/problems/head-too-large".into()));
    assert_eq!(problem(get("/v1/links").header("cookie", &huge)).await, (431, "/problems/head-too-large".into()));
    let many = (0..100).fold(get("/v1/links"), |request, number| request.header(format!("x-{number}"), "1"));
    assert_eq!(problem(many).await, (431, "/problems/head-too-large".into()));
    let post = |body: Vec<u8>| linktide.client.post(linktide.url("/v1/clicks")).body(body);
    assert_eq!(problem(post(vec![b' '; 1 << 20])).await, (413, "/problems/payload-too-large".into()));
    let bomb = zstd::encode_all(std::io::repeat(b' ').take(300 << 20), 1).unwrap();
    assert_eq!(
        problem(post(bomb).header("content-encoding", "zstd")).await,
        (413, "/problems/payload-too-large".into())
    );
    for place in ["/v1/links/../../etc/passwd", "/v1/share-links/..%2f..%2fkey", "/v1/links/7%00/summary", "/v1//links"]
    {
        let (status, _) = told(get(place).bearer_auth(&key)).await;
        assert!((400..500).contains(&status), "{place}: {status}");
    }

    // One that says nothing, one that stops within its head, and one that stops within its body.
    let begun = Instant::now();
    let head = format!(
        "POST /v1/clicks HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\nContent-Length: 1000\r\n\r\n{{"
    );
    for sent in ["", "GET /v1/links HTTP/1.1\r\nHost: he", &head] {
        let mut stream = linktide.connect();
        stream.write_all(sent.as_bytes()).unwrap();
        let closed = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            stream.read_to_end(&mut read).map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true)
        });
        assert!(closed.await.unwrap(), "{sent}: nobody closed it");
        assert_eq!(linktide.status("/v1/links", &key).await, 200, "meanwhile others are answered");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());

    // Guessing costs the address that guesses, and not those who have a key.
    let mut limited = 0;
    for _ in 0..150 {
        limited += usize::from(linktide.status("/v1/links", "lt_guess").await == 429);
    }
    assert!(limited > 0);
    assert_eq!(linktide.status("/v1/links", &key).await, 200);
    assert!(!linktide.end().contains(key.rsplit('_').next().unwrap()), "a secret is told");
}

#[test]
fn settings_that_would_let_the_wrong_ones_in_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let standalone = ["standalone", "--data", data.to_str().unwrap()];
    let keys = folder.path().join("jwks.json");
    std::fs::write(&keys, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}").unwrap();
    let file = format!("access.jwt.jwks={}", keys.display());
    for (settings, says) in [
        (vec!["api.listen=0.0.0.0:0"], "access.required"),
        (vec!["access.jwt.issuer=x"], "no jwks"),
        (vec!["access.jwt.jwks=https://id.example/jwks"], "access.jwt.issuer"),
        (vec!["access.jwt.jwks=https://id.example/jwks", "access.jwt.issuer=x"], "access.jwt.audience"),
        (
            vec!["access.jwt.jwks=http://id.example/jwks", "access.jwt.issuer=x", "access.jwt.audience=[\"y\"]"],
            "https://",
        ),
        (vec![&file, "access.jwt.issuer=x", "access.jwt.audience=[\"y\"]"], "RS256, ES256 or EdDSA"),
        (vec!["access.required=true", "access.limits.caller_burst=0"], "access.limits.caller_burst"),
        (vec!["access.required=true", "access.share_secret=/nowhere"], "/nowhere"),
        (vec!["access.jwt.scopes=[\"write\"]"], "write"),
    ] {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let error = fails(&[&settings[..], &standalone].concat());
        assert!(error.contains(says), "{settings:?}: {error}");
    }
    let lake = folder.path().join("lake");
    let place = ["--lake", lake.to_str().unwrap()];
    for (arguments, says) in [
        (vec!["keys", "create", "--tenant", "1", "--scope", "write"], "there are: read,export,ingest,admin"),
        (vec!["keys", "create", "--tenant", "-1", "--scope", "read"], "tenant"),
        (vec!["keys", "create", "--tenant", "1", "--scope", "read", "--expires", "soon"], "no duration"),
        (vec!["keys", "create", "--tenant", "1", "--scope", "read", "--expires", "0s"], "90d"),
        (vec!["keys", "revoke", "aaaaaaaaaaaa"], "no key is called"),
        (vec!["share", "revoke", "--tenant", "1", "aaaaaaaaaaaa"], "no share link"),
        (vec!["share", "x", "--tenant", "1", "--expires", "1d"], "LINK"),
    ] {
        let error = fails(&[&arguments[..], &place].concat());
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    assert!(fails(&["share", "--data", data.to_str().unwrap()]).contains("LINK"));
}
