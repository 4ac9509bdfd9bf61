//! What the service did in the last ten minutes, for the status page: intervals of five seconds in a ring.
//!
//! Prometheus keeps a longer history, where there is one. Memory is bounded: an interval has at most three histograms of
//! 2 KB each, so all of them take at most 0.7 MB, and intervals without requests next to nothing.
//!
//! Every request takes the lock when it ends, so a reader holds it only to copy the current interval and to share those
//! that have ended. Percentiles are computed without it.
//!
//! Intervals follow the monotonic clock. The wall clock only labels them when they are read, so setting it does no harm.

mod interval;
mod snapshot;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Outcome;
pub use interval::Percentiles;
use interval::{Ended, Interval, LENGTH, rate};
use snapshot::View;
pub use snapshot::{Columns, PercentileColumns, Snapshot, Window};

/// Intervals that are kept after they have ended: ten minutes.
const KEPT: usize = 120;

/// Samples that the live rates span. Batches come back unevenly, so the rate of a single second would jump.
const LIVE_SAMPLES: usize = 4;

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedRequest {
    /// How it ended.
    pub outcome: Outcome,
    /// The time from request to answer. Counts only if it was answered.
    pub total: Duration,
    /// The times for which it waited for a device and was then searched for; `None` if no search has answered it.
    pub search: Option<(Duration, Duration)>,
}

/// The state of the service at a moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Searches that run.
    pub running: usize,
    /// Searches that wait.
    pub waiting: usize,
    /// Nonces that each device has tested since the start. A device keeps its place.
    pub hashes: Vec<u64>,
}

/// The last ten minutes. Clones share them.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// By outcome, since the start.
    requests: [u64; Outcome::ALL.len()],
    /// The intervals that have ended, the latest last.
    ended: VecDeque<Arc<Ended>>,
    current: Interval,
    /// The number of the current interval, counted from the start.
    number: u64,
    /// At most [`LIVE_SAMPLES`] samples and the times they were taken at, the latest last.
    samples: VecDeque<(Instant, Sample)>,
}

impl History {
    /// An empty history that begins now.
    pub fn new() -> Self {
        Self::beginning(Instant::now())
    }

    fn beginning(began: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            began,
            requests: Default::default(),
            ended: VecDeque::with_capacity(KEPT),
            current: Interval::default(),
            number: 0,
            samples: VecDeque::with_capacity(LIVE_SAMPLES),
        })))
    }

    /// Counts a request for work that has ended.
    pub fn request_ended(&self, ended: EndedRequest) {
        self.at(Instant::now()).count(ended);
    }

    /// Takes in a sample. To be called about once a second.
    pub fn observe(&self, sample: Sample) {
        let now = Instant::now();
        self.at(now).observe(now, sample);
    }

    /// The history up to now.
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let view = self.at(now).view(now);
        view.snapshot(SystemTime::now())
    }

    /// The time since the start.
    pub fn age(&self) -> Duration {
        let now = Instant::now();
        now.saturating_duration_since(self.at(now).began)
    }

    /// The state, after ending the intervals that are over at `now`.
    fn at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(now);
        state
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Ends the intervals that are over at `now`. A time before the current interval changes nothing.
    fn advance(&mut self, now: Instant) {
        let number = now.saturating_duration_since(self.began).as_secs() / LENGTH.as_secs();
        let over = number.saturating_sub(self.number);
        // After a long sleep, intervals beyond those that are kept need not be made.
        for _ in 0..over.min(KEPT as u64 + 1) {
            if self.ended.len() == KEPT {
                self.ended.pop_front();
            }
            let interval = std::mem::take(&mut self.current);
            self.ended.push_back(Arc::new(Ended::new(interval)));
        }
        self.number += over;
    }

    fn count(&mut self, ended: EndedRequest) {
        let EndedRequest {
            outcome,
            total,
            search,
        } = ended;
        self.requests[outcome as usize] += 1;
        let current = &mut self.current;
        current.requests[outcome as usize] = current.requests[outcome as usize].saturating_add(1);
        if outcome != Outcome::Ok {
            return;
        }
        current.total.record(total);
        if let Some((wait, solve)) = search {
            current.wait.record(wait);
            current.solve.record(solve);
        }
    }

    fn observe(&mut self, now: Instant, sample: Sample) {
        let current = &mut self.current;
        current.queue = Some((sample.running, sample.waiting));
        current.hashes.resize(sample.hashes.len(), 0);
        if let Some((then, before)) = self.samples.back() {
            let passed = now.saturating_duration_since(*then);
            current.sampled += passed;
            for (device, hashes) in sample.hashes.iter().enumerate() {
                let before = before.hashes.get(device).copied().unwrap_or_default();
                current.hashes[device] += hashes.saturating_sub(before);
            }
        }
        if self.samples.len() == LIVE_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
    }

    /// Hashes a second of each device between the oldest and the latest sample.
    fn live_rates(&self) -> Vec<f64> {
        let (Some((then, before)), Some((now, sample))) =
            (self.samples.front(), self.samples.back())
        else {
            return Vec::new();
        };
        let passed = now.saturating_duration_since(*then);
        let of = |(device, hashes): (usize, &u64)| {
            let before = before.hashes.get(device).copied().unwrap_or_default();
            rate(hashes.saturating_sub(before), passed).unwrap_or(0.0)
        };
        sample.hashes.iter().enumerate().map(of).collect()
    }

    /// The state for a reader. Copies one interval at most.
    fn view(&self, now: Instant) -> View {
        let since_began = now.saturating_duration_since(self.began);
        let before = LENGTH * u32::try_from(self.number).unwrap_or(u32::MAX);
        View {
            requests: self.requests,
            ended: self.ended.iter().cloned().collect(),
            current: self.current.clone(),
            current_for: since_began.saturating_sub(before),
            live_rates: self.live_rates(),
        }
    }
}

#[cfg(test)]
mod tests;
