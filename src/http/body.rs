//! The body of a request, up to its bytes.

use std::time::Duration;

use futures_util::TryStreamExt;
use warp::Buf;
use warp::http::{HeaderMap, HeaderValue, header};

use super::request::Body;
use crate::connections::DRAIN_GRACE;
use crate::lifecycle::Lifecycle;
use crate::problem::Problem;
use crate::scheduler::SolveError;

/// How many bytes a body may have. A request has about 130; the rest is room for white space and for members that are
/// ignored.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// How long a body may take to arrive.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// While the process does not drain.
    pub timeout: Duration,
    /// A draining process waits for a body only as long as the drain grace.
    pub lifecycle: Lifecycle,
}

impl BodyLimits {
    /// Completes when a draining process waits no longer.
    async fn drained(&self) {
        self.lifecycle.draining().await;
        tokio::time::sleep(DRAIN_GRACE).await;
    }
}

/// The bytes of a body that is declared to be JSON.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: impl Body,
    limits: &BodyLimits,
) -> Result<Vec<u8>, Problem> {
    require_json(headers)?;
    read_any(headers, body, limits).await
}

/// The bytes of a body, whatever its type is.
pub(super) async fn read_any(
    headers: &HeaderMap,
    body: impl Body,
    limits: &BodyLimits,
) -> Result<Vec<u8>, Problem> {
    require_no_encoding(headers)?;
    // Before the first byte of the body is read: that read makes hyper invite a body that waits for it (`Expect`).
    require_length(headers)?;
    read(body, limits).await
}

/// The media type must be JSON, `application/json` or `application/*+json` (RFC 6839). Its parameters, such as a character
/// set, are ignored.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::UnsupportedMediaType {
            given: "missing".to_owned(),
        });
    };
    let media_type = given
        .to_str()
        .ok()
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if media_type.is_some_and(is_json) {
        return Ok(());
    }
    Err(Problem::UnsupportedMediaType {
        given: format!("{given:?}"),
    })
}

fn is_json(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type.strip_prefix("application/").is_some_and(|kind| {
        kind == "json"
            || kind
                .strip_suffix("+json")
                .is_some_and(|kind| !kind.is_empty() && !kind.contains(['/', ' ']))
    })
}

/// A body that is compressed is not read.
fn require_no_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_identity =
        |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    match encodings.find(|encoding| !is_identity(encoding)) {
        None => Ok(()),
        Some(given) => Err(Problem::UnsupportedEncoding {
            given: format!("{given:?}"),
        }),
    }
}

/// A body that is declared to be too long is not read.
fn require_length(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match declared {
        Some(length) if length > MAX_BODY as u64 => Err(Problem::BodyTooLarge { limit: MAX_BODY }),
        _ => Ok(()),
    }
}

/// Collects a body, whole or chunked, within the limits.
async fn read(body: impl Body, limits: &BodyLimits) -> Result<Vec<u8>, Problem> {
    let collect = body.map_err(|_| Problem::BodyBroken).try_fold(
        Vec::new(),
        |mut bytes, mut chunk| async move {
            if bytes.len() + chunk.remaining() > MAX_BODY {
                return Err(Problem::BodyTooLarge { limit: MAX_BODY });
            }
            bytes.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            Ok(bytes)
        },
    );
    tokio::select! {
        biased;
        body = collect => body,
        () = tokio::time::sleep(limits.timeout) => Err(Problem::BodyTimeout(limits.timeout)),
        () = limits.drained() => Err(SolveError::Closed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{self, Transitions};
    use bytes::Bytes;
    use futures_util::stream;

    #[test]
    fn json_is_json_with_and_without_parameters() {
        let judged = |given: &'static str| {
            let given = HeaderValue::from_static(given);
            require_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, given)]))
        };
        for given in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/vnd.api+json",
            "application/Problem+JSON;a=b",
        ] {
            assert!(judged(given).is_ok(), "{given}");
        }
        for given in [
            "text/plain",
            "application/jsonl",
            "application/+json",
            "text/json",
            "a/b+json",
            "",
        ] {
            assert!(judged(given).is_err(), "{given}");
        }
        assert!(require_json(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_body_that_is_compressed_or_declared_too_long_is_not_read() {
        let headers = |name, value: &str| {
            HeaderMap::from_iter([(name, HeaderValue::try_from(value).unwrap())])
        };
        for (encoding, is_read) in [("identity", true), ("gzip", false), ("identity, br", false)] {
            let headers = headers(header::CONTENT_ENCODING, encoding);
            assert_eq!(require_no_encoding(&headers).is_ok(), is_read, "{encoding}");
        }
        for (length, is_read) in [(MAX_BODY, true), (MAX_BODY + 1, false)] {
            let headers = headers(header::CONTENT_LENGTH, &length.to_string());
            assert_eq!(require_length(&headers).is_ok(), is_read, "{length}");
        }
    }

    fn limits() -> (Transitions, BodyLimits) {
        let (transitions, lifecycle) = lifecycle::begin();
        let limits = BodyLimits {
            timeout: Duration::from_secs(10),
            lifecycle,
        };
        (transitions, limits)
    }

    #[tokio::test]
    async fn a_body_may_arrive_in_chunks_up_to_the_limit() {
        let chunks = |count: usize| {
            stream::iter((0..count).map(|_| Ok::<_, warp::Error>(Bytes::from(vec![b' '; 1024]))))
        };
        let (_transitions, limits) = limits();
        assert_eq!(read(chunks(16), &limits).await.unwrap().len(), MAX_BODY);
        assert!(matches!(
            read(chunks(17), &limits).await,
            Err(Problem::BodyTooLarge { limit: MAX_BODY })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let silence = stream::pending::<Result<Bytes, warp::Error>>();
        let (transitions, limits) = limits();
        let timed_out = read(silence, &limits).await;
        assert!(matches!(timed_out, Err(Problem::BodyTimeout(_))));

        transitions.draining();
        let silence = stream::pending::<Result<Bytes, warp::Error>>();
        let refused = read(silence, &limits).await;
        assert!(matches!(
            refused,
            Err(Problem::Unsolved(SolveError::Closed))
        ));
    }
}
