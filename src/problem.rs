//! Every error response, and the one table from an error to its status, code and text. The description of the API is made
//! from this table, and a test holds the README's table to it.
//!
//! The body is `application/problem+json` (RFC 9457). Besides the standard members it has `code`, a word that programs can
//! rely on. If single values of the request are wrong, it has `errors` with an entry for each: the field's name, and the
//! rule that the value breaks.

use std::time::Duration;

use problem_details::ProblemDetails;
use serde::Serialize;
use warp::Reply;
use warp::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use crate::scheduler::SolveError;

/// Makes the table. A row has a name, a status, the code, and when it is sent.
macro_rules! codes {
    ($($row:ident $status:ident $code:literal $when:literal)+) => {
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
    MalformedJson BAD_REQUEST "MALFORMED_JSON" "the body is not a JSON object, or names a member twice"
    InvalidFields BAD_REQUEST "INVALID_FIELDS" "members are missing, of the wrong type or out of range: `errors` names each with its rule"
    BodyBroken BAD_REQUEST "BODY_BROKEN" "the body broke off"
    Unauthorized UNAUTHORIZED "UNAUTHORIZED" "API keys are on, and the request has none or one that is not known; `WWW-Authenticate` says how to send it"
    NotFound NOT_FOUND "NOT_FOUND" "there is nothing at this path"
    MethodNotAllowed METHOD_NOT_ALLOWED "METHOD_NOT_ALLOWED" "`Allow` names the method that is"
    BodyTimeout REQUEST_TIMEOUT "BODY_TIMEOUT" "the body took longer than `ATTO_WORK_BODY_TIMEOUT`"
    BodyTooLarge PAYLOAD_TOO_LARGE "BODY_TOO_LARGE" "the body has more than 16 KiB"
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "UNSUPPORTED_MEDIA_TYPE" "the content type is missing or not JSON"
    TooManyRequests TOO_MANY_REQUESTS "TOO_MANY_REQUESTS" "the API key has as many requests in progress as it may; `Retry-After` says when to ask again"
    Internal INTERNAL_SERVER_ERROR "INTERNAL" "a bug: the answer could not be written"
    QueueFull SERVICE_UNAVAILABLE "QUEUE_FULL" "there are as many searches as may be; `Retry-After` is the time until one ends on average, from the measured hash rate, 1 to 300 s"
    Overloaded SERVICE_UNAVAILABLE "OVERLOADED" "as many requests are in progress as may be; `Retry-After` is 1 s, since one may end at any time"
    NoDevice SERVICE_UNAVAILABLE "NO_DEVICE" "every device has failed; `Retry-After` is 1 s, since another server can serve at once"
    ClockWrong SERVICE_UNAVAILABLE "CLOCK_WRONG" "the server's clock shows a time before 2024 or after 9999, so that no timestamp can be checked; `Retry-After` is 1 s, since another server can serve at once"
    ShuttingDown SERVICE_UNAVAILABLE "SHUTTING_DOWN" "the server is stopping; `Retry-After` likewise"
    DeadlineExceeded GATEWAY_TIMEOUT "DEADLINE_EXCEEDED" "there was no work within `ATTO_WORK_DEADLINE`"
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
    /// No API key was sent, or not in the one way that is allowed.
    #[error("an API key is needed: send it once, as `Authorization: Bearer` and the key")]
    KeyMissing,
    /// The API key is not in the file of keys.
    #[error("the API key is not known")]
    KeyUnknown,
    /// The API key has as many requests in progress as it may.
    #[error("this API key has {limit} requests in progress, as many as it may have")]
    KeyBusy {
        /// How many it may have.
        limit: usize,
    },
    /// As many requests are in progress as may be.
    #[error("as many requests are in progress as may be")]
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

#[derive(Debug, Serialize)]
struct Extensions<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// Its row of the table.
    pub const fn code(&self) -> Code {
        match self {
            Self::MalformedJson(_) => Code::MalformedJson,
            Self::InvalidFields(_) => Code::InvalidFields,
            Self::BodyBroken => Code::BodyBroken,
            Self::KeyMissing | Self::KeyUnknown => Code::Unauthorized,
            Self::NotFound { .. } => Code::NotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::BodyTimeout(_) => Code::BodyTimeout,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::UnsupportedMediaType { .. } => Code::UnsupportedMediaType,
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

    /// The body of the response.
    pub(crate) fn body(&self) -> impl Serialize {
        let code = self.code();
        let errors = match self {
            Self::InvalidFields(errors) => errors.as_slice(),
            _ => &[],
        };
        ProblemDetails::from_status_code(code.status())
            .with_detail(self.to_string())
            .with_extensions(Extensions {
                code: code.as_str(),
                errors,
            })
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let mut response =
            warp::reply::with_status(warp::reply::json(&self.body()), self.code().status())
                .into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.extend(self.header().map(|(name, value)| (Some(name), value)));
        // For the request's trace.
        response.extensions_mut().insert(self.code());
        response
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
