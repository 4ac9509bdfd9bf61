//! The thread that owns one engine: take a batch of searches, try a slice of each, verify, answer.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::job::Job;
use super::queue::{Assigned, Batch, Taker};
use super::shared::{DeviceRecord, EngineState, Shared, State};
use crate::device::{Capacity, DeviceError, Engine, Slice, catch_panic, self_test};
use crate::work::{Threshold, Work};

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
        in_flight: VecDeque::new(),
        last_back: None,
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
    /// What the engine has and since when, the batch that was submitted first in front.
    in_flight: VecDeque<(Arc<Batch>, Instant)>,
    /// When the last batch came back.
    last_back: Option<Instant>,
}

/// What an engine has done in a batch.
struct Done {
    /// How many nonces it has tested.
    tried: u64,
    /// How long it took for that alone. `None` where the batch ended early since it was no longer wanted, which says
    /// nothing of the engine's speed.
    took: Option<Duration>,
}

/// What an engine is to do next.
enum Next {
    /// Work on this.
    Batch(Arc<Batch>),
    /// Nothing for now.
    Nothing,
    /// It was passed over: prove that it still knows the answers.
    ProveAgain,
    /// Go: the scheduler has stopped, or the engine was replaced.
    End,
}

impl Worker {
    fn run(mut self) {
        // On Linux this is the calling thread's priority alone.
        let niceness = (self.shared.niceness + NICENESS).min(MAX_NICENESS);
        if let Err(error) = rustix::process::setpriority_process(None, niceness) {
            tracing::warn!(%error, "cannot lower the priority of the search");
        }
        if let Err(error) = self.serve() {
            self.fail(&error);
        }
    }

    /// Keeps as many batches in flight as the engine takes on, until the scheduler stops.
    fn serve(&mut self) -> Result<(), DeviceError> {
        loop {
            let next = self.fill()?;
            if !self.in_flight.is_empty() {
                self.complete()?;
                continue;
            }
            match next {
                Next::Batch(_) | Next::Nothing => {}
                Next::ProveAgain => self.prove_again()?,
                Next::End => {
                    self.shared.leave(self.number);
                    return Ok(());
                }
            }
        }
    }

    /// Submits batches until there are enough or there is nothing to do. Waits for the first, if there is none in
    /// flight.
    fn fill(&mut self) -> Result<Next, DeviceError> {
        while self.in_flight.len() < self.engine.capacity().batches {
            let is_idle = self.in_flight.is_empty();
            let next = self.shared.next(self.number, &*self.engine, is_idle)?;
            let Next::Batch(batch) = next else {
                return Ok(next);
            };
            let slices = batch.iter().map(slice).collect();
            self.in_flight.push_back((batch, Instant::now()));
            catch_panic(|| self.engine.submit(slices))?;
        }
        Ok(Next::Nothing)
    }

    /// Waits for the oldest batch, and answers those of its searches that have found work.
    fn complete(&mut self) -> Result<(), DeviceError> {
        let searched = catch_panic(|| self.engine.complete())?;
        let now = Instant::now();
        let Some((batch, since)) = self.in_flight.pop_front() else {
            return Ok(());
        };
        // While one was before it, it only waited.
        let begun = self
            .last_back
            .replace(now)
            .map_or(since, |last| last.max(since));
        if searched.len() != batch.len() {
            let (answers, slices) = (searched.len(), batch.len());
            return Err(DeviceError::WrongAnswer(format!(
                "a batch of {slices} slices came back with {answers} answers"
            )));
        }
        self.device.batches.inc();
        let tried = searched.iter().map(|searched| searched.tried).sum();
        self.device.hashes.inc_by(tried);
        let slices = batch.iter().zip(&searched);
        let is_whole = slices
            .into_iter()
            .all(|(assigned, slice)| slice.found.is_some() || slice.tried == assigned.nonces.count);
        let done = Done {
            tried,
            took: is_whole.then(|| now - begun),
        };
        let mut answered = Vec::new();
        let mut verdict = Ok(());
        for (Assigned { job, .. }, searched) in batch.iter().zip(searched) {
            job.tested(searched.tried);
            let Some(nonce) = searched.found.filter(|_| !job.ended().is_set()) else {
                continue;
            };
            let (target, threshold) = (job.request.target(), job.request.threshold());
            match Work::verify(nonce, target, threshold) {
                Some(work) => {
                    job.found(&self.device.info);
                    answered.push((job, work));
                }
                None => {
                    // Without the target, since errors go into the log, into traces and onto the status page.
                    verdict = Err(DeviceError::WrongAnswer(format!(
                        "{nonce} is not work under {threshold}"
                    )));
                }
            }
        }
        let is_over = verdict.is_ok();
        self.shared
            .put_back(self.number, &batch, &done, &answered, is_over);
        for (job, work) in answered {
            job.answer(Ok(work));
        }
        verdict
    }

    /// Lets an engine that was passed over serve again, if it still knows the answers.
    fn prove_again(&mut self) -> Result<(), DeviceError> {
        catch_panic(|| self_test::run(&mut *self.engine))?;
        if self.shared.restore(self.number) {
            tracing::warn!(
                device = self.device.info.name,
                engine = self.number,
                "engine back in service"
            );
        }
        Ok(())
    }

    /// The engine has said its last word: makes up for it.
    fn fail(self, error: &DeviceError) {
        let backoff = &self.shared.limits.backoff;
        let loss = self
            .shared
            .lock()
            .lose(self.number, EngineState::Retired, error, backoff);
        let Some(loss) = loss else { return };
        let rebuild = self.shared.recover(loss, error);
        // What it holds of the card must be free before that is opened anew. Nobody needs its last error.
        let engine = self.engine;
        let _ = catch_panic(|| {
            drop(engine);
            Ok(())
        });
        if let Some(rebuild) = rebuild {
            self.shared.rebuild(rebuild);
        }
    }
}

/// What the engine is told of its part of a search.
fn slice(assigned: &Assigned) -> Slice {
    let Assigned { job, nonces } = assigned;
    Slice {
        target: *job.request.target(),
        threshold: job.request.threshold(),
        nonces: *nonces,
        stop: job.ended().clone(),
    }
}

impl Shared {
    /// What engine `number` is to do next. Waits until there is something if `is_idle`.
    fn next(&self, number: usize, engine: &dyn Engine, is_idle: bool) -> Result<Next, DeviceError> {
        let mut state = self.lock();
        let mut has_lingered = false;
        loop {
            if state.stopped {
                return Ok(Next::End);
            }
            match state.engines[number].state {
                EngineState::Up => {}
                EngineState::Unresponsive => return Ok(Next::ProveAgain),
                EngineState::Replaced | EngineState::Retired => return Ok(Next::End),
            }
            let stands_by = state.stands_by(number);
            if !stands_by && let Some(batch) = self.assign(&mut state, number, engine)? {
                return Ok(Next::Batch(batch));
            }
            if !is_idle {
                return Ok(Next::Nothing);
            }
            if stands_by {
                let waited = self.service_changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if has_lingered {
                state.idle += 1;
                let waited = self.work_arrived.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            } else {
                let seen = self.arrivals.load(Ordering::Relaxed);
                drop(state);
                self.linger(seen);
                state = self.lock();
            }
            has_lingered = !has_lingered;
        }
    }

    /// Gives engine `number` a batch of the searches that are its next, if there are any.
    fn assign(
        &self,
        state: &mut MutexGuard<'_, State>,
        number: usize,
        engine: &dyn Engine,
    ) -> Result<Option<Arc<Batch>>, DeviceError> {
        let capacity = engine.capacity();
        let jobs = state.queue.pick(&Taker {
            engine: number,
            searches: capacity.searches,
            stops_at_once: capacity == Capacity::ONE,
            engines: state.serving_beside(capacity),
        });
        if jobs.is_empty() {
            return Ok(None);
        }
        let thresholds: Vec<_> = jobs.iter().map(|job| job.request.threshold()).collect();
        // An engine's own arithmetic, short enough to be waited for under the lock.
        let (lengths, alone) = catch_panic(|| {
            let alone = engine.lengths(&[Threshold::new(0)]);
            Ok((engine.lengths(&thresholds), alone.into_iter().sum()))
        })?;
        if lengths.len() != jobs.len() {
            let (lengths, jobs) = (lengths.len(), jobs.len());
            return Err(DeviceError::Driver(format!(
                "the engine gave {lengths} lengths for {jobs} slices"
            )));
        }
        let batch: Arc<Batch> = Arc::new(
            jobs.into_iter()
                .zip(lengths)
                .map(|(job, length)| Assigned {
                    nonces: job.claim(length),
                    job,
                })
                .collect(),
        );
        state.queue.assign(number, &batch);
        let entry = &mut state.engines[number];
        entry.beats += 1;
        entry.batch = alone;
        entry.in_flight.push_back(Arc::clone(&batch));
        let longest = state.serving().map(|engine| engine.batch).max();
        if state.queue.set_batch(longest.unwrap_or(alone)) {
            self.work_arrived.notify_all();
        }
        Ok(Some(batch))
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

    /// Engine `number` has come back from a batch, of which these searches are `answered`. Unless it `is_over`, the rest
    /// stays the engine's until that is taken out of service, so that those searches learn what has befallen them.
    fn put_back(
        &self,
        number: usize,
        batch: &Arc<Batch>,
        done: &Done,
        answered: &[(&Arc<Job>, Work)],
        is_over: bool,
    ) {
        let mut state = self.lock();
        let entry = &mut state.engines[number];
        entry.beats += 1;
        if let Some(took) = done.took {
            entry.speed.learn(done.tried, took);
        }
        // Passing an engine over has put its searches back already.
        let in_flight = entry.in_flight.front();
        let is_held = is_over && in_flight.is_some_and(|front| Arc::ptr_eq(front, batch));
        if is_held {
            entry.in_flight.pop_front();
            state.queue.put_back(number, batch);
        }
        let mut more_to_do = false;
        for &(job, work) in answered {
            // At once, so that a request finds either the search or its answer.
            more_to_do |= state.queue.remove(job);
            let target = *job.request.target();
            state.answers.keep(target, work, Instant::now());
        }
        // A search that had enough in flight may be taken again.
        more_to_do |= is_held && answered.len() < batch.len();
        let wake = more_to_do && state.idle > 0;
        drop(state);
        if wake {
            self.work_arrived.notify_all();
        }
    }

    /// Engine `number`, passed over before, may serve again. Whether it does: it may have been replaced since.
    fn restore(&self, number: usize) -> bool {
        let mut state = self.lock();
        let entry = &mut state.engines[number];
        let may_serve = entry.state == EngineState::Unresponsive;
        if may_serve {
            entry.set(EngineState::Up);
            let device = Arc::clone(&entry.device);
            state.note_return(&device);
        }
        drop(state);
        self.tell_engines();
        may_serve
    }

    /// The thread of engine `number` ends in order.
    fn leave(&self, number: usize) {
        let entry = &mut self.lock().engines[number];
        if entry.state == EngineState::Replaced {
            entry.set(EngineState::Retired);
        }
    }
}

impl State {
    /// How many engines serve, for one of this capacity: it is of no importance to one that takes one search.
    fn serving_beside(&self, capacity: Capacity) -> usize {
        if capacity.searches == 1 {
            1
        } else {
            self.serving().count()
        }
    }
}
