//! What the handles, the engines' threads and the watchdog share: one lock, and what it guards.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use prometheus::{IntCounter, IntGauge};

use tokio::sync::watch;

use super::answers::Answers;
use super::devices::{Event, Incidents, Known};
use super::estimate::{self, Estimate, Speed};
use super::job::{Answer, Job};
use super::queue::{self, Batch, Queue};
use super::recovery::Hopes;
use super::{Limits, SolveError, worker};
use crate::device::{Device, DeviceInfo, MissingCards, Opener};
use crate::telemetry::Metrics;
use crate::work::{Work, WorkRequest};

/// What the handles, the engines' threads and the watchdog share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Signalled when an engine that found nothing to do may find something.
    pub(super) work_arrived: Condvar,
    /// Signalled when an engine goes out of service or comes into it, and when the scheduler stops.
    pub(super) service_changed: Condvar,
    /// How many requests wait for a search that was there before them.
    pub(super) joined: AtomicUsize,
    /// How many searches were ever submitted; for engines that are between two of them.
    pub(super) arrivals: AtomicU64,
    /// The niceness of the service, which the search stays below in urgency.
    pub(super) niceness: i32,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
}

pub(super) struct State {
    pub(super) queue: Queue,
    /// The answers of late.
    pub(super) answers: Answers,
    /// The engines; an index is an engine's name. Only that of one that is [`EngineState::Retired`] is given to
    /// another.
    pub(super) engines: Vec<EngineEntry>,
    /// The latest of each name, in the order in which they came.
    pub(super) devices: Vec<Known>,
    /// Why cards do not serve, where that is no device's outage.
    pub(super) missing: Option<MissingCards>,
    pub(super) incidents: Incidents,
    /// How many engines wait for [`Shared::work_arrived`].
    pub(super) idle: usize,
    /// What takes over when no engine is left, until it is needed.
    pub(super) fallback: Option<Opener>,
    /// Devices that are being opened, for which searches may wait.
    pub(super) hopes: Hopes,
    pub(super) closed: bool,
    pub(super) stopped: bool,
    /// The engines' threads, and those that open devices anew.
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// What is known of an engine besides the engine itself, which its thread owns.
pub(super) struct EngineEntry {
    pub(super) device: Arc<DeviceRecord>,
    pub(super) state: EngineState,
    /// What it works on, the batch that was submitted first in front.
    pub(super) in_flight: VecDeque<Arc<Batch>>,
    /// How many batches it has begun and completed, those of its predecessors of this number included: its
    /// heartbeat.
    pub(super) beats: u64,
    /// How many nonces it would give a single hard search in a batch; zero until it has worked.
    pub(super) batch: u64,
    /// How fast it is.
    pub(super) speed: Speed,
}

/// What becomes of a request that is not refused.
pub(super) enum Admission {
    /// Its answer was found not long ago.
    Remembered(Work),
    /// It waits for a search, with others if it has joined them.
    Search {
        job: Arc<Job>,
        answer: watch::Receiver<Answer>,
        /// Whether it has joined others. It counts as such until [`Shared::joined`] is told.
        has_joined: bool,
        /// `None` if it has joined others, or no engine's speed is known.
        estimate: Option<Estimate>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineState {
    /// It may serve.
    Up,
    /// It has not come back from a batch. It may serve again when it does and passes the self-test.
    Unresponsive,
    /// It has not come back from a batch, and its device is being opened anew: its thread ends when it does.
    Replaced,
    /// It has failed, and its thread has ended or is about to.
    Retired,
}

/// A device from the time that it was opened until its last engine has failed: its name and its metrics, and how
/// to open it anew.
#[derive(Debug)]
pub(super) struct DeviceRecord {
    pub(super) info: Arc<DeviceInfo>,
    /// Whether its engines take nothing while another device is in service.
    pub(super) stands_by: bool,
    pub(super) reopen: Option<Opener>,
    /// Since when it has been in service.
    pub(super) since: Instant,
    /// How many attempts to open it there were since it last served for long.
    pub(super) attempts: u32,
    pub(super) hashes: IntCounter,
    pub(super) batches: IntCounter,
    pub(super) engines: IntGauge,
    pub(super) faults: IntCounter,
}

/// A device's part in the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Serves from the start.
    First,
    /// Serves while no other does.
    Fallback,
    /// Serves again, after so many attempts to open it anew.
    Rebuilt { attempts: u32 },
}

impl Shared {
    /// Without engines.
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Queue::new(limits.running, limits.waiting),
                answers: Answers::new(limits.memory),
                engines: Vec::new(),
                devices: Vec::new(),
                missing: None,
                incidents: Incidents::default(),
                idle: 0,
                threads: Vec::new(),
                fallback: None,
                hopes: Hopes::default(),
                closed: false,
                stopped: false,
            }),
            work_arrived: Condvar::new(),
            service_changed: Condvar::new(),
            joined: AtomicUsize::new(0),
            arrivals: AtomicU64::new(0),
            // It can only fail for a process that is not there.
            niceness: rustix::process::getpriority_process(None).unwrap_or(0),
            limits,
            metrics,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the code that holds the lock, so a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.give_up(SolveError::Closed);
        drop(state);
        self.tell_engines();
    }

    /// Wakes every engine that has nothing to do, and whoever else waits for a change.
    pub(super) fn tell_engines(&self) {
        self.service_changed.notify_all();
        self.work_arrived.notify_all();
    }

    /// Finds out what becomes of a request, and begins a search for it if that is needed.
    pub(super) fn admit(&self, request: &WorkRequest) -> Result<Admission, SolveError> {
        let mut state = self.lock();
        if state.closed || state.stopped {
            return Err(SolveError::Closed);
        }
        if let Some(work) = state.answers.recall(request, Instant::now()) {
            drop(state);
            self.metrics.request_remembered();
            return Ok(Admission::Remembered(work));
        }
        if !state.can_serve() {
            return Err(SolveError::NoDevice);
        }
        if let Some(job) = state.queue.find(request) {
            // They cost no search, but each holds a connection.
            if self.joined.load(Ordering::Relaxed) >= state.queue.limit() {
                return Err(state.queue_full());
            }
            self.joined.fetch_add(1, Ordering::Relaxed);
            let (job, answer) = (Arc::clone(job), job.join());
            drop(state);
            self.metrics.request_coalesced();
            return Ok(Admission::Search {
                job,
                answer,
                has_joined: true,
                estimate: None,
            });
        }
        let estimate = state.estimate(request);
        let (job, answer) = Job::new(*request);
        let job = Arc::new(job);
        if let Err(queue::Full) = state.queue.push(Arc::clone(&job)) {
            return Err(state.queue_full());
        }
        drop(state);
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        self.work_arrived.notify_all();
        Ok(Admission::Search {
            job,
            answer,
            has_joined: false,
            estimate,
        })
    }

    pub(super) fn record(
        &self,
        info: DeviceInfo,
        reopen: Option<Opener>,
        role: Role,
    ) -> DeviceRecord {
        DeviceRecord {
            hashes: self.metrics.hashes(&info),
            batches: self.metrics.batches(&info),
            engines: self.metrics.engines(&info),
            faults: self.metrics.faults(&info),
            info: Arc::new(info),
            stands_by: role == Role::Fallback,
            reopen,
            since: Instant::now(),
            attempts: match role {
                Role::First | Role::Fallback => 0,
                Role::Rebuilt { attempts } => attempts,
            },
        }
    }

    /// Puts a device to work, a thread for each of its engines. Does nothing if the scheduler has stopped.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started; engines that had one by then serve.
    pub(super) fn add(self: &Arc<Self>, device: Device, role: Role) -> io::Result<()> {
        let record = Arc::new(self.record(device.info, device.reopen, role));
        self.metrics.set_kernel_rates(&record.info);
        let DeviceInfo {
            name,
            kernel,
            threads,
            ..
        } = &*record.info;
        tracing::info!(device = name, kernel, threads, "device in service");
        let mut state = self.lock();
        state.know(&record);
        match role {
            Role::First => {}
            Role::Fallback => state.incidents.push(&record.info, Event::FallenBackTo),
            Role::Rebuilt { .. } => state.incidents.push(&record.info, Event::Back),
        }
        drop(state);
        let mut started = Ok(());
        for engine in device.engines {
            let Some(number) = self.lock().enter(&record) else {
                break;
            };
            let thread = worker::spawn(Arc::clone(self), Arc::clone(&record), number, engine);
            let mut state = self.lock();
            match thread {
                Ok(thread) => {
                    state.threads.retain(|thread| !thread.is_finished());
                    state.threads.push(thread);
                }
                Err(error) => {
                    state.engines[number].set(EngineState::Retired);
                    started = Err(error);
                    break;
                }
            }
        }
        // Those that stand by learn that they do.
        self.tell_engines();
        started
    }

    /// One who waited for this search does so no longer: ends it if nobody else waits for it.
    pub(super) fn leave_search(&self, job: &Arc<Job>, answer: watch::Receiver<Answer>) {
        // Whoever has ended it has taken it out of the queue.
        if job.ended().is_set() {
            return;
        }
        let mut state = self.lock();
        // Under the lock, so that nobody joins what is about to end.
        drop(answer);
        let promoted = job.abandon_if_unwanted() && state.queue.remove(job);
        drop(state);
        if promoted {
            self.work_arrived.notify_all();
        }
    }
}

impl State {
    /// The refusal where there is no room.
    fn queue_full(&self) -> SolveError {
        SolveError::QueueFull {
            room_in: estimate::time(self.queue.until_room(), self.rate()),
        }
    }

    /// The engines that may serve.
    fn up(&self) -> impl Iterator<Item = &EngineEntry> {
        self.engines
            .iter()
            .filter(|engine| engine.state == EngineState::Up)
    }

    pub(super) fn engines_up(&self) -> usize {
        self.up().count()
    }

    /// Whether an engine of this device may serve.
    pub(super) fn has_up(&self, device: &Arc<DeviceRecord>) -> bool {
        self.up().any(|engine| Arc::ptr_eq(&engine.device, device))
    }

    /// The engines that serve: all that may but those that stand by.
    pub(super) fn serving(&self) -> impl Iterator<Item = &EngineEntry> {
        let first_choice = self.up().any(|engine| !engine.device.stands_by);
        self.up()
            .filter(move |engine| !(first_choice && engine.device.stands_by))
    }

    /// Hashes a second of the engines that serve; zero if nothing is known of any.
    pub(super) fn rate(&self) -> f64 {
        self.serving().map(|engine| engine.speed.rate()).sum()
    }

    /// How long a search that came now may be expected to wait and to take.
    pub(super) fn estimate(&self, request: &WorkRequest) -> Option<Estimate> {
        self.queue.effort(request).at(self.rate())
    }

    /// Whether engine `number`, which may serve, has nothing to do but wait until no other device serves.
    pub(super) fn stands_by(&self, number: usize) -> bool {
        self.engines[number].device.stands_by && self.up().any(|engine| !engine.device.stands_by)
    }

    /// Enters an engine of `device` under a number that is free; `None` if the scheduler has stopped.
    fn enter(&mut self, device: &Arc<DeviceRecord>) -> Option<usize> {
        if self.stopped {
            return None;
        }
        let mut entry = EngineEntry {
            device: Arc::clone(device),
            state: EngineState::Up,
            in_flight: VecDeque::new(),
            beats: 0,
            batch: 0,
            speed: Speed::of(&device.info),
        };
        device.engines.inc();
        let free = |engine: &EngineEntry| engine.state == EngineState::Retired;
        let Some(number) = self.engines.iter().position(free) else {
            self.engines.push(entry);
            return Some(self.engines.len() - 1);
        };
        // The watchdog must not take the new engine for the old one.
        entry.beats = self.engines[number].beats + 1;
        self.engines[number] = entry;
        Some(number)
    }

    /// Whether searches have a prospect of being worked on.
    pub(super) fn can_serve(&self) -> bool {
        self.engines_up() > 0 || !self.hopes.is_empty()
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
