//! The bounds of a server, over real connections.

use std::time::Instant;

use axum::body::to_bytes;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{ByteSize, Span};

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);
/// What clients may take in these tests, and what they may take at most until they are closed.
const SHORT: Span = Span::millis(300);
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Lets `/held` answer.
    release: Arc<Notify>,
    /// `/held` has been asked.
    held: Arc<Notify>,
}

fn bounds() -> Connections {
    Connections { most: 8, idle: SHORT, stall: SHORT, body: Span::millis(900), head: ByteSize(4 << 10), headers: 20 }
}

async fn server(bounds: Connections) -> Server {
    let (address, listener) = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let (release, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (released, asked) = (Arc::clone(&release), Arc::clone(&held));
    let wait = move || {
        let (released, asked) = (Arc::clone(&released), Arc::clone(&asked));
        async move {
            asked.notify_one();
            released.notified().await;
            "held"
        }
    };
    let count = async |request: Request| match to_bytes(request.into_body(), 1 << 20).await {
        Ok(body) => body.len().to_string(),
        Err(error) => format!("broken: {error}"),
    };
    let large = async || vec![b'x'; 64 << 20];
    let router = Router::new()
        .route("/", get(|| std::future::ready("ok")))
        .route("/peer", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
        .route("/held", get(wait))
        .route("/count", post(count))
        .route("/large", get(large));
    let stop = CancellationToken::new();
    let task = tokio::spawn(answer(listener, router, bounds, stop.clone()));
    Server { address, stop, task, release, held }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What is answered to what is sent, until the server closes.
    async fn ask(&self, sent: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// What comes until the other side closes: it must.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A connection that is reset is closed.
    let _ = tokio::time::timeout(CLOSED_WITHIN, stream.read_to_end(&mut read)).await.expect("the server closes");
    String::from_utf8_lossy(&read).into_owned()
}

fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn head_that_is_too_large_is_refused_with_a_problem() {
    let server = server(bounds()).await;
    assert!(server.ask(&request("/", "")).await.starts_with("HTTP/1.1 200"));
    let peer = server.ask(&request("/peer", "")).await;
    assert!(peer.contains("127.0.0.1:"), "{peer}");
    let long = format!("/?a={}", "x".repeat(5 << 10));
    let many = "a: b\r\n".repeat(30);
    let wide = format!("a: {}\r\n", "x".repeat(5 << 10));
    for (path, headers) in [(long.as_str(), ""), ("/", &many), ("/", &wide)] {
        let answer = server.ask(&request(path, headers)).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("/problems/head-too-large"), "{answer}");
    }
    // Beyond what is read at all there is a status, and no words.
    for headers in ["a: b\r\n".repeat(300), format!("a: {}\r\n", "x".repeat(1 << 20))] {
        let answer = server.ask(&request("/", &headers)).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    assert!(server.ask("\r\n\0\0\0 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    server.end().await;
}

#[tokio::test]
async fn client_that_sends_nothing_or_a_byte_at_a_time_is_closed() {
    let server = server(bounds()).await;
    let begun = Instant::now();
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let drip = async {
        let mut due = tokio::time::interval(Duration::from_millis(50));
        for byte in request("/", &"a: b\r\n".repeat(1000)).bytes() {
            due.tick().await;
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        panic!("nobody closed it");
    };
    let closed = async { tokio::time::timeout(PATIENCE, drip).await.expect("the server closes") };
    let (silent, (), idle) = tokio::join!(rest(&mut silent), closed, rest(&mut idle));
    assert_eq!(silent, "");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    assert!(begun.elapsed() >= SHORT.0);
    server.end().await;
}

#[tokio::test]
async fn body_that_pauses_or_does_not_end_is_given_up() {
    let server = server(bounds()).await;
    let head = "POST /count HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";
    let paused = server.ask(&format!("{head}abc")).await;
    assert!(paused.contains("broken"), "{paused}");
    let mut stream = server.connect().await;
    let (mut read, mut write) = stream.split();
    write.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let drip = async {
        let mut due = tokio::time::interval(Duration::from_millis(100));
        while write.write_all(b"x").await.is_ok() {
            due.tick().await;
        }
    };
    tokio::select! {
        () = drip => {}
        _ = read.read_to_end(&mut answer) => {}
        () = tokio::time::sleep(CLOSED_WITHIN) => panic!("it never ends"),
    }
    assert!(server.ask(&head.replace("1000", "3").replace("\r\n\r\n", "\r\n\r\nabc")).await.ends_with("\r\n3"));
    server.end().await;
}

#[tokio::test]
async fn client_that_does_not_read_is_closed() {
    let server = server(Connections { most: 1, ..bounds() }).await;
    let mut deaf = server.connect().await;
    deaf.write_all(request("/large", "").as_bytes()).await.unwrap();
    // The one place there is becomes free: nobody read what was written to it.
    let answer = tokio::time::timeout(PATIENCE, server.ask(&request("/", ""))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut some = [0; 100];
    assert!(deaf.read(&mut some).await.unwrap() > 0, "it was answered");
    server.end().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_one_ends() {
    let server = server(Connections { most: 2, idle: Span::seconds(20), ..bounds() }).await;
    let (one, _two) = (server.connect().await, server.connect().await);
    let mut third = server.connect().await;
    third.write_all(request("/", "").as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    let waits = tokio::time::timeout(Duration::from_millis(300), third.read(&mut byte)).await;
    assert!(waits.is_err(), "there is no place");
    drop(one);
    tokio::time::timeout(PATIENCE, third.read(&mut byte)).await.unwrap().unwrap();
    assert_eq!(&byte, b"H");
    server.end().await;
}

#[tokio::test]
async fn end_answers_what_was_asked_and_closes_what_is_idle() {
    let server = server(Connections { idle: Span::seconds(60), ..bounds() }).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    idle.read_exact(&mut byte).await.unwrap();
    let mut asked = server.connect().await;
    asked.write_all(b"GET /held HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    server.held.notified().await;
    server.stop.cancel();
    rest(&mut idle).await;
    let address = server.address;
    assert!(!server.task.is_finished());
    server.release.notify_one();
    let answer = rest(&mut asked).await;
    assert!(answer.ends_with("held"), "{answer}");
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
