//! The error responses, described from the table in [`crate::problem`]. Each has an example that is made in the same way as
//! the response itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use warp::http::StatusCode;

use crate::http::body::MAX_BODY;
use crate::problem::{Code, FieldError, Problem};
use crate::scheduler::SolveError;

/// The request id in all examples.
const EXAMPLE_ID: &str = "0f8fad5bd9cb469fa16570867728950e";
const EXAMPLE_TIME: jiff::Timestamp = jiff::Timestamp::constant(1_795_329_945, 748_000_000);

/// The operations that may send an error response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentBy {
    /// Neither: it is sent for other paths and methods.
    Neither,
    /// Both.
    Both,
    /// The search only.
    Search,
}

const fn sent_by(code: Code) -> SentBy {
    match code {
        Code::NotFound | Code::MethodNotAllowed => SentBy::Neither,
        Code::MalformedJson
        | Code::InvalidFields
        | Code::BodyBroken
        | Code::InvalidHost
        | Code::HostNotAllowed
        | Code::Unauthorized
        | Code::BodyTimeout
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::UnsupportedEncoding
        | Code::TooManyRequests
        | Code::Internal
        | Code::ClockWrong
        | Code::Overloaded
        // A service that shuts down waits for a body only briefly.
        | Code::ShuttingDown => SentBy::Both,
        Code::QueueFull | Code::NoDevice | Code::DeadlineExceeded => SentBy::Search,
    }
}

/// An example of each error response.
fn example(code: Code) -> Problem {
    match code {
        Code::MalformedJson => {
            Problem::MalformedJson("EOF while parsing an object at line 1 column 1".to_owned())
        }
        Code::InvalidFields => Problem::InvalidFields(vec![FieldError {
            field: "target",
            detail: "target has 2 characters; it must be 64 hex digits".to_owned(),
        }]),
        Code::BodyBroken => Problem::BodyBroken,
        Code::HostNotAllowed => Problem::HostNotAllowed {
            host: "other.example".to_owned(),
        },
        Code::InvalidHost => Problem::InvalidHost("there is no `Host`"),
        Code::Unauthorized => Problem::KeyMissing,
        Code::NotFound => Problem::NotFound {
            path: "/work".to_owned(),
        },
        Code::MethodNotAllowed => Problem::MethodNotAllowed {
            method: warp::http::Method::GET,
            allowed: "OPTIONS, POST",
        },
        Code::BodyTimeout => Problem::BodyTimeout(Duration::from_secs(10)),
        Code::BodyTooLarge => Problem::BodyTooLarge { limit: MAX_BODY },
        Code::UnsupportedMediaType => Problem::UnsupportedMediaType {
            given: "\"text/plain\"".to_owned(),
        },
        Code::UnsupportedEncoding => Problem::UnsupportedEncoding {
            given: "\"gzip\"".to_owned(),
        },
        Code::TooManyRequests => Problem::KeyBusy { limit: 64 },
        Code::Internal => Problem::Internal,
        Code::QueueFull => SolveError::QueueFull {
            room_in: Some(Duration::from_secs(3)),
        }
        .into(),
        Code::DeadlineExceeded => SolveError::Deadline(Duration::from_secs(300)).into(),
        Code::ClockWrong => Problem::ClockWrong {
            clock: jiff::Timestamp::UNIX_EPOCH,
        },
        Code::Overloaded => Problem::Overloaded,
        Code::NoDevice => SolveError::NoDevice.into(),
        Code::ShuttingDown => SolveError::Closed.into(),
    }
}

/// The error responses that these operations send, by status.
pub(super) fn by_status(operations: &[SentBy]) -> Map<String, Value> {
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for &code in Code::ALL {
        if operations.contains(&sent_by(code)) {
            by_status.entry(code.status()).or_default().push(code);
        }
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.as_str().to_owned(), response(&codes)))
        .collect()
}

/// The error responses that these operations send, by code.
pub(super) fn by_code(of: SentBy) -> Map<String, Value> {
    Code::ALL
        .iter()
        .filter(|&&code| sent_by(code) == of)
        .map(|&code| (code.as_str().to_owned(), response(&[code])))
        .collect()
}

/// The error response with these codes, which all have the same status.
fn response(codes: &[Code]) -> Value {
    let mut description = Vec::new();
    let (mut examples, mut headers) = (Map::new(), Map::new());
    for &code in codes {
        let problem = example(code);
        description.push(format!("`{}`: {}", code.as_str(), code.when()));
        let path = if code == Code::NotFound {
            "/work"
        } else {
            "/works"
        };
        let body = problem.body(path, EXAMPLE_ID, EXAMPLE_TIME);
        examples.insert(code.as_str().to_owned(), json!({ "value": body }));
        if let Some((name, _)) = problem.header() {
            let name = name_of(name.as_str());
            headers.insert(name.to_owned(), reference("headers", name));
        }
    }
    headers.insert(
        "X-Request-Id".to_owned(),
        reference("headers", "X-Request-Id"),
    );
    json!({
        "description": description.join("; "),
        "content": { "application/problem+json": {
            "schema": reference("schemas", "Problem"),
            "examples": examples,
        } },
        "headers": headers,
    })
}

/// A header's name in the spelling of its standard.
fn name_of(lower_case: &str) -> &str {
    match lower_case {
        "accept" => "Accept",
        "accept-encoding" => "Accept-Encoding",
        "allow" => "Allow",
        "retry-after" => "Retry-After",
        "www-authenticate" => "WWW-Authenticate",
        other => other,
    }
}

/// A reference to a component of the description.
pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_the_code_that_they_stand_for() {
        for &code in Code::ALL {
            assert_eq!(example(code).code(), code);
        }
    }
}
