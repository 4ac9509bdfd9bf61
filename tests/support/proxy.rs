//! A proxy in front of a deployment's servers. It gives each new connection to a ready server, and forwards bytes. It never
//! retries, so that a server's mistake reaches the client.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::http::get;

/// How often readiness is asked for.
const PERIOD: Duration = Duration::from_millis(20);

/// A server behind the proxy.
#[derive(Clone, Debug)]
struct Upstream {
    address: SocketAddr,
    management: SocketAddr,
    ready: Arc<AtomicBool>,
}

/// A proxy for two servers. Its threads end with the process.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    upstreams: Arc<Mutex<[Option<Upstream>; 2]>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Self {
            address: listener.local_addr().expect("it is bound"),
            upstreams: Arc::default(),
        };
        let upstreams = Arc::clone(&proxy.upstreams);
        thread::spawn(move || {
            for (turn, client) in listener.incoming().enumerate() {
                let ready = ready(&upstreams);
                // If no server is ready, the client's connection is closed.
                if let (Ok(client), false) = (client, ready.is_empty())
                    && let Ok(server) = TcpStream::connect(ready[turn % ready.len()].address)
                {
                    carry(&client, &server);
                    carry(&server, &client);
                }
            }
        });
        proxy
    }

    /// Puts a server in this place, in use as soon as it says that it is ready, until it says that it is not.
    pub(crate) fn put(&self, slot: usize, address: SocketAddr, management: SocketAddr) {
        let upstream = Upstream {
            address,
            management,
            ready: Arc::default(),
        };
        self.upstreams.lock().unwrap()[slot] = Some(upstream.clone());
        thread::spawn(move || {
            loop {
                let status = get(upstream.management, "/health/readiness").status;
                upstream.ready.store(status == 200, Ordering::Relaxed);
                if status == 503 {
                    // It goes, and another will take its place.
                    return;
                }
                thread::sleep(PERIOD);
            }
        });
    }

    /// How many servers are ready.
    pub(crate) fn ready(&self) -> usize {
        ready(&self.upstreams).len()
    }
}

fn ready(upstreams: &Mutex<[Option<Upstream>; 2]>) -> Vec<Upstream> {
    let upstreams = upstreams.lock().unwrap();
    let all = upstreams.iter().flatten();
    all.filter(|upstream| upstream.ready.load(Ordering::Relaxed))
        .cloned()
        .collect()
}

/// Forwards bytes until either side has no more.
fn carry(from: &TcpStream, to: &TcpStream) {
    let [mut from, mut to] = [from, to].map(|stream| stream.try_clone().expect("a descriptor"));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
