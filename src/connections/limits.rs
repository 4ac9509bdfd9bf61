//! Limits of connections: how many there may be, and how long each part of one may take. hyper enforces some of them.

use std::num::NonZeroUsize;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;

use super::port::Port;

/// How many header fields a request may have. The published client sends six.
pub(super) const MAX_FIELDS: usize = 64;

/// The most bytes of a request's head, and of those read ahead of hyper.
pub(super) const MAX_HEAD: u16 = 16 * 1024;

/// How many requests an HTTP/2 connection may have in progress. RFC 9113 (6.5.2) advises at least 100.
const MAX_STREAMS: u32 = 100;

/// The same on the management port. Its responses are large, and its clients ask for one at a time.
const MANAGEMENT_STREAMS: u32 = 8;

/// How many requests of a port may be in progress beside the first of each connection, all connections together. One more
/// is refused. Twice as many as may wait for searches by default.
const SHARED_PLACES: usize = 4096;

/// The same on Nano's port, whose nodes open a connection for each request.
const NANO_PLACES: usize = 1024;

/// How many requests an HTTP/2 connection may abandon within a second. An abandoned request costs about as much as an
/// answered one, so this bounds the work that a client can cause for nothing.
pub(super) const RESETS: u32 = 2 * MAX_STREAMS;

/// HTTP/2 flow control: how many bytes of bodies a stream and a connection may have in flight. A body has some 130.
const STREAM_WINDOW: u32 = 32 * 1024;
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// How often a silent HTTP/2 client is sent a PING, and how long it may take to answer.
const PING: Duration = Duration::from_secs(20);

/// Drain grace: once the process drains, how long a client may take for anything but a search: to finish a head or a
/// body, to read a response, or to send its next request on a connection that was just in use.
pub const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How many connections a port takes, and how long each part of one may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many connections are open at once.
    pub open: NonZeroUsize,
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// For a request's body to arrive, and for the client to take any part of a response.
    pub body: Duration,
    /// How long a connection may be open without a request.
    pub idle: Duration,
    /// The age at which the client is asked to open a new connection. Up to 10 % is added at random, so that connections
    /// which were opened together are not replaced together.
    pub age: Duration,
}

/// How many requests of this port may be in progress beside the first of each connection.
pub(super) const fn shared_places(port: Port) -> usize {
    match port {
        Port::Public | Port::Management => SHARED_PLACES,
        Port::Nano => NANO_PLACES,
    }
}

/// hyper, with the limits that it keeps itself.
pub(super) fn protocol(port: Port) -> auto::Builder<TokioExecutor> {
    let streams = match port {
        Port::Public | Port::Nano => MAX_STREAMS,
        Port::Management => MANAGEMENT_STREAMS,
    };
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .header_read_timeout(None)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD.into());
    protocol
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(streams)
        .max_header_list_size(MAX_HEAD.into())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    protocol
}
