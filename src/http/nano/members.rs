//! The members of a request, as text.
//!
//! `nano_node` reads JSON without types, so its clients send what is a string here as a number or a boolean too.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// The members that mean something. All others are ignored. `null` counts as left out.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
pub(super) struct Members<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    hash: Option<&'a RawValue>,
    #[serde(borrow)]
    work: Option<&'a RawValue>,
    #[serde(borrow)]
    difficulty: Option<&'a RawValue>,
    #[serde(borrow)]
    multiplier: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
}

/// A member, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Action,
    Hash,
    Work,
    Difficulty,
    Multiplier,
    Version,
    Key,
}

impl Member {
    /// The name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Hash => "hash",
            Self::Work => "work",
            Self::Difficulty => "difficulty",
            Self::Multiplier => "multiplier",
            Self::Version => "version",
            Self::Key => "key",
        }
    }
}

impl<'a> Members<'a> {
    /// Reads the JSON object of a body.
    ///
    /// # Errors
    ///
    /// [`Refusal::Json`] if it is none, or has one of these members twice.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        // Serde would accept an array of the members' values as the object.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(Refusal::Json("it is an array".to_owned()));
        }
        serde_json::from_slice(body).map_err(|error| Refusal::Json(error.to_string()))
    }

    /// The text of a member; `None` if it is left out. That of a list or an object is its JSON, which no rule allows.
    pub(super) fn text(&self, member: Member) -> Option<String> {
        let value = match member {
            Member::Action => self.action,
            Member::Hash => self.hash,
            Member::Work => self.work,
            Member::Difficulty => self.difficulty,
            Member::Multiplier => self.multiplier,
            Member::Version => self.version,
            Member::Key => self.key,
        }?;
        let text = serde_json::from_str(value.get());
        Some(text.unwrap_or_else(|_| value.get().to_owned()))
    }

    /// The text of a member that must be there.
    ///
    /// # Errors
    ///
    /// [`Refusal::Json`] if it is left out.
    pub(super) fn required(&self, member: Member) -> Result<String, Refusal> {
        let missing = || Refusal::Json(format!("missing field `{}`", member.as_str()));
        self.text(member).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_text_whatever_its_type_is() {
        let text = |value: &str| {
            let body = format!("{{\"x\":{{}},\"version\":{value}}}");
            let members = Members::read(body.as_bytes()).unwrap();
            members.text(Member::Version)
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
        let missing = twice.required(Member::Hash).unwrap_err();
        assert!(matches!(missing, Refusal::Json(text) if text == "missing field `hash`"));
    }
}
