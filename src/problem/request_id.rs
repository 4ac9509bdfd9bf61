//! The id of a request. It leads from a user's report to the log line and to the trace.

use std::fmt;

use warp::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: that of its header, if it has a valid one, else a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// How many characters an id may have.
    pub const LONGEST: usize = 128;

    /// The id of the request with these headers.
    ///
    /// An id from outside is kept if it has 1 to [`Self::LONGEST`] letters, digits and `-_.:+/=`, so that it can stand in a
    /// log line as it is.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| is_valid(id.as_bytes()));
        given.map_or_else(Self::new, |id| Self(id.clone()))
    }

    fn new() -> Self {
        let id = format!("{:032x}", fastrand::u128(..));
        Self(HeaderValue::try_from(id).expect("hex digits"))
    }

    /// The value of the header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_valid(id: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    (1..=RequestId::LONGEST).contains(&id.len()) && id.iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(given: &str) -> RequestId {
        let value = HeaderValue::from_str(given).unwrap();
        RequestId::of(&HeaderMap::from_iter([(REQUEST_ID, value)]))
    }

    #[test]
    fn a_valid_id_is_kept_and_any_other_replaced() {
        let longest = "a".repeat(RequestId::LONGEST);
        for id in ["7", "Root=1-67891233-abc", "a/b+c:d_e.f", &longest] {
            assert_eq!(id_of(id).as_str(), id);
        }
        let too_long = "a".repeat(RequestId::LONGEST + 1);
        for id in ["", "a b", "a\"b", "é", "a{b}", &too_long] {
            let new = id_of(id);
            assert_ne!(new.as_str(), id);
            assert_eq!(new.as_str().len(), 32);
        }
        let none = HeaderMap::new();
        assert_ne!(RequestId::of(&none), RequestId::of(&none));
    }
}
