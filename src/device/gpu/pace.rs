//! How long a dispatch may be, and how it is shared between searches.

use std::time::Duration;

use super::layout::MAX_NONCES;
use crate::work::Threshold;

/// How long a dispatch should take. A choice: long enough for the 0.1 ms that the host and the driver take for it to
/// be nothing, short enough for nobody to notice when a search is dropped or the display must be drawn.
const DISPATCH: Duration = Duration::from_millis(20);
/// How long a dispatch may take at most, in [`DISPATCH`]es: 240 ms. Drivers give up after 2 s or more.
const MAX_DISPATCHES: u64 = 12;
/// What hard searches get of a dispatch that they share with easy ones: a part, so that those need not wait long.
const PART_BESIDE_EASY: u64 = 4;
/// A dispatch of fewer nonces leaves most of a card idle, so that it is not made shorter without need.
const FLOOR: u64 = 1 << 16;
/// How many times as many nonces as a search needs on average one slice may have. What is left when it has found
/// is skipped, so too many cost little; too few cost the 0.03 % of searches (e^−8) that need more another
/// dispatch.
const ENOUGH_SEARCHES: u64 = 8;
/// How many times as long as one that was run the next dispatch may be: a clock that was read too fast must not
/// make it endless.
const GROWTH: u64 = 16;

/// How fast a device is, after the dispatches that it has run to their end.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many nonces take [`DISPATCH`].
    nonces: u64,
}

/// Starts slow: 2.6 million nonces a second, less than any device of today.
impl Default for Pace {
    fn default() -> Self {
        Self { nonces: FLOOR }
    }
}

impl Pace {
    /// The most nonces that one dispatch should have.
    pub(super) fn longest(&self) -> u64 {
        let floor = FLOOR.min(self.nonces.saturating_mul(MAX_DISPATCHES));
        self.nonces.max(floor)
    }

    /// How many nonces each of the searches under these thresholds should have in one dispatch.
    ///
    /// Everybody has an equal part of it, and what the easy ones do not need goes to the others. If some are easy
    /// and some are not, the others together have a quarter of a dispatch or as much as the easy ones, whichever is
    /// more.
    pub(super) fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        let mut lengths: Vec<_> = thresholds
            .iter()
            .map(|&threshold| enough(threshold))
            .collect();
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

    /// Learns from a dispatch that tested `tried` nonces in the time `elapsed`.
    pub(super) fn observe(&mut self, tried: u64, elapsed: Duration) {
        let nonces = u128::from(tried) * DISPATCH.as_nanos() / elapsed.as_nanos().max(1);
        let nonces = u64::try_from(nonces)
            .unwrap_or(u64::MAX)
            .clamp(1, MAX_NONCES.min(tried.max(1).saturating_mul(GROWTH)));
        // A short dispatch is mostly the host's part, so it may show a device faster than thought, not slower.
        if nonces > self.nonces || tried >= self.longest() / 2 {
            self.nonces = nonces;
        }
    }
}

/// How many nonces a search under this threshold is all but sure to end within.
fn enough(threshold: Threshold) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole numbers will do, and the cast saturates"
    )]
    let expected = threshold.expected_hashes() as u64;
    expected.saturating_mul(ENOUGH_SEARCHES).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: Threshold = Threshold::new(1);

    /// Lets a device of this many nonces a second, with an overhead for each dispatch, run `dispatches`.
    fn pace_of(rate: u64, dispatches: usize) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..dispatches {
            let count = pace.longest();
            let elapsed = Duration::from_micros(100)
                + Duration::from_nanos(
                    u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(rate)).unwrap(),
                );
            assert!(
                elapsed < 10 * DISPATCH + Duration::from_millis(1),
                "{elapsed:?}"
            );
            pace.observe(count, elapsed);
        }
        pace
    }

    #[test]
    fn a_dispatch_grows_to_its_time_in_a_few_steps() {
        for rate in [50_000_000, 1_000_000_000, 10_000_000_000, 80_000_000_000] {
            let [nonces] = pace_of(rate, 5).lengths(&[HARD])[..] else {
                panic!("one search, one length")
            };
            let expected = rate * 20 / 1000;
            assert!(
                (expected * 95 / 100..=expected).contains(&nonces),
                "{nonces} at {rate}/s"
            );
        }
    }

    #[test]
    fn a_dispatch_stays_within_what_a_job_can_hold() {
        assert_eq!(pace_of(1 << 40, 20).longest(), MAX_NONCES);
    }

    #[test]
    fn a_slow_device_gets_at_most_a_quarter_of_a_second() {
        // 100 000 nonces a second.
        let mut pace = Pace::default();
        pace.observe(FLOOR, Duration::from_micros(655_360));
        assert_eq!(pace.longest(), 24_000);
        // 1 000 000 nonces a second.
        pace.observe(20_000, Duration::from_millis(20));
        assert_eq!(pace.longest(), FLOOR);
    }

    #[test]
    fn a_short_dispatch_never_makes_a_device_look_slower() {
        let mut pace = pace_of(1_000_000_000, 5);
        let before = pace.longest();
        pace.observe(1000, Duration::from_millis(1));
        assert_eq!(pace.longest(), before);
        pace.observe(before, Duration::from_millis(40));
        assert!((before * 49 / 100..before * 51 / 100).contains(&pace.longest()));
    }

    /// LOCAL in 2026: 42 950 hashes on average.
    const EASY: Threshold = Threshold::new(429_496_729_550_000);
    const ENOUGH_FOR_EASY: u64 = 8 * 42_949;

    #[test]
    fn short_dispatches_that_were_timed_wrongly_do_not_add_up() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.observe(40_000, Duration::from_micros(1));
        }
        assert_eq!(pace.longest(), 16 * 40_000);
        let mut pace = pace_of(1_000_000_000, 5);
        let before = pace.longest();
        for _ in 0..100 {
            pace.observe(40_000, Duration::from_micros(1));
        }
        assert_eq!(pace.longest(), before);
    }

    #[test]
    fn an_easy_search_gets_a_short_slice() {
        let pace = pace_of(10_000_000_000, 5);
        for (threshold, length) in [
            (Threshold::new(u64::MAX), FLOOR),
            (EASY, ENOUGH_FOR_EASY),
            (Threshold::new(0), pace.longest()),
        ] {
            assert_eq!(pace.lengths(&[threshold]), [length]);
        }
    }

    #[test]
    fn equal_searches_have_equal_parts_of_a_dispatch() {
        let pace = pace_of(10_000_000_000, 5);
        let part = pace.longest() / 4;
        assert_eq!(pace.lengths(&[HARD; 4]), [part; 4]);
        assert_eq!(pace.lengths(&[EASY; 64]), [ENOUGH_FOR_EASY; 64]);
        assert!(pace.lengths(&[]).is_empty());
        // So slow that 64 easy ones are hard: 20 million nonces a second.
        let pace = pace_of(20_000_000, 5);
        assert_eq!(pace.lengths(&[EASY; 64]), [pace.longest() / 64; 64]);
    }

    #[test]
    fn easy_searches_have_what_they_need_and_hard_ones_do_not_make_them_wait() {
        let pace = pace_of(10_000_000_000, 5);
        let quarter = pace.longest() / 4;
        assert_eq!(
            pace.lengths(&[HARD, EASY, HARD]),
            [quarter / 2, ENOUGH_FOR_EASY, quarter / 2]
        );
        // Easy ones that need more than a quarter: 200 times 343 592 of 200 million.
        let pace = pace_of(10_000_000_000, 5);
        let mut searches = vec![EASY; 200];
        searches.push(HARD);
        let lengths = pace.lengths(&searches);
        assert_eq!(lengths[..200], [ENOUGH_FOR_EASY; 200]);
        assert_eq!(lengths[200], 200 * ENOUGH_FOR_EASY);
    }

    #[test]
    fn a_dispatch_is_never_longer_than_it_may_be() {
        for rate in [1_000_000, 80_000_000, 10_000_000_000] {
            let pace = pace_of(rate, 5);
            for searches in [&[HARD; 64][..], &[EASY, HARD, HARD], &[EASY; 64], &[HARD]] {
                let lengths = pace.lengths(searches);
                let total: u64 = lengths.iter().sum();
                assert!(
                    total <= pace.longest(),
                    "{rate}/s, {searches:?}: {lengths:?}"
                );
                assert!(lengths.iter().all(|&length| length > 0));
            }
        }
    }
}
