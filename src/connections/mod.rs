//! Connections of all ports: which are accepted, how long each part of one may take, and how they end.
//!
//! hyper speaks HTTP/1.1 and HTTP/2 (with prior knowledge) on them. The timeouts are here, since hyper has one for the
//! head of an HTTP/1.1 request only, and none before it knows the protocol. A connection is closed when
//!
//! - a head, or HTTP/2's preface, is not complete within [`ConnectionLimits::header`] from its first byte;
//! - it has carried no request for [`ConnectionLimits::idle`];
//! - its client takes no part of a response for [`ConnectionLimits::body`];
//! - its client abandons more than `RESETS` requests within a second;
//! - another client needs its slot, and it has been idle for longest. While a response waits to be read it is not idle.
//!
//! A request may have 64 header fields over HTTP/1 and HTTP/2 alike. Only those that the routes read are kept. Each
//! connection may have one request in progress, and all of a port share a fixed number of further ones.
//!
//! A running search has no time limit here. It is cancelled when its client disconnects: at once if the server can see
//! that, which takes reading ahead of hyper (`socket`, `framing`), and by TCP keep-alive if the client's machine
//! has vanished ([`bind`]).

mod activity;
mod connection;
mod framing;
mod limits;
mod listener;
mod port;
mod requests;
mod shared;
mod socket;

pub use connection::register_metrics;
pub use limits::{ConnectionLimits, DRAIN_GRACE};
pub use listener::serve;
pub use port::{MANAGEMENT_CONNECTIONS, Port, bind, reserve_descriptors};
pub use requests::Arrival;
pub use shared::Routes;
