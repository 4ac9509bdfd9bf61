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
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;

use crate::device::{Device, DeviceError, DeviceInfo, Fallback, OpenDevices, catch_panic};
use crate::telemetry::Metrics;
use crate::work::{Work, WorkRequest};
use job::Job;
use queue::Queue;

/// How long an engine may take for one slice: well above the ten seconds after which a dispatch is given
/// up, so that a driver that still answers speaks for itself.
pub const PATIENCE: Duration = Duration::from_secs(15);

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
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(limits.running, limits.waiting),
                engines: Vec::new(),
                fallback: None,
                reviving: false,
                closed: false,
                stopped: false,
                threads: Vec::new(),
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

    /// Puts devices to work, a thread for each of their engines.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started; engines that had one by then serve.
    pub fn put_to_work(&self, opened: OpenDevices) -> io::Result<()> {
        self.shared.lock().fallback = opened.fallback;
        opened
            .devices
            .into_iter()
            .try_for_each(|device| self.shared.add(device))
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

    /// Ends the engines' threads, and waits for them as long as `patience` lasts: a process must not end
    /// while a driver is at work in it. Searches that are left are given up.
    pub fn stop(&self, patience: Duration) {
        self.shared.stop();
        let deadline = Instant::now() + patience;
        let mut threads = std::mem::take(&mut self.shared.lock().threads);
        while !threads.is_empty() && Instant::now() < deadline {
            threads.retain(|thread| !thread.is_finished());
            thread::sleep(Duration::from_millis(1));
        }
        if !threads.is_empty() {
            tracing::warn!(
                engines = threads.len(),
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
    /// The engines' threads.
    threads: Vec<JoinHandle<()>>,
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

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.give_up(SolveError::Closed);
        drop(state);
        self.work_arrived.notify_all();
    }

    fn submit(&self, job: Arc<Job>) -> Result<(), SolveError> {
        let mut state = self.lock();
        if state.closed || state.stopped {
            return Err(SolveError::Closed);
        }
        if !state.can_serve() {
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
        let DeviceInfo {
            name,
            kernel,
            threads,
            ..
        } = &record.info;
        tracing::info!(device = name, kernel, threads, "device in service");
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
            let thread = worker::spawn(Arc::clone(self), Arc::clone(&record), number, engine);
            let mut state = self.lock();
            match thread {
                Ok(thread) => state.threads.push(thread),
                Err(error) => {
                    state.engines[number].set(EngineState::Retired);
                    return Err(error);
                }
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

    /// Tells of an engine that went out of service, and lets the others have what it has left. If it was
    /// the last, opens the fallback, or gives up every search.
    fn recover(self: &Arc<Self>, number: usize, error: &DeviceError) {
        let mut state = self.lock();
        let device = Arc::clone(&state.engines[number].device);
        let engines_left = state.engines_up();
        if engines_left == 0 {
            match state.fallback.take() {
                Some(fallback) => {
                    state.reviving = true;
                    drop(state);
                    tell(&device, number, error, engines_left);
                    return self.revive(fallback);
                }
                None if !state.reviving => state.give_up(SolveError::NoDevice),
                None => {}
            }
        }
        drop(state);
        self.work_arrived.notify_all();
        tell(&device, number, error, engines_left);
    }

    fn revive(self: &Arc<Self>, fallback: Fallback) {
        tracing::warn!("no device is left: falling back");
        let opened = catch_panic(|| fallback.open()).map_err(|error| error.to_string());
        let added = opened.and_then(|device| self.add(device).map_err(|error| error.to_string()));
        let mut state = self.lock();
        state.reviving = false;
        if state.engines_up() == 0 {
            state.give_up(SolveError::NoDevice);
        }
        drop(state);
        if let Err(error) = added {
            tracing::error!(
                error,
                "the fallback cannot be put to work, or not with all its threads"
            );
        }
    }
}

/// Logs that an engine went out of service. Never under the lock: whoever reads the log may be slow.
fn tell(device: &DeviceRecord, engine: usize, error: &DeviceError, engines_left: usize) {
    tracing::error!(device = device.info.name, engine, %error, engines_left, "engine out of service");
}

impl State {
    fn engines_up(&self) -> usize {
        self.engines
            .iter()
            .filter(|engine| engine.state == EngineState::Up)
            .count()
    }

    /// Takes an engine out of service, and its search away from it.
    fn take_out(&mut self, number: usize, to: EngineState) {
        let entry = &mut self.engines[number];
        entry.device.faults.inc();
        entry.set(to);
        if let Some(job) = entry.job.take() {
            self.queue.put_back(&job);
        }
    }

    /// Whether searches have a prospect of being worked on.
    fn can_serve(&self) -> bool {
        self.engines_up() > 0 || self.reviving || self.fallback.is_some()
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
