//! Errors of values that are not valid in the protocol.

use std::time::Duration;

/// How far a block's timestamp may be ahead of this machine's clock: one minute, as in the reference server.
pub const MAX_AHEAD: Duration = Duration::from_secs(60);

/// The first timestamp with a threshold, in Unix milliseconds: 2024-01-01T00:00:00Z.
pub(super) const FIRST_TIMESTAMP: i64 = 1_704_067_200_000;

/// The last timestamp of the calendar, in Unix milliseconds: the end of 9999-12-30 UTC.
pub(super) const LAST_TIMESTAMP: i64 = 253_402_207_200_000 - 1;

/// Why a value is not valid in the protocol. The text says what is wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// There is no such network.
    #[error("unknown network {0:?}; allowed are LIVE, BETA, DEV and LOCAL")]
    Network(String),
    /// A hex value has the wrong number of digits.
    #[error("{field} has {actual} characters; it must be {expected} hex digits")]
    HexLength {
        /// The name of the value.
        field: &'static str,
        /// How many characters it has.
        actual: usize,
        /// How many digits it must have.
        expected: usize,
    },
    /// A hex value contains another character.
    #[error(
        "{field} has the character {character:?} at position {index}; only hex digits are allowed"
    )]
    HexDigit {
        /// The name of the value.
        field: &'static str,
        /// The first wrong character.
        character: char,
        /// Its position, counted in characters from zero.
        index: usize,
    },
    /// A number in hex has no digit, or too many.
    #[error("{field} has {actual} characters; it must be 1 to 16 hex digits")]
    HexNumberLength {
        /// The name of the value.
        field: &'static str,
        /// How many characters it has.
        actual: usize,
    },
    /// The multiplier of a difficulty is no number, or no finite one above zero.
    #[error("multiplier {0:?} is not a finite number above zero")]
    Multiplier(String),
    /// The timestamp is not a number.
    #[error("timestamp {0:?} is not a whole number of Unix milliseconds")]
    TimestampNumber(String),
    /// The timestamp is before the first threshold of the schedule.
    #[error("timestamp {0} is before {first}, 2024-01-01T00:00:00Z, the first that has a threshold", first = FIRST_TIMESTAMP)]
    TimestampBeforeFirst(i64),
    /// The timestamp is after the end of the calendar.
    #[error("timestamp {0} is after {last}, the end of the year 9999", last = LAST_TIMESTAMP)]
    TimestampAfterLast(i64),
    /// The timestamp is too far ahead of this machine's clock.
    #[error("timestamp {timestamp} is more than {} s ahead of the server's clock, {now}", MAX_AHEAD.as_secs())]
    TimestampAhead {
        /// The block's timestamp.
        timestamp: i64,
        /// This machine's clock.
        now: i64,
    },
}

impl InvalidRequest {
    /// The name of the wrong value, as in requests.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::HexLength { field, .. }
            | Self::HexDigit { field, .. }
            | Self::HexNumberLength { field, .. } => field,
            Self::Multiplier(_) => "multiplier",
            Self::TimestampNumber(_)
            | Self::TimestampBeforeFirst(_)
            | Self::TimestampAfterLast(_)
            | Self::TimestampAhead { .. } => "timestamp",
        }
    }
}

/// Parses exactly `N` bytes of hex of either case. `field` is the value's name in errors.
pub(super) fn parse_hex<const N: usize>(
    text: &str,
    field: &'static str,
) -> Result<[u8; N], InvalidRequest> {
    only_hex_digits(text, field)?;
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidRequest::HexLength {
        field,
        actual: text.len(),
        expected: 2 * N,
    })?;
    Ok(bytes)
}

/// Parses a number of 1 to 16 hex digits of either case. `field` is the value's name in errors.
pub(super) fn parse_hex_number(text: &str, field: &'static str) -> Result<u64, InvalidRequest> {
    only_hex_digits(text, field)?;
    let wrong_length = InvalidRequest::HexNumberLength {
        field,
        actual: text.len(),
    };
    if text.len() > 16 {
        return Err(wrong_length);
    }
    u64::from_str_radix(text, 16).map_err(|_| wrong_length)
}

fn only_hex_digits(text: &str, field: &'static str) -> Result<(), InvalidRequest> {
    let wrong = text
        .chars()
        .enumerate()
        .find(|(_, c)| !c.is_ascii_hexdigit());
    match wrong {
        None => Ok(()),
        Some((index, character)) => Err(InvalidRequest::HexDigit {
            field,
            character,
            index,
        }),
    }
}
