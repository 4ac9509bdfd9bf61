//! The last step of a hash and the comparison after it. On a device, the two rules differ in nothing else.
//!
//! A digest is `H0 ^ v0 ^ v8`, and `digest >= difficulty` is the same as `!digest <= !difficulty`. So a search under
//! Nano's rule is a search under Atto's rule with two other words: the complement of `H0`, and that of the difficulty.

use crate::work::Rule;

/// The first word of the initial state: `IV0` of Blake2b (RFC 7693, 2.6) with the parameter block folded in, which says no
/// key and a digest of eight bytes.
pub(super) const H0: u64 = 0x6A09_E667_F3BC_C908 ^ 0x0101_0000 ^ 8;

/// The two words of a rule. A digest is valid if and only if `h0 ^ v0 ^ v8 <= limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastStep {
    /// [`H0`] or its complement.
    pub(super) h0: u64,
    /// The threshold, or the complement of the difficulty.
    pub(super) limit: u64,
}

impl From<Rule> for LastStep {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::AtMost(threshold) => Self {
                h0: H0,
                limit: threshold.get(),
            },
            Rule::AtLeast(difficulty) => Self {
                h0: !H0,
                limit: !difficulty.get(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::work::{Difficulty, Digest, Threshold};

    proptest! {
        /// `rest` is `v0 ^ v8`.
        #[test]
        fn both_rules_are_one_comparison(rest: u64, bound: u64, is_near: bool) {
            let digest = Digest::new(H0 ^ rest);
            let bound = if is_near { digest.get().wrapping_add(bound % 3).wrapping_sub(1) } else { bound };
            for rule in [Rule::from(Threshold::new(bound)), Rule::from(Difficulty::new(bound))] {
                let LastStep { h0, limit } = rule.into();
                prop_assert_eq!(h0 ^ rest <= limit, rule.admits(digest), "{}", rule);
            }
        }
    }
}
