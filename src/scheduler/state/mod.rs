//! Everything that the scheduler's lock guards, as plain data, and every transition of it.
//!
//! A transition takes the time as an argument, waits for nothing and wakes no thread. It returns what is to be done,
//! and notes in [`Changes`] which threads may have something to do. So each can be tested without threads. All stand in this
//! one file, long as it is, so that they are read together.

#[cfg(test)]
mod impatience;
mod outcomes;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::answers::Answers;
use super::client::ClientId;
use super::estimate::{self, Estimate};
use super::fleet::{DeviceRecord, EngineState, Fallback, Fleet, Loss, PendingOpen, Recovery};
use super::job::{Answer, Failover, Job};
use super::limits::{Limits, SolveError, Status};
use super::queue::{Assigned, Batch, Demand, Full, Queue};
use crate::device::{Capacity, DeviceError, Engine, catch_panic};
use crate::work::{Rule, Work, WorkRequest};
pub(super) use outcomes::{Admission, Changes, Done, Idle, Next};

/// What the scheduler's lock guards.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    pub(super) queue: Queue,
    pub(super) fleet: Fleet,
    answers: Answers,
    /// What the recovery thread is to do.
    recoveries: VecDeque<Recovery>,
    stage: Stage,
    changes: Changes,
    /// How many engines wait for work, as the threads count them.
    pub(super) idle: usize,
}

/// How far the end of the scheduler has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// New searches are refused.
    Closed,
    /// Threads end as well.
    Stopped,
}

impl State {
    /// Without engines.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            queue: Queue::new(limits.running, limits.waiting),
            fleet: Fleet::default(),
            answers: Answers::new(limits.answers),
            recoveries: VecDeque::new(),
            stage: Stage::Open,
            changes: Changes::default(),
            idle: 0,
        }
    }

    /// Which threads may have something to do, since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Admits or refuses a client's request, and begins a search for it if one is needed. `joined` is how many requests
    /// wait for a search that another began. A client that waits for `timeout` at most is refused if its search would
    /// not even run by then, on average.
    pub(super) fn admit(
        &mut self,
        request: &WorkRequest,
        client: ClientId,
        timeout: Option<Duration>,
        joined: usize,
        now: Instant,
    ) -> Result<Admission, SolveError> {
        if self.is_closed() {
            return Err(SolveError::Closed);
        }
        if let Some(work) = self.answers.recall(request, now) {
            return Ok(Admission::Cached(work));
        }
        if !self.fleet.can_serve() {
            return Err(SolveError::NoDevice);
        }
        if let Some(job) = self.queue.find(request) {
            // They cost no search, but each holds a connection.
            if joined >= self.queue.limit() {
                return Err(self.queue_full());
            }
            return Ok(Admission::Waits {
                answer: job.join(),
                job: Arc::clone(job),
                has_joined: true,
                estimate: None,
            });
        }
        if let Some(timeout) = timeout
            && let nonces = self.queue.least_until_run(request, &client)
            && let Some(wait) = estimate::time(nonces, self.fleet.hash_rate())
            && wait > timeout
        {
            let room_in = Some(wait - timeout);
            return Err(SolveError::QueueFull { room_in });
        }
        let estimate = self.estimate(request);
        if let Some(evicted) = self.queue.make_room(&client) {
            evicted.answer(Err(self.queue_full()));
        }
        let (job, answer) = Job::new(*request, client);
        let job = Arc::new(job);
        if let Err(Full) = self.queue.push(Arc::clone(&job)) {
            return Err(self.queue_full());
        }
        self.changes.work = true;
        Ok(Admission::Waits {
            job,
            answer,
            has_joined: false,
            estimate,
        })
    }

    fn queue_full(&self) -> SolveError {
        SolveError::QueueFull {
            room_in: estimate::time(self.queue.until_room(), self.fleet.hash_rate()),
        }
    }

    /// A client no longer waits for this search: cancels the search if no other does.
    pub(super) fn leave_search(&mut self, job: &Arc<Job>, answer: watch::Receiver<Answer>) {
        // Here, so that no request joins a search that is about to be cancelled.
        drop(answer);
        if job.cancel_if_unwanted() {
            self.changes.work |= self.queue.remove(job);
        }
    }

    /// What engine `number` is to do next.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the engine breaks its contract.
    pub(super) fn next(
        &mut self,
        number: usize,
        engine: &dyn Engine,
        now: Instant,
    ) -> Result<Result<Next, Idle>, DeviceError> {
        let capacity = engine.capacity();
        let is_up = self.fleet.state_of(number) == EngineState::Up;
        let stands_by = is_up && self.fleet.stands_by(number);
        let may_take = is_up && !stands_by && self.stage < Stage::Stopped;
        if may_take
            && self.queue.in_flight(number) < capacity.batches
            && let Some(batch) = self.assign(number, engine, now)?
        {
            return Ok(Ok(Next::Submit(batch)));
        }
        if let Some(batch) = self.queue.first_in_flight(number) {
            return Ok(Ok(Next::Complete(batch.clone())));
        }
        if self.stage == Stage::Stopped {
            return Ok(Ok(Next::End));
        }
        Ok(match self.fleet.state_of(number) {
            EngineState::Up if stands_by => Err(Idle::StandsBy),
            EngineState::Up => Err(Idle::NoWork),
            EngineState::Unresponsive => Ok(Next::ProveAgain),
            EngineState::Replaced | EngineState::Retired => Ok(Next::End),
        })
    }

    /// Gives an engine a batch of the searches that are next for it, if there are any.
    fn assign(
        &mut self,
        number: usize,
        engine: &dyn Engine,
        now: Instant,
    ) -> Result<Option<Batch>, DeviceError> {
        let capacity = engine.capacity();
        let engines = self.fleet.serving_beside(capacity);
        let jobs = self.queue.pick(&Demand {
            engine: number,
            searches: capacity.searches,
            stops_at_once: capacity == Capacity::ONE,
            engines,
        });
        if jobs.is_empty() {
            return Ok(None);
        }
        let rules: Vec<_> = jobs.iter().map(|job| job.request.rule()).collect();
        // An engine's own arithmetic, short enough to be waited for under the lock.
        let (lengths, alone) = catch_panic(|| {
            let alone = engine.lengths(&[Rule::HARDEST]);
            Ok((engine.lengths(&rules), alone.into_iter().sum()))
        })?;
        if lengths.len() != jobs.len() {
            let (lengths, jobs) = (lengths.len(), jobs.len());
            return Err(DeviceError::Driver(format!(
                "the engine gave {lengths} lengths for {jobs} slices"
            )));
        }
        let slices = jobs.into_iter().zip(lengths).map(|(job, length)| Assigned {
            nonces: job.claim(length.min(self.queue.longest_slice(&job, engines))),
            job,
        });
        let slices = slices.collect();
        let batch = self.queue.assign(number, slices, now);
        self.fleet.begin_batch(number, alone);
        let longest = self.fleet.longest_batch();
        self.changes.work |= self.queue.set_batch(longest.unwrap_or(alone));
        Ok(Some(batch))
    }

    /// Engine `number` has come back from its first batch in flight, of `slices` slices, of which these searches have
    /// their answer.
    pub(super) fn complete(
        &mut self,
        number: usize,
        slices: usize,
        done: Done,
        answered: &[(&Arc<Job>, Work)],
        now: Instant,
    ) {
        self.fleet.end_batch(number, done.tried, done.took);
        let was_counted = self.queue.complete(number);
        self.answered(answered, now);
        // A search that had enough in flight may be picked again.
        self.changes.work |= was_counted && answered.len() < slices;
    }

    /// Takes out the searches that have an answer and caches the answers, in one transition: a request finds either the
    /// search or its answer.
    pub(super) fn answered(&mut self, answered: &[(&Arc<Job>, Work)], now: Instant) {
        for &(job, work) in answered {
            self.changes.work |= self.queue.remove(job);
            self.answers.keep(&job.request, work, now);
        }
    }

    /// Puts an engine of `device` into service. Returns its number; `None` if the scheduler has stopped.
    pub(super) fn enter(&mut self, device: &Arc<DeviceRecord>) -> Option<usize> {
        if self.is_stopped() {
            return None;
        }
        // Those of the fallback learn that they stand by.
        self.note_service();
        Some(self.fleet.enter(device))
    }

    /// The thread of an engine that was put into service could not be started.
    pub(super) fn retire(&mut self, number: usize) {
        self.fleet.retire(number);
        self.refuse_if_down();
        self.note_service();
    }

    /// Takes an engine out of service because of `error`, and gives its searches to the others. Its new state is `to`;
    /// `Retired` is final. `None` if its device was reopened before.
    pub(super) fn lose(
        &mut self,
        number: usize,
        to: EngineState,
        error: &DeviceError,
        now: Instant,
    ) -> Option<Loss> {
        let error: Arc<str> = error.to_string().into();
        let batches = match to {
            EngineState::Retired => self.queue.clear(number),
            EngineState::Up | EngineState::Unresponsive | EngineState::Replaced => {
                self.queue.write_off(number)
            }
        };
        let backoff = &self.limits.backoff;
        let is_closed = self.stage > Stage::Open;
        let loss = self
            .fleet
            .lose(number, to, &error, backoff, is_closed, now)?;
        let slices = batches.iter().flat_map(|batch| batch.slices.iter());
        // A search that has ended has no failover.
        for Assigned { job, .. } in slices.filter(|slice| !slice.job.ended().is_set()) {
            job.fail_over(Failover {
                at: now,
                device: Arc::clone(&loss.device.info),
                error: Arc::clone(&error),
            });
        }
        self.refuse_if_down();
        self.note_service();
        Some(loss)
    }

    /// For each engine how many batches it has begun and completed; `None` if it is not at work.
    pub(super) fn heartbeats(&self) -> impl Iterator<Item = Option<u64>> {
        let engines = self.fleet.heartbeats().enumerate();
        engines.map(|(number, beats)| beats.filter(|_| self.queue.in_flight(number) > 0))
    }

    /// Puts an engine that has come back late and passed the self-test into service again. Returns whether it serves:
    /// its device may have been reopened meanwhile.
    pub(super) fn restore(&mut self, number: usize) -> bool {
        let is_restored = self.fleet.restore(number);
        self.note_service();
        is_restored
    }

    /// Has the fallback opened if there is one and no engine is in service.
    pub(super) fn fall_back_if_alone(&mut self) -> Option<Fallback> {
        if self.is_closed() {
            return None;
        }
        self.fleet.fall_back_if_alone()
    }

    /// An attempt to open a device has ended.
    pub(super) fn end_pending(&mut self, pending: PendingOpen) {
        self.fleet.end_pending(pending);
        self.refuse_if_down();
    }

    /// Counts a turn of the watchdog for each device that is being opened, and waits no longer for those that have lasted
    /// for `turns`. Returns whether there was any.
    pub(super) fn age_pending(&mut self, turns: u32) -> bool {
        let is_opening = self.fleet.age_pending(turns);
        if is_opening {
            self.refuse_if_down();
        }
        is_opening
    }

    /// Has the recovery thread do this.
    pub(super) fn request(&mut self, recovery: Recovery) {
        self.recoveries.push_back(recovery);
        self.changes.service = true;
    }

    /// What the recovery thread is to do, if anything.
    pub(super) fn next_recovery(&mut self) -> Option<Recovery> {
        self.recoveries.pop_front()
    }

    /// Refuses every search if no engine is in service and none is being opened.
    fn refuse_if_down(&mut self) {
        if !self.fleet.can_serve() {
            self.give_up(SolveError::NoDevice);
        }
    }

    /// Engines have come into service or gone out of it.
    pub(super) fn note_service(&mut self) {
        self.changes = Changes {
            work: true,
            service: true,
        };
    }

    /// Gives up every search, and refuses new ones.
    pub(super) fn close(&mut self) {
        self.stage = self.stage.max(Stage::Closed);
        self.give_up(SolveError::Closed);
    }

    /// As [`State::close`], and has the threads end.
    pub(super) fn stop(&mut self) {
        self.close();
        self.stage = Stage::Stopped;
        self.note_service();
    }

    fn give_up(&mut self, error: SolveError) {
        for job in self.queue.drain() {
            job.answer(Err(error));
        }
    }

    fn is_closed(&self) -> bool {
        self.stage > Stage::Open
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stage == Stage::Stopped
    }

    /// How long a search that is admitted now may be expected to wait and to take.
    pub(super) fn estimate(&self, request: &WorkRequest) -> Option<Estimate> {
        self.queue.effort(request).at(self.fleet.hash_rate())
    }

    pub(super) fn status(&self) -> Status {
        let hash_rate = self.fleet.hash_rate();
        Status {
            running: self.queue.running(),
            waiting: self.queue.waiting(),
            capacity: self.queue.capacity(),
            can_serve: self.fleet.can_serve(),
            hash_rate,
            expected_wait: estimate::time(self.queue.until_run(), hash_rate),
        }
    }
}
