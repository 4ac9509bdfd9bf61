//! How long something took, as log lines show it.

use std::time::Duration;

/// Milliseconds, rounded to whole microseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_three_decimals() {
        assert_eq!(milliseconds(Duration::from_nanos(29_820_075)), 29.82);
        assert_eq!(milliseconds(Duration::from_micros(1)), 0.001);
    }
}
