//! How long works take at a hash rate.

use serde::Serialize;

use crate::work::{Network, Threshold, Timestamp};

/// How long one current work of a network takes at some hash rate.
#[derive(Debug, Serialize)]
pub(super) struct Expected {
    pub(super) network: &'static str,
    pub(super) threshold: u64,
    /// The mean.
    pub(super) expected_seconds: f64,
    /// The 99th percentile. A search has no memory, so its time is distributed exponentially, and this is ln 100 times
    /// the mean.
    pub(super) p99_seconds: f64,
}

/// How long one work of each network takes at this hash rate.
pub(super) fn expected(hashes_per_second: f64) -> [Expected; 4] {
    let now = Timestamp::now();
    let of = |network: Network| {
        let threshold = Threshold::required(network, now);
        let mean = threshold.expected_hashes() / hashes_per_second;
        Expected {
            network: network.as_str(),
            threshold: threshold.get(),
            expected_seconds: mean,
            p99_seconds: mean * 100_f64.ln(),
        }
    };
    Network::ALL.map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_takes_as_long_as_its_expected_hashes() {
        let live = &expected(1e6)[0];
        assert_eq!(live.network, "LIVE");
        let hashes = Threshold::new(live.threshold).expected_hashes();
        assert_eq!(live.expected_seconds, hashes / 1e6);
        // The part of an exponential distribution above its 99th percentile.
        let beyond = (-live.p99_seconds / live.expected_seconds).exp();
        assert!((beyond - 0.01).abs() < 1e-12, "{beyond}");
    }
}
