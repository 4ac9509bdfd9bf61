//! A search that runs, and which engines work on it.

use std::sync::Arc;

use super::ledger::Ledger;
use crate::scheduler::job::Job;

/// An engine goes on with other searches once a search has this many times its expected hashes in flight: one search in
/// 1800 (e^−7.5) needs more. Engines aim at 8 times; the rest is for what they round off.
pub(super) const ENOUGH: f64 = 7.5;

/// The parts of one engine. An engine works on several searches with a part of it for each.
pub(super) const WHOLE: usize = 1 << 16;

/// A running search. The [`Ledger`] is the record of the slices in flight. The fields here are an index of it by
/// search, since every pick of every engine looks at every running search.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Arc<Job>,
    /// Whether it was easy when it began to run.
    pub(super) easy: bool,
    /// The engines that work on it, and how many slices of it each has.
    engines: Vec<(usize, usize)>,
    /// How many nonces those slices have.
    in_flight: u64,
    /// How many nonces it was ever given, plus those that others had on average when it began to run.
    pub(super) given: f64,
}

/// The mean number of nonces that a search needs.
pub(super) fn expected(job: &Job) -> f64 {
    job.request.rule().expected_hashes()
}

/// The mean number of nonces until one of these searches ends if all have equal parts: `n` of them end `Σ 1 / expected`
/// times in `n` hashes. Zero if there are none.
pub(super) fn until_one_ends<'a>(searches: impl Iterator<Item = &'a Running>) -> f64 {
    let (count, ends) = searches.fold((0.0, 0.0), |(count, ends), running| {
        (count + 1.0, ends + 1.0 / expected(&running.job))
    });
    if ends > 0.0 { count / ends } else { 0.0 }
}

/// How many nonces the hard ones among these searches were given on average. Zero if there are none.
pub(super) fn mean_given<'a>(searches: impl Iterator<Item = &'a Running>) -> f64 {
    let hard = searches.filter(|running| !running.easy);
    let (count, given) = hard.fold((0.0, 0.0), |(count, given), running| {
        (count + 1.0, given + running.given)
    });
    if count > 0.0 { given / count } else { 0.0 }
}

impl Running {
    /// A search that no engine works on yet, among others that were given this many nonces on average.
    pub(super) const fn new(job: Arc<Job>, easy: bool, given: f64) -> Self {
        Self {
            job,
            easy,
            engines: Vec::new(),
            in_flight: 0,
            given,
        }
    }

    /// `engine` has another slice of it, of this many nonces.
    pub(super) fn begin(&mut self, engine: usize, nonces: u64) {
        match self.engines.iter_mut().find(|(own, _)| *own == engine) {
            Some((_, slices)) => *slices += 1,
            None => self.engines.push((engine, 1)),
        }
        self.in_flight = self.in_flight.saturating_add(nonces);
        self.given += nonces as f64;
    }

    /// `engine` has one slice of it less, of this many nonces.
    pub(super) fn end(&mut self, engine: usize, nonces: u64) {
        self.in_flight = self.in_flight.saturating_sub(nonces);
        if let Some(index) = self.engines.iter().position(|&(own, _)| own == engine) {
            self.engines[index].1 -= 1;
            if self.engines[index].1 == 0 {
                self.engines.swap_remove(index);
            }
        }
    }

    /// Whether the nonces in flight are all but sure to contain an answer.
    pub(super) fn has_enough(&self) -> bool {
        self.in_flight as f64 >= ENOUGH * expected(&self.job)
    }

    /// Sort key for `engine`, smallest first: how many other engines work on it, in parts of [`WHOLE`], and whether only
    /// others do.
    pub(super) fn rank(&self, engine: usize, ledger: &Ledger) -> (usize, bool) {
        let (own, others): (Vec<_>, Vec<_>) = self
            .engines
            .iter()
            .partition(|(number, _)| *number == engine);
        let part =
            |&(number, slices): &(usize, usize)| slices * WHOLE / ledger.slices(number).max(1);
        let others = others.iter().map(part).sum();
        (others, others > 0 && own.is_empty())
    }
}
