//! One connection, from when it is accepted until it ends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until, timeout};

use super::activity::{Activity, Overdue};
use super::limits::DRAIN_GRACE;
use super::port::Port;
use super::requests;
use super::shared::Shared;
use super::socket::Socket;
use crate::telemetry::Metrics;

/// How often hyper is polled after a client has disconnected while its request is in progress. The request may have arrived together with
/// the end of the connection, and hyper takes a poll for each step from its bytes to its handler: for the head, for each part of
/// the body, and for its end. A handler that answers at once, as `work_cancel` of Nano's API does, has acted by then.
const LAST_POLLS: u32 = 16;

/// How a connection ended: a label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Closed properly, by either side.
    Closed,
    /// The client disconnected in the middle of a request, or did not speak HTTP.
    Broken,
    /// A time-out or the limit of resets was exceeded.
    Overdue(Overdue),
    /// Evicted: another client needed the slot.
    Evicted,
    /// The service ended first.
    Stopped,
}

impl Ending {
    /// Every ending.
    const ALL: [Self; 8] = [
        Self::Closed,
        Self::Broken,
        Self::Overdue(Overdue::Header),
        Self::Overdue(Overdue::Idle),
        Self::Overdue(Overdue::Unread),
        Self::Overdue(Overdue::Resets),
        Self::Evicted,
        Self::Stopped,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Overdue(Overdue::Header) => "header_timeout",
            Self::Overdue(Overdue::Idle) => "idle_timeout",
            Self::Overdue(Overdue::Unread) => "answer_unread",
            Self::Overdue(Overdue::Resets) => "reset_flood",
            Self::Evicted => "displaced",
            Self::Stopped => "stopped",
        }
    }
}

/// Makes every metric of the connections of these ports appear from the start, with the value 0.
pub fn register_metrics(metrics: &Metrics, ports: &[Port]) {
    for port in ports {
        metrics.connections(port.label());
        for ending in Ending::ALL {
            metrics.connections_closed(port.label(), ending.label());
        }
    }
}

/// A connection. It is counted as open until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    open: IntGauge,
    ending: Ending,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let open = shared.metrics.connections(shared.port.label());
        open.inc();
        Self {
            shared,
            open,
            ending: Ending::Stopped,
        }
    }

    /// Serves requests until the connection ends.
    pub(super) async fn serve(mut self, stream: TcpStream) {
        let activity = Activity::start();
        let peer = stream.peer_addr().ok();
        let socket = Socket::new(stream, activity.clone());
        self.ending = self.converse(&socket, &activity, peer).await;
        if matches!(self.ending, Ending::Closed | Ending::Broken) {
            // hyper also answers a client that does not speak HTTP and may still be sending.
            let _ = timeout(DRAIN_GRACE, socket.linger()).await;
        }
    }

    async fn converse(
        &self,
        socket: &Socket,
        activity: &Activity,
        peer: Option<SocketAddr>,
    ) -> Ending {
        let shared = &self.shared;
        let old_at = Instant::now() + shared.limits.age.mul_f64(1.0 + 0.1 * fastrand::f64());
        let requests = requests::answer(Arc::clone(shared), activity.clone(), old_at, peer);
        let io = TokioIo::new(socket.clone());
        let mut http = pin!(shared.protocol.serve_connection(io, requests));
        let mut draining = pin!(shared.lifecycle.draining());
        let mut draining_since: Option<Instant> = None;
        let mut is_told = false;
        let mut is_old = false;
        let mut ageing = pin!(sleep_until(old_at));
        let mut polls_left = LAST_POLLS;
        let mut clock = pin!(sleep_until(Instant::now()));
        let mut evicted = pin!(None::<Notified<'_>>);
        poll_fn(|cx| {
            if activity.is_http2() {
                // Those requests run in tasks of their own.
                activity.wake_at_end(cx.waker());
            }
            if draining_since.is_none() && draining.as_mut().poll(cx).is_ready() {
                draining_since = Some(Instant::now());
            }
            is_old = is_old || ageing.as_mut().poll(cx).is_ready();
            loop {
                if let Poll::Ready(ended) = http.as_mut().poll(cx) {
                    return Poll::Ready(if ended.is_ok() {
                        Ending::Closed
                    } else {
                        Ending::Broken
                    });
                }
                // An HTTP/1.1 client is told with its next response. Before the first byte, or in the middle of the preface,
                // no client can be told.
                let is_over = draining_since.is_some() || is_old;
                if !is_over || is_told || !activity.is_http2() {
                    break;
                }
                is_told = true;
                http.as_mut().graceful_shutdown();
            }
            let busy = activity.is_busy();
            if busy && !activity.is_http2() && socket.poll_left(cx).is_ready() {
                if polls_left == 0 {
                    return Poll::Ready(Ending::Broken);
                }
                polls_left -= 1;
                cx.waker().wake_by_ref();
            }
            let idle = activity.is_idle() && !socket.is_ahead();
            match (idle, evicted.is_some()) {
                (false, true) => evicted.set(None),
                (true, false) => evicted.set(Some(shared.evicted())),
                _ => {}
            }
            if let Some(evicted) = evicted.as_mut().as_pin_mut()
                && evicted.poll(cx).is_ready()
            {
                return Poll::Ready(Ending::Evicted);
            }
            if let Some((deadline, overdue)) = activity.deadline(&shared.limits, draining_since) {
                if clock.deadline() != deadline {
                    clock.as_mut().reset(deadline);
                }
                if clock.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ending::Overdue(overdue));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
        let metrics = &self.shared.metrics;
        let closed = metrics.connections_closed(self.shared.port.label(), self.ending.label());
        closed.inc();
    }
}
