//! Real servers for the tests of this crate.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis server of its own on a free port, ended when dropped. It is spoken to in its plain protocol: no client stands between it and the bytes.
pub(crate) struct Redis {
    server: Child,
    connection: BufReader<TcpStream>,
    _folder: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--maxmemory-policy",
                "noeviction",
            ])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts; ./dev test installs it");
        let deadline = Instant::now() + Duration::from_secs(20);
        let connection = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(connection) => break connection,
                Err(error) => assert!(Instant::now() < deadline, "redis-server does not answer: {error}"),
            }
            std::thread::yield_now();
        };
        Self { server, connection: BufReader::new(connection), _folder: folder }
    }

    fn send(&mut self, command: &[&[u8]]) -> String {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            bytes.extend(format!("${}\r\n", part.len()).bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        self.connection.get_mut().write_all(&bytes).unwrap();
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        assert!(!line.starts_with('-'), "redis-server refuses: {line}");
        line.trim_end().to_owned()
    }

    pub(crate) fn call(&mut self, command: &[&[u8]]) {
        self.send(command);
    }

    pub(crate) fn integer(&mut self, command: &[&[u8]]) -> i64 {
        self.send(command)[1..].parse().unwrap()
    }

    pub(crate) fn bytes(&mut self, command: &[&[u8]]) -> Vec<u8> {
        let len: usize = self.send(command)[1..].parse().unwrap();
        let mut bytes = vec![0; len + 2];
        self.connection.read_exact(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
