//! The values of Nano's and Banano's proof of work.
//!
//! Both hash what Atto hashes: Blake2b with a digest of eight bytes, over the work's eight little-endian bytes and the
//! root. A work is valid if the digest is at least the difficulty. On the wire the work and the difficulty are numbers in
//! big-endian hex, so a work is written in the reverse order of Atto's.

use std::fmt;
use std::str::FromStr;

use super::invalid::{InvalidRequest, parse_hex, parse_hex_number};
use super::values::{Digest, Nonce, Target, Threshold};

/// The root of a Nano block, which its work is for: the previous block's hash, or the account's public key for an open
/// block. 64 hex digits of either case, in hashing order.
///
/// # Errors
///
/// [`InvalidRequest`] with the field `hash`.
pub fn parse_root(text: &str) -> Result<Target, InvalidRequest> {
    parse_hex(text, "hash").map(Target::new)
}

/// The smallest [`Digest`] that is valid, inclusive. A larger difficulty is *harder*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Difficulty(u64);

impl Difficulty {
    /// Nano's for a send or a change, which is enough for every block of Nano: 2^29 hashes on average.
    pub const NANO_SEND: Self = Self(0xFFFF_FFF8_0000_0000);

    /// Nano's for a receive, an open or an epoch block, and Banano's for every block: 2^23 hashes on average.
    pub const NANO_RECEIVE: Self = Self(0xFFFF_FE00_0000_0000);

    /// A difficulty of this value. All values are valid; zero admits every digest.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bound itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How many nonces a search tests on average until it finds a valid one: 2^64 / (2^64 − difficulty).
    pub fn expected_hashes(self) -> f64 {
        // As many digests are at least the difficulty as are at most its complement.
        Threshold::new(!self.0).expected_hashes()
    }

    /// How many times as hard as `base` this difficulty is: (2^64 − base) / (2^64 − difficulty).
    ///
    /// ```
    /// use atto_work_server::work::Difficulty;
    ///
    /// let multiplier = Difficulty::NANO_RECEIVE.multiplier(Difficulty::NANO_SEND);
    /// assert_eq!(multiplier.to_string(), "0.015625000000000");
    /// ```
    pub fn multiplier(self, base: Self) -> Multiplier {
        Multiplier(base.valid_digests() / self.valid_digests())
    }

    /// How many digests are valid: 2^64 − difficulty, rounded to the 53 bits of a float.
    fn valid_digests(self) -> f64 {
        (u128::from(!self.0) + 1) as f64
    }
}

/// 1 to 16 hex digits of either case.
impl FromStr for Difficulty {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex_number(text, "difficulty").map(Self)
    }
}

/// Lower-case hex, 16 digits.
impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The difficulty that a work of this digest just meets.
impl From<Digest> for Difficulty {
    fn from(digest: Digest) -> Self {
        Self(digest.get())
    }
}

/// How many times as hard as some base a difficulty is. Finite and greater than zero.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Multiplier(f64);

impl Multiplier {
    /// A multiplier of this value.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Multiplier`] if it is not finite or not greater than zero.
    pub fn new(value: f64) -> Result<Self, InvalidRequest> {
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(InvalidRequest::Multiplier(value.to_string()))
        }
    }

    /// Its value.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The difficulty that is this many times as hard as `base`: 2^64 − trunc((2^64 − base) / multiplier), at least 0 and at
    /// most 2^64 − 1.
    ///
    /// ```
    /// use atto_work_server::work::{Difficulty, Multiplier};
    ///
    /// let eight = Multiplier::new(8.0)?;
    /// assert_eq!(eight.difficulty(Difficulty::NANO_SEND), Difficulty::new(0xffff_ffff_0000_0000));
    /// # Ok::<(), atto_work_server::work::InvalidRequest>(())
    /// ```
    pub fn difficulty(self, base: Difficulty) -> Difficulty {
        let valid = base.valid_digests() / self.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive, and the cast saturates"
        )]
        let valid = (valid as u128).clamp(1, 1 << 64);
        // At most 2^64 − 1, since at least one digest is valid.
        Difficulty(u64::try_from((1 << 64) - valid).unwrap_or(u64::MAX))
    }
}

/// A decimal number.
impl FromStr for Multiplier {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = text.parse().ok().and_then(|value| Self::new(value).ok());
        value.ok_or_else(|| InvalidRequest::Multiplier(text.to_owned()))
    }
}

/// Decimal, with 15 places and no exponent.
impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.15}", self.0)
    }
}

/// A nonce as Nano writes it: the number in big-endian hex. Not checked by any hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NanoWork(Nonce);

impl NanoWork {
    /// The nonce that is hashed.
    pub const fn nonce(self) -> Nonce {
        self.0
    }
}

impl From<Nonce> for NanoWork {
    fn from(nonce: Nonce) -> Self {
        Self(nonce)
    }
}

/// 1 to 16 hex digits of either case.
impl FromStr for NanoWork {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex_number(text, "work").map(|value| Self(Nonce::new(value)))
    }
}

/// Lower-case hex, 16 digits.
impl fmt::Display for NanoWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.get())
    }
}

#[cfg(test)]
mod tests;
