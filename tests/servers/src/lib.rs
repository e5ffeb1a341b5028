//! Real servers for tests and benchmarks: each on free ports, in a folder of its own, gone with whoever started it.
//!
//! They panic where they cannot start: a test without its server has nothing to say.

mod kafka;
mod process;
mod proxy;
mod redis;

pub use kafka::Kafka;
pub use proxy::Proxy;
pub use redis::{Redis, RedisCluster};

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Ports that nobody listens on now.
fn free_ports<const N: usize>() -> [u16; N] {
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
