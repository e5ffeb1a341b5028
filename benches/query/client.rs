//! A plain client: one connection, one question after the other, so that little of the measured time is its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection to the service.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(1 << 17) })
    }

    /// Asks, and gives the body of the answer; anything but 200 is an error.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        let (status, body) = self.exchange(request).await?;
        anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
        Ok(body)
    }

    /// Asks, and gives status and body, whatever they are.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended");
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let (status, length) = described(&self.buffer[..head]).context("a head of an answer that is none")?;
        while self.buffer.len() < head + length {
            anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended");
        }
        Ok((status, &self.buffer[head..head + length]))
    }
}

/// Status and length of an answer.
fn described(head: &[u8]) -> Option<(u16, usize)> {
    let head = std::str::from_utf8(head).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })?;
    Some((status, length))
}

/// A request with a JSON body.
pub(crate) fn post(place: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {place} HTTP/1.1\r\nhost: linktide\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// The same request by whoever has a key.
pub(crate) fn with_key(request: Vec<u8>, key: &str) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let header = format!("authorization: Bearer {key}\r\n");
    [&request[..line], header.as_bytes(), &request[line..]].concat()
}

/// A request without one.
pub(crate) fn get(place: &str) -> Vec<u8> {
    format!("GET {place} HTTP/1.1\r\nhost: linktide\r\n\r\n").into_bytes()
}
