//! Every refusal, and the one table from what went wrong to status, code and text.
//!
//! The body is RFC 9457 `application/problem+json`. Besides the standard members it has `code`, a word that
//! programs can rely on, and, where single values of the request were wrong, `errors`: one entry for each,
//! with the name of the field and the rule that it broke.

use std::time::Duration;

use problem_details::ProblemDetails;
use serde::Serialize;
use warp::Reply;
use warp::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use crate::scheduler::SolveError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The body is not a JSON object of the right shape.
    #[error("the body is not the JSON object that is expected: {0}")]
    MalformedJson(String),
    /// Members of the body are missing or wrong.
    #[error("{}", summary(.0))]
    InvalidFields(Vec<FieldError>),
    /// Nothing is served under this path.
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
    /// The body broke off, or was not transferred as announced.
    #[error("the body could not be read")]
    BodyBroken,
    /// The body is longer than any request.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The most bytes that are read.
        limit: usize,
    },
    /// The body is not declared to be JSON.
    #[error("the content type is {given}; it must be application/json")]
    UnsupportedMediaType {
        /// What was declared.
        given: String,
    },
    /// The search was refused or given up.
    #[error("{0}")]
    Unsolved(#[from] SolveError),
    /// A bug: the answer could not be written.
    #[error("internal error")]
    Internal,
}

/// One value of a request that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member's name.
    pub field: &'static str,
    /// What was wrong and what is allowed.
    pub detail: String,
}

#[derive(Debug, Serialize)]
struct Extensions<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// The table: status and code.
    pub const fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, "MALFORMED_JSON"),
            Self::InvalidFields(_) => (StatusCode::BAD_REQUEST, "INVALID_FIELDS"),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "BODY_BROKEN"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::BodyTimeout(_) => (StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"),
            Self::UnsupportedMediaType { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE")
            }
            Self::Unsolved(SolveError::QueueFull { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "QUEUE_FULL")
            }
            Self::Unsolved(SolveError::Closed) => {
                (StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN")
            }
            Self::Unsolved(SolveError::NoDevice) => (StatusCode::SERVICE_UNAVAILABLE, "NO_DEVICE"),
            Self::Unsolved(SolveError::Deadline(_)) => {
                (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        }
    }

    /// The header that tells the client what to do instead.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed { allowed, .. } => {
                Some((header::ALLOW, HeaderValue::from_static(allowed)))
            }
            // RFC 9110 (12.5.1) lets a 415 name what would do.
            Self::UnsupportedMediaType { .. } => {
                Some((header::ACCEPT, HeaderValue::from_static("application/json")))
            }
            Self::Unsolved(error) => {
                let seconds = error.retry_after()?;
                Some((header::RETRY_AFTER, HeaderValue::from(seconds)))
            }
            _ => None,
        }
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let errors = match &self {
            Self::InvalidFields(errors) => errors.as_slice(),
            _ => &[],
        };
        let details = ProblemDetails::from_status_code(status)
            .with_detail(self.to_string())
            .with_extensions(Extensions { code, errors });
        let mut response =
            warp::reply::with_status(warp::reply::json(&details), status).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.extend(self.header().map(|(name, value)| (Some(name), value)));
        response
    }
}

/// All that is wrong, in one sentence.
fn summary(errors: &[FieldError]) -> String {
    errors
        .iter()
        .map(|error| error.detail.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}
