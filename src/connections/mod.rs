//! Connections of both ports: which are accepted, how long each may take for what, and how they end.
//!
//! hyper speaks HTTP/1.1 and HTTP/2 (with prior knowledge) on them; the clocks are here, since hyper has one for
//! the head of an HTTP/1.1 request only, and none before it knows the protocol. A connection is closed when
//!
//! - a head, or HTTP/2's preface, is not complete within [`Limits::header`] from its first byte;
//! - it has carried no request for [`Limits::idle`];
//! - its client takes nothing of an answer for [`Limits::body`];
//! - it abandons more than `RESETS` requests within a second;
//! - room is needed, and it has been without a request for longest.
//!
//! A request that is being searched for has no limit here. It is abandoned when the client leaves: at once if that
//! can be seen, which takes read-ahead where requests are pipelined (`socket`), and by probes where the client's
//! machine has gone without a word ([`bind`]).

mod connection;
mod pulse;
mod requests;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::telemetry::Metrics;
use connection::Connection;
pub use connection::begin_counts;
pub use requests::Arrival;

/// How many headers a request may have. The published client sends six.
const MAX_HEADERS: usize = 64;

/// The most bytes that a request's head may have, and as many are read ahead.
const MAX_HEAD: u16 = 16 * 1024;

/// How many requests an HTTP/2 connection may have in progress; RFC 9113 (6.5.2) advises no fewer.
const MAX_STREAMS: u32 = 100;

/// How many requests an HTTP/2 connection may abandon within a second. Each costs about as much as one that is
/// answered, so this bounds what a client can have done for nothing.
const RESETS: u32 = 2 * MAX_STREAMS;

/// How much of a request's body may be in flight: one of the greatest size, and for all of a connection's requests
/// together eight.
const STREAM_WINDOW: u32 = 32 * 1024;
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// How long a silent client may be gone before TCP asks for it, how often it asks, and how many times.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// What every client gets to finish what it has begun, once the service is closing: a head, a body, reading an
/// answer, or sending the next request on a connection that was just in use.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// How many clients may wait in the kernel's queue, if the system allows as many (`net.core.somaxconn`). One more is
/// not refused, but tries again after a second, which is how a burst of clients would be slowed.
const BACKLOG: u32 = 4096;

/// How long to wait before accepting again when the system cannot give another connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How many connections the management port takes: probes and scrapers are few.
pub const MANAGEMENT_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// How many descriptors are kept for all but the public port's connections: the management port's, the devices',
/// the runtime's.
const RESERVED_DESCRIPTORS: u64 = 64 + MANAGEMENT_CONNECTIONS.get() as u64;

/// How many connections there may be, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are open at once.
    pub open: NonZeroUsize,
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// For a request's body, and for the client to take something of an answer.
    pub body: Duration,
    /// How long a connection may be open without a request.
    pub idle: Duration,
    /// How old a connection may become before its client is asked to connect anew. Up to a tenth is added, so that those
    /// which came together do not come back together.
    pub age: Duration,
}

/// How the service stands to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is there for them.
    Serving,
    /// It will go: everything is still answered, and HTTP/1.1 clients are asked to connect anew.
    Leaving,
    /// It goes: no connection is accepted, what has begun is finished, silent connections are closed.
    Closing,
}

/// What a listener serves: a label of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Clients.
    Public,
    /// Probes and scrapers.
    Management,
}

impl Port {
    const fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Management => "management",
        }
    }
}

/// Knows when those that keep an ending service waiting have waited long enough.
#[derive(Clone, Debug)]
pub struct Closing(watch::Receiver<Phase>);

impl Closing {
    /// The one that follows `phase`.
    pub const fn new(phase: watch::Receiver<Phase>) -> Self {
        Self(phase)
    }

    /// Ready [`FAREWELL`] after the service began to close, or after the call if that is later. Never, if the service
    /// ends otherwise.
    pub async fn overdue(&self) {
        closing(&mut self.0.clone()).await;
        tokio::time::sleep(FAREWELL).await;
    }
}

async fn closing(phase: &mut watch::Receiver<Phase>) {
    if phase
        .wait_for(|&phase| phase == Phase::Closing)
        .await
        .is_err()
    {
        // Whoever could say so has gone, and with it the service.
        std::future::pending::<()>().await;
    }
}

/// Opens a port whose connections send small packets at once, and are probed for clients that have vanished. To be
/// called in a runtime.
///
/// # Errors
///
/// If the system refuses the port.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Connections of a predecessor that are still being closed must not hold up the start.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    // Accepted connections inherit these (tcp(7)).
    sockopt::set_tcp_nodelay(&listener, true)?;
    sockopt::set_socket_keepalive(&listener, true)?;
    sockopt::set_tcp_keepidle(&listener, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(&listener, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(&listener, PROBES)?;
    Ok(listener)
}

/// Makes room for `wanted` connections of the public port in the process's descriptors. How many there is room for.
pub fn reserve_descriptors(wanted: NonZeroUsize) -> NonZeroUsize {
    let needed = (wanted.get() as u64).saturating_add(RESERVED_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let mut allowed = limit.current.unwrap_or(u64::MAX);
    if allowed < needed {
        let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        let new = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, new) {
            Ok(()) => allowed = raised,
            Err(error) => {
                tracing::warn!(%error, "the limit of open descriptors cannot be raised");
            }
        }
    }
    if allowed >= needed {
        return wanted;
    }
    let room = usize::try_from(allowed.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
    let room = NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN);
    tracing::warn!(
        descriptors = allowed,
        wanted,
        connections = room,
        "the limit of open descriptors (ulimit -n) allows fewer connections than wanted"
    );
    room
}

/// Accepts connections and serves `routes` on them until the phase is [`Phase::Closing`] and the last has ended.
/// Dropping the future closes them all.
pub async fn serve(
    listener: TcpListener,
    port: Port,
    routes: BoxedFilter<(Response,)>,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
    metrics: Metrics,
) {
    let room = Arc::new(Semaphore::new(
        limits.open.get().min(Semaphore::MAX_PERMITS),
    ));
    let mut connections = Connections {
        shared: Arc::new(Shared {
            protocol: protocol(),
            routes,
            port,
            limits,
            phase: phase.clone(),
            metrics,
            make_room: Notify::new(),
        }),
        tasks: JoinSet::new(),
    };
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing(&mut phase) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                let permit = tokio::select! {
                    permit = connections.permit(&room) => Some(permit),
                    () = closing(&mut phase) => None,
                };
                connections.start(stream, permit);
            }
            // The client has left between its connection's making and its acceptance.
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // Once an episode: it would otherwise be said ten times a second.
                if !failing {
                    tracing::warn!(%error, port = port.label(), "no connection can be accepted; trying on");
                }
                failing = true;
                connections.shared.make_room.notify_one();
                tokio::select! {
                    () = tokio::time::sleep(BACK_OFF) => {}
                    () = closing(&mut phase) => break,
                }
            }
        }
    }
    // Whoever stands in the queue has connected, and may have sent its request.
    if let Ok(listener) = listener.into_std() {
        while let Ok(permit) = Arc::clone(&room).try_acquire_owned()
            && let Ok((stream, _)) = listener.accept()
        {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                connections.start(stream, Some(permit));
            }
        }
    }
    while connections.tasks.join_next().await.is_some() {}
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// hyper, with its limits.
fn protocol() -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD.into());
    protocol
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD.into())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    protocol
}

/// What all connections of a listener have in common.
#[derive(Debug)]
struct Shared {
    protocol: auto::Builder<TokioExecutor>,
    routes: BoxedFilter<(Response,)>,
    port: Port,
    limits: Limits,
    phase: watch::Receiver<Phase>,
    metrics: Metrics,
    /// Told to the connection that has been without a request for longest: those wait here, first come first told.
    make_room: Notify,
}

/// The connections of a listener.
#[derive(Debug)]
struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Connections {
    /// Waits until there is room for another connection, and asks for it.
    ///
    /// Meanwhile clients wait in the kernel's queue: unlike a refusal, that costs nothing, and ends as soon as
    /// some connection carries no request.
    async fn permit(&self, room: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        if room.available_permits() == 0 {
            self.shared.make_room.notify_one();
        }
        let permit = Arc::clone(room).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    fn start(&mut self, stream: TcpStream, permit: Option<OwnedSemaphorePermit>) {
        // Those that have ended are forgotten here, and with them what they ended with; but a panic is a bug.
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a connection ended by a bug");
            }
        }
        let connection = Connection::new(Arc::clone(&self.shared));
        self.tasks.spawn(async move {
            connection.serve(stream).await;
            drop(permit);
        });
    }
}
