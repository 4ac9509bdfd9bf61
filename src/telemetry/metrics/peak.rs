//! The longest recent duration, which Spring's dashboards read as `_max`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Two minutes count, in three parts: Micrometer's default (`DistributionStatisticConfig`, expiry and buffer length).
const PARTS: usize = 3;
const PART: Duration = Duration::from_secs(40);

/// The longest of the durations of the last 80 to 120 seconds.
///
/// Each word holds the number of a part of time in its upper half, and in its lower half the longest duration of that
/// part in seconds, as the bits of an `f32`. Bits of floats that are not negative compare as the floats do. So the larger
/// of two words belongs to the later part, and within a part to the longer duration: one atomic `max` keeps it.
#[derive(Debug, Default)]
pub(super) struct Peak([AtomicU64; PARTS]);

impl Peak {
    /// Takes in a duration. `now` is the time since any fixed moment.
    pub(super) fn observe(&self, took: Duration, now: Duration) {
        let part = part(now);
        let bits = u64::from(part) << 32 | u64::from(took.as_secs_f32().to_bits());
        self.0[part as usize % PARTS].fetch_max(bits, Ordering::Relaxed);
    }

    /// The longest recent duration in seconds; zero without any.
    pub(super) fn seconds(&self, now: Duration) -> f64 {
        let now = part(now);
        let slots = self.0.iter().map(|slot| {
            let bits = slot.load(Ordering::Relaxed);
            let (part, seconds) = ((bits >> 32) as u32, f32::from_bits(low_half(bits)));
            // A later part was recorded after `now` was read.
            let is_recent = (now.saturating_sub(part) as usize) < PARTS;
            if is_recent { f64::from(seconds) } else { 0.0 }
        });
        slots.fold(0.0, f64::max)
    }
}

/// The number of the part of time. 32 bits last five thousand years.
fn part(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / PART.as_secs()).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
const fn low_half(bits: u64) -> u32 {
    bits as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_longest_stays_for_at_least_80_and_at_most_120_seconds() {
        let peak = Peak::default();
        assert_eq!(peak.seconds(at(0)), 0.0);
        peak.observe(at(9), at(39));
        for now in [39, 40, 119] {
            assert_eq!(peak.seconds(at(now)), 9.0, "{now}");
        }
        assert_eq!(peak.seconds(at(120)), 0.0);
        // At the beginning of a part it stays for three.
        peak.observe(at(7), at(1200));
        assert_eq!(peak.seconds(at(1319)), 7.0);
        assert_eq!(peak.seconds(at(1320)), 0.0);
    }

    #[test]
    fn a_shorter_one_shows_once_the_longer_is_forgotten() {
        let peak = Peak::default();
        peak.observe(at(9), at(10));
        peak.observe(Duration::from_micros(125), at(50));
        peak.observe(Duration::from_micros(250), at(51));
        assert_eq!(peak.seconds(at(119)), 9.0);
        assert_eq!(peak.seconds(at(120)), f64::from(0.000_25_f32));
        assert_eq!(peak.seconds(at(160)), 0.0);
        // The same slot again, three parts later.
        peak.observe(at(1), at(170));
        assert_eq!(peak.seconds(at(170)), 1.0);
    }

    #[test]
    fn a_time_that_was_read_before_another_loses_nothing() {
        let peak = Peak::default();
        peak.observe(at(3), at(80));
        assert_eq!(peak.seconds(at(79)), 3.0);
        peak.observe(at(5), at(79));
        assert_eq!(peak.seconds(at(80)), 5.0);
    }
}
