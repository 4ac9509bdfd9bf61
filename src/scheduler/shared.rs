//! The lock around the scheduler's state, and the condition variables by which its threads wait for changes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::client::ClientId;
use super::fleet::{Loss, Recovery, Reopen};
use super::job::{Answer, Job};
use super::limits::{Limits, SolveError};
use super::state::{Admission, Idle, Next, State};
use crate::device::{DeviceError, Engine};
use crate::telemetry::Metrics;
use crate::work::WorkRequest;

/// How long an engine with nothing to do stays awake: a few times what waking it would take.
const LINGER: Duration = Duration::from_micros(100);

/// What the handles and the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signalled when an engine that had nothing to do may have something.
    work_arrived: Condvar,
    /// Signalled when an engine comes into service or goes out of it, when a device is to be opened, and when the
    /// scheduler stops.
    service_changed: Condvar,
    /// How many searches ever arrived; for engines that linger.
    arrivals: AtomicU64,
    /// How many requests wait for a search that another request began.
    joined: AtomicUsize,
    /// The threads of engines and of recoveries.
    threads: Mutex<VecDeque<JoinHandle<()>>>,
    /// The niceness of the service. Searches run at a lower priority.
    pub(super) niceness: i32,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
}

impl Shared {
    /// Without engines.
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            state: Mutex::new(State::new(limits)),
            work_arrived: Condvar::new(),
            service_changed: Condvar::new(),
            arrivals: AtomicU64::new(0),
            joined: AtomicUsize::new(0),
            threads: Mutex::default(),
            // It can only fail for a process that does not exist.
            niceness: rustix::process::getpriority_process(None).unwrap_or(0),
            limits,
            metrics,
        }
    }

    /// Runs a transition under the lock, and wakes the threads that may have something to do because of it.
    pub(super) fn apply<T>(&self, transition: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = transition(&mut state);
        self.unlock(state);
        result
    }

    fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let changes = state.take_changes();
        // A signal costs a system call, and most batches come back while every engine is busy.
        let wakes_engines = changes.work && state.idle > 0;
        drop(state);
        if wakes_engines {
            self.work_arrived.notify_all();
        }
        if changes.service {
            self.service_changed.notify_all();
        }
    }

    /// Looks at the state under the lock.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the code that holds the lock, so a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits or refuses a request.
    pub(super) fn admit(
        &self,
        request: &WorkRequest,
        client: ClientId,
        timeout: Option<Duration>,
    ) -> Result<Admission, SolveError> {
        let now = Instant::now();
        let admission = self.apply(|state| {
            let joined = self.joined.load(Ordering::Relaxed);
            let admission = state.admit(request, client, timeout, joined, now)?;
            if let Admission::Waits {
                has_joined: true, ..
            } = admission
            {
                self.joined.fetch_add(1, Ordering::Relaxed);
            }
            Ok(admission)
        })?;
        match admission {
            Admission::Cached(_) => self.metrics.request_cached(),
            Admission::Waits {
                has_joined: true, ..
            } => self.metrics.request_coalesced(),
            Admission::Waits { .. } => {
                self.arrivals.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(admission)
    }

    /// A client no longer waits for this search, which it `has_joined` or begun.
    pub(super) fn leave_search(
        &self,
        job: &Arc<Job>,
        answer: watch::Receiver<Answer>,
        has_joined: bool,
    ) {
        if has_joined {
            self.joined.fetch_sub(1, Ordering::Relaxed);
        }
        // A search that has ended has been taken out already.
        if !job.ended().is_set() {
            self.apply(|state| state.leave_search(job, answer));
        }
    }

    /// What engine `number` is to do next. Waits until there is something.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the engine breaks its contract.
    pub(super) fn next(&self, number: usize, engine: &dyn Engine) -> Result<Next, DeviceError> {
        // Once a call: of the engines that a search wakes, those that find nothing left of it sleep on.
        let mut has_lingered = false;
        let mut state = self.lock();
        loop {
            let seen = self.arrivals.load(Ordering::Relaxed);
            match state.next(number, engine, Instant::now()) {
                Ok(Err(Idle::StandsBy)) => state = wait(&self.service_changed, state),
                Ok(Err(Idle::NoWork)) if has_lingered => {
                    state.idle += 1;
                    state = wait(&self.work_arrived, state);
                    state.idle -= 1;
                }
                Ok(Err(Idle::NoWork)) => {
                    drop(state);
                    self.linger(seen);
                    has_lingered = true;
                    state = self.lock();
                }
                Ok(Ok(next)) => {
                    self.unlock(state);
                    return Ok(next);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stays awake for a moment to see whether another search arrives after the first `seen`: waking an engine takes a
    /// tenth of the time of an easy search.
    fn linger(&self, seen: u64) {
        let until = Instant::now() + LINGER;
        while self.arrivals.load(Ordering::Relaxed) == seen && Instant::now() < until {
            // Not a spin: a client that is about to ask may need this core.
            thread::yield_now();
        }
    }

    /// Logs a lost engine and has the fallback opened if that is needed. Returns what is to be reopened once the engine
    /// has been dropped.
    pub(super) fn settle(&self, loss: Loss, error: &DeviceError) -> Option<Reopen> {
        let Loss {
            engine,
            device,
            engines_left,
            fallback,
            reopen,
        } = loss;
        let device = &device.info.name;
        // Never under the lock: the reader of the log may be slow.
        tracing::error!(device, engine, %error, engines_left, "engine out of service");
        if let Some(fallback) = fallback {
            self.apply(|state| state.request(Recovery::FallBack(fallback)));
        }
        reopen
    }

    /// What the recovery thread is to do next. Waits until there is something; `None` once the scheduler has stopped.
    pub(super) fn next_recovery(&self) -> Option<Recovery> {
        let mut state = self.lock();
        while !state.is_stopped() {
            if let Some(recovery) = state.next_recovery() {
                return Some(recovery);
            }
            state = wait(&self.service_changed, state);
        }
        None
    }

    /// Waits for `duration` or until the scheduler stops. Returns whether it has not stopped.
    pub(super) fn pause(&self, duration: Duration) -> bool {
        let waited = self
            .service_changed
            .wait_timeout_while(self.lock(), duration, |state| !state.is_stopped());
        !waited
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_stopped()
    }

    /// Keeps a thread to be waited for at the end, and forgets those that have ended.
    pub(super) fn keep(&self, thread: JoinHandle<()>) {
        let mut threads = self.lock_threads();
        threads.retain(|thread| !thread.is_finished());
        threads.push_back(thread);
    }

    /// Takes the thread out that was kept first.
    pub(super) fn next_thread(&self) -> Option<JoinHandle<()>> {
        self.lock_threads().pop_front()
    }

    fn lock_threads(&self) -> MutexGuard<'_, VecDeque<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    let waited = condition.wait(state);
    waited.unwrap_or_else(PoisonError::into_inner)
}
