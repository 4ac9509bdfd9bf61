//! API keys, and the file that they are known from.
//!
//! A line of the file is `name:blake2b-256:` and 64 hex digits, the hash of the key; empty lines and those that
//! start with `#` are skipped. A name may stand in several lines, so that a client can change its key without a gap.
//!
//! The hash is a plain one, without salt and made to be fast. That is enough for keys that a machine has made: what
//! keeps them from being guessed is how many there may be. A slow hash for passwords would only let strangers make
//! the server work.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use constant_time_eq::constant_time_eq_n;

/// How a line says what its hash is.
const ALGORITHM: &str = "blake2b-256";

/// The most lines with keys that a file may have: each is compared with the key of every request.
pub(super) const MAX_KEYS: usize = 1000;

/// A key as a client sends it. It can be hashed and, if it was made here, shown; it is in no log.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The fewest characters of a key.
    pub const SHORTEST: usize = 16;

    /// The most characters of a key.
    pub const LONGEST: usize = 512;

    /// A new key of 256 random bits, as 64 hex digits.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// What the file has of this key.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }

    /// The key itself, for whoever has asked for a new one.
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

/// A key that a client may have: as many characters as must be, of those that RFC 6750 (2.1) allows.
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

/// Why a text is not a key. The text says nothing of the key but its length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is too short or too long.
    #[error("the key has {0} characters; it must have {shortest} to {longest}", shortest = ApiKey::SHORTEST, longest = ApiKey::LONGEST)]
    Length(usize),
    /// It has a character that an `Authorization` header cannot carry.
    #[error(
        "the key has a character that is not allowed; allowed are letters and digits of ASCII, and - . _ ~ + / ="
    )]
    Character,
}

/// Who a key belongs to, as logs and metrics show it: 1 to 64 ASCII letters, digits, `-`, `_` and `.`.
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

/// A text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 characters: letters and digits of ASCII, and - _ .")]
pub struct InvalidName;

/// Blake2b with 32 bytes, without a key of its own, of an API key.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of what a client has sent.
    pub fn of(key: &[u8]) -> Self {
        Self(Blake2b::<U32>::digest(key).into())
    }

    /// Whether both are the same, in a time that does not depend on it.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time_eq_n(&self.0, &other.0)
    }
}

/// As a line of the file has it: the algorithm, a colon, 64 hex digits.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", hex::encode(self.0))
    }
}

/// What is wrong with a file of keys. The text has nothing of the file's own, since a key may stand where its hash
/// should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    /// A line is not as it must be.
    #[error("line {line}: {reason}")]
    Line {
        /// Which, from one.
        line: usize,
        /// What is wrong.
        reason: InvalidLine,
    },
    /// There is no key, which would keep everybody out; as likely, the file is not written yet.
    #[error("there is no key in it; `work-server hash-key --generate NAME` makes a line for it")]
    Empty,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// It is no UTF-8.
    #[error("it is not text")]
    Text,
    /// It does not have three parts, of which the second names the hash.
    #[error(
        "it must be `name:{ALGORITHM}:` and 64 hex digits, as `work-server hash-key` writes it"
    )]
    Shape,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The key stands in an earlier line.
    #[error("it has the key of line {0}")]
    Twice(usize),
    /// There are too many.
    #[error("there are more than {MAX_KEYS} keys")]
    TooMany,
}

/// Reads a file of keys, every line of which is judged.
///
/// # Errors
///
/// [`InvalidFile`], with the first line that is wrong.
pub(super) fn parse(file: &[u8]) -> Result<Vec<(KeyName, KeyHash)>, InvalidFile> {
    let mut keys = Vec::new();
    let mut seen = HashMap::new();
    for (line, text) in (1..).zip(file.split(|&byte| byte == b'\n')) {
        let wrong = |reason| InvalidFile::Line { line, reason };
        let text = std::str::from_utf8(text).map_err(|_| wrong(InvalidLine::Text))?;
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, hash) = entry(text).map_err(wrong)?;
        if let Some(earlier) = seen.insert(hash.0, line) {
            return Err(wrong(InvalidLine::Twice(earlier)));
        }
        if keys.len() == MAX_KEYS {
            return Err(wrong(InvalidLine::TooMany));
        }
        keys.push((name, hash));
    }
    if keys.is_empty() {
        return Err(InvalidFile::Empty);
    }
    Ok(keys)
}

/// Reads a line with a key.
fn entry(text: &str) -> Result<(KeyName, KeyHash), InvalidLine> {
    let (name, hash) = text.split_once(':').ok_or(InvalidLine::Shape)?;
    let (algorithm, digits) = hash.split_once(':').ok_or(InvalidLine::Shape)?;
    let mut bytes = [0; 32];
    if algorithm != ALGORITHM || hex::decode_to_slice(digits, &mut bytes).is_err() {
        return Err(InvalidLine::Shape);
    }
    Ok((name.parse()?, KeyHash(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn line(name: &str, key: &str) -> String {
        format!("{name}:{}", KeyHash::of(key.as_bytes()))
    }

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
    fn a_key_has_characters_that_a_header_can_carry_and_enough_of_them() {
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

    #[test]
    fn a_file_has_comments_and_names_more_than_once() {
        let text = format!(
            "# keys\n\n  {}\r\n{}\n{}",
            line("alice", "a"),
            line("bob", "b"),
            line("alice", "c")
        );
        let keys = parse(text.as_bytes()).unwrap();
        let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["alice", "bob", "alice"]);
        let of = |key: &str| KeyHash::of(key.as_bytes());
        assert!(keys[1].1.matches(&of("b")) && !keys[1].1.matches(&of("a")));
    }

    #[test]
    fn a_wrong_line_is_named_and_never_shown() {
        let right = line("alice", "a");
        let digits = "0".repeat(64);
        let cases = [
            (KEY.to_owned(), InvalidLine::Shape),
            (format!("alice:{KEY}"), InvalidLine::Shape),
            (format!("alice:{digits}"), InvalidLine::Shape),
            (format!("alice:blake2b-256:{KEY}"), InvalidLine::Shape),
            (format!("alice:blake2b-256:{digits}0"), InvalidLine::Shape),
            (format!("alice:sha256:{digits}"), InvalidLine::Shape),
            (
                format!("{KEY}é:blake2b-256:{digits}"),
                InvalidLine::Name(InvalidName),
            ),
            (
                format!(":blake2b-256:{digits}"),
                InvalidLine::Name(InvalidName),
            ),
            (right.clone(), InvalidLine::Twice(1)),
        ];
        for (wrong, reason) in cases {
            let error = parse(format!("{right}\n# more\n{wrong}\n").as_bytes()).unwrap_err();
            assert!(!error.to_string().contains(KEY), "{error}");
            assert_eq!(error, InvalidFile::Line { line: 3, reason });
        }
        let error = parse(b"\xff").unwrap_err();
        assert_eq!(
            error,
            InvalidFile::Line {
                line: 1,
                reason: InvalidLine::Text
            }
        );
        for empty in ["", "\n", "# nobody\n"] {
            assert_eq!(parse(empty.as_bytes()).unwrap_err(), InvalidFile::Empty);
        }
    }

    #[test]
    fn a_file_has_so_many_keys_and_no_more() {
        let file = |count: usize| -> String {
            (0..count)
                .map(|number| line("name", &number.to_string()) + "\n")
                .collect()
        };
        assert_eq!(parse(file(MAX_KEYS).as_bytes()).unwrap().len(), MAX_KEYS);
        assert_eq!(
            parse(file(MAX_KEYS + 1).as_bytes()).unwrap_err(),
            InvalidFile::Line {
                line: MAX_KEYS + 1,
                reason: InvalidLine::TooMany
            }
        );
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(file: Vec<u8>) {
            let _ = parse(&file);
        }
    }
}
