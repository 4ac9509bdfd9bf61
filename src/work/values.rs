//! The values of a search.

use std::fmt;
use std::str::FromStr;

use super::invalid::{InvalidRequest, parse_hex};

/// The 32 bytes that a work is for, in the order in which they are hashed and written in hex: the account's public key for
/// an open block, the previous block's hash for every other block. Nano calls them the root.
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
    /// A threshold of this value. All values are valid; zero admits one digest in 2^64.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bound itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How many nonces a search tests on average until it finds a valid one: 2^64 / (threshold + 1).
    pub fn expected_hashes(self) -> f64 {
        // 2^64, which a float represents exactly.
        18_446_744_073_709_551_616.0 / (self.0 as f64 + 1.0)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that a search varies. Hashed, and written in hex, as eight little-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Nonce(u64);

impl Nonce {
    /// A nonce of this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
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
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
