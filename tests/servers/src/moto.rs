//! moto: a model of AWS in Python, with the calls of S3 that a file server knows nothing of.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use tempfile::TempDir;

use crate::process::Process;
use crate::{free_ports, listens, local, python, wait_until};

/// A server. It takes whatever keys it is given.
pub struct Moto {
    port: u16,
    // Ends before its folder goes.
    _process: Process,
    _folder: TempDir,
}

impl Moto {
    /// Starts a server with one empty bucket.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        let [port] = free_ports();
        let folder = TempDir::new().expect("a temporary folder");
        let output = folder.path().join("output");
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        let process = Process::start(&python("moto_server").to_string_lossy(), &arguments, &output);
        wait_until("moto listens", || {
            assert!(process.runs(), "moto ended: {}", std::fs::read_to_string(&output).unwrap_or_default());
            listens(port)
        });
        let moto = Self { port, _process: process, _folder: folder };
        let made = moto.ask(&format!("PUT /{bucket}")).expect("moto answers");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        moto
    }

    fn ask(&self, what: &str) -> std::io::Result<String> {
        let mut server = TcpStream::connect(local(self.port))?;
        let host = local(self.port);
        write!(server, "{what} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        server.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", local(self.port))
    }
}
