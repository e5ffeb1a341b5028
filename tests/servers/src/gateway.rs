//! An HTTP proxy that treats requests as it is told: refuses them, loses their answers, is slow.
//!
//! Each request has a connection of its own, and the head of a request passes as it is but for that, so that signatures
//! stay right.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::Duration;

use crate::local;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `PUT`.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// Whether it wants to create something, and to leave alone what is there.
    pub creates: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It passes.
    Pass,
    /// It is answered with a status, and nothing is done.
    Refuse(u16),
    /// It is done, and answered with a status all the same.
    Deny(u16),
    /// It is done, and its connection ends without an answer.
    Lose,
    /// It passes after a while.
    Delay(Duration),
    /// It is done, and whoever created nothing is told that it did.
    Flatter,
}

type Rule = Box<dyn Fn(&Request) -> Treatment + Send + Sync>;

/// Stands before an HTTP server of this machine.
pub struct Gateway {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    rule: Mutex<Arc<Rule>>,
    treated: AtomicUsize,
    ended: AtomicBool,
}

impl Gateway {
    /// Begins to stand before `port`.
    #[must_use]
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind(local(0)).expect("a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            server: local(port),
            rule: Mutex::new(Arc::new(Box::new(|_| Treatment::Pass))),
            treated: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        spawn(move || {
            for client in listener.incoming() {
                if state.ended.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(client) = client {
                    let state = Arc::clone(&state);
                    // A request that breaks off is its client's to send again.
                    spawn(move || drop(state.serve(client)));
                }
            }
        });
        Self { port: own, shared }
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", local(self.port))
    }

    /// Treats every request from now on as `rule` says.
    pub fn treat(&self, rule: impl Fn(&Request) -> Treatment + Send + Sync + 'static) {
        *self.shared.rule.lock().expect("nobody panics with it") = Arc::new(Box::new(rule));
    }

    /// How many requests did not simply pass.
    #[must_use]
    pub fn treated(&self) -> usize {
        self.shared.treated.load(Ordering::Acquire)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the listener, so that it sees the end.
        let _ = TcpStream::connect(local(self.port));
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some((head, body)) = read(&mut client)? else { return Ok(()) };
        let rule = Arc::clone(&self.rule.lock().expect("nobody panics with it"));
        let treatment = rule(&described(&head));
        if treatment != Treatment::Pass {
            self.treated.fetch_add(1, Ordering::AcqRel);
        }
        let answer = match treatment {
            Treatment::Refuse(status) => refusal(status),
            Treatment::Deny(status) => {
                self.ask(&head, &body)?;
                refusal(status)
            }
            Treatment::Lose => {
                self.ask(&head, &body)?;
                return client.shutdown(Shutdown::Both);
            }
            Treatment::Delay(while_) => {
                wait(while_);
                self.ask(&head, &body)?
            }
            Treatment::Flatter => flattered(self.ask(&head, &body)?),
            Treatment::Pass => self.ask(&head, &body)?,
        };
        client.write_all(&answer)
    }

    fn ask(&self, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.server)?;
        let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head: String = kept.map(|line| format!("{line}\r\n")).collect();
        server.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.trim_end()).as_bytes())?;
        server.write_all(body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

#[expect(clippy::disallowed_methods, reason = "a slow server is what is asked for")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

/// The head of a request, up to the empty line, and its body.
fn read(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if header(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            count => body.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(Some((head, body)))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|pair| pair.1)
}

fn described(head: &str) -> Request {
    let mut line = head.split(' ');
    let mut next = || line.next().unwrap_or_default().to_owned();
    Request { method: next(), path: next(), creates: header(head, "if-none-match").is_some() }
}

fn refusal(status: u16) -> Vec<u8> {
    let body = match status {
        503 => "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
        507 => "<Error><Code>InsufficientStorage</Code><Message>There is no room.</Message></Error>",
        403 => "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>",
        _ => "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
    };
    let length = body.len();
    format!("HTTP/1.1 {status} Refused\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

fn flattered(answer: Vec<u8>) -> Vec<u8> {
    if !answer.starts_with(b"HTTP/1.1 412") {
        return answer;
    }
    b"HTTP/1.1 200 OK\r\nETag: \"00000000000000000000000000000000\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        .to_vec()
}
