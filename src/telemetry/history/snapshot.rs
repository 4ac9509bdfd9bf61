//! The history as it is read: totals, and columns with a value for each interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::interval::{
    Distribution, Ended, EndedPercentiles, Interval, LENGTH, Percentiles, rate, rounded,
};
use crate::telemetry::Outcome;

/// Intervals in a minute, beside the current one.
const LAST_MINUTE: usize = 12;

/// Percentiles by interval; `None` for one without requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PercentileColumns {
    /// As [`Percentiles::p50`].
    pub p50: Vec<Option<f64>>,
    /// As [`Percentiles::p95`].
    pub p95: Vec<Option<f64>>,
    /// As [`Percentiles::p99`].
    pub p99: Vec<Option<f64>>,
}

/// The intervals that have ended, the latest last. Every column has one value for each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Columns {
    /// The length of an interval, in seconds.
    pub interval_seconds: u64,
    /// The end of each, in Unix milliseconds.
    pub ends: Vec<u64>,
    /// Requests for work that ended, by [`Outcome::label`].
    pub requests: BTreeMap<&'static str, Vec<u32>>,
    /// Searches that ran at its end; `None` without a sample.
    pub running: Vec<Option<usize>>,
    /// Searches that waited at its end, likewise.
    pub waiting: Vec<Option<usize>>,
    /// Hashes a second of each device, in the order of [`Sample::hashes`](super::Sample::hashes); `None` without a sample.
    pub hash_rates: Vec<Vec<Option<u64>>>,
    /// Seconds for which requests waited for a device.
    pub wait: PercentileColumns,
    /// Seconds for which they were then searched for.
    pub solve: PercentileColumns,
    /// Seconds from request to answer, also of requests that were answered without a search.
    pub total: PercentileColumns,
}

/// A window of time that ends now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    /// Its length, shorter if the service has not run that long.
    pub seconds: f64,
    /// Requests for work that ended in it, by [`Outcome::label`].
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests a second that were answered with work.
    pub works_per_second: f64,
    /// As [`Columns::wait`].
    pub wait: Option<Percentiles>,
    /// As [`Columns::solve`].
    pub solve: Option<Percentiles>,
    /// As [`Columns::total`].
    pub total: Option<Percentiles>,
}

/// The history at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Requests for work that have ended since the start, by [`Outcome::label`].
    pub requests: BTreeMap<&'static str, u64>,
    /// The last minute, with the current interval.
    pub last_minute: Window,
    /// All that is kept, likewise.
    pub last_ten_minutes: Window,
    /// Interval by interval.
    pub intervals: Columns,
    /// Hashes a second of each device over the last three seconds, in the order of [`Sample::hashes`](super::Sample::hashes).
    #[serde(skip)]
    pub live_rates: Vec<f64>,
}

/// The state at a moment, which a [`Snapshot`] is made from without the history's lock.
pub(super) struct View {
    pub(super) requests: [u64; Outcome::ALL.len()],
    pub(super) ended: Vec<Arc<Ended>>,
    pub(super) current: Interval,
    /// For how long the current interval has lasted.
    pub(super) current_for: Duration,
    pub(super) live_rates: Vec<f64>,
}

impl View {
    pub(super) fn snapshot(&self, wall: SystemTime) -> Snapshot {
        Snapshot {
            requests: by_outcome(|outcome| self.requests[outcome as usize]),
            last_minute: self.window(LAST_MINUTE),
            last_ten_minutes: self.window(self.ended.len()),
            intervals: self.columns(wall),
            live_rates: self.live_rates.clone(),
        }
    }

    /// The last `count` intervals that have ended, and the current one.
    fn window(&self, count: usize) -> Window {
        let ended = self.ended.iter().rev().take(count);
        let time = LENGTH * u32::try_from(ended.len()).unwrap_or(u32::MAX) + self.current_for;
        let seconds = time.as_secs_f64();
        let ended = ended.map(|ended| &ended.interval);
        let intervals: Vec<_> = ended.chain([&self.current]).collect();
        let percentiles = |of: fn(&Interval) -> &Distribution| {
            Distribution::merged(intervals.iter().map(|interval| of(interval))).percentiles()
        };
        let requests = by_outcome(|outcome| {
            let counts = intervals.iter();
            counts
                .map(|interval| u64::from(interval.requests[outcome as usize]))
                .sum::<u64>()
        });
        let answered = requests[Outcome::Ok.label()];
        Window {
            seconds: rounded(seconds),
            works_per_second: if seconds > 0.0 {
                rounded(answered as f64 / seconds)
            } else {
                0.0
            },
            requests,
            wait: percentiles(|interval| &interval.wait),
            solve: percentiles(|interval| &interval.solve),
            total: percentiles(|interval| &interval.total),
        }
    }

    fn columns(&self, wall: SystemTime) -> Columns {
        let now = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let end = |age: usize| {
            let ago = self.current_for + LENGTH * u32::try_from(age).unwrap_or(u32::MAX);
            u64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX)
        };
        let devices = self.live_rates.len();
        let column = |of: fn(EndedPercentiles) -> Option<Percentiles>| {
            let mut columns = PercentileColumns::default();
            for ended in &self.ended {
                let percentiles = of(ended.percentiles());
                columns.p50.push(percentiles.map(|times| times.p50));
                columns.p95.push(percentiles.map(|times| times.p95));
                columns.p99.push(percentiles.map(|times| times.p99));
            }
            columns
        };
        let ended = || self.ended.iter().map(|ended| &ended.interval);
        let hash_rate = |interval: &Interval, device: usize| {
            let hashes = interval.hashes.get(device)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a rate is positive, and `as` saturates"
            )]
            rate(*hashes, interval.sampled).map(|rate| rate as u64)
        };
        Columns {
            interval_seconds: LENGTH.as_secs(),
            ends: (0..self.ended.len()).rev().map(end).collect(),
            requests: by_outcome(|outcome| {
                ended()
                    .map(|interval| interval.requests[outcome as usize])
                    .collect()
            }),
            running: ended()
                .map(|interval| interval.queue.map(|(running, _)| running))
                .collect(),
            waiting: ended()
                .map(|interval| interval.queue.map(|(_, waiting)| waiting))
                .collect(),
            hash_rates: (0..devices)
                .map(|device| {
                    ended()
                        .map(|interval| hash_rate(interval, device))
                        .collect()
                })
                .collect(),
            wait: column(|of| of.wait),
            solve: column(|of| of.solve),
            total: column(|of| of.total),
        }
    }
}

/// A value for each outcome, by its label.
fn by_outcome<T>(of: impl Fn(Outcome) -> T) -> BTreeMap<&'static str, T> {
    Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome.label(), of(outcome)))
        .collect()
}
