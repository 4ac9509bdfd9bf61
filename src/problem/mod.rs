//! Every error response, and the one table from an error to its status, code and text. The description of the API is made
//! from this table, and a test holds the table of `docs/api.md` to it.
//!
//! The body is `application/problem+json` (RFC 9457). Besides the standard members it has `code`, a word that programs can rely
//! on. If single values of the request are wrong, it has `errors` with an entry for each: the field's name, and the
//! rule that the value breaks. It also has the members of Spring's error object: `error`, `path`, `timestamp` and `requestId`.

mod document;
mod request_id;

use std::time::Duration;

use serde::Serialize;
use warp::http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::scheduler::SolveError;
pub use request_id::{REQUEST_ID, RequestId};

/// What the log, the trace and the metrics say of an error response, as an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The word for programs.
    pub code: &'static str,
    /// What the labels `error` and `exception` say of it.
    pub class: &'static str,
}

/// Makes the table. A row has a name, a status, the code, the class for metrics, and when it is sent. The class is that of the
/// reference server if it has the same error, so that existing alerts keep working, and else the code.
macro_rules! codes {
    ($($row:ident $status:ident $code:literal $class:literal $when:literal)+) => {
        /// The kinds of error responses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each row says when it is sent")]
        pub enum Code {
            $($row,)+
        }

        impl Code {
            /// Every row of the table.
            pub const ALL: &[Self] = &[$(Self::$row),+];

            /// The status of the response.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$row => StatusCode::$status,)+
                }
            }

            /// The word for programs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$row => $code,)+
                }
            }

            /// What the labels `error` and `exception` say of it.
            pub const fn class(self) -> &'static str {
                match self {
                    $(Self::$row => $class,)+
                }
            }

            /// What is told of it besides the response.
            pub const fn refused(self) -> Refused {
                Refused {
                    code: self.as_str(),
                    class: self.class(),
                }
            }

            /// When it is sent, in words.
            pub const fn when(self) -> &'static str {
                match self {
                    $(Self::$row => $when,)+
                }
            }
        }
    };
}

codes! {
    MalformedJson BAD_REQUEST "MALFORMED_JSON" "ServerWebInputException" "the body is not a JSON object, or names a member twice"
    InvalidFields BAD_REQUEST "INVALID_FIELDS" "ServerWebInputException" "members are missing, of the wrong type or out of range: `errors` names each with its rule"
    BodyBroken BAD_REQUEST "BODY_BROKEN" "ServerWebInputException" "the body broke off"
    InvalidHost BAD_REQUEST "INVALID_HOST" "INVALID_HOST" "an HTTP/1.1 request has no `Host`, more than one, or one that is not a host"
    Unauthorized UNAUTHORIZED "UNAUTHORIZED" "UNAUTHORIZED" "API keys are on, and the request has none or an unknown one; `WWW-Authenticate` says how to send it"
    NotFound NOT_FOUND "NOT_FOUND" "NoResourceFoundException" "there is nothing at this path"
    MethodNotAllowed METHOD_NOT_ALLOWED "METHOD_NOT_ALLOWED" "MethodNotAllowedException" "the path does not have this method; `Allow` names those it has"
    BodyTimeout REQUEST_TIMEOUT "BODY_TIMEOUT" "BODY_TIMEOUT" "the body took longer than `ATTO_WORK_BODY_TIMEOUT`"
    BodyTooLarge PAYLOAD_TOO_LARGE "BODY_TOO_LARGE" "ContentTooLargeException" "the body has more than 16 KiB"
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "UNSUPPORTED_MEDIA_TYPE" "UnsupportedMediaTypeStatusException" "the content type is missing or not JSON"
    UnsupportedEncoding UNSUPPORTED_MEDIA_TYPE "UNSUPPORTED_ENCODING" "UNSUPPORTED_ENCODING" "the body is compressed; `Accept-Encoding` names what is accepted"
    HostNotAllowed MISDIRECTED_REQUEST "HOST_NOT_ALLOWED" "HOST_NOT_ALLOWED" "`ATTO_WORK_ALLOWED_HOSTS` does not have the host that the request names"
    TooManyRequests TOO_MANY_REQUESTS "TOO_MANY_REQUESTS" "TOO_MANY_REQUESTS" "the API key has `ATTO_WORK_API_KEY_REQUESTS` requests in progress; `Retry-After` says when to retry"
    Internal INTERNAL_SERVER_ERROR "INTERNAL" "INTERNAL" "a bug: the answer could not be written"
    QueueFull SERVICE_UNAVAILABLE "QUEUE_FULL" "QUEUE_FULL" "the queue is full, or longer than the client waits (`Request-Timeout`); `Retry-After` is the mean time until that changes, from the measured hash rate, 1 to 300 s"
    Overloaded SERVICE_UNAVAILABLE "OVERLOADED" "OVERLOADED" "as many requests are in progress as allowed; `Retry-After` is 1 s, since one may end at any time"
    NoDevice SERVICE_UNAVAILABLE "NO_DEVICE" "NO_DEVICE" "every device has failed; `Retry-After` is 1 s, since another server can serve at once"
    ClockWrong SERVICE_UNAVAILABLE "CLOCK_WRONG" "CLOCK_WRONG" "the server's clock shows a time before 2024 or after 9999, so no timestamp can be checked; `Retry-After` is 1 s, since another server can serve at once"
    ShuttingDown SERVICE_UNAVAILABLE "SHUTTING_DOWN" "SHUTTING_DOWN" "the server is stopping; `Retry-After` is 1 s, since another server can serve at once"
    DeadlineExceeded GATEWAY_TIMEOUT "DEADLINE_EXCEEDED" "DEADLINE_EXCEEDED" "there was no work within `ATTO_WORK_DEADLINE` or the client's `Request-Timeout`"
}

/// Why a request gets an error response.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The body is not a JSON object of the right shape.
    #[error("the body is not the JSON object that is expected: {0}")]
    MalformedJson(String),
    /// Members of the body are missing or wrong.
    #[error("{}", summary(.0))]
    InvalidFields(Vec<FieldError>),
    /// Nothing is served at this path.
    #[error("there is nothing at {path:?}")]
    NotFound {
        /// The request's path.
        path: String,
    },
    /// The path does not have this method.
    #[error("{method} is not allowed here; allowed is {allowed}")]
    MethodNotAllowed {
        /// The request's method.
        method: Method,
        /// The methods that the path has, as the `Allow` header lists them.
        allowed: &'static str,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs_f64())]
    BodyTimeout(Duration),
    /// The body broke off, or its transfer coding is wrong.
    #[error("the body could not be read")]
    BodyBroken,
    /// The `Host` header is missing, doubled or not a host.
    #[error("{0}; an HTTP/1.1 request must have exactly one `Host`")]
    InvalidHost(&'static str),
    /// The host that the request names is not on the list.
    #[error("the host {host:?} is not allowed here; see `ATTO_WORK_ALLOWED_HOSTS`")]
    HostNotAllowed {
        /// The host.
        host: String,
    },
    /// The body is too long.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// How many bytes a body may have.
        limit: usize,
    },
    /// The body is not declared to be JSON.
    #[error("the content type is {given}; it must be application/json")]
    UnsupportedMediaType {
        /// The content type that was declared.
        given: String,
    },
    /// The body is declared to be compressed.
    #[error("the content encoding is {given}; the body must be sent without one")]
    UnsupportedEncoding {
        /// The content encoding that was declared.
        given: String,
    },
    /// No API key was sent, or not in the one way that is allowed.
    #[error("an API key is needed: send it once, as `Authorization: Bearer` and the key")]
    KeyMissing,
    /// The API key is not in the file of keys.
    #[error("the API key is not known")]
    KeyUnknown,
    /// The API key has its maximum of requests in progress.
    #[error("this API key has {limit} requests in progress, which is the maximum")]
    KeyBusy {
        /// How many it may have.
        limit: usize,
    },
    /// The maximum number of requests is in progress.
    #[error("too many requests are in progress")]
    Overloaded,
    /// The server's clock is outside of the calendar of thresholds.
    #[error("the server's clock shows {clock}; it must be set before timestamps can be checked")]
    ClockWrong {
        /// What it shows.
        clock: jiff::Timestamp,
    },
    /// The search was not accepted, or ended without a work.
    #[error("{0}")]
    Unsolved(#[from] SolveError),
    /// A bug: the response could not be written.
    #[error("internal error")]
    Internal,
}

/// One value of a request that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member's name.
    pub field: &'static str,
    /// What is wrong, and what is allowed.
    pub detail: String,
}

impl Problem {
    /// Its row of the table.
    pub const fn code(&self) -> Code {
        match self {
            Self::MalformedJson(_) => Code::MalformedJson,
            Self::InvalidFields(_) => Code::InvalidFields,
            Self::BodyBroken => Code::BodyBroken,
            Self::InvalidHost(_) => Code::InvalidHost,
            Self::HostNotAllowed { .. } => Code::HostNotAllowed,
            Self::KeyMissing | Self::KeyUnknown => Code::Unauthorized,
            Self::NotFound { .. } => Code::NotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::BodyTimeout(_) => Code::BodyTimeout,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::UnsupportedMediaType { .. } => Code::UnsupportedMediaType,
            Self::UnsupportedEncoding { .. } => Code::UnsupportedEncoding,
            Self::KeyBusy { .. } => Code::TooManyRequests,
            Self::Overloaded => Code::Overloaded,
            Self::ClockWrong { .. } => Code::ClockWrong,
            Self::Internal => Code::Internal,
            Self::Unsolved(SolveError::QueueFull { .. }) => Code::QueueFull,
            Self::Unsolved(SolveError::NoDevice) => Code::NoDevice,
            Self::Unsolved(SolveError::Closed) => Code::ShuttingDown,
            Self::Unsolved(SolveError::Deadline(_)) => Code::DeadlineExceeded,
        }
    }

    /// The header that tells the client what to do instead.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed { allowed, .. } => {
                Some((header::ALLOW, HeaderValue::from_static(allowed)))
            }
            // RFC 6750 (3): no error code if the request has no key.
            Self::KeyMissing => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"atto-work-server\""),
            )),
            Self::KeyUnknown => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(
                    "Bearer realm=\"atto-work-server\", error=\"invalid_token\"",
                ),
            )),
            // RFC 9110 (12.5.1): a 415 may name what is accepted.
            Self::UnsupportedMediaType { .. } => {
                Some((header::ACCEPT, HeaderValue::from_static("application/json")))
            }
            // RFC 9110 (12.5.3), likewise.
            Self::UnsupportedEncoding { .. } => Some((
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )),
            // One of those in progress may end at any time, and another server may have a clock that is right.
            Self::KeyBusy { .. } | Self::Overloaded | Self::ClockWrong { .. } => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("1")))
            }
            Self::Unsolved(error) => {
                let seconds = error.retry_after()?;
                Some((header::RETRY_AFTER, HeaderValue::from(seconds)))
            }
            _ => None,
        }
    }
}

/// Everything that is wrong, in one sentence.
fn summary(errors: &[FieldError]) -> String {
    errors
        .iter()
        .map(|error| error.detail.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}
