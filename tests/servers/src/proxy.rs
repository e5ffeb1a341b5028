//! A TCP proxy that can cut its connections, in the middle of an answer too.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use crate::local;

/// Stands before a server of this machine.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<Vec<TcpStream>>,
    /// Bytes of answers that still pass before everything is cut; 0 for no limit.
    budget: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    /// Begins to stand before `port`.
    #[must_use]
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind(local(0)).expect("a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        spawn(move || {
            for client in listener.incoming() {
                if state.ended.load(Ordering::Acquire) {
                    return;
                }
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(local(port))) {
                    join(&state, &client, &server);
                }
            }
        });
        Self { port: own, shared }
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        local(self.port)
    }

    /// Cuts every connection there is now.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Lets so many more bytes of answers pass, then cuts every connection.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.budget.store(bytes.max(1), Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.cut();
        // Wakes the listener, so that it sees the end.
        let _ = TcpStream::connect(self.address());
    }
}

impl Shared {
    fn cut(&self) {
        for connection in self.connections.lock().expect("nobody panics with it").drain(..) {
            // It may have been closed by its ends before.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Whether an answer of so many bytes may pass.
    fn passes(&self, bytes: u64) -> bool {
        let spend = |left: u64| (left > 0).then(|| left.saturating_sub(bytes).max(1));
        match self.budget.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend) {
            Err(_) => true,
            Ok(left) if left > bytes => true,
            Ok(_) => {
                self.budget.store(0, Ordering::Release);
                self.cut();
                false
            }
        }
    }
}

fn join(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
    let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let (Ok(client), Ok(server)) = (client.try_clone(), server.try_clone()) else { return };
    shared.connections.lock().expect("nobody panics with it").extend([client, server]);
    spawn(move || pump(from_client, to_server, |_| true));
    let shared = Arc::clone(shared);
    spawn(move || pump(from_server, to_client, move |bytes| shared.passes(bytes)));
}

fn pump(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(u64) -> bool) {
    let mut buffer = [0; 65_536];
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
        && passes(count as u64)
        && to.write_all(&buffer[..count]).is_ok()
    {}
    // Either end may be gone already.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
