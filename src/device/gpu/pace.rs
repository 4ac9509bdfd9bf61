//! How long a dispatch may be.

use std::time::Duration;

use super::layout::Job;
use crate::work::Threshold;

/// How long a dispatch should take. A choice: long enough to hide the host's part of it, which is about
/// 0.1 ms, short enough for nobody to notice when a search is dropped or the display must be drawn.
const DISPATCH: Duration = Duration::from_millis(25);
/// How long a dispatch may take at most, in [`DISPATCH`]es: 250 ms. Drivers give up after 2 s or more.
const MAX_DISPATCHES: u64 = 10;
/// A dispatch of fewer nonces leaves most of a card idle, so that it is not made shorter without need.
const FLOOR: u64 = 1 << 16;
/// How many times as many nonces as a search needs on average one slice may have. A card that finds early
/// skips what is left, so too many cost little; too few cost the 0.03 % of searches (e^−8) that need more
/// another dispatch.
const ENOUGH_SEARCHES: u64 = 8;
/// How many times longer than before the next dispatch may be: a clock that was read too fast must not
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

    /// How many nonces make a good slice under this threshold.
    pub(super) fn slice_length(&self, threshold: Threshold) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole numbers will do, and the cast saturates"
        )]
        let expected = threshold.expected_hashes() as u64;
        let enough = expected.saturating_mul(ENOUGH_SEARCHES).max(FLOOR);
        enough.min(self.longest())
    }

    /// Learns from a dispatch of `count` nonces that tested all of them in the time `elapsed`.
    pub(super) fn observe(&mut self, count: u64, elapsed: Duration) {
        let nonces = u128::from(count) * DISPATCH.as_nanos() / elapsed.as_nanos().max(1);
        let nonces = u64::try_from(nonces)
            .unwrap_or(u64::MAX)
            .clamp(1, Job::MAX_COUNT.min(self.nonces.saturating_mul(GROWTH)));
        // A short dispatch is mostly the host's part, so it may show a device faster than thought, not slower.
        if nonces > self.nonces || count >= self.longest() / 2 {
            self.nonces = nonces;
        }
    }
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
            let nonces = pace_of(rate, 5).slice_length(HARD);
            let expected = rate * 25 / 1000;
            assert!(
                (expected * 95 / 100..=expected).contains(&nonces),
                "{nonces} at {rate}/s"
            );
        }
    }

    #[test]
    fn a_dispatch_stays_within_what_a_job_can_hold() {
        assert_eq!(pace_of(1 << 40, 20).longest(), Job::MAX_COUNT);
    }

    #[test]
    fn a_slow_device_gets_at_most_a_quarter_of_a_second() {
        // 100 000 nonces a second.
        let mut pace = Pace::default();
        pace.observe(FLOOR, Duration::from_micros(655_360));
        assert_eq!(pace.longest(), 25_000);
        // 1 000 000 nonces a second.
        pace.observe(25_000, Duration::from_millis(25));
        assert_eq!(pace.longest(), FLOOR);
    }

    #[test]
    fn a_short_dispatch_never_makes_a_device_look_slower() {
        let mut pace = pace_of(1_000_000_000, 5);
        let before = pace.longest();
        pace.observe(1000, Duration::from_millis(1));
        assert_eq!(pace.longest(), before);
        pace.observe(before, Duration::from_millis(50));
        assert!((before * 49 / 100..before * 51 / 100).contains(&pace.longest()));
    }

    #[test]
    fn an_easy_search_gets_a_short_slice() {
        let pace = pace_of(10_000_000_000, 5);
        for (threshold, length) in [
            (u64::MAX, FLOOR),
            // LOCAL in 2026: 42 950 expected.
            (429_496_729_550_000, 8 * 42_949),
            (0, pace.longest()),
        ] {
            assert_eq!(pace.slice_length(Threshold::new(threshold)), length);
        }
    }
}
