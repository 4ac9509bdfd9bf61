//! The body of an error response.

use problem_details::ProblemDetails;
use serde::Serialize;
use warp::Reply;
use warp::http::{HeaderValue, header};
use warp::reply::Response;

use super::request_id::{REQUEST_ID, RequestId};
use super::{FieldError, Problem};

/// The members besides those of RFC 9457.
#[derive(Debug, Serialize)]
struct Extensions<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten)]
    spring: SpringError<'a>,
}

/// The members of Spring's error object, which clients of the reference server read. Its `status` is RFC 9457's too.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpringError<'a> {
    /// The reason phrase.
    error: &'static str,
    path: &'a str,
    /// RFC 3339, in UTC, with milliseconds.
    timestamp: String,
    request_id: &'a str,
}

impl Problem {
    /// The error response to the request for this path with this id.
    pub fn response(&self, path: &str, id: &RequestId) -> Response {
        let body = self.body(path, id.as_str(), jiff::Timestamp::now());
        let mut response = warp::reply::with_status(warp::reply::json(&body), self.code().status())
            .into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(REQUEST_ID, id.header());
        headers.extend(self.header().map(|(name, value)| (Some(name), value)));
        response.extensions_mut().insert(self.code().refused());
        response
    }

    /// The body of the response to a request for this path, with this id, at this time.
    pub(crate) fn body<'a>(
        &'a self,
        path: &'a str,
        id: &'a str,
        at: jiff::Timestamp,
    ) -> impl Serialize + 'a {
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
                spring: SpringError {
                    error: code.status().canonical_reason().unwrap_or_default(),
                    path,
                    timestamp: format!("{at:.3}"),
                    request_id: id,
                },
            })
    }
}
