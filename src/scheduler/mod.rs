//! Between requests and devices: a bounded queue, one thread for each engine, and the promise that every
//! accepted search gets a verified answer or an honest refusal.
//!
//! A search is waited for with [`Scheduler::solve`]. Its future *is* the client's interest: dropping it
//! abandons the search, and engines leave it within a slice. Engines pull batches of slices from the
//! `queue`, whose policy is stated there. What an engine finds is checked by the reference hash before
//! anybody sees it (`worker`); an engine that errs, panics or answers wrongly is retired, one that does
//! not return is passed over until it does (`watchdog`), and either way its searches go on elsewhere. A device
//! whose engines have all gone is opened anew, if it can be (`recovery`).

mod job;
mod queue;
mod recovery;
mod shared;
mod watchdog;
mod worker;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::device::OpenDevices;
use crate::telemetry::Metrics;
use crate::work::{Work, WorkRequest};
use job::Job;
pub use recovery::Backoff;
use shared::{Role, Shared};

/// How long an engine may take for a batch: well above the ten seconds after which a dispatch is given
/// up, so that a driver that still answers speaks for itself.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How much may be in progress.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many hard searches take turns; the others wait. Easy ones, which a batch ends more often than not, run
    /// at once.
    pub running: NonZeroUsize,
    /// How many may wait. `running` and `waiting` together bound all searches, the easy ones included; one more is
    /// refused.
    pub waiting: usize,
    /// How long an engine may take for a batch before it is passed over.
    pub patience: Duration,
    /// When a device that has failed is opened anew.
    pub backoff: Backoff,
}

/// Why a search has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// There are as many searches as may be.
    #[error("too many searches are waiting")]
    QueueFull,
    /// The scheduler takes no more searches, or has given up those it had.
    #[error("the server is shutting down")]
    Closed,
    /// Every device is out of service.
    #[error("no device is in service")]
    NoDevice,
}

/// What the scheduler is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// How many searches run.
    pub running: usize,
    /// How many hard searches wait for one that runs to end.
    pub waiting: usize,
    /// How many may wait.
    pub capacity: usize,
    /// Whether some engine may serve, or is about to.
    pub can_serve: bool,
}

/// Runs searches on devices. A clone is another handle on the same scheduler; when the last handle is
/// dropped, the engines' threads end.
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
    /// If the watchdog's thread cannot be started.
    pub fn start(limits: Limits, metrics: Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(limits, metrics));
        watchdog::spawn(Arc::downgrade(&shared), limits.patience)?;
        Ok(Self {
            _owner: Arc::new(Owner(Arc::clone(&shared))),
            shared,
        })
    }

    /// Puts devices to work, a thread for each of their engines. Those that are absent are opened as failed ones are,
    /// and the fallback at once if there is no other.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started; engines that had one by then serve.
    pub fn put_to_work(&self, opened: OpenDevices) -> io::Result<()> {
        self.shared.lock().fallback = opened.fallback;
        opened
            .devices
            .into_iter()
            .try_for_each(|device| self.shared.add(device, Role::First))?;
        self.shared.fall_back_if_alone();
        opened
            .absent
            .into_iter()
            .try_for_each(|absent| self.shared.await_absent(absent))
    }

    /// Searches until there is a verified answer. Dropping the future abandons the search.
    ///
    /// # Errors
    ///
    /// [`SolveError`] if the search is refused, or given up because no device is left or the service ends.
    pub async fn solve(&self, request: WorkRequest) -> Result<Work, SolveError> {
        let (reply, answer) = oneshot::channel();
        let job = Arc::new(Job::new(request, reply));
        self.shared.submit(Arc::clone(&job))?;
        let _interest = Interest {
            shared: &self.shared,
            job: &job,
        };
        // The sender lives in the job, which lives here: it cannot be dropped unanswered.
        answer.await.unwrap_or(Err(SolveError::Closed))
    }

    /// Gives up every search that is left with [`SolveError::Closed`], and refuses new ones.
    pub fn abort(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.give_up(SolveError::Closed);
    }

    /// Ends the engines' threads and those that open devices anew, and waits for them as long as `patience` lasts: a process must not end
    /// while a driver is at work in it. Searches that are left are given up.
    pub fn stop(&self, patience: Duration) {
        self.shared.stop();
        let deadline = Instant::now() + patience;
        let mut left_behind = 0;
        // Not in the loop's head, where the lock would be held for as long as the loop runs.
        let threads = std::mem::take(&mut self.shared.lock().threads);
        for thread in threads {
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
                "engines do not come back: leaving them behind"
            );
        }
    }

    /// What the scheduler is doing now.
    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        Status {
            running: state.queue.running(),
            waiting: state.queue.waiting(),
            capacity: state.queue.capacity(),
            can_serve: state.can_serve(),
        }
    }
}

/// Ends the threads when the last [`Scheduler`] is gone.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A client's interest in a job, lost when it is dropped.
struct Interest<'a> {
    shared: &'a Shared,
    job: &'a Arc<Job>,
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        // Whoever answers a job has taken it out before.
        if self.job.abandon() {
            self.shared.remove(self.job);
        }
    }
}
