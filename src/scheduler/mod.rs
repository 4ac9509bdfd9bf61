//! Between requests and devices: a bounded queue, one thread for each engine, and the promise that every
//! accepted search gets a verified answer or an honest refusal.
//!
//! A search is waited for with [`Scheduler::solve`]. Its future *is* the client's interest: dropping it leaves the
//! search, which others may wait for too; when the last has left, or has waited for [`Limits::deadline`], engines leave
//! it within a slice. Who asks again for what was found lately has the same answer, without a search (`answers`). Engines pull batches of slices from the
//! `queue`, whose policy is stated there. What an engine finds is checked by the reference hash before
//! anybody sees it (`worker`); an engine that errs, panics or answers wrongly is retired, one that does
//! not return is passed over until it does (`watchdog`), and either way its searches go on elsewhere. A device
//! whose engines have all gone is opened anew, if it can be (`recovery`).

mod answers;
mod devices;
mod estimate;
mod job;
mod queue;
mod recovery;
mod search;
mod shared;
#[cfg(test)]
mod simulation;
mod watchdog;
mod worker;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::device::{MissingCards, OpenDevices};
use crate::telemetry::Metrics;
use crate::work::{Work, WorkRequest};
pub use answers::Memory;
pub use devices::{DeviceState, DeviceStatus, Event, Incident, Outage};
pub use estimate::Estimate;
pub use recovery::Backoff;
pub use search::{Origin, Progress, Search, Setback};
use shared::{Admission, Role, Shared};

/// How long an engine may take for a batch: well above the ten seconds after which a dispatch is given
/// up, so that a driver that still answers speaks for itself.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The longest that a refused client is told to stay away: much may have changed by then.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// How much may be in progress, and for how long.
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
    /// How long a search may be waited for, then [`SolveError::Deadline`]; for ever if there is none. With one,
    /// [`Scheduler::solve`] is to be called in a runtime that has time.
    pub deadline: Option<Duration>,
    /// Which answers are kept for those who ask again.
    pub memory: Memory,
}

impl Limits {
    /// So many searches that take turns and that wait, without a deadline, and otherwise as the service has it.
    pub const fn new(running: NonZeroUsize, waiting: usize) -> Self {
        Self {
            running,
            waiting,
            patience: PATIENCE,
            backoff: Backoff::DEFAULT,
            deadline: None,
            memory: Memory::DEFAULT,
        }
    }
}

/// Why a search has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// There are as many searches as may be.
    #[error("too many searches are waiting")]
    QueueFull {
        /// How long it takes on average until one of those that run has ended. `None` if no engine's speed is known.
        room_in: Option<Duration>,
    },
    /// The scheduler takes no more searches, or has given up those it had.
    #[error("the server is shutting down")]
    Closed,
    /// Every device is out of service.
    #[error("no device is in service")]
    NoDevice,
    /// It has been waited for as long as may be.
    #[error("there was no work within {} s", .0.as_secs_f64())]
    Deadline(Duration),
}

impl SolveError {
    /// When it may help to ask again, in whole seconds, at least one and at most 300. `None` if it was not for
    /// want of room or devices.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::QueueFull { room_in } => {
                let room_in = room_in.unwrap_or_default().min(LONGEST_RETRY);
                let begun = u64::from(room_in.subsec_nanos() > 0);
                Some((room_in.as_secs() + begun).max(1))
            }
            // Another instance can serve at once. A device is opened anew after a second or two, if that helps; and
            // how long it takes until a server is started again, this one cannot know.
            Self::Closed | Self::NoDevice => Some(1),
            Self::Deadline(_) => None,
        }
    }
}

/// Work, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solved {
    /// Meets the threshold of the request.
    pub work: Work,
    /// From the request until a device began to search. Zero if one was at it already.
    pub waited: Duration,
    /// From then to the answer, the turns of other searches included. Zero if the answer was found before.
    pub searched: Duration,
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
    /// Hashes a second of all engines in service while they search, as measured; zero if nothing is known yet.
    pub hash_rate: f64,
    /// How long a hard search that came now would wait for a turn on average. `None` if no rate is known.
    pub expected_wait: Option<Duration>,
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
        let mut state = self.shared.lock();
        state.fallback = opened.fallback;
        state.missing = opened.missing_cards;
        drop(state);
        opened
            .devices
            .into_iter()
            .try_for_each(|device| self.shared.add(device, Role::First))?;
        self.shared.fall_back_if_alone();
        opened
            .unopened
            .into_iter()
            .try_for_each(|absent| self.shared.await_absent(absent))
    }

    /// Searches until there is a verified answer. Dropping the future leaves the search, which ends when nobody else
    /// waits for it.
    ///
    /// # Errors
    ///
    /// [`SolveError`] if the search is refused, or given up because it takes too long, no device is left or the
    /// service ends.
    pub async fn solve(&self, request: WorkRequest) -> Result<Solved, SolveError> {
        self.search(request)?.answer().await
    }

    /// Begins a search, joins one that serves the request or remembers its answer. [`Search::answer`] waits for it.
    ///
    /// # Errors
    ///
    /// [`SolveError`] if the search is refused.
    pub fn search(&self, request: WorkRequest) -> Result<Search<'_>, SolveError> {
        let arrived = Instant::now();
        match self.shared.admit(&request)? {
            Admission::Remembered(work) => Ok(Search::remembered(request, arrived, work)),
            Admission::Search {
                job,
                answer,
                has_joined,
                estimate,
            } => {
                let network = request.network();
                if let Some(Estimate { wait, solve }) = estimate {
                    tracing::debug!(%network, expected_wait = ?wait, expected_solve = ?solve, "search admitted");
                } else {
                    tracing::debug!(%network, "search admitted");
                }
                let shared = &self.shared;
                Ok(Search::begun(
                    shared, request, arrived, job, answer, has_joined,
                ))
            }
        }
    }

    /// How long a search that came now may be expected to wait and to take, if it found no other to join. `None` if
    /// nothing is known yet of the speed of the devices.
    pub fn estimate(&self, request: &WorkRequest) -> Option<Estimate> {
        self.shared.lock().estimate(request)
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

    /// What has become of each device that serves, has served or should, in the order in which they came.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.shared.lock().device_statuses()
    }

    /// What has happened to devices lately, the latest last.
    pub fn incidents(&self) -> Vec<Incident> {
        self.shared.lock().incidents.all()
    }

    /// Why cards do not serve that no device stands for, as [`OpenDevices::missing_cards`] said.
    pub fn missing(&self) -> Option<MissingCards> {
        self.shared.lock().missing.clone()
    }

    /// What the scheduler is doing now.
    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        Status {
            running: state.queue.running(),
            waiting: state.queue.waiting(),
            capacity: state.queue.capacity(),
            can_serve: state.can_serve(),
            hash_rate: state.rate(),
            expected_wait: estimate::time(state.queue.until_turn(), state.rate()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_client_is_told_whole_seconds_within_bounds() {
        let full = |millis| SolveError::QueueFull {
            room_in: Some(Duration::from_millis(millis)),
        };
        let cases = [
            (full(0), Some(1)),
            (full(1000), Some(1)),
            (full(1001), Some(2)),
            (full(299_001), Some(300)),
            (full(300_001), Some(300)),
            (full(u64::MAX), Some(300)),
            (SolveError::QueueFull { room_in: None }, Some(1)),
            (SolveError::NoDevice, Some(1)),
            (SolveError::Closed, Some(1)),
            (SolveError::Deadline(Duration::ZERO), None),
        ];
        for (error, expected) in cases {
            assert_eq!(error.retry_after(), expected, "{error:?}");
        }
    }
}
