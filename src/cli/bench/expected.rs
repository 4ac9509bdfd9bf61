//! How long works take at a hash rate.

use serde::Serialize;

use crate::work::{AnyNetwork, Difficulty, Network, Rule, Threshold, Timestamp};

/// How many kinds of work are expected.
pub(super) const KINDS: usize = Network::ALL.len() + 2;

/// How long one current work of some kind takes at some hash rate.
#[derive(Debug, Serialize)]
pub(super) struct Expected {
    network: &'static str,
    /// The kind of block, of a network whose kinds differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<&'static str>,
    /// Of a network of Atto.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u64>,
    /// Of Nano: 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    difficulty: Option<String>,
    /// The mean.
    pub(super) expected_seconds: f64,
    /// The 99th percentile. A search has no memory, so its time is distributed exponentially, and this is ln 100 times
    /// the mean.
    pub(super) p99_seconds: f64,
}

impl Expected {
    fn new(
        network: AnyNetwork,
        block: Option<&'static str>,
        rule: Rule,
        hashes_per_second: f64,
    ) -> Self {
        let (threshold, difficulty) = match rule {
            Rule::AtMost(threshold) => (Some(threshold.get()), None),
            Rule::AtLeast(difficulty) => (None, Some(difficulty.to_string())),
        };
        let mean = rule.expected_hashes() / hashes_per_second;
        Self {
            network: network.as_str(),
            block,
            threshold,
            difficulty,
            expected_seconds: mean,
            p99_seconds: mean * 100_f64.ln(),
        }
    }

    /// The network and the kind of block.
    pub(super) fn title(&self) -> String {
        match self.block {
            None => self.network.to_owned(),
            Some(block) => format!("{} {block}", self.network),
        }
    }
}

/// How long one work of each network takes at this hash rate, of Nano one for a send and one for a receive. A block of
/// Banano takes as long as a receive.
pub(super) fn expected(hashes_per_second: f64) -> [Expected; KINDS] {
    let now = Timestamp::now();
    let atto = |network| {
        let rule = Threshold::required(network, now).into();
        Expected::new(network.into(), None, rule, hashes_per_second)
    };
    let nano = |block, difficulty: Difficulty| {
        let rule = difficulty.into();
        Expected::new(AnyNetwork::Nano, Some(block), rule, hashes_per_second)
    };
    let [live, beta, dev, local] = Network::ALL.map(atto);
    let send = nano("send", Difficulty::NANO_SEND);
    let receive = nano("receive", Difficulty::NANO_RECEIVE);
    [live, beta, dev, local, send, receive]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_takes_as_long_as_its_expected_hashes() {
        let live = &expected(1e6)[0];
        assert_eq!(live.title(), "LIVE");
        let hashes = Threshold::new(live.threshold.unwrap()).expected_hashes();
        assert_eq!(live.expected_seconds, hashes / 1e6);
        // The part of an exponential distribution above its 99th percentile.
        let beyond = (-live.p99_seconds / live.expected_seconds).exp();
        assert!((beyond - 0.01).abs() < 1e-12, "{beyond}");
    }

    #[test]
    fn a_send_of_nano_takes_64_times_as_long_as_a_receive() {
        let [.., send, receive] = expected(2_f64.powi(23));
        assert_eq!(
            [send.title(), receive.title()],
            ["NANO send", "NANO receive"]
        );
        assert_eq!(
            [send.expected_seconds, receive.expected_seconds],
            [64.0, 1.0]
        );
        assert_eq!(receive.difficulty.as_deref(), Some("fffffe0000000000"));
    }
}
