//! An API key, its name and its hash.
//!
//! The hash is fast and has no salt. That is enough for keys that a machine has made: there are too many possible keys to
//! try them. A slow hash, as passwords need, would let strangers make the server work.

use std::fmt;
use std::str::FromStr;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use constant_time_eq::constant_time_eq_n;

/// The name of the hash in the file of keys.
pub(super) const ALGORITHM: &str = "blake2b-256";

/// A key, as a client sends it. No log shows it.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The minimum length of a key, in characters.
    pub const SHORTEST: usize = 16;

    /// The maximum length of a key, in characters.
    pub const LONGEST: usize = 512;

    /// A new key of 256 random bits, as 64 hex digits.
    ///
    /// # Errors
    ///
    /// If the system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The hash of this key, as the file of keys has it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }

    /// The key itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Without the key.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Reads a key: [`ApiKey::SHORTEST`] to [`ApiKey::LONGEST`] of the characters that RFC 6750 (2.1) allows.
impl FromStr for ApiKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(is_of_a_key) {
            return Err(InvalidKey::Character);
        }
        if !(Self::SHORTEST..=Self::LONGEST).contains(&text.len()) {
            return Err(InvalidKey::Length(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

const fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// Why a text is not a key. The message shows only the length of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is too short or too long.
    #[error("the key has {0} characters; it must have {shortest} to {longest}", shortest = ApiKey::SHORTEST, longest = ApiKey::LONGEST)]
    Length(usize),
    /// It has a character that an `Authorization` header cannot carry.
    #[error(
        "the key has a character that is not allowed; it may have ASCII letters and digits, and - . _ ~ + / ="
    )]
    Character,
}

/// The name of a key's owner, as logs and metrics show it: 1 to 64 ASCII letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name must have 1 to 64 characters: ASCII letters and digits, and - _ .")]
pub struct InvalidName;

/// The hash of an API key: Blake2b with 32 bytes, unkeyed.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash(pub(super) [u8; 32]);

impl KeyHash {
    /// The hash of the bytes that a client has sent.
    pub fn of(key: &[u8]) -> Self {
        Self(Blake2b::<U32>::digest(key).into())
    }

    /// Whether both are the same. Takes constant time.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time_eq_n(&self.0, &other.0)
    }
}

/// As the file of keys has it: the algorithm, a colon, 64 hex digits.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    #[test]
    fn a_hash_is_blake2b_with_32_bytes() {
        // Python: hashlib.blake2b(b"0123456789abcdef", digest_size=32).hexdigest()
        let key: ApiKey = KEY.parse().unwrap();
        assert_eq!(
            key.hash().to_string(),
            "blake2b-256:c783baf5fb1427e7d924c9fe93ee161169324bb139d9cd8d8b9602c412ec6cda"
        );
    }

    #[test]
    fn a_key_has_enough_characters_and_only_those_that_a_header_can_carry() {
        for text in [KEY, &"a".repeat(512), "-._~+/=AZaz09---"] {
            let key: ApiKey = text.parse().unwrap();
            assert_eq!(key.reveal(), text);
            assert!(!format!("{key:?}").contains(text));
        }
        for length in [0, 15, 513] {
            let error = "a".repeat(length).parse::<ApiKey>().unwrap_err();
            assert_eq!(error, InvalidKey::Length(length));
        }
        for text in [
            "0123456789 abcdef",
            "0123456789abcdef\n",
            "0123456789abcdeé",
        ] {
            assert_eq!(text.parse::<ApiKey>().unwrap_err(), InvalidKey::Character);
        }
    }

    #[test]
    fn generated_keys_are_keys_and_differ() {
        let [one, other] = [(); 2].map(|()| ApiKey::generate().unwrap());
        assert!(one.reveal().parse::<ApiKey>().is_ok());
        assert_ne!(one.reveal(), other.reveal());
    }
}
