//! How the values of flags and variables are read.

use std::net::SocketAddr;
use std::time::Duration;

use crate::work::Multiplier;

/// The maximum of most settings in seconds.
const HOUR: f64 = 3600.0;

/// Reads a whole number from `from` to `to`.
pub(super) fn count(
    from: usize,
    to: usize,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok();
        let allowed = number.filter(|number| (from..=to).contains(number));
        allowed.ok_or_else(|| format!("it must be a whole number from {from} to {to}"))
    }
}

/// Reads a multiplier of a difficulty from `from` to `to`.
pub(super) fn multiplier_within(
    from: f64,
    to: f64,
) -> impl Fn(&str) -> Result<Multiplier, String> + Clone + Send + Sync + 'static {
    move |text| {
        let multiplier = text.parse().ok();
        let allowed =
            multiplier.filter(|multiplier: &Multiplier| (from..=to).contains(&multiplier.get()));
        allowed.ok_or_else(|| format!("it must be a number from {from} to {to}"))
    }
}

/// Reads an IP address and a port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| {
        "it must be an IP address and a port, such as [::]:8080 or 0.0.0.0:8080; names are not looked up"
    })
}

/// Reads seconds from `from` to an hour.
pub(crate) fn seconds(
    from: f64,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    seconds_within(from, HOUR)
}

/// Reads seconds from `from` to `to`.
pub(super) fn seconds_within(
    from: f64,
    to: f64,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let rule = || format!("it must be a number of seconds from {from} to {to}");
        let seconds: f64 = text.parse().map_err(|_| rule())?;
        if !(from..=to).contains(&seconds) {
            return Err(rule());
        }
        Ok(Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_addresses_say_what_is_allowed() {
        let read = count(1, 1024);
        assert_eq!((read("1"), read("1024")), (Ok(1), Ok(1024)));
        for wrong in ["0", "1025", "-1", "many", "", "1.5"] {
            let error = read(wrong).expect_err(wrong);
            assert_eq!(error, "it must be a whole number from 1 to 1024");
        }
        assert!(address("[::1]:80").is_ok());
        for wrong in ["localhost:8080", "0.0.0.0", ":8080", "0.0.0.0:99999"] {
            let error = address(wrong).expect_err(wrong);
            assert!(error.contains("such as [::]:8080"), "{error}");
        }
    }

    #[test]
    fn multipliers_are_read_within_their_range() {
        let read = multiplier_within(1.0, 1e6);
        assert_eq!(read("1.5").map(Multiplier::get), Ok(1.5));
        assert_eq!(read("1000000").map(Multiplier::get), Ok(1e6));
        for wrong in ["0", "0.99", "1000001", "-1", "NaN", "inf", "", "x"] {
            let error = read(wrong).expect_err(wrong);
            assert_eq!(error, "it must be a number from 1 to 1000000");
        }
    }

    #[test]
    fn seconds_are_read_within_their_range() {
        let read = seconds(0.1);
        assert_eq!(read("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(read("3600"), Ok(Duration::from_secs(3600)));
        for wrong in ["0", "0.09", "3600.1", "-1", "NaN", "inf", "", "1s", "1,5"] {
            let error = read(wrong).expect_err(wrong);
            assert_eq!(error, "it must be a number of seconds from 0.1 to 3600");
        }
        assert_eq!(seconds(0.0)("0"), Ok(Duration::ZERO));
        assert!(seconds_within(1.0, 7200.0)("7200").is_ok());
    }
}
