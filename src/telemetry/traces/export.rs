//! How spans are sampled and exported.

use std::fmt::{self, Display};
use std::time::Duration;

use super::tls::Authorities;

/// The transport of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf in the bodies of HTTP/1.1 requests.
    Http,
    Grpc,
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http/protobuf",
            Self::Grpc => "grpc",
        })
    }
}

/// Which requests are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether the caller's decision holds for a request that carries one.
    pub(super) follows_caller: bool,
    /// The share of all other requests, from 0 to 1.
    pub(super) share: f64,
}

impl Sampling {
    /// The specification's default, `parentbased_always_on`.
    pub(super) const DEFAULT: Self = Self {
        follows_caller: true,
        share: 1.0,
    };
}

/// Where spans go, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Export {
    pub(super) protocol: Protocol,
    /// The whole URL, without a user and a password.
    pub(super) url: String,
    /// For the log, without the query, which may hold a secret.
    pub(super) endpoint: String,
    /// Whose certificates are trusted; `None` without TLS.
    pub(super) tls: Option<Authorities>,
    pub(super) gzip: bool,
    pub(super) sampling: Sampling,
    /// For one batch.
    pub(super) timeout: Duration,
    /// Spans that may wait.
    pub(super) queue: usize,
    /// Spans in one batch at most.
    pub(super) batch: usize,
    /// How long the first span of a batch waits for others.
    pub(super) delay: Duration,
    /// Attributes of this process.
    pub(super) attributes: Vec<(String, String)>,
}
