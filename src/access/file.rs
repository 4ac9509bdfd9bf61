//! The file of API keys.
//!
//! A line is `name:blake2b-256:` and 64 hex digits, the hash of the key. Empty lines and lines that start with `#` are
//! skipped. Several lines may have the same name, so that a client can change its key without a gap.

use std::collections::HashMap;

use super::key::{ALGORITHM, InvalidName, KeyHash, KeyName};

/// How many keys a file may have. The key of every request is compared with each of them.
const MAX_KEYS: usize = 1000;

/// Why a file of keys is invalid. The message never quotes the file: a key may stand where its hash belongs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    /// A line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong.
        reason: InvalidLine,
    },
    /// The file has no key, so every request would be refused. It may not be written yet.
    #[error("it has no key; `work-server hash-key --generate NAME` makes a line for it")]
    Empty,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// It begins with a byte order mark.
    #[error("it begins with a byte order mark: save the file as UTF-8 without one")]
    ByteOrderMark,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Text,
    /// It does not have the three parts name, algorithm and hash.
    #[error(
        "it must be `name:{ALGORITHM}:` and 64 hex digits, as `work-server hash-key` writes it"
    )]
    Shape,
    /// The name is wrong.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// An earlier line has the same key.
    #[error("it has the same key as line {0}")]
    Twice(usize),
    /// There are too many keys.
    #[error("there are more than {MAX_KEYS} keys")]
    TooMany,
}

/// Reads a file of keys.
///
/// # Errors
///
/// [`InvalidFile`], for the first line that is wrong.
pub(super) fn parse(file: &[u8]) -> Result<Vec<(KeyName, KeyHash)>, InvalidFile> {
    // The byte order marks of UTF-8 and UTF-16.
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe"];
    if marks.iter().any(|mark| file.starts_with(mark)) {
        return Err(InvalidFile::Line {
            line: 1,
            reason: InvalidLine::ByteOrderMark,
        });
    }
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

/// Reads one line.
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
    fn a_file_may_have_comments_and_a_name_twice() {
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
    fn an_error_names_the_wrong_line_and_never_shows_it() {
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
        for mark in [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"] {
            let error = parse(&[mark, right.as_bytes()].concat()).unwrap_err();
            let reason = InvalidLine::ByteOrderMark;
            assert_eq!(error, InvalidFile::Line { line: 1, reason });
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
    fn a_file_has_a_limited_number_of_keys() {
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
