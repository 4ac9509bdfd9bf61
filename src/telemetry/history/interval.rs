//! One interval: what is counted in it, and its distributions of times.

use std::sync::OnceLock;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::telemetry::Outcome;

/// The length of an interval.
pub(super) const LENGTH: Duration = Duration::from_secs(5);

/// Longer times count as this one, which is the default deadline of a request.
const LONGEST: Duration = Duration::from_secs(3600);

/// Significant digits of a time, in the histogram's sense: it is known to 1 part in 16. A chart shows no more.
const PRECISION: u8 = 1;

/// What happened in an interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    /// By outcome.
    pub(super) requests: [u32; Outcome::ALL.len()],
    pub(super) wait: Distribution,
    pub(super) solve: Distribution,
    pub(super) total: Distribution,
    /// Searches that ran and that waited at the last sample.
    pub(super) queue: Option<(usize, usize)>,
    /// Nonces that each device tested between samples, and the time between them.
    pub(super) hashes: Vec<u64>,
    pub(super) sampled: Duration,
}

/// An interval that has ended. It does not change any more, so its percentiles are computed once.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) interval: Interval,
    percentiles: OnceLock<EndedPercentiles>,
}

/// The percentiles of an interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedPercentiles {
    pub(super) wait: Option<Percentiles>,
    pub(super) solve: Option<Percentiles>,
    pub(super) total: Option<Percentiles>,
}

impl Ended {
    pub(super) fn new(interval: Interval) -> Self {
        Self {
            interval,
            percentiles: OnceLock::new(),
        }
    }

    pub(super) fn percentiles(&self) -> EndedPercentiles {
        *self.percentiles.get_or_init(|| EndedPercentiles {
            wait: self.interval.wait.percentiles(),
            solve: self.interval.solve.percentiles(),
            total: self.interval.total.percentiles(),
        })
    }
}

/// Percentiles of times in seconds, to 1 part in 16.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// Times in microseconds. Allocated when the first one is recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution(Option<Box<Histogram<u32>>>);

impl Distribution {
    pub(super) fn record(&mut self, time: Duration) {
        let times = self.0.get_or_insert_with(|| Box::new(empty()));
        times.saturating_record(micros(time));
    }

    /// These distributions as one.
    pub(super) fn merged<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all: Option<Box<Histogram<u32>>> = None;
        for times in parts.filter_map(|part| part.0.as_deref()) {
            all.get_or_insert_with(|| Box::new(empty()))
                .add(times)
                .expect("they have the same bounds");
        }
        Self(all)
    }

    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let times = self.0.as_deref()?;
        let at = |quantile| {
            // The library gives the end of a bucket; its middle is closer on average.
            let micros = times.median_equivalent(times.value_at_quantile(quantile));
            rounded(micros as f64 / 1e6)
        };
        Some(Percentiles {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        })
    }
}

/// A histogram of at most 2 KB.
pub(super) fn empty() -> Histogram<u32> {
    Histogram::new_with_max(micros(LONGEST), PRECISION).expect("the bounds are in order")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How many a second; `None` if no time has passed.
pub(super) fn rate(count: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

/// Four significant digits, which keep the document short.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
