//! The order of searches, as plain data: who runs, who waits, who is next.
//!
//! **Who runs.** Hard searches take turns: `QUEUE_SIZE` of them run at once, and the others wait in order of
//! arrival. An *easy* search, which one batch of an engine ends more often than not, runs at once and counts
//! towards no limit but that of all searches together.
//!
//! **Who is next.** An engine takes the running search that the fewest other engines work on, of which one that has
//! slices of several searches counts in parts; among equals one that it works on itself, if others do, too, and
//! then the one that was served longest ago. An engine whose
//! batches hold several searches takes more that rank the same, up to its share: as many as there are to choose
//! from, divided by the engines in service. So a single search has every engine, as many searches as engines have
//! one each, and many easy ones share a batch.
//!
//! **Who is passed over.** A batch of several searches cannot be stopped when another engine has answered one of
//! them. So an engine of such batches does not take a search that has [`ENOUGH`] nonces in flight; it is there
//! again when they have come back.
//!
//! **Nobody starves.** A search that arrives or is served goes to the end of the line, so that a running search
//! which no engine works on is overtaken by none that came or was served after it. So searches of one kind begin in
//! the order in which they came.
//!
//! **Easy before hard, within bounds.** An engine that takes one search at a time takes an easy one first, of those that
//! rank the same: it keeps the engine for some 0.5 ms and then is gone, where a slice of a hard one keeps it for 5 ms,
//! and there may be many hard ones in line. Alone, that would starve these. So the hard searches together have at least
//! a quarter of the hashes: of those that easy ones take while there are hard ones, a third is *owed* to these, and as
//! soon as that is a batch, the next engine that asks has hard searches alone to choose from. (Turn by turn, a hard one
//! beside `n` easy ones would have 10 parts of `10 + n`, and each easy one would wait for every hard one; with equal
//! times for all, it would have one part of `1 + n`. Beside a line of hundreds it would outlast its client's patience
//! either way.) The price is that easy searches which come faster than three quarters of the engines can do pile up
//! until the hard ones have ended, or are refused. An engine of batches takes easy and hard ones together.
//!
//! **Who shares a search.** A request joins a search for the same target that is as hard as its own, or up to
//! [`ALIKE`] times as hard. An answer to one is then an answer to the other. A harder request than that which is
//! searched for has its own search: the slices in flight would not notice what it needs, and the easier one should
//! not wait for it. For the same reason, an easy request does not join one that is far harder.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::estimate::Effort;
use super::job::Job;
use crate::device::NonceRange;
use crate::work::{Target, WorkRequest};

/// So many times the nonces that a search needs on average are all but sure to end it: one search in 1800
/// (e^−7.5) needs more. Engines aim at 8 times; the rest is for what they round off.
const ENOUGH: f64 = 7.5;

/// How many times as hard as its own the search may be that a request joins. Thresholds of two years in a row are up to
/// twice apart, so that a block that is asked for again in a new year is found; networks are ten times apart or more.
const ALIKE: f64 = 3.0;

/// How many hashes easy searches are given for each that hard ones are given at least.
const EASY_TO_HARD: f64 = 3.0;

/// The searches that have not ended.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many searches that are not easy may run at once.
    max_turns: usize,
    /// How many may wait.
    capacity: usize,
    /// How many nonces a batch has that is one hard search's alone: the most that an engine in service gives.
    batch: u64,
    /// Those that run, the one served longest ago first.
    running: VecDeque<Running>,
    /// How many of them are not easy.
    turns: usize,
    /// Those that wait, the longest waiting first.
    waiting: VecDeque<Arc<Job>>,
    /// How many nonces those that wait need on average, together.
    waiting_hashes: f64,
    /// How many nonces hard searches are owed, for what easy ones were given.
    owed: f64,
    /// All of them by target; those of one target are under different thresholds.
    targets: HashMap<Target, Vec<Arc<Job>>>,
    /// No search that waits needs fewer nonces than this on average.
    easiest_waiting: f64,
    /// How many slices each engine has, by its number.
    slices: Vec<usize>,
}

/// One engine, as a sum of the parts of it that different searches have.
const WHOLE: usize = 1 << 16;

#[derive(Debug)]
struct Running {
    job: Arc<Job>,
    /// Whether it was easy when it began to run.
    easy: bool,
    /// The engines that work on it now, and how many slices of it each has.
    engines: Vec<(usize, usize)>,
    /// How many nonces those slices have.
    in_flight: u64,
}

/// Slices of different searches that an engine works on together.
pub(super) type Batch = Vec<Assigned>;

/// A slice of a search.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) job: Arc<Job>,
    pub(super) nonces: NonceRange,
}

/// Who asks for searches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker {
    /// Which engine.
    pub(super) engine: usize,
    /// How many searches it can take on in a batch.
    pub(super) searches: usize,
    /// Whether it leaves a slice at once when its search has ended.
    pub(super) stops_at_once: bool,
    /// How many engines are in service, this one among them.
    pub(super) engines: usize,
}

/// There are as many searches as may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Running {
    /// Whether what is in flight is all but sure to end it.
    fn has_enough(&self) -> bool {
        self.in_flight as f64 >= ENOUGH * expected(&self.job)
    }

    /// Its place in the order for this engine, the first being the least: how many other engines work on it, in parts
    /// of [`WHOLE`], and whether only others do. `slices` says how many each engine has in all.
    fn rank(&self, engine: usize, slices: &[usize]) -> (usize, bool) {
        let (own, others): (Vec<_>, Vec<_>) = self
            .engines
            .iter()
            .partition(|(number, _)| *number == engine);
        let part = |&(number, own): &(usize, usize)| own * WHOLE / slices[number].max(1);
        let others = others.iter().map(part).sum();
        (others, others > 0 && own.is_empty())
    }
}

/// How many nonces a search needs on average.
fn expected(job: &Job) -> f64 {
    job.request.threshold().expected_hashes()
}

/// How many nonces are tested on average until one of these searches ends, if all have equal parts: `n` of them end
/// `Σ 1 / expected` times in `n` hashes. Zero if there are none.
fn until_one_ends<'a>(searches: impl Iterator<Item = &'a Running>) -> f64 {
    let (count, ends) = searches.fold((0.0, 0.0), |(count, ends), running| {
        (count + 1.0, ends + 1.0 / expected(&running.job))
    });
    if ends > 0.0 { count / ends } else { 0.0 }
}

impl Queue {
    pub(super) fn new(max_turns: NonZeroUsize, capacity: usize) -> Self {
        Self {
            max_turns: max_turns.get(),
            capacity,
            batch: 0,
            running: VecDeque::new(),
            turns: 0,
            waiting: VecDeque::new(),
            waiting_hashes: 0.0,
            owed: 0.0,
            targets: HashMap::new(),
            easiest_waiting: f64::INFINITY,
            slices: Vec::new(),
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
        self.max_turns.saturating_add(self.capacity)
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
        if self.runs_at_once(&job.request) {
            self.run(job);
        } else {
            self.easiest_waiting = self.easiest_waiting.min(expected(&job));
            self.waiting_hashes += expected(&job);
            self.waiting.push_back(job);
        }
        Ok(())
    }

    /// The search that this request may join.
    pub(super) fn find(&self, request: &WorkRequest) -> Option<&Arc<Job>> {
        let own = request.threshold().expected_hashes();
        let same_target = self.targets.get(request.target())?;
        same_target.iter().find(|job| {
            job.request.threshold() <= request.threshold() && expected(job) <= ALIKE * own
        })
    }

    /// What is ahead of a search that came now, and its own effort.
    pub(super) fn effort(&self, request: &WorkRequest) -> Effort {
        let own = request.threshold().expected_hashes();
        if self.runs_at_once(request) {
            return Effort {
                wait: 0.0,
                solve: own * (self.running.len() + 1) as f64,
            };
        }
        Effort {
            wait: self.until_turn(),
            solve: own * self.max_turns as f64,
        }
    }

    /// How many nonces are tested on average until a hard search that came now has a turn. Zero if one is free.
    pub(super) fn until_turn(&self) -> f64 {
        if self.turns < self.max_turns {
            return 0.0;
        }
        // What runs now and is easy has ended long before. For each of those that wait to begin, one must end.
        let hard = self.running.iter().filter(|running| !running.easy);
        self.waiting_hashes + until_one_ends(hard)
    }

    /// How many nonces are tested on average until there is room for one more: until any that runs has ended.
    pub(super) fn until_room(&self) -> f64 {
        until_one_ends(self.running.iter())
    }

    /// Whether one batch ends this search more often than not.
    fn is_easy(&self, request: &WorkRequest) -> bool {
        request.threshold().expected_hashes() <= self.batch as f64
    }

    fn runs_at_once(&self, request: &WorkRequest) -> bool {
        self.is_easy(request) || self.turns < self.max_turns
    }

    fn run(&mut self, job: Arc<Job>) {
        let easy = self.is_easy(&job.request);
        self.turns += usize::from(!easy);
        self.running.push_back(Running {
            job,
            easy,
            engines: Vec::new(),
            in_flight: 0,
        });
    }

    /// Learns how many nonces an engine in service gives one hard search in a batch. Whether searches that
    /// waited are easy by that, and run now.
    pub(super) fn set_batch(&mut self, nonces: u64) -> bool {
        self.batch = nonces;
        if self.easiest_waiting > nonces as f64 {
            return false;
        }
        let (easy, hard): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|job| self.is_easy(&job.request));
        self.waiting = hard;
        self.waiting_hashes = self.waiting.iter().map(|job| expected(job)).sum();
        self.easiest_waiting = self
            .waiting
            .iter()
            .map(|job| expected(job))
            .fold(f64::INFINITY, f64::min);
        let promoted = !easy.is_empty();
        easy.into_iter().for_each(|job| self.run(job));
        promoted
    }

    /// The searches that an engine should work on next: none if there is nothing for it to do.
    pub(super) fn pick(&self, taker: &Taker) -> Vec<Arc<Job>> {
        let may_take = |running: &Running| taker.stops_at_once || !running.has_enough();
        let hard_only = self.owed > 0.0
            && self.owed >= self.batch as f64
            && self
                .running
                .iter()
                .any(|running| !running.easy && may_take(running));
        let candidates = || {
            self.running
                .iter()
                .filter(|running| may_take(running) && !(hard_only && running.easy))
        };
        // More than fill every engine's batch change nothing, so they are not counted.
        let count = candidates()
            .take(taker.searches.saturating_mul(taker.engines))
            .count();
        let share = count.div_ceil(taker.engines.max(1));
        let easy_first = taker.searches == 1 && self.running.len() > self.turns;
        let rank = |running: &Running| {
            let (others, only_others) = running.rank(taker.engine, &self.slices);
            (others, only_others, easy_first && !running.easy)
        };
        let mut first = None;
        for running in candidates() {
            let rank = rank(running);
            first = Some(first.map_or(rank, |first| rank.min(first)));
            // Nothing comes before a search that nobody else works on, and at high load that is soon found.
            if rank == (0, false, false) {
                break;
            }
        }
        candidates()
            .filter(|running| Some(rank(running)) == first)
            .take(share)
            .map(|running| Arc::clone(&running.job))
            .collect()
    }

    /// Engine number `engine` works on this batch, which it was given after a [`Queue::pick`].
    pub(super) fn assign(&mut self, engine: usize, batch: &Batch) {
        if self.slices.len() <= engine {
            self.slices.resize(engine + 1, 0);
        }
        self.slices[engine] += batch.len();
        for Assigned { job, nonces } in batch {
            let Some(index) = self.position(job) else {
                continue;
            };
            let Some(mut running) = self.running.remove(index) else {
                continue;
            };
            match running.engines.iter_mut().find(|(own, _)| *own == engine) {
                Some((_, slices)) => *slices += 1,
                None => running.engines.push((engine, 1)),
            }
            running.in_flight = running.in_flight.saturating_add(nonces.count);
            let count = nonces.count as f64;
            if !running.easy {
                self.owed = (self.owed - count).max(0.0);
            } else if self.turns > 0 {
                // It ends as soon as it has found.
                self.owed += count.min(expected(job)) / EASY_TO_HARD;
            }
            self.running.push_back(running);
        }
    }

    /// Engine number `engine` no longer works on this batch, whose searches may have ended since.
    pub(super) fn put_back(&mut self, engine: usize, batch: &Batch) {
        self.slices[engine] -= batch.len();
        for Assigned { job, nonces } in batch {
            // What was served lately is at the end.
            let mut latest_first = self.running.iter_mut().rev();
            let Some(running) = latest_first.find(|running| Arc::ptr_eq(&running.job, job)) else {
                continue;
            };
            running.in_flight = running.in_flight.saturating_sub(nonces.count);
            if let Some(index) = running.engines.iter().position(|&(own, _)| own == engine) {
                running.engines[index].1 -= 1;
                if running.engines[index].1 == 0 {
                    running.engines.swap_remove(index);
                }
            }
        }
    }

    /// Takes out a search that has ended. Whether one that waited may run now.
    pub(super) fn remove(&mut self, job: &Arc<Job>) -> bool {
        let is_meant = |other: &Arc<Job>| Arc::ptr_eq(other, job);
        if let Some(same_target) = self.targets.get_mut(job.request.target()) {
            same_target.retain(|other| !is_meant(other));
            if same_target.is_empty() {
                self.targets.remove(job.request.target());
            }
        }
        let Some(running) = self
            .running
            .iter()
            .rposition(|running| is_meant(&running.job))
            .and_then(|index| self.running.remove(index))
        else {
            if let Some(index) = self.waiting.iter().position(is_meant) {
                self.waiting.remove(index);
                self.waits_no_longer(job);
            }
            return false;
        };
        if running.easy {
            return false;
        }
        self.turns -= 1;
        let next = self.waiting.pop_front();
        let promoted = next.is_some();
        if let Some(job) = next {
            self.waits_no_longer(&job);
            self.run(job);
        }
        if self.turns == 0 {
            self.owed = 0.0;
        }
        promoted
    }

    /// Counts this search, which has just been taken out, no longer among those that wait.
    fn waits_no_longer(&mut self, job: &Job) {
        self.waiting_hashes = if self.waiting.is_empty() {
            // Nothing is left of what sums round off.
            0.0
        } else {
            self.waiting_hashes - expected(job)
        };
    }

    fn position(&self, job: &Arc<Job>) -> Option<usize> {
        self.running
            .iter()
            .position(|running| Arc::ptr_eq(&running.job, job))
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self) -> Vec<Arc<Job>> {
        self.turns = 0;
        self.waiting_hashes = 0.0;
        self.owed = 0.0;
        self.targets.clear();
        self.easiest_waiting = f64::INFINITY;
        let running = self.running.drain(..).map(|running| running.job);
        running.chain(self.waiting.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::work::{Network, Target, Timestamp, WorkRequest};

    /// What a LOCAL search of 2026 needs on average, and a LIVE one.
    const EASY: u64 = 42_950;
    const HARD: u64 = 1 << 32;

    fn job_of(network: Network, number: u8) -> Arc<Job> {
        let time = Timestamp::from_millis(1_795_329_945_748).unwrap();
        let request = WorkRequest::new(network, time, Target::new([number; 32]), time).unwrap();
        Arc::new(Job::new(request).0)
    }

    fn job(number: u8) -> Arc<Job> {
        job_of(Network::Live, number)
    }

    fn easy(number: u8) -> Arc<Job> {
        job_of(Network::Local, number)
    }

    fn queue(max_running: usize, capacity: usize) -> Queue {
        Queue::new(NonZeroUsize::new(max_running).unwrap(), capacity)
    }

    /// A queue with these hard searches.
    fn queue_of(numbers: impl IntoIterator<Item = u8>) -> Queue {
        let mut queue = queue(256, 0);
        for number in numbers {
            queue.push(job(number)).unwrap();
        }
        queue
    }

    /// A core: one slice at a time, left at once.
    fn core(engine: usize) -> Taker {
        Taker {
            engine,
            searches: 1,
            stops_at_once: true,
            engines: 1,
        }
    }

    /// One of so many cards, with batches of up to 64 searches.
    fn card(engine: usize, engines: usize) -> Taker {
        Taker {
            engine,
            searches: 64,
            stops_at_once: false,
            engines,
        }
    }

    /// Gives `taker` a batch with `length` nonces of each search.
    fn take(queue: &mut Queue, taker: &Taker, length: u64) -> Batch {
        let jobs = queue.pick(taker).into_iter();
        let batch = jobs
            .map(|job| Assigned {
                nonces: job.claim(length),
                job,
            })
            .collect();
        queue.assign(taker.engine, &batch);
        batch
    }

    /// The numbers that the searches of a batch were made with.
    fn numbers(batch: &Batch) -> Vec<u8> {
        let number = |assigned: &Assigned| assigned.job.request.target().as_bytes()[0];
        batch.iter().map(number).collect()
    }

    /// What a core is given next.
    fn next(queue: &mut Queue, engine: usize) -> Vec<u8> {
        numbers(&take(queue, &core(engine), 1))
    }

    #[test]
    fn one_search_has_every_engine() {
        let mut queue = queue_of([1]);
        for engine in 0..3 {
            assert_eq!(next(&mut queue, engine), [1]);
        }
    }

    #[test]
    fn running_searches_take_turns() {
        let mut queue = queue_of([1, 2, 3]);
        let mut served = Vec::new();
        for _ in 0..6 {
            let batch = take(&mut queue, &core(0), 1);
            queue.put_back(0, &batch);
            served.extend(numbers(&batch));
        }
        assert_eq!(served, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_second_engine_takes_the_search_that_has_none() {
        let mut queue = queue_of([1]);
        let first = take(&mut queue, &core(0), 1);
        queue.push(job(2)).unwrap();
        assert_eq!(next(&mut queue, 1), [2]);
        queue.put_back(0, &first);
        assert_eq!(next(&mut queue, 2), [1]);
    }

    #[test]
    fn the_rest_waits_in_order_up_to_the_capacity() {
        let mut queue = queue(1, 2);
        let first = job(1);
        queue.push(Arc::clone(&first)).unwrap();
        queue.push(job(2)).unwrap();
        queue.push(job(3)).unwrap();
        assert_eq!(queue.push(job(4)), Err(Full));
        assert_eq!((queue.running(), queue.waiting()), (1, 2));
        assert!(queue.remove(&first));
        assert_eq!((queue.running(), queue.waiting()), (1, 1));
        assert_eq!(next(&mut queue, 0), [2]);
    }

    #[test]
    fn a_search_that_waits_can_leave() {
        let mut queue = queue(1, 2);
        let (second, third) = (job(2), job(3));
        queue.push(job(1)).unwrap();
        queue.push(Arc::clone(&second)).unwrap();
        queue.push(third).unwrap();
        assert!(!queue.remove(&second));
        assert_eq!((queue.running(), queue.waiting()), (1, 1));
        assert_eq!(next(&mut queue, 0), [1]);
    }

    #[test]
    fn putting_back_what_has_ended_changes_nothing() {
        let mut queue = queue_of([1]);
        let taken = take(&mut queue, &core(0), 1);
        queue.remove(&taken[0].job);
        queue.put_back(0, &taken);
        assert!(next(&mut queue, 0).is_empty());
    }

    #[test]
    fn easy_searches_run_at_once_and_leave_the_turns_to_the_hard_ones() {
        let mut queue = queue(1, 3);
        queue.set_batch(EASY);
        let hard = job(1);
        queue.push(Arc::clone(&hard)).unwrap();
        queue.push(job(2)).unwrap();
        let quick = easy(3);
        queue.push(Arc::clone(&quick)).unwrap();
        assert_eq!((queue.running(), queue.waiting()), (2, 1));
        // All of them together are bounded.
        queue.push(easy(4)).unwrap();
        assert_eq!(queue.push(easy(5)), Err(Full));
        // The end of an easy search is no hard one's turn.
        assert!(!queue.remove(&quick));
        assert_eq!((queue.running(), queue.waiting()), (2, 1));
        assert!(queue.remove(&hard));
        assert_eq!((queue.running(), queue.waiting()), (2, 0));
    }

    #[test]
    fn what_is_easy_depends_on_the_engines() {
        let mut queue = queue(1, 9);
        queue.set_batch(EASY - 1);
        for job in [job(1), job(2), easy(3), job(4), easy(5)] {
            queue.push(job).unwrap();
        }
        assert_eq!((queue.running(), queue.waiting()), (1, 4));
        assert!(!queue.set_batch(EASY - 1));
        assert!(queue.set_batch(EASY));
        assert_eq!((queue.running(), queue.waiting()), (3, 2));
        assert!(!queue.set_batch(HARD - 1));
        assert!(queue.set_batch(HARD));
        assert_eq!((queue.running(), queue.waiting()), (5, 0));
    }

    #[test]
    fn a_single_search_is_split_over_all_batches_of_all_cards() {
        let mut queue = queue_of([1]);
        let mut slices = BTreeSet::new();
        for engine in [0, 0, 1, 1] {
            let batch = take(&mut queue, &card(engine, 2), 1000);
            assert_eq!(numbers(&batch), [1]);
            slices.insert(batch[0].nonces.start);
        }
        assert_eq!(slices.len(), 4);
    }

    #[test]
    fn a_batch_has_an_engines_share_of_the_searches() {
        let mut queue = queue_of(0..7);
        assert_eq!(numbers(&take(&mut queue, &card(0, 3), 1)), [0, 1, 2]);
        assert_eq!(numbers(&take(&mut queue, &card(1, 3), 1)), [3, 4, 5]);
        // The others have engines already.
        assert_eq!(numbers(&take(&mut queue, &card(2, 3), 1)), [6]);
    }

    #[test]
    fn a_batch_holds_no_more_than_the_engine_takes_on() {
        let mut queue = queue_of(0..100);
        assert_eq!(take(&mut queue, &card(0, 1), 1).len(), 64);
        // The second batch begins with those that the first left.
        let second = numbers(&take(&mut queue, &card(0, 1), 1));
        assert_eq!(second[..36], (64..100).collect::<Vec<_>>());
        assert_eq!(second.len(), 64);
    }

    /// Lets three cards that have these batches in flight go on, in the order that `engine` says for each round and
    /// step. After a few rounds each must have a search of its own.
    fn assert_settle(
        queue: &mut Queue,
        mut in_flight: [VecDeque<Batch>; 3],
        engine: impl Fn(usize, usize) -> usize,
    ) {
        let mut served = [const { BTreeSet::new() }; 3];
        for round in 0..20 {
            for step in 0..3 {
                let engine = engine(round, step);
                let batch = in_flight[engine].pop_front().unwrap();
                queue.put_back(engine, &batch);
                let next = take(queue, &card(engine, 3), 1);
                if round >= 4 {
                    served[engine].extend(numbers(&next));
                }
                in_flight[engine].push_back(next);
            }
        }
        let all: BTreeSet<_> = served.iter().flatten().copied().collect();
        assert_eq!(served.each_ref().map(BTreeSet::len), [1; 3], "{served:?}");
        assert_eq!(all.len(), 3, "{served:?}");
    }

    #[test]
    fn as_many_searches_as_cards_have_one_each() {
        // The first card is awake before the others, and takes two searches.
        let mut queue = queue_of([1, 2, 3]);
        let mut in_flight = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        for engine in [0, 0, 1, 1, 2, 2] {
            in_flight[engine].push_back(take(&mut queue, &card(engine, 3), 1));
        }
        // Now one is a little faster, now another.
        assert_settle(&mut queue, in_flight, |round, step| {
            if round % 2 == 0 { step } else { 2 - step }
        });
    }

    #[test]
    fn a_card_that_shares_a_search_takes_one_that_has_half_a_card() {
        let mut queue = queue_of([1, 2, 3]);
        // Two cards have the third search, and one takes turns on the first two.
        let mut give = |engine, number: usize| {
            let job = Arc::clone(&queue.running[number].job);
            let nonces = job.claim(1);
            let batch = vec![Assigned { job, nonces }];
            queue.assign(engine, &batch);
            batch
        };
        // Searches go to the end of the line as they are given.
        let mut in_flight = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        for (engine, place) in [(0, 2), (0, 2), (2, 2), (2, 2), (1, 0), (1, 0)] {
            in_flight[engine].push_back(give(engine, place));
        }
        assert_settle(&mut queue, in_flight, |_, step| step);
    }

    #[test]
    fn what_is_all_but_sure_to_end_is_left_alone_by_those_who_could_not_stop() {
        let mut queue = queue(4, 0);
        queue.push(easy(1)).unwrap();
        let half = take(&mut queue, &card(0, 2), 4 * EASY);
        let rest = take(&mut queue, &card(0, 2), 4 * EASY);
        assert_eq!((half.len(), rest.len()), (1, 1));
        assert!(queue.pick(&card(0, 2)).is_empty());
        assert!(queue.pick(&card(1, 2)).is_empty());
        assert_eq!(queue.pick(&core(2)).len(), 1);
        queue.put_back(0, &half);
        assert_eq!(queue.pick(&card(1, 2)).len(), 1);
    }

    #[test]
    fn nobody_starves_beside_endless_easy_searches() {
        // A card gives each search as much as it takes to be all but sure of an answer.
        for (taker, length) in [(core(0), EASY), (card(0, 1), 8 * EASY)] {
            let mut queue = queue(1, 1000);
            queue.set_batch(8 * EASY);
            queue.push(job(0)).unwrap();
            let (mut hard, mut easies) = (0, 0);
            for round in 0..100 {
                for _ in 0..8 {
                    queue.push(easy(1 + round)).unwrap();
                }
                // As much is done as comes in, and the hard search once.
                for _ in 0..if taker.searches == 1 { 11 } else { 1 } {
                    let batch = take(&mut queue, &taker, length);
                    queue.put_back(0, &batch);
                    for assigned in batch {
                        if assigned.job.request.network() == Network::Live {
                            hard += 1;
                        } else {
                            easies += 1;
                            queue.remove(&assigned.job);
                        }
                    }
                }
            }
            assert!(hard >= 90, "{hard}");
            assert!(easies >= 790, "{easies}");
        }
    }

    #[test]
    fn nobody_starves_when_there_is_more_than_can_be_done() {
        let mut queue = queue(1, 100_000);
        queue.set_batch(8 * EASY);
        queue.push(job(0)).unwrap();
        let first = easy(1);
        queue.push(Arc::clone(&first)).unwrap();
        let mut hard = 0;
        for _ in 0..1000 {
            // Two come for each slice.
            queue.push(easy(2)).unwrap();
            queue.push(easy(3)).unwrap();
            let batch = take(&mut queue, &core(0), EASY);
            queue.put_back(0, &batch);
            if batch[0].job.request.network() == Network::Live {
                hard += 1;
            } else {
                queue.remove(&batch[0].job);
            }
        }
        // The line grows, and so it has what it is owed: a quarter.
        assert!((240..=260).contains(&hard), "{hard}");
        assert!(queue.position(&first).is_none());
    }

    #[test]
    fn a_request_joins_what_is_as_hard_or_a_little_harder() {
        let request = |network, year: i64, number| {
            let time = Timestamp::from_millis(1_704_067_200_000 + year * 31_622_400_000).unwrap();
            WorkRequest::new(network, time, Target::new([number; 32]), time).unwrap()
        };
        let mut queue = queue(4, 4);
        // Thresholds of LIVE are the same in the first two years, and half in the third.
        let searched = request(Network::Live, 2, 1);
        let job = Arc::new(Job::new(searched).0);
        queue.push(Arc::clone(&job)).unwrap();
        let joins = |queue: &Queue, request| queue.find(&request).is_some();
        assert!(joins(&queue, searched));
        assert!(joins(&queue, request(Network::Live, 1, 1)));
        assert!(!joins(&queue, request(Network::Live, 4, 1)), "harder");
        assert!(!joins(&queue, request(Network::Beta, 2, 1)), "far easier");
        assert!(
            !joins(&queue, request(Network::Live, 2, 2)),
            "another target"
        );
        // Several of one target, each with its own.
        queue
            .push(Arc::new(Job::new(request(Network::Beta, 2, 1)).0))
            .unwrap();
        assert!(joins(&queue, request(Network::Beta, 2, 1)));
        queue.remove(&job);
        assert!(!joins(&queue, searched));
        assert!(joins(&queue, request(Network::Beta, 2, 1)));
        queue.drain();
        assert!(queue.targets.is_empty() && !joins(&queue, request(Network::Beta, 2, 1)));
    }

    #[test]
    fn what_is_ahead_is_counted_in_hashes() {
        let mut queue = queue(2, 100);
        queue.set_batch(EASY);
        let (one, local) = (HARD as f64, expected(&easy(0)));
        let (hard, easy) = (job(0).request, easy(0).request);
        let effort = |queue: &Queue, request| {
            let Effort { wait, solve } = queue.effort(request);
            (wait, solve)
        };
        assert_eq!(effort(&queue, &hard), (0.0, one));
        queue.push(job(1)).unwrap();
        assert_eq!(effort(&queue, &hard), (0.0, 2.0 * one));
        assert_eq!(effort(&queue, &easy), (0.0, 2.0 * local));
        queue.push(job(2)).unwrap();
        // Two searches of `one` hashes each end twice in as many hashes of each.
        assert_eq!(effort(&queue, &hard), (one, 2.0 * one));
        queue.push(job(3)).unwrap();
        assert_eq!(effort(&queue, &hard), (2.0 * one, 2.0 * one));
        let fourth = job(4);
        queue.push(Arc::clone(&fourth)).unwrap();
        assert_eq!(effort(&queue, &hard).0, 3.0 * one);
        queue.remove(&fourth);
        assert_eq!(effort(&queue, &hard).0, 2.0 * one);
        assert_eq!(queue.until_room(), one);
        // Room for one more is there when the first of the two hard ones and the easy one has ended.
        queue.push(job_of(Network::Local, 5)).unwrap();
        assert_eq!(effort(&queue, &hard).0, 2.0 * one);
        assert!(queue.until_room() < 3.0 * local, "{}", queue.until_room());
        queue.drain();
        assert_eq!((queue.until_room(), queue.until_turn()), (0.0, 0.0));
    }
}
