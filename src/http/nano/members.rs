//! The members of a request, as text.
//!
//! `nano_node` reads JSON without types, so its clients send what is a string here as a number or a boolean too.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// The text of each member that means something; `None` if it is left out or `null`. All others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a JSON object")]
pub(super) struct Members {
    #[serde(deserialize_with = "text")]
    pub(super) action: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) hash: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) work: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) difficulty: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) multiplier: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) version: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) key: Option<String>,
}

/// The text of a member. That of a list or an object is its JSON, which no rule allows.
fn text<'de, D: Deserializer<'de>>(member: D) -> Result<Option<String>, D::Error> {
    let value = <Option<&'de RawValue>>::deserialize(member)?;
    Ok(value.map(|value| {
        let text = serde_json::from_str(value.get());
        text.unwrap_or_else(|_| value.get().to_owned())
    }))
}

impl Members {
    /// Reads the JSON object of a body.
    ///
    /// # Errors
    ///
    /// [`Refusal::Json`] if it is none, or has one of these members twice.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        // Serde would accept an array of the members' values as the object.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(Refusal::Json("it is an array".to_owned()));
        }
        serde_json::from_slice(body).map_err(|error| Refusal::Json(error.to_string()))
    }
}

/// The text of a member of this name, which must be there.
///
/// # Errors
///
/// [`Refusal::Json`] if it is left out.
pub(super) fn required<'a>(text: Option<&'a str>, name: &str) -> Result<&'a str, Refusal> {
    text.ok_or_else(|| Refusal::Json(format!("missing field `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_text_whatever_its_type_is() {
        let text = |value: &str| {
            let body = format!("{{\"x\":{{}},\"version\":{value}}}");
            Members::read(body.as_bytes()).unwrap().version
        };
        for (value, expected) in [
            ("\"work_1\"", "work_1"),
            ("\"\\u0077ork_1\"", "work_1"),
            ("1", "1"),
            ("-1.50e3", "-1.50e3"),
            ("true", "true"),
            ("[ 1]", "[ 1]"),
            ("{}", "{}"),
            ("\"\"", ""),
        ] {
            assert_eq!(text(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(text("null"), None);
    }

    #[test]
    fn only_an_object_is_read_and_no_member_comes_twice() {
        for wrong in [
            "",
            "[]",
            " [null]",
            "1",
            "null",
            "\"{}\"",
            "{",
            "{} {}",
            "{\"key\":1,\"key\":1}",
            "\u{feff}{}",
        ] {
            let read = Members::read(wrong.as_bytes());
            assert!(matches!(read, Err(Refusal::Json(_))), "{wrong}");
        }
        assert!(
            Members::read(b"{\"action\":\"\xff\"}").is_err(),
            "not UTF-8"
        );
        let twice = Members::read(b"{\"block\":1,\"block\":2}").unwrap();
        let missing = required(twice.hash.as_deref(), "hash").unwrap_err();
        assert!(matches!(missing, Refusal::Json(text) if text == "missing field `hash`"));
    }
}
