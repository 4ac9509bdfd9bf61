//! What is computed: the protocol's values, and the rules that make them valid.
//!
//! Every type here holds a right value or does not exist: a [`Target`] is 32 bytes, a [`Timestamp`] has a
//! threshold, a [`Work`] has been checked by the reference hash. Nothing in this module does input or
//! output, and nothing in it knows a device or a protocol on the wire.
//!
//! The rules are those of the Atto reference implementation (`AttoWork`, `AttoNetwork` and
//! `AttoWorkTarget` of attocash/commons).

mod blake2b;
mod network;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use blake2b::digest;
pub use network::{Network, Timestamp};

/// How far ahead of this machine's clock a block's time may be: one minute, as in the reference server.
pub const MAX_AHEAD: Duration = Duration::from_secs(60);

/// What the work is for: the account's public key for an open block, the previous block's hash for any
/// other. 32 bytes, in the order in which they are hashed and written in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target([u8; 32]);

impl Target {
    /// A target of these bytes, in hashing order.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, in hashing order.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The four little-endian words `m1..m4` of the Blake2b message block.
    pub fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        [words[0], words[1], words[2], words[3]].map(u64::from_le_bytes)
    }
}

impl FromStr for Target {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text, "target").map(Self)
    }
}

/// Upper-case hex, 64 digits.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// The largest [`Digest`] that is still valid, inclusive. A larger threshold is *easier*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Threshold(u64);

impl Threshold {
    /// A threshold of this value; every value has a meaning. Zero admits one digest in 2^64.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bound itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How many nonces a search tries on average before one qualifies: 2^64 / (threshold + 1).
    pub fn expected_hashes(self) -> f64 {
        // 2^64, exactly representable.
        18_446_744_073_709_551_616.0 / (self.0 as f64 + 1.0)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The counter that a search runs over. Hashed, and written in hex, as eight little-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Nonce(u64);

impl Nonce {
    /// A nonce of this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The counter's value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The eight bytes that are hashed: little-endian.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

impl FromStr for Nonce {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text, "work").map(|bytes| Self(u64::from_le_bytes(bytes)))
    }
}

/// Upper-case hex of the little-endian bytes, 16 digits.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.to_bytes()))
    }
}

/// Blake2b-64 of `nonce ‖ target`, read as a little-endian integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest(u64);

impl Digest {
    /// A digest of this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The digest as an integer.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this digest is valid under `threshold`.
    pub const fn meets(self, threshold: Threshold) -> bool {
        self.0 <= threshold.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A nonce that the reference hash has found valid for some target and threshold.
///
/// [`Work::verify`] is the only way to get one, so nothing that a device claims can be answered unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Work(Nonce);

impl Work {
    /// The work, if `nonce` is valid for `target` under `threshold`.
    ///
    /// ```
    /// use atto_work_server::work::{Network, Nonce, Target, Threshold, Timestamp, Work};
    ///
    /// let target = Target::new([0; 32]);
    /// let threshold = Threshold::required(Network::Live, Timestamp::from_millis(1_704_067_200_000)?);
    /// let nonce: Nonce = "576887B000000000".parse()?;
    ///
    /// assert!(Work::verify(nonce, &target, threshold).is_some());
    /// assert!(Work::verify(Nonce::new(0), &target, threshold).is_none());
    /// # Ok::<(), atto_work_server::work::InvalidRequest>(())
    /// ```
    pub fn verify(nonce: Nonce, target: &Target, threshold: Threshold) -> Option<Self> {
        digest(nonce, target)
            .meets(threshold)
            .then_some(Self(nonce))
    }

    /// The nonce that makes this work.
    pub const fn nonce(self) -> Nonce {
        self.0
    }
}

/// Upper-case hex of the nonce's little-endian bytes, 16 digits: the form in which clients read it.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A question that has an answer: some nonce is valid for this target under this threshold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkRequest {
    network: Network,
    target: Target,
    threshold: Threshold,
}

impl WorkRequest {
    /// The search that a block of this network, time and target needs.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::TimestampAhead`] if the block's time is more than [`MAX_AHEAD`] after `now`.
    pub fn new(
        network: Network,
        timestamp: Timestamp,
        target: Target,
        now: Timestamp,
    ) -> Result<Self, InvalidRequest> {
        let threshold = Threshold::required(network, timestamp.not_ahead_of(now)?);
        Ok(Self {
            network,
            target,
            threshold,
        })
    }

    /// The network that the block is for.
    pub const fn network(&self) -> Network {
        self.network
    }

    /// What the work is for.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The bound that the work must meet.
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }
}

/// Why a value is not one of the protocol's. The text says what was wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// The network is not one that has work.
    #[error("unknown network {0:?}; allowed are LIVE, BETA, DEV and LOCAL")]
    Network(String),
    /// A hex value has the wrong number of digits.
    #[error("{field} has {actual} characters; it must be {expected} hex digits")]
    HexLength {
        /// The name of the value.
        field: &'static str,
        /// How many characters were given.
        actual: usize,
        /// How many digits the value has.
        expected: usize,
    },
    /// A hex value has a character that is no hex digit.
    #[error(
        "{field} has the character {character:?} at position {index}; only hex digits are allowed"
    )]
    HexDigit {
        /// The name of the value.
        field: &'static str,
        /// The first character that is wrong.
        character: char,
        /// Where it stands, counted in characters from zero.
        index: usize,
    },
    /// The time is not written as a number.
    #[error("timestamp {0:?} is not a whole number of Unix milliseconds")]
    TimestampNumber(String),
    /// The time is before the first threshold of the schedule.
    #[error("timestamp {0} is before {first}, 2024-01-01T00:00:00Z, the first that has a threshold", first = Timestamp::FIRST)]
    TimestampBeforeFirst(i64),
    /// The time is after the last that the calendar reaches.
    #[error("timestamp {0} is after {last}, the end of the year 9999", last = Timestamp::LAST)]
    TimestampAfterLast(i64),
    /// The block's time is too far ahead of this machine's clock.
    #[error("timestamp {timestamp} is more than {} s ahead of the server's clock, {now}", MAX_AHEAD.as_secs())]
    TimestampAhead {
        /// The block's time.
        timestamp: Timestamp,
        /// This machine's time.
        now: Timestamp,
    },
}

impl InvalidRequest {
    /// The name of the value that is wrong, as requests spell it.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::HexLength { field, .. } | Self::HexDigit { field, .. } => field,
            Self::TimestampNumber(_)
            | Self::TimestampBeforeFirst(_)
            | Self::TimestampAfterLast(_)
            | Self::TimestampAhead { .. } => "timestamp",
        }
    }
}

/// Reads exactly `N` bytes of hex, either case; `field` names the value in errors.
fn parse_hex<const N: usize>(text: &str, field: &'static str) -> Result<[u8; N], InvalidRequest> {
    if let Some((index, character)) = text
        .chars()
        .enumerate()
        .find(|(_, c)| !c.is_ascii_hexdigit())
    {
        return Err(InvalidRequest::HexDigit {
            field,
            character,
            index,
        });
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidRequest::HexLength {
        field,
        actual: text.len(),
        expected: 2 * N,
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_64_hex_digits_of_either_case() {
        let target: Target = "0a".repeat(32).parse().unwrap();
        assert_eq!(target, Target::new([10; 32]));
        assert_eq!(target.to_string(), "0A".repeat(32));
        assert_eq!("0A".repeat(32).parse(), Ok(target));
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_rule() {
        let cases = [
            (
                String::new(),
                "target has 0 characters; it must be 64 hex digits",
            ),
            (
                "00".repeat(31),
                "target has 62 characters; it must be 64 hex digits",
            ),
            (
                "0".repeat(63),
                "target has 63 characters; it must be 64 hex digits",
            ),
            (
                "00".repeat(33),
                "target has 66 characters; it must be 64 hex digits",
            ),
            (
                "0x".repeat(32),
                "target has the character 'x' at position 1; only hex digits are allowed",
            ),
            (
                format!("{}é", "0".repeat(62)),
                "target has the character 'é' at position 62; only hex digits are allowed",
            ),
        ];
        for (text, message) in cases {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.field(), "target");
        }
    }

    #[test]
    fn a_nonce_is_written_as_its_little_endian_bytes() {
        let nonce = Nonce::new(0x0123_4567_89AB_CDEF);
        assert_eq!(nonce.to_string(), "EFCDAB8967452301");
        assert_eq!("efcdab8967452301".parse(), Ok(nonce));
        assert_eq!("EFCDAB89".parse::<Nonce>().unwrap_err().field(), "work");
    }

    #[test]
    fn the_words_of_a_target_are_little_endian() {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes[31] = 2;
        assert_eq!(Target::new(bytes).words(), [1, 0, 0, 2 << 56]);
    }

    #[test]
    fn expected_hashes_are_those_of_the_protocol() {
        for (threshold, expected) in [
            (u64::MAX, 1.0),
            (4_294_967_295, 4_294_967_296.0),
            (0, 18_446_744_073_709_551_616.0),
        ] {
            assert_eq!(Threshold::new(threshold).expected_hashes(), expected);
        }
    }

    #[test]
    fn a_block_may_be_a_minute_ahead_and_no_more() {
        let at = |millis| Timestamp::from_millis(Timestamp::FIRST + millis).unwrap();
        let request =
            |millis| WorkRequest::new(Network::Live, at(millis), Target::new([0; 32]), at(1_000));
        assert!(request(0).is_ok());
        assert!(request(61_000).is_ok());
        let error = request(61_001).unwrap_err();
        assert_eq!(error.field(), "timestamp");
        assert_eq!(
            error.to_string(),
            "timestamp 1704067261001 is more than 60 s ahead of the server's clock, 1704067201000"
        );
    }

    proptest! {
        #[test]
        fn targets_and_nonces_survive_the_way_through_hex(bytes: [u8; 32], nonce: u64) {
            let (target, nonce) = (Target::new(bytes), Nonce::new(nonce));
            prop_assert_eq!(target.to_string().parse(), Ok(target));
            prop_assert_eq!(nonce.to_string().parse(), Ok(nonce));
        }

        #[test]
        fn no_text_makes_the_hex_reader_panic(text: String) {
            let _ = text.parse::<Target>();
            let _ = text.parse::<Nonce>();
        }
    }
}
