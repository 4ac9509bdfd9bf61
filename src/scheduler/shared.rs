//! What the handles, the engines' threads and the watchdog share: one lock, and how an engine that goes out of
//! service is made up for.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use prometheus::{IntCounter, IntGauge};

use super::job::Job;
use super::queue::{self, Queue};
use super::{Limits, SolveError, worker};
use crate::device::{Device, DeviceError, DeviceInfo, Opener};
use crate::telemetry::Metrics;

/// What the handles, the engines' threads and the watchdog share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Signalled when an engine that found nothing to do may find something.
    pub(super) work_arrived: Condvar,
    /// How many searches were ever submitted; for engines that are between two of them.
    pub(super) arrivals: AtomicU64,
    /// The niceness of the service, which the search stays below in urgency.
    pub(super) niceness: i32,
    metrics: Metrics,
}

pub(super) struct State {
    pub(super) queue: Queue,
    /// Every engine that was ever added; an index is an engine's name.
    pub(super) engines: Vec<EngineEntry>,
    pub(super) fallback: Option<Opener>,
    /// The fallback is being opened, so searches may wait for it.
    reviving: bool,
    pub(super) closed: bool,
    pub(super) stopped: bool,
    /// The engines' threads.
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// What is known of an engine besides the engine itself, which its thread owns.
pub(super) struct EngineEntry {
    pub(super) device: Arc<DeviceRecord>,
    pub(super) state: EngineState,
    /// What it is searching for.
    pub(super) job: Option<Arc<Job>>,
    /// How many slices it has begun: its heartbeat.
    pub(super) slices: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineState {
    /// It may serve.
    Up,
    /// It has not come back from a slice. It may serve again when it does and passes the self-test.
    Unresponsive,
    /// It has failed, and its thread has ended or is about to.
    Retired,
}

/// A device's name and its metrics, shared by its engines.
#[derive(Debug)]
pub(super) struct DeviceRecord {
    pub(super) info: DeviceInfo,
    pub(super) hashes: IntCounter,
    pub(super) engines: IntGauge,
    pub(super) faults: IntCounter,
}

impl Shared {
    /// Without engines.
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Queue::new(limits.running, limits.waiting),
                engines: Vec::new(),
                threads: Vec::new(),
                fallback: None,
                reviving: false,
                closed: false,
                stopped: false,
            }),
            work_arrived: Condvar::new(),
            arrivals: AtomicU64::new(0),
            // It can only fail for a process that is not there.
            niceness: rustix::process::getpriority_process(None).unwrap_or(0),
            metrics,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.give_up(SolveError::Closed);
        drop(state);
        self.work_arrived.notify_all();
    }

    pub(super) fn submit(&self, job: Arc<Job>) -> Result<(), SolveError> {
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
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        self.work_arrived.notify_all();
        Ok(())
    }

    pub(super) fn add(self: &Arc<Self>, device: Device) -> io::Result<()> {
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
    pub(super) fn remove(&self, job: &Arc<Job>) {
        if self.lock().queue.remove(job) {
            self.work_arrived.notify_all();
        }
    }

    /// Tells of an engine that went out of service, and lets the others have what it has left. If it was
    /// the last, opens the fallback, or gives up every search.
    pub(super) fn recover(self: &Arc<Self>, number: usize, error: &DeviceError) {
        let mut state = self.lock();
        let device = Arc::clone(&state.engines[number].device);
        let engines_left = state.engines_up();
        if engines_left == 0 {
            // A service that ends needs no other device.
            match state
                .fallback
                .take()
                .filter(|_| !state.closed && !state.stopped)
            {
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

    fn revive(self: &Arc<Self>, fallback: Opener) {
        tracing::warn!("no device is left: falling back");
        let opened = fallback.open().map_err(|error| error.to_string());
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
    pub(super) fn engines_up(&self) -> usize {
        self.engines
            .iter()
            .filter(|engine| engine.state == EngineState::Up)
            .count()
    }

    /// Takes an engine out of service, and its search away from it.
    pub(super) fn take_out(&mut self, number: usize, to: EngineState) {
        let entry = &mut self.engines[number];
        entry.device.faults.inc();
        entry.set(to);
        if let Some(job) = entry.job.take() {
            self.queue.put_back(&job);
        }
    }

    /// Whether searches have a prospect of being worked on.
    pub(super) fn can_serve(&self) -> bool {
        self.engines_up() > 0 || self.reviving || self.fallback.is_some()
    }

    pub(super) fn give_up(&mut self, error: SolveError) {
        for job in self.queue.drain() {
            job.answer(Err(error));
        }
    }
}

impl EngineEntry {
    /// Changes the state, and the gauge with it.
    pub(super) fn set(&mut self, state: EngineState) {
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
