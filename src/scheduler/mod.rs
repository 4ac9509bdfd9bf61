//! Between requests and devices: a bounded queue, one thread for each engine, and the promise that every
//! accepted search gets a verified answer or an honest refusal.
//!
//! A search is waited for with [`Scheduler::solve`]. Its future *is* the client's interest: dropping it
//! abandons the search, and engines leave it within a slice. Engines pull slices of searches from the
//! `queue`, whose policy is stated there. What an engine finds is checked by the reference hash before
//! anybody sees it (`worker`); an engine that errs, panics or answers wrongly is retired, one that does
//! not return is passed over until it does (`watchdog`), and either way the search goes on elsewhere.

mod job;
mod queue;
mod watchdog;
mod worker;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;

use crate::device::{Device, DeviceError, DeviceInfo, Fallback};
use crate::telemetry::Metrics;
use crate::work::{Work, WorkRequest};
use job::Job;
use queue::Queue;

/// How much may be in progress.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many searches are in progress at once; the others wait.
    pub running: NonZeroUsize,
    /// How many may wait; one more is refused.
    pub waiting: usize,
    /// How long an engine may take for one slice before it is passed over.
    pub patience: Duration,
}

/// Why a search has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// As many searches wait as may.
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
    /// How many searches wait.
    pub waiting: usize,
    /// How many may wait.
    pub capacity: usize,
    /// How many engines may serve.
    pub engines: usize,
}

/// Runs searches on devices. A clone is another handle on the same scheduler; when the last handle is
/// dropped, the engines' threads end.
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

impl Scheduler {
    /// A scheduler without devices, which refuses every search until [`Scheduler::add`] has brought one.
    ///
    /// # Errors
    ///
    /// If the watchdog's thread cannot be started.
    pub fn start(limits: Limits, metrics: Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(limits.running, limits.waiting),
                engines: Vec::new(),
                fallback: None,
                reviving: false,
                closed: false,
                stopped: false,
            }),
            work_arrived: Condvar::new(),
            metrics,
        });
        watchdog::spawn(Arc::downgrade(&shared), limits.patience)?;
        Ok(Self {
            _owner: Arc::new(Owner(Arc::clone(&shared))),
            shared,
        })
    }

    /// Puts a device to work, a thread for each of its engines.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started; engines that had one by then serve.
    pub fn add(&self, device: Device) -> io::Result<()> {
        self.shared.add(device)
    }

    /// Sets what to open when the last engine has gone out of service.
    pub fn set_fallback(&self, fallback: Fallback) {
        self.shared.lock().fallback = Some(fallback);
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

    /// Refuses new searches from now on; those accepted go on.
    pub fn close(&self) {
        self.shared.lock().closed = true;
    }

    /// Gives up every search that is left with [`SolveError::Closed`], and refuses new ones.
    pub fn abort(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.give_up(SolveError::Closed);
    }

    /// What the scheduler is doing now.
    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        Status {
            running: state.queue.running(),
            waiting: state.queue.waiting(),
            capacity: state.queue.capacity(),
            engines: state.engines_up(),
        }
    }
}

/// Ends the threads when the last [`Scheduler`] is gone.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.stopped = true;
        state.give_up(SolveError::Closed);
        self.0.work_arrived.notify_all();
    }
}

/// A client's interest in a job, lost when it is dropped.
struct Interest<'a> {
    shared: &'a Shared,
    job: &'a Arc<Job>,
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        self.job.abandon();
        self.shared.remove(self.job);
    }
}

/// What the handles, the engines' threads and the watchdog share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when an engine that found nothing to do may find something.
    work_arrived: Condvar,
    metrics: Metrics,
}

struct State {
    queue: Queue,
    /// Every engine that was ever added; an index is an engine's name.
    engines: Vec<EngineEntry>,
    fallback: Option<Fallback>,
    /// The fallback is being opened, so searches may wait for it.
    reviving: bool,
    closed: bool,
    stopped: bool,
}

/// What is known of an engine besides the engine itself, which its thread owns.
struct EngineEntry {
    device: Arc<DeviceRecord>,
    state: EngineState,
    /// What it is searching for.
    job: Option<Arc<Job>>,
    /// How many slices it has begun: its heartbeat.
    slices: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EngineState {
    /// It may serve.
    Up,
    /// It has not come back from a slice. It may serve again when it does and passes the self-test.
    Unresponsive,
    /// It has failed, and its thread has ended or is about to.
    Retired,
}

/// A device's name and its metrics, shared by its engines.
#[derive(Debug)]
struct DeviceRecord {
    info: DeviceInfo,
    hashes: IntCounter,
    engines: IntGauge,
    faults: IntCounter,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: Arc<Job>) -> Result<(), SolveError> {
        let mut state = self.lock();
        if state.closed || state.stopped {
            return Err(SolveError::Closed);
        }
        if state.engines_up() == 0 && !state.reviving {
            return Err(SolveError::NoDevice);
        }
        state
            .queue
            .push(job)
            .map_err(|queue::Full| SolveError::QueueFull)?;
        drop(state);
        self.work_arrived.notify_all();
        Ok(())
    }

    fn add(self: &Arc<Self>, device: Device) -> io::Result<()> {
        let record = Arc::new(DeviceRecord {
            hashes: self.metrics.hashes(&device.info),
            engines: self.metrics.engines(&device.info),
            faults: self.metrics.faults(&device.info),
            info: device.info,
        });
        for engine in device.engines {
            let number = {
                let mut state = self.lock();
                let device = Arc::clone(&record);
                state.engines.push(EngineEntry {
                    device,
                    state: EngineState::Up,
                    job: None,
                    slices: 0,
                });
                state.engines.len() - 1
            };
            record.engines.inc();
            if let Err(error) = worker::spawn(Arc::clone(self), Arc::clone(&record), number, engine)
            {
                self.lock().engines[number].set(EngineState::Retired);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes out a search that has ended, and wakes engines if another may now run.
    fn remove(&self, job: &Arc<Job>) {
        if self.lock().queue.remove(job) {
            self.work_arrived.notify_all();
        }
    }

    /// Lets the other engines have what one that went out of service has left. If it was the last, opens
    /// the fallback, or gives up every search.
    fn recover(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.engines_up() > 0 {
            self.work_arrived.notify_all();
        } else if let Some(fallback) = state.fallback.take() {
            state.reviving = true;
            drop(state);
            self.revive(fallback);
        } else if !state.reviving {
            state.give_up(SolveError::NoDevice);
        }
    }

    fn revive(self: &Arc<Self>, fallback: Fallback) {
        let revived = fallback
            .open()
            .map_err(|error| error.to_string())
            .and_then(|device| {
                tracing::warn!(
                    device = device.info.name,
                    kernel = device.info.kernel,
                    "no device left: falling back"
                );
                self.add(device).map_err(|error| error.to_string())
            });
        let mut state = self.lock();
        state.reviving = false;
        if let Err(error) = revived {
            tracing::error!(error, "the fallback device cannot be opened");
        }
        if state.engines_up() == 0 {
            state.give_up(SolveError::NoDevice);
        }
    }
}

impl State {
    fn engines_up(&self) -> usize {
        self.engines
            .iter()
            .filter(|engine| engine.state == EngineState::Up)
            .count()
    }

    /// Takes an engine out of service because of `error`, and its search away from it.
    fn take_out(&mut self, number: usize, to: EngineState, error: &DeviceError) {
        let entry = &mut self.engines[number];
        let device = Arc::clone(&entry.device);
        device.faults.inc();
        entry.set(to);
        if let Some(job) = entry.job.take() {
            self.queue.put_back(&job);
        }
        let left = self.engines_up();
        tracing::error!(device = device.info.name, engine = number, %error, engines_left = left, "engine out of service");
    }

    fn give_up(&mut self, error: SolveError) {
        for job in self.queue.drain() {
            job.answer(Err(error));
        }
    }
}

impl EngineEntry {
    /// Changes the state, and the gauge with it.
    fn set(&mut self, state: EngineState) {
        let up = |state| i64::from(state == EngineState::Up);
        self.device.engines.add(up(state) - up(self.state));
        self.state = state;
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
