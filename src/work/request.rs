//! A request for work, and its answer.

use std::fmt;

use super::blake2b::digest;
use super::invalid::InvalidRequest;
use super::nano::Difficulty;
use super::network::{AnyNetwork, Network, Timestamp};
use super::rule::Rule;
use super::values::{Nonce, Target, Threshold};

/// A nonce that the reference hash has found valid for some target under some rule.
///
/// [`Work::verify`] is the only way to make one, so no nonce of a device can be returned to a client unverified.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Work(Nonce);

impl Work {
    /// The work, if `nonce` is valid for `target` under `rule`.
    ///
    /// ```
    /// use atto_work_server::work::{Network, Nonce, Target, Threshold, Timestamp, Work};
    ///
    /// let target = Target::new([0; 32]);
    /// let threshold = Threshold::required(Network::Live, Timestamp::from_millis(1_704_067_200_000)?);
    /// let rule = threshold.into();
    /// let nonce: Nonce = "576887B000000000".parse()?;
    ///
    /// assert!(Work::verify(nonce, &target, rule).is_some());
    /// assert!(Work::verify(Nonce::new(0), &target, rule).is_none());
    /// # Ok::<(), atto_work_server::work::InvalidRequest>(())
    /// ```
    pub fn verify(nonce: Nonce, target: &Target, rule: Rule) -> Option<Self> {
        rule.admits(digest(nonce, target)).then_some(Self(nonce))
    }

    /// The nonce that makes this work.
    pub const fn nonce(self) -> Nonce {
        self.0
    }
}

/// Upper-case hex of the nonce's little-endian bytes, 16 digits, as Atto's clients read it. Nano's read a
/// [`NanoWork`](super::NanoWork).
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A valid request for work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkRequest {
    network: AnyNetwork,
    target: Target,
    rule: Rule,
}

impl WorkRequest {
    /// The request for the work of a block of Atto.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::TimestampAhead`] if the block's time is more than [`MAX_AHEAD`](super::MAX_AHEAD) after `now`.
    pub fn new(
        network: Network,
        timestamp: Timestamp,
        target: Target,
        now: Timestamp,
    ) -> Result<Self, InvalidRequest> {
        let threshold = Threshold::required(network, timestamp.not_ahead_of(now)?);
        Ok(Self {
            network: network.into(),
            target,
            rule: threshold.into(),
        })
    }

    /// The request for the work of a block of Nano or Banano with this root.
    pub const fn nano(root: Target, difficulty: Difficulty) -> Self {
        Self {
            network: AnyNetwork::Nano,
            target: root,
            rule: Rule::AtLeast(difficulty),
        }
    }

    /// The network that the block is for.
    pub const fn network(&self) -> AnyNetwork {
        self.network
    }

    /// The target of the work.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Which digests are valid.
    pub const fn rule(&self) -> Rule {
        self.rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_may_be_a_minute_ahead_and_no_more() {
        let at = |millis| Timestamp::from_millis(Timestamp::FIRST + millis).unwrap();
        let request =
            |millis| WorkRequest::new(Network::Live, at(millis), Target::new([0; 32]), at(1_000));
        assert!(request(0).is_ok());
        assert!(request(61_000).is_ok());
        let error = request(61_001).unwrap_err();
        assert_eq!(error.field(), "timestamp");
        assert_eq!(
            error.to_string(),
            "timestamp 1704067261001 is more than 60 s ahead of the server's clock, 1704067201000"
        );
    }
}
