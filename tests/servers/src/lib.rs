//! Real servers for tests and benchmarks: each on free ports, in a folder of its own, gone with whoever started it.
//!
//! They panic where they cannot start: a test without its server has nothing to say.

mod clock;
mod foreign;
mod gateway;
mod issuer;
mod kafka;
mod moto;
mod process;
mod proxy;
mod redis;
mod s3;

pub use foreign::python;
pub use gateway::{Gateway, Request, Treatment};
pub use issuer::{ALGORITHMS, Issuer, sha256};
pub use kafka::Kafka;
pub use moto::Moto;
pub use proxy::Proxy;
pub use redis::{Redis, RedisCluster};
pub use s3::S3;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Ports that nobody listens on now.
///
/// # Panics
/// Where there are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Waits until `holds`; panics with `what` where it never does.
#[expect(clippy::disallowed_methods, reason = "this is the wait on a condition with a deadline")]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + READY_WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", READY_WITHIN.as_secs());
        std::thread::sleep(LOOK);
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&local(port), LOOK).is_ok()
}

/// What `./dev test` fetched: at `place` beside the build output, or where the environment says.
fn fetched(variable: &str, place: &Path) -> PathBuf {
    let default = || {
        let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        cache.join("linktide").join(place)
    };
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}
