//! One connection, from its acceptance to its end.

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

use super::pulse::{Overdue, Pulse};
use super::socket::Socket;
use super::{FAREWELL, Port, Shared, closing, requests};
use crate::telemetry::Metrics;

/// How a connection ended: a label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// As HTTP has it, by either side.
    Closed,
    /// The client left in the middle of a request, or did not speak HTTP.
    Broken,
    /// Something took too long, or came too often.
    Overdue(Overdue),
    /// Room was needed for another.
    Displaced,
    /// The service ended before it.
    Stopped,
}

impl Ending {
    /// All there are.
    const ALL: [Self; 8] = [
        Self::Closed,
        Self::Broken,
        Self::Overdue(Overdue::Header),
        Self::Overdue(Overdue::Idle),
        Self::Overdue(Overdue::Unread),
        Self::Overdue(Overdue::Resets),
        Self::Displaced,
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
            Self::Displaced => "displaced",
            Self::Stopped => "stopped",
        }
    }
}

/// Has the metrics show every count of connections from now on.
pub fn begin_counts(metrics: &Metrics) {
    for port in [Port::Public, Port::Management] {
        metrics.connections(port.label());
        for ending in Ending::ALL {
            metrics.connections_closed(port.label(), ending.label());
        }
    }
}

/// A connection that is counted from its making until it is dropped.
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
        let pulse = Pulse::start();
        let peer = stream.peer_addr().ok();
        let socket = Socket::new(stream, pulse.clone());
        self.ending = self.converse(&socket, &pulse, peer).await;
        if matches!(self.ending, Ending::Closed | Ending::Broken) {
            // hyper has answered also those that do not speak HTTP. Who then still sends is not heard for long.
            let _ = timeout(FAREWELL, socket.linger()).await;
        }
    }

    async fn converse(&self, socket: &Socket, pulse: &Pulse, peer: Option<SocketAddr>) -> Ending {
        let shared = &*self.shared;
        let old_at = Instant::now() + shared.limits.age.mul_f64(1.0 + 0.1 * fastrand::f64());
        let requests = requests::answer(
            shared.routes.clone(),
            pulse.clone(),
            shared.phase.clone(),
            old_at,
            peer,
        );
        let io = TokioIo::new(socket.clone());
        let mut http = pin!(shared.protocol.serve_connection(io, requests));
        let mut phase = shared.phase.clone();
        let mut to_close = pin!(closing(&mut phase));
        let mut closing: Option<Instant> = None;
        let mut told = false;
        let mut is_old = false;
        let mut ageing = pin!(sleep_until(old_at));
        let mut clock = pin!(sleep_until(Instant::now()));
        let mut displaced = pin!(None::<Notified<'_>>);
        poll_fn(|cx| {
            pulse.wake(cx.waker());
            if closing.is_none() && to_close.as_mut().poll(cx).is_ready() {
                closing = Some(Instant::now());
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
                // HTTP/1.1 is told with its next answer; before the first byte, or in the middle of the preface,
                // nothing can be told.
                let is_over = closing.is_some() || is_old;
                if !is_over || told || !pulse.is_http2() {
                    break;
                }
                told = true;
                http.as_mut().graceful_shutdown();
            }
            let busy = pulse.is_busy();
            if busy && !pulse.is_http2() && socket.poll_left(cx).is_ready() {
                return Poll::Ready(Ending::Broken);
            }
            match (pulse.awaits_answer(), displaced.is_none()) {
                (true, false) => displaced.set(None),
                (false, true) => displaced.set(Some(shared.make_room.notified())),
                _ => {}
            }
            if let Some(displaced) = displaced.as_mut().as_pin_mut()
                && displaced.poll(cx).is_ready()
            {
                return Poll::Ready(Ending::Displaced);
            }
            if let Some((deadline, overdue)) = pulse.deadline(&shared.limits, closing) {
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
