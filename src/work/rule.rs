//! Which digests are valid: Atto's rule, and Nano's.

use std::fmt;

use super::nano::Difficulty;
use super::values::{Digest, Threshold};

/// Which digests are valid. The two rules are opposite comparisons of the same hash, so a value of one is never one of
/// the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// Atto's: `digest <= threshold`.
    AtMost(Threshold),
    /// Nano's and Banano's: `digest >= difficulty`.
    AtLeast(Difficulty),
}

impl Rule {
    /// One digest in 2^64 is valid. A search that is only measured runs to its end under this rule.
    pub const HARDEST: Self = Self::AtMost(Threshold::new(0));

    /// Whether this digest is valid.
    ///
    /// ```
    /// use atto_work_server::work::{Difficulty, Digest, Rule, Threshold};
    ///
    /// let [at_most, at_least] = [Rule::AtMost(Threshold::new(9)), Rule::AtLeast(Difficulty::new(9))];
    /// assert!([at_most, at_least].iter().all(|rule| rule.admits(Digest::new(9))));
    /// assert!(!at_most.admits(Digest::new(10)));
    /// assert!(!at_least.admits(Digest::new(8)));
    /// ```
    pub const fn admits(self, digest: Digest) -> bool {
        match self {
            Self::AtMost(threshold) => digest.get() <= threshold.get(),
            Self::AtLeast(difficulty) => digest.get() >= difficulty.get(),
        }
    }

    /// Whether both are the same comparison, and every digest that is valid under this rule is valid under the `other`.
    pub const fn implies(self, other: Self) -> bool {
        match (self, other) {
            (Self::AtMost(own), Self::AtMost(other)) => own.get() <= other.get(),
            (Self::AtLeast(own), Self::AtLeast(other)) => own.get() >= other.get(),
            (Self::AtMost(_), Self::AtLeast(_)) | (Self::AtLeast(_), Self::AtMost(_)) => false,
        }
    }

    /// The rule of the same comparison that this digest only just meets: the better the digest, the harder the rule.
    #[must_use]
    pub const fn met_by(self, digest: Digest) -> Self {
        match self {
            Self::AtMost(_) => Self::AtMost(Threshold::new(digest.get())),
            Self::AtLeast(_) => Self::AtLeast(Difficulty::new(digest.get())),
        }
    }

    /// The bound as a number: the threshold or the difficulty.
    pub const fn bound(self) -> u64 {
        match self {
            Self::AtMost(threshold) => threshold.get(),
            Self::AtLeast(difficulty) => difficulty.get(),
        }
    }

    /// How many nonces a search tests on average until it finds a valid one.
    pub fn expected_hashes(self) -> f64 {
        match self {
            Self::AtMost(threshold) => threshold.expected_hashes(),
            Self::AtLeast(difficulty) => difficulty.expected_hashes(),
        }
    }
}

impl From<Threshold> for Rule {
    fn from(threshold: Threshold) -> Self {
        Self::AtMost(threshold)
    }
}

impl From<Difficulty> for Rule {
    fn from(difficulty: Difficulty) -> Self {
        Self::AtLeast(difficulty)
    }
}

/// The name of the bound and its value as its protocol writes it: `threshold 4294967295`, `difficulty fffffff800000000`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(threshold) => write!(f, "threshold {threshold}"),
            Self::AtLeast(difficulty) => write!(f, "difficulty {difficulty}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rule_is_written_with_its_name() {
        assert_eq!(Rule::HARDEST.to_string(), "threshold 0");
        let receive = Rule::from(Difficulty::NANO_RECEIVE);
        assert_eq!(receive.to_string(), "difficulty fffffe0000000000");
    }

    #[test]
    fn every_digest_is_valid_under_the_easiest_rules_and_one_under_the_hardest() {
        let easiest = [
            Rule::from(Threshold::new(u64::MAX)),
            Rule::from(Difficulty::new(0)),
        ];
        for rule in easiest {
            assert!([0, u64::MAX].iter().all(|&it| rule.admits(Digest::new(it))));
            assert_eq!(rule.expected_hashes(), 1.0);
        }
        for (rule, valid) in [
            (Rule::HARDEST, 0),
            (Rule::from(Difficulty::new(u64::MAX)), u64::MAX),
        ] {
            assert!(rule.admits(Digest::new(valid)));
            assert!(!rule.admits(Digest::new(valid ^ 1)));
            assert_eq!(rule.expected_hashes(), 2_f64.powi(64));
        }
    }

    proptest! {
        #[test]
        fn the_rules_are_each_other_s_complement(bound: u64, digest: u64) {
            let at_least = Rule::from(Difficulty::new(bound));
            let at_most = Rule::from(Threshold::new(!bound));
            prop_assert_eq!(at_least.admits(Digest::new(digest)), at_most.admits(Digest::new(!digest)));
            prop_assert_eq!(at_least.expected_hashes(), at_most.expected_hashes());
        }

        #[test]
        fn no_rule_implies_the_other(bounds: [u64; 2]) {
            let (at_most, at_least) = (Threshold::new(bounds[0]).into(), Difficulty::new(bounds[1]).into());
            prop_assert!(!Rule::implies(at_most, at_least));
            prop_assert!(!Rule::implies(at_least, at_most));
        }

        #[test]
        fn a_harder_rule_implies_an_easier_one(bounds: [u64; 2], digest: u64, is_nano: bool) {
            let digest = Digest::new(digest);
            let [a, b] = bounds.map(|bound| if is_nano {
                Rule::from(Difficulty::new(bound))
            } else {
                Rule::from(Threshold::new(bound))
            });
            prop_assert!(a.implies(b) || b.implies(a));
            if a.implies(b) {
                prop_assert!(!a.admits(digest) || b.admits(digest));
                prop_assert!(a.expected_hashes() >= b.expected_hashes());
            }
            prop_assert_eq!(a.met_by(digest).implies(a), a.admits(digest));
        }
    }
}
