//! Which searches an engine works on next, and for how many nonces.
//!
//! **Which is next.** An engine takes the running search that the fewest other engines work on; an engine with slices of
//! several searches counts for each in parts. Among equals it prefers one that it already shares with others, and then
//! the least recently served. An engine whose batches hold several searches takes further ones of the same rank, up to
//! its share: the searches to choose from, divided by the engines in service. So a single search gets every engine, as
//! many searches as engines get one each, and many easy searches share a batch.
//!
//! **Which is skipped.** A batch of several searches cannot be stopped when another engine has answered one of them. So
//! an engine of such batches skips a search whose nonces in flight are all but sure to contain an answer
//! ([`Running::has_enough`]) until they have come back.
//!
//! **No search starves.** Searches are served least recently served first, so a running search that no engine works on
//! is never overtaken by one that arrived or was served after it. Searches of one kind begin in order of arrival.
//!
//! **Slow engines beside fast ones.** By the number of engines alone, a search that only a slow one works on would stay
//! with it. So an engine of batches adds the hard search that is furthest behind, once that search was given two
//! batches less than the hard searches were on average ([`Running::given`]). Cores are all alike and need no such rule.
//!
//! **Clients take turns.** While several clients have searches, an engine works for the client that was given the
//! fewest nonces lately, and for those within [`SLACK`] batches of it, separately for hard and for easy searches. A
//! search of these clients takes the slot of the client that was given the most (`Queue::rebalance`). The search that
//! had the slot waits again, and has lost nothing, since a search has no memory. If the queue is full, the last search
//! of the client with the most of them is refused instead of the first of another. So a client with many searches does
//! not make others wait, and has all that they leave.
//!
//! **Answers end other engines' work late.** A card cannot be told to leave a dispatch, so what other cards have in flight
//! of an answered search is wasted. While several cards serve, a slice of a search that one batch may not end is at most the
//! search's expected hashes divided by the cards and by [`SLICES`], but not so short that a card would wait for the host.
//!
//! **Easy before hard, within bounds.** An engine that takes one search at a time prefers an easy one among those of the
//! same rank: it keeps the engine for some 0.5 ms, a slice of a hard one for 5 ms, and many hard ones may be in line.
//! Alone, that would starve the hard ones. So hard searches always get at least 25 % of the hash rate: of the hashes that
//! easy searches take while hard ones run, a third is *owed* to the hard ones, and once a batch's worth is owed, the next
//! engine chooses among hard searches alone. (With equal numbers of slices, a hard search beside `n` easy ones would get
//! 10 parts of `10 + n`, and each easy one would wait for every hard one. With equal times, it would get one part of
//! `1 + n`. Beside hundreds of easy searches, either would outlast its client's patience.) The price: easy searches that
//! arrive faster than 75 % of the hash rate can serve pile up until the hard ones have ended, or are refused.
//! An engine of batches takes easy and hard searches together.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clients::Clients;
use super::ledger::Ledger;
use super::running::{ENOUGH, Running, mean_given};
use crate::scheduler::job::Job;

/// How many hashes easy searches get for each that hard ones get at least.
pub(super) const EASY_TO_HARD: f64 = 3.0;

/// How many batches a hard search may be behind. Equal engines differ by as much for a moment, which is no reason to
/// share their searches.
const BEHIND: f64 = 2.0;

/// How many slices of each engine a hard search takes on average. Every engine but the one that finds work wastes one and
/// a half to two slices in flight: with 32, at most 6 % of all hashes, if slices may be as short as that.
const SLICES: f64 = 32.0;

/// A slice is not made shorter than a batch divided by this: 0.5 ms on a card, beside 0.1 ms that the host takes for it.
/// So two cards waste up to a quarter of their hashes on searches of half a batch, and whole batches would waste nine tenths.
const SHORTEST: u64 = 40;

/// How many batches more than another a client may have been given before the other goes first.
pub(super) const SLACK: f64 = 2.0;

/// What an engine asks of the queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Demand {
    /// The engine's number.
    pub(in crate::scheduler) engine: usize,
    /// How many searches a batch of it can hold.
    pub(in crate::scheduler) searches: usize,
    /// Whether it leaves a slice at once when the slice's search has ended.
    pub(in crate::scheduler) stops_at_once: bool,
    /// How many engines are in service, this one included. 1 for an engine that takes one search at a time.
    pub(in crate::scheduler) engines: usize,
}

/// The searches that an engine should work on next, out of `running`, the least recently served first. `owed` is how
/// many nonces hard searches are owed. `batch` is the nonces of a batch that one hard search has alone.
pub(super) fn pick(
    running: &VecDeque<Running>,
    ledger: &Ledger,
    clients: &Clients,
    owed: f64,
    batch: u64,
    demand: &Demand,
) -> Vec<Arc<Job>> {
    let may_take = |running: &&Running| demand.stops_at_once || !running.has_enough();
    let hard_only = owed > 0.0
        && owed >= batch as f64
        && running.iter().filter(may_take).any(|running| !running.easy);
    let given = |running: &Running| clients.given(&running.job.client);
    let most = |easy| {
        if !clients.are_several() {
            return f64::INFINITY;
        }
        let alike = running.iter().filter(may_take);
        let alike = alike.filter(|running| running.easy == easy);
        alike.map(given).fold(f64::INFINITY, f64::min) + SLACK * batch as f64
    };
    let (most_easy, most_hard) = (most(true), most(false));
    let has_its_turn = |running: &&Running| {
        let most = if running.easy { most_easy } else { most_hard };
        most.is_infinite() || given(running) <= most
    };
    let candidates = || {
        running
            .iter()
            .filter(may_take)
            .filter(has_its_turn)
            .filter(move |running| !(hard_only && running.easy))
    };
    // More searches than fill every engine's batch change nothing, so they are not counted.
    let count = candidates()
        .take(demand.searches.saturating_mul(demand.engines))
        .count();
    let share = count.div_ceil(demand.engines.max(1));
    let easy_first = demand.searches == 1 && running.iter().any(|running| running.easy);
    let rank = |running: &Running| {
        let (others, only_others) = running.rank(demand.engine, ledger);
        (others, only_others, easy_first && !running.easy)
    };
    let mut first = None;
    for running in candidates() {
        let rank = rank(running);
        first = Some(first.map_or(rank, |first| rank.min(first)));
        // Nothing ranks before a search that no other engine works on, and at high load that is soon found.
        if rank == (0, false, false) {
            break;
        }
    }
    let mut picked: Vec<_> = candidates()
        .filter(|running| Some(rank(running)) == first)
        .take(share)
        .map(|running| Arc::clone(&running.job))
        .collect();
    if demand.searches > 1
        && let Some(behind) = furthest_behind(running.iter().filter(has_its_turn), batch)
        && may_take(&behind)
        && !picked.iter().any(|job| Arc::ptr_eq(job, &behind.job))
    {
        picked.truncate(demand.searches - 1);
        picked.push(Arc::clone(&behind.job));
    }
    picked
}

/// The hard search that was given the fewest nonces, if it is [`BEHIND`] batches behind the average.
fn furthest_behind<'a>(
    running: impl Iterator<Item = &'a Running> + Clone,
    batch: u64,
) -> Option<&'a Running> {
    let hard = running.clone().filter(|running| !running.easy);
    let least = hard.min_by(|one, other| one.given.total_cmp(&other.given))?;
    let mean = mean_given(running);
    (mean - least.given > BEHIND * batch as f64).then_some(least)
}

/// The most nonces of a slice of a search that needs `expected` hashes, beside this many engines with batches of `batch`
/// nonces.
pub(super) fn longest_slice(expected: f64, engines: usize, batch: u64) -> u64 {
    let one_batch_will_do = ENOUGH * expected <= batch as f64;
    if engines <= 1 || one_batch_will_do {
        // A card knows of its own answers.
        return u64::MAX;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole numbers will do, and the cast saturates"
    )]
    let longest = (expected / (engines as f64 * SLICES)) as u64;
    longest.max(batch / SHORTEST).max(1)
}
