//! The responses on the wire.

use std::time::Duration;

use serde::Serialize;
use warp::http::{HeaderName, HeaderValue};

use crate::scheduler::Solved;
use crate::work::{Digest, Rule};

/// How long a request took, from its head to its response (W3C Server Timing).
pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The response to a request for work. It has exactly one member, since clients parse strictly.
#[derive(Debug, Serialize)]
pub(super) struct WorksResponse {
    work: String,
}

impl WorksResponse {
    pub(super) fn new(solved: &Solved) -> Self {
        Self {
            work: solved.work.to_string(),
        }
    }
}

/// The response to a request to verify. The numbers are strings, since most digests are beyond what JavaScript's numbers
/// can hold (RFC 7493, 2.2).
#[derive(Debug, Serialize)]
pub(super) struct VerifyResponse {
    valid: bool,
    digest: String,
    threshold: String,
}

impl VerifyResponse {
    pub(super) fn new(digest: Digest, rule: Rule) -> Self {
        Self {
            valid: rule.admits(digest),
            digest: digest.get().to_string(),
            threshold: rule.bound().to_string(),
        }
    }
}

/// The value of [`SERVER_TIMING`]: names, each with its milliseconds.
pub(super) fn server_timing(parts: &[(&str, Duration)]) -> HeaderValue {
    let part =
        |(name, time): &(&str, Duration)| format!("{name};dur={:.3}", time.as_secs_f64() * 1e3);
    let parts: Vec<_> = parts.iter().map(part).collect();
    HeaderValue::from_str(&parts.join(", ")).expect("names and digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_written_in_milliseconds() {
        let parts = [("a", Duration::from_micros(1500)), ("b", Duration::ZERO)];
        assert_eq!(server_timing(&parts), "a;dur=1.500, b;dur=0.000");
    }
}
