//! The order of searches, as plain data: which run, which wait, which is next, and what each engine has in flight.
//!
//! **Which run.** At most `QUEUE_SIZE` hard searches run at once; the others wait for a slot in order of arrival. An
//! *easy* search, which one batch of an engine ends more often than not, runs at once; only the limit on all searches
//! together applies to it.
//!
//! **Which is next**, and for how many nonces: see `policy`.
//!
//! **Which requests share a search.** A request joins a search for the same target if the search is as hard as the
//! request, or up to [`ALIKE`] times as hard; an answer of the search is then an answer to the request. A harder
//! request gets a search of its own: the slices in flight look for easier answers, and the easier request should not
//! wait for the harder one. For the latter reason, an easy request does not join a far harder search.

mod clients;
mod ledger;
mod policy;
mod running;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use super::client::ClientId;
use super::estimate::Effort;
use super::job::Job;
use crate::work::{Target, WorkRequest};
use clients::Clients;
use ledger::Ledger;
pub(super) use ledger::{Assigned, Batch};
pub(super) use policy::Demand;
use policy::EASY_TO_HARD;
use running::{Running, expected, mean_given, until_one_ends};

/// A request joins a search that is at most this many times as hard. Thresholds of two consecutive years differ by a
/// factor of two at most, so a block that is asked for again in a new year joins. Networks differ by ten or more.
const ALIKE: f64 = 3.0;

/// The searches that have not ended, and what engines have in flight of them.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many hard searches may run at once.
    max_hard: usize,
    /// How many may wait.
    capacity: usize,
    /// The nonces of a batch that one hard search has alone: the most that any engine in service gives.
    batch: u64,
    /// The running searches, least recently served first.
    running: VecDeque<Running>,
    /// How many of them are hard.
    hard: usize,
    /// The waiting searches, longest waiting first.
    waiting: VecDeque<Arc<Job>>,
    /// The mean number of nonces that the waiting searches need together.
    waiting_hashes: f64,
    /// No waiting search needs fewer nonces than this on average.
    easiest_waiting: f64,
    /// How many nonces hard searches are owed for those that easy ones got.
    owed: f64,
    /// All searches by target. Searches for the same target have different rules.
    targets: HashMap<Target, Vec<Arc<Job>>>,
    ledger: Ledger,
    /// The clients that the searches are for.
    clients: Clients,
}

/// The limit on searches is reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(max_hard: NonZeroUsize, capacity: usize) -> Self {
        Self {
            max_hard: max_hard.get(),
            capacity,
            batch: 0,
            running: VecDeque::new(),
            hard: 0,
            waiting: VecDeque::new(),
            waiting_hashes: 0.0,
            easiest_waiting: f64::INFINITY,
            owed: 0.0,
            targets: HashMap::new(),
            ledger: Ledger::default(),
            clients: Clients::default(),
        }
    }

    /// How many searches run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// How many searches wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many searches there may be in all.
    pub(super) const fn limit(&self) -> usize {
        self.max_hard.saturating_add(self.capacity)
    }

    /// How many searches may wait.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds a search.
    pub(super) fn push(&mut self, job: Arc<Job>) -> Result<(), Full> {
        if self.running.len() + self.waiting.len() >= self.limit() {
            return Err(Full);
        }
        let same_target = self.targets.entry(*job.request.target()).or_default();
        same_target.push(Arc::clone(&job));
        self.clients.enter(&job.client);
        if self.runs_at_once(&job.request) {
            self.run(job);
        } else {
            self.easiest_waiting = self.easiest_waiting.min(expected(&job));
            self.waiting_hashes += expected(&job);
            self.waiting.push_back(job);
            self.rebalance();
        }
        Ok(())
    }

    /// The search that this request may join.
    pub(super) fn find(&self, request: &WorkRequest) -> Option<&Arc<Job>> {
        let own = request.rule().expected_hashes();
        let same_target = self.targets.get(request.target())?;
        same_target
            .iter()
            .find(|job| job.request.rule().implies(request.rule()) && expected(job) <= ALIKE * own)
    }

    /// The hashes ahead of a search that arrives now, and its own.
    pub(super) fn effort(&self, request: &WorkRequest) -> Effort {
        let own = request.rule().expected_hashes();
        if self.runs_at_once(request) {
            return Effort {
                wait: 0.0,
                solve: own * (self.running.len() + 1) as f64,
            };
        }
        Effort {
            wait: self.until_run(),
            solve: own * self.max_hard as f64,
        }
    }

    /// The mean number of nonces until a hard search that arrives now runs. Zero if it runs at once.
    pub(super) fn until_run(&self) -> f64 {
        if self.hard < self.max_hard {
            return 0.0;
        }
        // Running easy searches will have ended long before. For each waiting search, one hard search must end.
        let hard = self.running.iter().filter(|running| !running.easy);
        self.waiting_hashes + until_one_ends(hard)
    }

    /// A lower bound of the mean number of nonces until a search of this client that arrives now runs. Clients take
    /// turns: the client's own waiting searches begin before it, and it and they may get the slots of other clients.
    pub(super) fn least_until_run(&self, request: &WorkRequest, client: &ClientId) -> f64 {
        if self.runs_at_once(request) {
            return 0.0;
        }
        let is_own = |job: &Job| job.client == *client;
        let hard = self.running.iter().filter(|running| !running.easy);
        let others = hard.clone().filter(|running| !is_own(&running.job)).count();
        if others > 0 {
            // The client's own waiting searches may take one slot of each of those others at once, so that many are left out.
            let own = self.waiting.iter().filter(|job| is_own(job)).skip(others);
            return own.map(|job| expected(job)).sum();
        }
        let own = self.waiting.iter().filter(|job| is_own(job));
        own.map(|job| expected(job)).sum::<f64>() + until_one_ends(hard)
    }

    /// The mean number of nonces until there is room for one more search: until any running one has ended.
    pub(super) fn until_room(&self) -> f64 {
        until_one_ends(self.running.iter())
    }

    /// Whether one batch ends this search more often than not.
    fn is_easy(&self, request: &WorkRequest) -> bool {
        request.rule().expected_hashes() <= self.batch as f64
    }

    fn runs_at_once(&self, request: &WorkRequest) -> bool {
        self.is_easy(request) || self.hard < self.max_hard
    }

    fn run(&mut self, job: Arc<Job>) {
        let easy = self.is_easy(&job.request);
        let given = mean_given(self.running.iter());
        self.hard += usize::from(!easy);
        self.running.push_back(Running::new(job, easy, given));
    }

    /// Sets how many nonces an engine in service gives one hard search in a batch. Returns whether waiting searches are
    /// easy by that, and run now.
    pub(super) fn set_batch(&mut self, nonces: u64) -> bool {
        self.batch = nonces;
        if self.easiest_waiting > nonces as f64 {
            return false;
        }
        let (easy, hard): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|job| self.is_easy(&job.request));
        self.waiting = hard;
        let needs = self.waiting.iter().map(|job| expected(job));
        self.waiting_hashes = needs.clone().sum();
        self.easiest_waiting = needs.fold(f64::INFINITY, f64::min);
        let promoted = !easy.is_empty();
        easy.into_iter().for_each(|job| self.run(job));
        promoted
    }

    /// The searches that an engine should work on next; empty if there is nothing for it to do.
    pub(super) fn pick(&self, demand: &Demand) -> Vec<Arc<Job>> {
        policy::pick(
            &self.running,
            &self.ledger,
            &self.clients,
            self.owed,
            self.batch,
            demand,
        )
    }

    /// The most nonces that a slice of this search should have, beside this many engines in service.
    pub(super) fn longest_slice(&self, job: &Job, engines: usize) -> u64 {
        policy::longest_slice(expected(job), engines, self.batch)
    }

    /// Enters a batch that `engine` is given of searches that it has just picked.
    pub(super) fn assign(&mut self, engine: usize, slices: Vec<Assigned>, now: Instant) -> Batch {
        for Assigned { job, nonces } in &slices {
            let Some(mut running) = self.take_running(job) else {
                continue;
            };
            running.begin(engine, nonces.count);
            let count = nonces.count as f64;
            let used = count.min(expected(job));
            self.clients.give(&job.client, used, now);
            if !running.easy {
                self.owed = (self.owed - count).max(0.0);
            } else if self.hard > 0 {
                // It stops as soon as it has found work.
                self.owed += used / EASY_TO_HARD;
            }
            self.running.push_back(running);
        }
        let batch = Batch {
            slices: slices.into(),
            since: now,
        };
        self.ledger.enter(engine, batch.clone());
        self.rebalance();
        batch
    }

    /// Strikes out the batch that `engine` was given first. Returns whether it was still counted on, so that searches
    /// that had enough in flight may be picked again.
    pub(super) fn complete(&mut self, engine: usize) -> bool {
        let batch = self.ledger.complete(engine);
        batch.inspect(|batch| self.release(engine, batch)).is_some()
    }

    /// Puts back the searches that `engine` works on, since it has not come back in time. Returns their batches. The
    /// engine still has them.
    pub(super) fn write_off(&mut self, engine: usize) -> Vec<Batch> {
        let batches = self.ledger.write_off(engine);
        batches.iter().for_each(|batch| self.release(engine, batch));
        batches
    }

    /// Puts back the searches that `engine` works on, since it will never come back. Returns their batches.
    pub(super) fn clear(&mut self, engine: usize) -> Vec<Batch> {
        let batches = self.ledger.clear(engine);
        batches.iter().for_each(|batch| self.release(engine, batch));
        batches
    }

    /// The batch that `engine` was given first of those in flight.
    pub(super) fn first_in_flight(&self, engine: usize) -> Option<&Batch> {
        self.ledger.first(engine)
    }

    /// How many batches `engine` has in flight.
    pub(super) fn in_flight(&self, engine: usize) -> usize {
        self.ledger.batches(engine)
    }

    /// `engine` no longer works on this batch, whose searches may have ended since.
    fn release(&mut self, engine: usize, batch: &Batch) {
        for Assigned { job, nonces } in batch.slices.iter() {
            // The most recently served searches are at the end.
            let mut latest_first = self.running.iter_mut().rev();
            if let Some(running) = latest_first.find(|running| Arc::ptr_eq(&running.job, job)) {
                running.end(engine, nonces.count);
            }
        }
    }

    /// Takes out a search that has ended. Returns whether a waiting search runs now.
    pub(super) fn remove(&mut self, job: &Arc<Job>) -> bool {
        let is_meant = |other: &Arc<Job>| Arc::ptr_eq(other, job);
        let known = self.targets.get(job.request.target());
        if known.is_some_and(|same_target| same_target.iter().any(is_meant)) {
            self.clients.leave(&job.client);
        }
        if let Some(same_target) = self.targets.get_mut(job.request.target()) {
            same_target.retain(|other| !is_meant(other));
            if same_target.is_empty() {
                self.targets.remove(job.request.target());
            }
        }
        let mut latest_first = self.running.iter();
        let index = latest_first.rposition(|running| is_meant(&running.job));
        let Some(running) = index.and_then(|index| self.running.remove(index)) else {
            if let Some(index) = self.waiting.iter().position(is_meant) {
                self.waiting.remove(index);
                self.waits_no_longer(job);
            }
            return false;
        };
        if running.easy {
            return false;
        }
        self.hard -= 1;
        let next = self.poorest_waiting();
        let next = next.and_then(|index| self.waiting.remove(index));
        let promoted = next.is_some();
        if let Some(job) = next {
            self.waits_no_longer(&job);
            self.run(job);
        }
        if self.hard == 0 {
            self.owed = 0.0;
        }
        promoted
    }

    /// Takes this search, which no longer waits, out of the sum.
    fn waits_no_longer(&mut self, job: &Job) {
        self.waiting_hashes = if self.waiting.is_empty() {
            // Clears rounding errors.
            0.0
        } else {
            self.waiting_hashes - expected(job)
        };
    }

    fn take_running(&mut self, job: &Arc<Job>) -> Option<Running> {
        let mut running = self.running.iter();
        let index = running.position(|running| Arc::ptr_eq(&running.job, job))?;
        self.running.remove(index)
    }

    /// Takes out every search. Engines still have their batches.
    pub(super) fn drain(&mut self) -> Vec<Arc<Job>> {
        self.hard = 0;
        self.waiting_hashes = 0.0;
        self.owed = 0.0;
        self.targets.clear();
        self.clients.leave_all();
        self.easiest_waiting = f64::INFINITY;
        let running = self.running.drain(..).map(|running| running.job);
        running.chain(self.waiting.drain(..)).collect()
    }
}
