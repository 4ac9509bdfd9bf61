//! The traces that the buckets of a histogram name as examples.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;

use super::families::BUCKETS;

/// The latest sampled request of each bucket. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Exemplars(Arc<Mutex<HashMap<Key, Buckets>>>);

/// The name of the histogram, and the values of its labels `network` and `outcome`.
type Key = (&'static str, &'static str, Option<&'static str>);

/// The last one is for values above all bounds.
type Buckets = [Option<Exemplar>; BUCKETS.len() + 1];

/// An observation that was traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) seconds: f64,
    /// Since the Unix epoch.
    pub(super) at: Duration,
}

impl Exemplars {
    /// Takes in an observation of a request, if it is traced.
    pub(super) fn observe(&self, key: Key, seconds: f64, trace: Option<TraceId>) {
        let Some(trace) = trace else {
            return;
        };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let exemplar = Exemplar {
            trace,
            seconds,
            at: at.unwrap_or_default(),
        };
        let bucket = BUCKETS.partition_point(|bound| seconds > *bound);
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        series.entry(key).or_default()[bucket] = Some(exemplar);
    }

    /// The exemplars of the series with this name and these labels, lowest bucket first; empty if there are none.
    pub(super) fn of(
        &self,
        name: &str,
        network: &str,
        outcome: Option<&str>,
    ) -> Vec<Option<Exemplar>> {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut series = series.iter();
        let found = series.find(|(key, _)| **key == (name, network, outcome));
        found.map_or_else(Vec::new, |(_, buckets)| buckets.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_the_latest_that_was_traced() {
        let exemplars = Exemplars::default();
        let trace = |id: u128| Some(TraceId::from(id));
        let key = ("name", "LIVE", Some("ok"));
        exemplars.observe(key, 0.0001, trace(1));
        exemplars.observe(key, 1.0, trace(2));
        exemplars.observe(key, 0.9, trace(3));
        exemplars.observe(key, 0.8, None);
        exemplars.observe(key, 1e9, trace(4));
        let found = exemplars.of("name", "LIVE", Some("ok"));
        assert_eq!(found.len(), BUCKETS.len() + 1);
        let found: Vec<_> = (0..)
            .zip(found)
            .filter_map(|(bucket, exemplar)| Some((bucket, exemplar?.trace)))
            .collect();
        let bucket_of_1 = BUCKETS.iter().position(|bound| *bound == 1.0).unwrap();
        let traces = [1, 3, 4].map(|id: u128| TraceId::from(id));
        assert_eq!(
            found,
            [
                (0, traces[0]),
                (bucket_of_1, traces[1]),
                (BUCKETS.len(), traces[2])
            ]
        );
        assert!(exemplars.of("name", "BETA", Some("ok")).is_empty());
    }
}
