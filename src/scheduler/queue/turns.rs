//! Which clients' searches run, wait and are refused, while several clients have some.

use std::sync::Arc;

use super::Queue;
use super::policy::SLACK;
use super::running::expected;
use crate::scheduler::client::ClientId;
use crate::scheduler::job::Job;

impl Queue {
    /// If there is no room for a search of this client, evicts the last search of the client with the most searches,
    /// and returns it to be refused. Evicts nothing if this client would then have as many, nor a search that several
    /// requests wait for.
    pub(in crate::scheduler) fn make_room(&mut self, client: &ClientId) -> Option<Arc<Job>> {
        if self.running.len() + self.waiting.len() < self.limit() {
            return None;
        }
        let greedier = self.clients.greedier_than(client)?;
        let may_go = |job: &Arc<Job>| job.client == greedier && !job.is_shared();
        let waiting = self.waiting.iter().rev().find(|job| may_go(job));
        let running = self.running.iter().rev().map(|running| &running.job);
        let evicted = waiting.or_else(|| running.into_iter().find(|job| may_go(job)));
        let evicted = Arc::clone(evicted?);
        self.remove(&evicted);
        Some(evicted)
    }

    /// Gives a slot of the client that was given the most nonces lately to a waiting search of the client that was
    /// given the fewest, if they are far enough apart.
    pub(super) fn rebalance(&mut self) {
        if !self.clients.are_several() {
            return;
        }
        let given = |job: &Job| self.clients.given(&job.client);
        let hard = self.running.iter().enumerate();
        let hard = hard.filter(|(_, running)| !running.easy);
        let richest =
            hard.max_by(|(_, one), (_, other)| given(&one.job).total_cmp(&given(&other.job)));
        let (Some((slot, richest)), Some(poorest)) = (richest, self.poorest_waiting()) else {
            return;
        };
        let slack = SLACK * self.batch as f64;
        if given(&richest.job) <= given(&self.waiting[poorest]) + slack {
            return;
        }
        let (Some(parked), Some(job)) = (self.running.remove(slot), self.waiting.remove(poorest))
        else {
            return;
        };
        self.hard -= 1;
        self.waits_no_longer(&job);
        self.run(job);
        self.easiest_waiting = self.easiest_waiting.min(expected(&parked.job));
        self.waiting_hashes += expected(&parked.job);
        self.waiting.push_front(parked.job);
    }

    /// The waiting search of the client that was given the fewest nonces lately, the longest waiting of them.
    pub(super) fn poorest_waiting(&self) -> Option<usize> {
        if !self.clients.are_several() {
            return (!self.waiting.is_empty()).then_some(0);
        }
        let waiting = self.waiting.iter().enumerate();
        let given = waiting.map(|(index, job)| (index, self.clients.given(&job.client)));
        let poorest = given.min_by(|(_, one), (_, other)| one.total_cmp(other));
        poorest.map(|(index, _)| index)
    }
}
