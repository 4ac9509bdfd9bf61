//! Accepts the connections of one port until the process drains.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{self, PollFd, PollFlags, Timespec};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::connection::Connection;
use super::limits::ConnectionLimits;
use super::port::Port;
use super::shared::{Routes, Shared};
use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// How long to wait before accepting again when the system cannot give another connection.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Serves `routes` on the listener's connections. Accepts connections until the process drains, and completes when the
/// last has ended. Dropping the future closes all of them.
pub async fn serve(
    listener: TcpListener,
    port: Port,
    routes: Routes,
    limits: ConnectionLimits,
    lifecycle: Lifecycle,
    metrics: Metrics,
) {
    let slots = Arc::new(Semaphore::new(
        limits.open.get().min(Semaphore::MAX_PERMITS),
    ));
    let shared = Shared::new(routes, port, limits, lifecycle.clone(), metrics);
    let mut connections = Connections {
        shared: Arc::new(shared),
        tasks: JoinSet::new(),
    };
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.draining() => break,
            Some(ended) = connections.tasks.join_next() => {
                log_panic(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                is_failing = false;
                let slot = tokio::select! {
                    slot = connections.slot(&slots) => Some(slot),
                    () = lifecycle.draining() => None,
                };
                // It may have come from a connection that was closed for another reason.
                connections.shared.evict_none();
                connections.start(stream, slot);
            }
            Err(error) if is_of_the_client(&error) => {}
            // The kernel takes a descriptor before it looks for a client, so without one it fails for nobody too.
            Err(_) if !has_waiting(&listener) => {
                tokio::select! {
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    () = lifecycle.draining() => break,
                }
            }
            Err(error) => {
                // Logged once for each series of failures, since there may be ten a second.
                if !is_failing {
                    tracing::warn!(%error, port = port.label(), "cannot accept connections; retrying");
                }
                is_failing = true;
                connections.shared.evict_one();
                tokio::select! {
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    () = lifecycle.draining() => break,
                }
            }
        }
    }
    // Clients in the kernel's queue have connected, and may have sent a request.
    if let Ok(listener) = listener.into_std() {
        while let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
            && let Ok((stream, _)) = listener.accept()
        {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                connections.start(stream, Some(slot));
            }
        }
    }
    while let Some(ended) = connections.tasks.join_next().await {
        log_panic(ended);
    }
}

/// A task that has ended keeps its memory and its panic until this is called.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection was closed because of a bug");
    }
}

/// Whether a client waits to be accepted.
fn has_waiting(listener: &TcpListener) -> bool {
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    // An error may hide a client, and then one is assumed.
    !matches!(event::poll(&mut waiting, Some(&Timespec::default())), Ok(0))
}

/// Whether the client caused the error: it disconnected before its connection was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// The connections of a listener.
#[derive(Debug)]
struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Connections {
    /// Waits for a free slot. If there is none, the connection that has been idle for longest is closed.
    ///
    /// Meanwhile further clients wait in the kernel's queue. Unlike an error response, that costs nothing, and ends as soon
    /// as any connection is idle.
    async fn slot(&mut self, slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        if slots.available_permits() == 0 {
            self.shared.evict_one();
        }
        let slot = Arc::clone(slots).acquire_owned();
        let mut slot = pin!(slot);
        loop {
            tokio::select! {
                slot = &mut slot => return slot.expect("the semaphore is never closed"),
                Some(ended) = self.tasks.join_next() => log_panic(ended),
            }
        }
    }

    fn start(&mut self, stream: TcpStream, slot: Option<OwnedSemaphorePermit>) {
        let connection = Connection::new(Arc::clone(&self.shared));
        self.tasks.spawn(async move {
            connection.serve(stream).await;
            drop(slot);
        });
    }
}
