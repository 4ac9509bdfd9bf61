//! Networks, timestamps of blocks, and the threshold that they require.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::invalid::{FIRST_TIMESTAMP, InvalidRequest, LAST_TIMESTAMP, MAX_AHEAD};
use super::nano::Difficulty;
use super::rule::Rule;
use super::values::Threshold;

/// A network of Atto. The fifth value of the reference, `UNKNOWN`, has no work and is not included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Network {
    /// The network that carries value.
    Live,
    /// The public test network: ten times easier.
    Beta,
    /// The developers' network: a hundred times easier.
    Dev,
    /// Networks on one machine: 100 000 times easier.
    Local,
}

impl Network {
    /// Every network, hardest first.
    pub const ALL: [Self; 4] = [Self::Live, Self::Beta, Self::Dev, Self::Local];

    /// The name in requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Beta => "BETA",
            Self::Dev => "DEV",
            Self::Local => "LOCAL",
        }
    }

    /// How many times easier than `LIVE` this network is (`AttoNetwork.thresholdIncreaseFactor`).
    const fn factor(self) -> u128 {
        match self {
            Self::Live => 1,
            Self::Beta => 10,
            Self::Dev => 100,
            Self::Local => 100_000,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL
            .into_iter()
            .find(|network| network.as_str() == text);
        named.ok_or_else(|| InvalidRequest::Network(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A network that this server computes work for: one of Atto's, or Nano's. Banano counts as Nano, from which it differs in
/// nothing but the difficulty.
///
/// Atto's API accepts a [`Network`] only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AnyNetwork {
    /// A network of Atto.
    Atto(Network),
    /// Nano or Banano.
    Nano,
}

impl AnyNetwork {
    /// Every network.
    pub const ALL: [Self; 5] = [
        Self::Atto(Network::Live),
        Self::Atto(Network::Beta),
        Self::Atto(Network::Dev),
        Self::Atto(Network::Local),
        Self::Nano,
    ];

    /// The name in metrics, traces, logs and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Atto(network) => network.as_str(),
            Self::Nano => "NANO",
        }
    }

    /// The networks that a server works for, each with its rule for a block of `now`. Nano's is that of this difficulty;
    /// `None` for a server that only works for Atto.
    pub fn served(now: Timestamp, nano: Option<Difficulty>) -> impl Iterator<Item = (Self, Rule)> {
        let atto = Network::ALL.map(|network| {
            let threshold = Threshold::required(network, now);
            (Self::Atto(network), Rule::AtMost(threshold))
        });
        let nano = nano.map(|difficulty| (Self::Nano, Rule::AtLeast(difficulty)));
        atto.into_iter().chain(nano)
    }

    /// The place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Atto(network) => network as usize,
            Self::Nano => Network::ALL.len(),
        }
    }
}

impl From<Network> for AnyNetwork {
    fn from(network: Network) -> Self {
        Self::Atto(network)
    }
}

impl fmt::Display for AnyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A block's time in Unix milliseconds, from 2024-01-01T00:00:00Z to the end of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first timestamp with a threshold, in Unix milliseconds: 2024-01-01T00:00:00Z.
    pub const FIRST: i64 = FIRST_TIMESTAMP;

    /// The last timestamp of the calendar, in Unix milliseconds: the end of 9999-12-30 UTC.
    pub const LAST: i64 = LAST_TIMESTAMP;

    /// The time that is `millis` milliseconds after the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::TimestampBeforeFirst`] before [`Self::FIRST`],
    /// [`InvalidRequest::TimestampAfterLast`] after [`Self::LAST`].
    pub const fn from_millis(millis: i64) -> Result<Self, InvalidRequest> {
        match millis {
            ..Self::FIRST => Err(InvalidRequest::TimestampBeforeFirst(millis)),
            Self::FIRST..=Self::LAST => Ok(Self(millis)),
            _ => Err(InvalidRequest::TimestampAfterLast(millis)),
        }
    }

    /// The time on this machine's clock. A time outside the calendar becomes its first or last.
    pub fn now() -> Self {
        Self::clock().unwrap_or_else(|error| match error {
            InvalidRequest::TimestampAfterLast(_) => Self(Self::LAST),
            _ => Self(Self::FIRST),
        })
    }

    /// The time on this machine's clock. A machine without a clock of its own starts in 1970.
    ///
    /// # Errors
    ///
    /// As [`Self::from_millis`], if the clock is not within the calendar.
    pub fn clock() -> Result<Self, InvalidRequest> {
        Self::from_millis(
            match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(until) => {
                    i64::try_from(until.duration().as_millis()).map_or(i64::MIN, |ms| -ms)
                }
            },
        )
    }

    /// Unix milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns this timestamp if it is at most [`MAX_AHEAD`] after `now`.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::TimestampAhead`] if it is later.
    pub fn not_ahead_of(self, now: Self) -> Result<Self, InvalidRequest> {
        // Both lie within [FIRST, LAST], so the difference cannot overflow.
        let ahead = Duration::from_millis(u64::try_from(self.0 - now.0).unwrap_or(0));
        if ahead > MAX_AHEAD {
            return Err(InvalidRequest::TimestampAhead {
                timestamp: self.0,
                now: now.0,
            });
        }
        Ok(self)
    }

    /// The calendar year in UTC, 2024 or later.
    fn year(self) -> i16 {
        jiff::Timestamp::from_millisecond(self.0)
            .expect("FIRST..=LAST lies within the calendar")
            .to_zoned(jiff::tz::TimeZone::UTC)
            .year()
    }
}

/// Unix milliseconds, in decimal.
impl FromStr for Timestamp {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let millis = text
            .parse()
            .map_err(|_| InvalidRequest::TimestampNumber(text.to_owned()))?;
        Self::from_millis(millis)
    }
}

/// Unix milliseconds, in decimal.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The threshold of `LIVE` in 2024 (`AttoWork.INITIAL_LIVE_THRESHOLD`).
const INITIAL_LIVE_THRESHOLD: u128 = (1 << 33) - 1;

/// The first year of the schedule.
const FIRST_YEAR: i16 = 2024;

impl Threshold {
    /// The threshold of the network for a block with this timestamp:
    /// `(2^33 − 1) · factor / floor(2^((year − 2024) / 2))`, divided in integers.
    ///
    /// The divisor is `floor(sqrt(2^(year − 2024)))`, computed exactly. So the threshold halves every two years, until it
    /// is zero.
    ///
    /// ```
    /// use atto_work_server::work::{Network, Threshold, Timestamp};
    ///
    /// let in_2026 = Timestamp::from_millis(1_795_329_945_748)?;
    /// assert_eq!(Threshold::required(Network::Live, in_2026), Threshold::new(4_294_967_295));
    /// # Ok::<(), atto_work_server::work::InvalidRequest>(())
    /// ```
    #[expect(
        clippy::missing_panics_doc,
        reason = "the expectation holds for every year"
    )]
    pub fn required(network: Network, timestamp: Timestamp) -> Self {
        let years = u32::from((timestamp.year() - FIRST_YEAR).unsigned_abs());
        let Some(square) = 1u128.checked_shl(years) else {
            return Self::new(0);
        };
        let threshold = INITIAL_LIVE_THRESHOLD * network.factor() / square.isqrt();
        Self::new(u64::try_from(threshold).expect("2^33 times 10^5 is less than 2^50"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_the_four_of_the_protocol() {
        for network in Network::ALL {
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        for text in ["UNKNOWN", "NANO", "live", "LIVE ", ""] {
            let error = text.parse::<Network>().unwrap_err();
            assert_eq!(error.field(), "network");
            assert!(
                error.to_string().contains("LIVE, BETA, DEV and LOCAL"),
                "{error}"
            );
        }
    }

    #[test]
    fn nano_is_one_more_network() {
        for (place, network) in AnyNetwork::ALL.into_iter().enumerate() {
            assert_eq!(network.index(), place);
        }
        let atto = Network::ALL.map(|network| AnyNetwork::from(network).as_str());
        let names = AnyNetwork::ALL.map(AnyNetwork::as_str);
        assert_eq!(names[..4], atto);
        assert_eq!(names[4], "NANO");
    }

    #[test]
    fn timestamps_have_a_first_and_a_last() {
        assert!(Timestamp::from_millis(Timestamp::FIRST).is_ok());
        assert!(Timestamp::from_millis(Timestamp::LAST).is_ok());
        for millis in [
            i64::MIN,
            -1,
            0,
            Timestamp::FIRST - 1,
            Timestamp::LAST + 1,
            i64::MAX,
        ] {
            assert_eq!(
                Timestamp::from_millis(millis).unwrap_err().field(),
                "timestamp"
            );
        }
        assert!(Timestamp::now().as_millis() > Timestamp::FIRST);
    }

    /// The divisors are those of the reference's floating-point expression.
    #[test]
    fn the_divisor_follows_the_square_root_of_two() {
        let divisors = [1, 1, 2, 2, 4, 5, 8, 11, 16, 22, 32];
        for (year, divisor) in (2024..).zip(divisors) {
            let new_year = jiff::civil::date(year, 1, 1)
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap();
            let timestamp = Timestamp::from_millis(new_year.timestamp().as_millisecond()).unwrap();
            let threshold = Threshold::required(Network::Live, timestamp);
            assert_eq!(
                threshold,
                Threshold::new(((1 << 33) - 1) / divisor),
                "{year}"
            );
        }
    }

    #[test]
    fn a_timestamp_is_parsed_from_text() {
        assert_eq!(
            "1704067200000".parse(),
            Timestamp::from_millis(Timestamp::FIRST)
        );
        for text in ["", "now", "1704067200000.5", "0", "99999999999999999999"] {
            assert_eq!(text.parse::<Timestamp>().unwrap_err().field(), "timestamp");
        }
    }

    #[test]
    fn the_schedule_never_ends() {
        let last = Timestamp::from_millis(Timestamp::LAST).unwrap();
        assert_eq!(last.year(), 9999);
        for network in Network::ALL {
            assert_eq!(Threshold::required(network, last), Threshold::new(0));
        }
    }
}
