//! Reads the JSON of a request.

mod whole;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::problem::{FieldError, Problem};
use crate::work::{InvalidRequest, Nonce, Timestamp, WorkRequest};
use whole::whole;

/// How many characters of a number are shown in an error.
const LONGEST_NUMBER: usize = 40;

/// The byte order marks of UTF-8 and UTF-16.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe"];

/// A request for work. A member may be any JSON here, as it was written, so that each is checked by
/// its own rule.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct WorksRequest {
    network: Option<Box<RawValue>>,
    timestamp: Option<Box<RawValue>>,
    target: Option<Box<RawValue>>,
}

/// A request to verify a work.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct VerifyRequest {
    network: Option<Box<RawValue>>,
    timestamp: Option<Box<RawValue>>,
    target: Option<Box<RawValue>>,
    work: Option<Box<RawValue>>,
}

/// Reads a request for work. An error names everything that is wrong with it. Public for the fuzz targets only.
///
/// # Errors
///
/// [`Problem::MalformedJson`] or [`Problem::InvalidFields`].
pub fn parse(body: &[u8], now: Timestamp) -> Result<WorkRequest, Problem> {
    fields(object(body)?, now).map_err(Problem::InvalidFields)
}

/// Reads a request to verify, with the same errors.
pub(super) fn parse_verify(body: &[u8], now: Timestamp) -> Result<(WorkRequest, Nonce), Problem> {
    let wire: VerifyRequest = object(body)?;
    let request = WorksRequest {
        network: wire.network,
        timestamp: wire.timestamp,
        target: wire.target,
    };
    let work = member("work", wire.work, "a string of 16 hex digits", |value| {
        Some(text(value)?.parse())
    });
    match (fields(request, now), work) {
        (Ok(request), Ok(work)) => Ok((request, work)),
        (request, work) => {
            let mut errors = request.err().unwrap_or_default();
            errors.extend(work.err());
            Err(Problem::InvalidFields(errors))
        }
    }
}

/// Reads a JSON object.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // RFC 8259 (8.1): a text has no byte order mark. The others are of UTF-16.
    if MARKS.iter().any(|mark| body.starts_with(mark)) {
        let reason = "it begins with a byte order mark; it must be UTF-8 without one";
        return Err(Problem::MalformedJson(reason.to_owned()));
    }
    // Serde would accept an array of the members' values as the object.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::MalformedJson("it is an array".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| Problem::MalformedJson(error.to_string()))
}

/// Checks each member of a request.
fn fields(wire: WorksRequest, now: Timestamp) -> Result<WorkRequest, Vec<FieldError>> {
    let network = member("network", wire.network, "a string", |value| {
        Some(text(value)?.parse())
    });
    let timestamp = member(
        "timestamp",
        wire.timestamp,
        "a whole number of Unix milliseconds, in 64 bits",
        |value| {
            let timestamp = Timestamp::from_millis(whole(value)?);
            Some(timestamp.and_then(|timestamp| timestamp.not_ahead_of(now)))
        },
    );
    let target = member(
        "target",
        wire.target,
        "a string of 64 hex digits",
        |value| Some(text(value)?.parse()),
    );
    match (network, timestamp, target) {
        (Ok(network), Ok(timestamp), Ok(target)) => {
            WorkRequest::new(network, timestamp, target, now).map_err(|error| vec![error.into()])
        }
        (network, timestamp, target) => {
            let errors = [network.err(), timestamp.err(), target.err()];
            Err(errors.into_iter().flatten().collect())
        }
    }
}

/// Checks one member of a request. `read` returns `None` if the value is not of the `expected` type.
fn member<T>(
    field: &'static str,
    value: Option<Box<RawValue>>,
    expected: &str,
    read: impl FnOnce(&RawValue) -> Option<Result<T, InvalidRequest>>,
) -> Result<T, FieldError> {
    let Some(value) = value else {
        return Err(FieldError {
            field,
            detail: format!("{field} is missing; it must be {expected}"),
        });
    };
    match read(&value) {
        Some(read) => read.map_err(FieldError::from),
        None => Err(FieldError {
            field,
            detail: format!("{field} is {}; it must be {expected}", describe(&value)),
        }),
    }
}

/// The text of a JSON string; `None` if the value is none.
fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The type of a JSON value, or the value itself if it is short.
fn describe(value: &RawValue) -> &str {
    match value.get() {
        text if text.starts_with('"') => "a string",
        text if text.starts_with('[') => "an array",
        text if text.starts_with('{') => "an object",
        text if text.len() > LONGEST_NUMBER => "a long number",
        text => text,
    }
}

impl From<InvalidRequest> for FieldError {
    fn from(error: InvalidRequest) -> Self {
        Self {
            field: error.field(),
            detail: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
