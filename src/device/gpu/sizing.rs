//! How many nonces a dispatch has, and how searches share them.

use std::time::Duration;

use super::layout::MAX_NONCES;
use crate::work::Rule;

/// How long a dispatch should take. Long enough to make the 0.1 ms of the host and the driver negligible; short enough
/// that a cancelled search soon frees the card and a display stays fluent.
const DISPATCH: Duration = Duration::from_millis(20);
/// How long a dispatch may take, in units of [`DISPATCH`]: 240 ms. Drivers abort it after 2 s or more.
const MAX_DISPATCHES: u64 = 12;
/// Hard searches that share a dispatch with easy ones get at most one part in this many, so that the easy ones are
/// answered soon.
const PART_BESIDE_EASY: u64 = 4;
/// Fewer nonces leave most of a card idle, so a dispatch has at least this many unless they take too long.
const FLOOR: u64 = 1 << 16;
/// The most nonces of a slice, in multiples of the mean that its search needs. Nonces after an answer are skipped, so a
/// large multiple costs little. With 8, 0.03 % of searches (e^−8) need another dispatch.
const ENOUGH: u64 = 8;
/// How much longer than the last dispatch the next one may be: a wrong clock must not make it endless.
const GROWTH: u64 = 16;

/// The size of dispatches, from the speed of those that are complete.
#[derive(Debug)]
pub(super) struct Sizing {
    /// How many nonces take [`DISPATCH`].
    nonces: u64,
}

/// Starts at 3.3 MH/s, slower than any current device.
impl Default for Sizing {
    fn default() -> Self {
        Self { nonces: FLOOR }
    }
}

impl Sizing {
    /// The most nonces of one dispatch.
    pub(super) fn longest(&self) -> u64 {
        let floor = FLOOR.min(self.nonces.saturating_mul(MAX_DISPATCHES));
        self.nonces.max(floor)
    }

    /// How many nonces each search should have in one dispatch, by the searches' rules.
    ///
    /// All searches get equal parts. An easy search needs less than its part, and the hard searches share the rest. Beside
    /// easy searches, the hard ones together get at most a quarter of the dispatch, or as many nonces as the easy ones if
    /// that is more.
    pub(super) fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        let mut lengths: Vec<_> = rules.iter().map(|&rule| enough(rule)).collect();
        let mut order: Vec<_> = (0..lengths.len()).collect();
        order.sort_by_key(|&index| lengths[index]);
        let easiest_first = order.as_slice();
        let mut left = self.longest();
        let mut parts = easiest_first.len() as u64;
        let hard = easiest_first.iter().position(|&index| {
            let is_hard = lengths[index] > left / parts;
            if !is_hard {
                left -= lengths[index];
                parts -= 1;
            }
            is_hard
        });
        let Some(first_hard) = hard else {
            return lengths;
        };
        if first_hard > 0 {
            let easy = self.longest() - left;
            left = left.min(easy.max(self.longest() / PART_BESIDE_EASY));
        }
        for &index in &easiest_first[first_hard..] {
            lengths[index] = (left / parts).max(1);
        }
        lengths
    }

    /// Adjusts the size, after a dispatch that tested `tried` nonces in the time `elapsed`.
    pub(super) fn observe(&mut self, tried: u64, elapsed: Duration) {
        let nonces = u128::from(tried) * DISPATCH.as_nanos() / elapsed.as_nanos().max(1);
        let nonces = u64::try_from(nonces)
            .unwrap_or(u64::MAX)
            .clamp(1, MAX_NONCES.min(tried.max(1).saturating_mul(GROWTH)));
        // Most of a short dispatch is overhead, so it can only show that the device is faster.
        if nonces > self.nonces || tried >= self.longest() / 2 {
            self.nonces = nonces;
        }
    }
}

/// How many nonces answer almost every search under this rule.
fn enough(rule: Rule) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole numbers will do, and the cast saturates"
    )]
    let expected = rule.expected_hashes() as u64;
    expected.saturating_mul(ENOUGH).max(FLOOR)
}

#[cfg(test)]
mod tests;
