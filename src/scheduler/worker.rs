//! The thread that owns one engine: take a search, try a slice of it, verify, answer.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::job::Job;
use super::shared::{DeviceRecord, EngineState, Shared};
use crate::device::{DeviceError, Engine, Slice, catch_panic, search, self_test};
use crate::work::Work;

/// How much less urgent than the service the search is, in steps of `nice`: probes and requests come first.
const NICENESS: i32 = 10;

/// The least urgent that a thread can be.
const MAX_NICENESS: i32 = 19;

/// How long an engine with nothing to do stays awake: a few times what waking it would take.
const LINGER: Duration = Duration::from_micros(100);

/// Starts the thread of engine `number`.
pub(super) fn spawn(
    shared: Arc<Shared>,
    device: Arc<DeviceRecord>,
    number: usize,
    engine: Box<dyn Engine>,
) -> io::Result<JoinHandle<()>> {
    let worker = Worker {
        shared,
        device,
        number,
        engine,
    };
    thread::Builder::new()
        .name(format!("search-{number}"))
        .spawn(move || worker.run())
}

struct Worker {
    shared: Arc<Shared>,
    device: Arc<DeviceRecord>,
    number: usize,
    engine: Box<dyn Engine>,
}

impl Worker {
    fn run(mut self) {
        // On Linux this is the calling thread's priority alone.
        let niceness = (self.shared.niceness + NICENESS).min(MAX_NICENESS);
        if let Err(error) = rustix::process::setpriority_process(None, niceness) {
            tracing::warn!(%error, "cannot lower the priority of the search");
        }
        while let Some(job) = self.shared.next_job(self.number) {
            let searched = self.search(&job);
            let returned = self.shared.put_back(self.number, &job);
            if let Err(error) = searched.and_then(|()| match returned {
                Returned::InTime => Ok(()),
                Returned::Late => self.prove_again(),
            }) {
                self.shared
                    .lock()
                    .take_out(self.number, EngineState::Retired);
                return self.shared.recover(self.number, &error);
            }
        }
    }

    /// Tries one slice of `job`, and answers it if that has found work.
    fn search(&mut self, job: &Arc<Job>) -> Result<(), DeviceError> {
        let (target, threshold) = (job.request.target(), job.request.threshold());
        let searched = catch_panic(|| {
            let length = self.engine.lengths(&[threshold]).into_iter().sum();
            let slice = Slice {
                target: *target,
                threshold,
                nonces: job.claim(length),
                stop: job.ended().clone(),
            };
            search(&mut *self.engine, slice)
        })?;
        self.device.hashes.inc_by(searched.tried);
        let Some(nonce) = searched.found else {
            return Ok(());
        };
        let Some(work) = Work::verify(nonce, target, threshold) else {
            return Err(DeviceError::WrongAnswer(format!(
                "{nonce} is not work for {target} under {threshold}"
            )));
        };
        self.shared.remove(job);
        job.answer(Ok(work));
        Ok(())
    }

    /// Lets an engine that was passed over serve again, if it still knows the answers.
    fn prove_again(&mut self) -> Result<(), DeviceError> {
        catch_panic(|| self_test::run(&mut *self.engine))?;
        tracing::warn!(
            device = self.device.info.name,
            engine = self.number,
            "engine back in service"
        );
        self.shared.restore(self.number);
        Ok(())
    }
}

/// Whether an engine came back before it was passed over.
pub(super) enum Returned {
    InTime,
    Late,
}

impl Shared {
    /// Waits for a search to work on; `None` when the scheduler has stopped.
    fn next_job(&self, number: usize) -> Option<Arc<Job>> {
        let mut state = self.lock();
        let mut has_lingered = false;
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.queue.take() {
                let entry = &mut state.engines[number];
                entry.job = Some(Arc::clone(&job));
                entry.slices += 1;
                return Some(job);
            }
            if has_lingered {
                state = self
                    .work_arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                let seen = self.arrivals.load(Ordering::Relaxed);
                drop(state);
                self.linger(seen);
                state = self.lock();
            }
            has_lingered = !has_lingered;
        }
    }

    /// Stays awake for a moment to see whether another search comes than the `seen` first ones: being woken
    /// takes as long as a tenth of an easy search.
    fn linger(&self, seen: u64) {
        let until = Instant::now() + LINGER;
        while self.arrivals.load(Ordering::Relaxed) == seen && Instant::now() < until {
            // Not a spin: whoever is to ask for more work may need this core for it.
            thread::yield_now();
        }
    }

    /// Engine `number` has come back from a slice of `job`.
    fn put_back(&self, number: usize, job: &Arc<Job>) -> Returned {
        let mut state = self.lock();
        // Passing an engine over has put its search back already.
        if state.engines[number].job.take().is_some() {
            state.queue.put_back(job);
        }
        match state.engines[number].state {
            EngineState::Up => Returned::InTime,
            EngineState::Unresponsive | EngineState::Retired => Returned::Late,
        }
    }

    /// Engine `number`, passed over before, may serve again.
    fn restore(&self, number: usize) {
        self.lock().engines[number].set(EngineState::Up);
    }
}
