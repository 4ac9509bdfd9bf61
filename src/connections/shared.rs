//! What all connections of a listener share.

use std::sync::Arc;

use futures_util::FutureExt;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};
use warp::filters::BoxedFilter;
use warp::http::HeaderName;
use warp::reply::Response;

use super::limits::{self, ConnectionLimits};
use super::port::Port;
use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// What a port serves.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Answers every request.
    pub filter: BoxedFilter<(Response,)>,
    /// The header fields that it reads, from [`Arrival`](super::Arrival). All others are dropped when a request arrives.
    pub fields: &'static [HeaderName],
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) protocol: auto::Builder<TokioExecutor>,
    pub(super) routes: Routes,
    pub(super) port: Port,
    pub(super) limits: ConnectionLimits,
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Metrics,
    /// Places for requests beside the first of each connection.
    pub(super) places: Arc<Semaphore>,
    /// Idle connections wait here. A notification evicts the one that has waited for longest.
    evict: Notify,
}

impl Shared {
    pub(super) fn new(
        routes: Routes,
        port: Port,
        limits: ConnectionLimits,
        lifecycle: Lifecycle,
        metrics: Metrics,
    ) -> Self {
        Self {
            protocol: limits::protocol(port),
            routes,
            port,
            limits,
            lifecycle,
            metrics,
            places: Arc::new(Semaphore::new(limits::shared_places(port))),
            evict: Notify::new(),
        }
    }

    /// Completes when an idle connection that waits here must be closed.
    pub(super) fn evicted(&self) -> Notified<'_> {
        self.evict.notified()
    }

    /// Closes the connection that has been idle for longest, or the next one to become idle.
    pub(super) fn evict_one(&self) {
        self.evict.notify_one();
    }

    /// There is room: a connection that becomes idle later need not be closed for it.
    pub(super) fn evict_none(&self) {
        // Takes the notification that no connection has taken.
        let _ = self.evict.notified().now_or_never();
    }
}
