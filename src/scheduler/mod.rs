//! Between requests and devices: a bounded queue, one thread for each engine, and the promise that every accepted
//! search gets a verified answer or an error.
//!
//! [`Scheduler::solve`] waits for a search. Dropping its future leaves the search, which is cancelled within a slice
//! when no other request waits for it. A request for a recent answer gets it from the cache (`answers`).
//!
//! Everything that changes is plain data under one lock (`state`): the `queue` of searches with what each engine has in
//! flight, and the `fleet` of engines and devices. The `threads` above it wait, search, open devices, and report the
//! results to the state; `shared` is the lock between them. The reference hash checks each nonce that an engine finds
//! before it leaves (`threads::worker`). An engine that errs, panics or answers wrongly is retired; one that does not
//! return is taken out of service until it does (`threads::watchdog`). Either way other engines continue its searches,
//! and a device without an engine in service is reopened (`fleet`, `threads::recovery`).

mod answers;
mod client;
mod devices;
mod estimate;
#[cfg(test)]
mod fakes;
mod fleet;
mod job;
mod limits;
mod queue;
mod search;
mod shared;
mod state;
mod threads;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::device::{MissingCards, OpenDevices};
use crate::telemetry::Metrics;
use crate::work::WorkRequest;
pub use answers::AnswerCache;
pub use client::ClientId;
pub use devices::{DeviceState, DeviceStatus, Event, Incident, Outage};
pub use estimate::Estimate;
pub use job::Failover;
pub use limits::{Backoff, Limits, PATIENCE, SolveError, Solved, Status};
pub use search::{Origin, Progress, Search};
use shared::Shared;
use state::{Admission, State};
use threads::{arrival, recovery, watchdog};

/// How often [`Scheduler::serving`] looks.
const LOOK: Duration = Duration::from_millis(20);

/// Runs searches on devices. A clone is another handle on the same scheduler; the threads end when the last handle is
/// dropped.
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

impl Scheduler {
    /// A scheduler without devices, which refuses every search until [`Scheduler::put_to_work`] has brought one.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub fn start(limits: Limits, metrics: Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(limits, metrics));
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        watchdog::spawn(Arc::downgrade(&shared), limits.patience)?;
        shared.keep(recovery::spawn(Arc::clone(&shared))?);
        Ok(Self {
            shared,
            _owner: owner,
        })
    }

    /// Puts devices to work, a thread for each of their engines, beside those that serve already. Unopened ones are opened
    /// as failed ones are, the fallback at once if there is no other device. Cards that the lookout finds follow.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started; engines that had one by then serve.
    pub fn put_to_work(&self, opened: OpenDevices) -> io::Result<()> {
        arrival::put_to_work(&self.shared, opened)
    }

    /// Waits until an engine is in service, or one is being opened that searches may wait for.
    pub async fn serving(&self) {
        while !self.status().can_serve {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Searches until there is a verified answer. Dropping the future leaves the search, which is cancelled when no other
    /// request waits for it.
    ///
    /// # Errors
    ///
    /// [`SolveError`] if the search is refused, or given up because it takes too long, no device is left or the
    /// service ends.
    pub async fn solve(&self, request: WorkRequest) -> Result<Solved, SolveError> {
        self.search(request, ClientId::Any, None)?.answer().await
    }

    /// Begins a search for this client, joins one that serves the request, or takes its answer from the cache.
    /// [`Search::answer`] waits for it, for `timeout` at most if the client has said how long it waits.
    ///
    /// # Errors
    ///
    /// [`SolveError`] if the search is refused, also because the searches ahead of it take longer than `timeout` on
    /// average.
    pub fn search(
        &self,
        request: WorkRequest,
        client: ClientId,
        timeout: Option<Duration>,
    ) -> Result<Search<'_>, SolveError> {
        let arrived = Instant::now();
        let admission = self.shared.admit(&request, client, timeout)?;
        if let Admission::Waits { estimate, .. } = &admission {
            let network = request.network();
            if let Some(Estimate { wait, solve }) = estimate {
                tracing::debug!(%network, expected_wait = ?wait, expected_solve = ?solve, "search admitted");
            } else {
                tracing::debug!(%network, "search admitted");
            }
        }
        let timeout = timeout.into_iter().chain(self.shared.limits.deadline).min();
        Ok(Search::new(
            &self.shared,
            request,
            arrived,
            timeout,
            admission,
        ))
    }

    /// How long a search that is admitted now may be expected to wait and to take, if it finds no other to join. `None` if
    /// no engine's hash rate is known yet.
    pub fn estimate(&self, request: &WorkRequest) -> Option<Estimate> {
        self.shared.read(|state| state.estimate(request))
    }

    /// Gives up every search with [`SolveError::Closed`], and refuses new ones.
    pub fn abort(&self) {
        self.shared.apply(State::close);
    }

    /// Stops all engine and recovery threads and waits up to `patience` for them: a process must not end while a driver is
    /// at work in it. Gives up every search.
    pub fn stop(&self, patience: Duration) {
        self.shared.apply(State::stop);
        let deadline = Instant::now() + patience;
        let mut left_behind = 0;
        // The recovery thread is the first, so that the threads which it still starts are waited for as well.
        while let Some(thread) = self.shared.next_thread() {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_micros(100));
            }
            if thread.is_finished() {
                // Engines' panics are caught, so this can only be the rest of the thread's end.
                let _ = thread.join();
            } else {
                left_behind += 1;
            }
        }
        if left_behind > 0 {
            tracing::warn!(
                threads = left_behind,
                "engines have not returned from their batches; stopping without waiting for them"
            );
        }
    }

    /// Every device that serves, has served or should, in the order in which they came.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.shared.read(|state| state.fleet.statuses())
    }

    /// The recent incidents, the latest last.
    pub fn incidents(&self) -> Vec<Incident> {
        self.shared.read(|state| state.fleet.incidents().all())
    }

    /// Why cards that Vulkan does not list are not used, as [`OpenDevices::missing_cards`] said.
    pub fn missing_cards(&self) -> Option<MissingCards> {
        self.shared
            .read(|state| state.fleet.missing_cards().cloned())
    }

    /// What the scheduler is doing now.
    pub fn status(&self) -> Status {
        self.shared.read(State::status)
    }
}

/// Stops the threads when the last [`Scheduler`] is gone.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.apply(State::stop);
    }
}
