//! An S3 server: versitygw over a folder, with one pair of keys.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::process::Process;
use crate::{fetched, free_ports, listens, wait_until};

/// A server.
pub struct S3 {
    port: u16,
    read_only: bool,
    // Ends before its folder goes.
    process: Option<Process>,
    folder: TempDir,
}

impl S3 {
    /// The key that is sent.
    pub const ACCESS_KEY: &'static str = "tide";
    /// Its secret.
    pub const SECRET_KEY: &'static str = "low-and-high";

    /// Starts a server with one empty bucket.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        let [port] = free_ports();
        let mut s3 =
            Self { port, read_only: false, process: None, folder: TempDir::new().expect("a temporary folder") };
        std::fs::create_dir_all(s3.bucket(bucket)).expect("the folder can be written");
        s3.run();
        s3
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of a bucket: an object is a file in it.
    #[must_use]
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.folder.path().join("buckets").join(name)
    }

    /// Ends it as a crash does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again with what it had.
    pub fn run(&mut self) {
        let place = self.folder.path().join("buckets").to_string_lossy().into_owned();
        let address = format!("127.0.0.1:{}", self.port);
        let mut arguments =
            vec!["--quiet", "--port", &address, "--access", Self::ACCESS_KEY, "--secret", Self::SECRET_KEY];
        if self.read_only {
            arguments.push("--readonly");
        }
        arguments.extend(["posix", &place]);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let output = self.folder.path().join("output");
        let process = Process::start(&program(), &arguments, &output);
        wait_until("versitygw listens", || {
            assert!(process.runs(), "versitygw ended: {}", std::fs::read_to_string(&output).unwrap_or_default());
            listens(self.port)
        });
        self.process = Some(process);
    }

    /// Starts it again so that it takes writes, or takes none.
    pub fn set_read_only(&mut self, read_only: bool) {
        self.read_only = read_only;
        self.stop();
        self.run();
    }
}

/// The program that `./dev test` fetched.
fn program() -> String {
    let place = fetched("LINKTIDE_VERSITYGW", Path::new("versitygw/versitygw"));
    assert!(place.is_file(), "versitygw is not at {}; `./dev test` fetches it", place.display());
    place.to_string_lossy().into_owned()
}
