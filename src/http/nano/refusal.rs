//! Every error response of Nano's API, and the one table from an error to its status and texts.

use serde::Serialize;
use warp::Reply;
use warp::http::{HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;

use crate::http::in_progress;
use crate::problem::{Code, Problem, Refused};
use crate::telemetry::Outcome;
use crate::work::InvalidRequest;

/// The hint for an action that is not known.
pub(super) const COMMANDS: &str =
    "Supported commands: work_generate, work_cancel, work_validate, status";

/// Why a request gets an error response.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The body is no JSON object, or lacks a member that it needs.
    #[error("Failed to deserialize JSON")]
    Json(String),
    /// The action is not known.
    #[error("Unknown command")]
    Action,
    /// A member is wrong.
    #[error("{}", wrong(.0))]
    Member(InvalidRequest),
    /// The version of the work is not `work_1`.
    #[error("Bad work version")]
    Version,
    /// The difficulty is above what is allowed. In the words of `nano_node`.
    #[error("Difficulty above config limit or below publish threshold")]
    TooHard,
    /// `work_cancel` has ended the request.
    #[error("Cancelled")]
    Cancelled,
    /// A page in a browser sent the request, and its origin is not allowed.
    #[error("Origin not allowed")]
    Origin,
    /// The method is not `POST`.
    #[error("Can only POST requests")]
    Method(Problem),
    /// As on the public port, in the same words.
    #[error(transparent)]
    Shared(#[from] Problem),
}

/// What `nano-work-server` says of a wrong member.
fn wrong(error: &InvalidRequest) -> &'static str {
    match error.field() {
        "hash" => "Bad block hash",
        "work" => "Bad work",
        "difficulty" => "Bad difficulty",
        _ => "Bad multiplier",
    }
}

/// The body.
#[derive(Debug, Serialize)]
struct Body<'a> {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Refusal {
    /// The response.
    pub(super) fn response(&self) -> Response {
        let hint = self.hint();
        let body = warp::reply::json(&Body {
            error: self.to_string(),
            hint: hint.as_deref(),
        });
        let mut response = warp::reply::with_status(body, self.status()).into_response();
        let header = self.header();
        let headers = response.headers_mut();
        headers.extend(header.map(|(name, value)| (Some(name), value)));
        if let Some(refused) = self.refused() {
            response.extensions_mut().insert(refused);
        }
        response
    }

    /// How the request ends, for metrics.
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::Cancelled => Outcome::Cancelled,
            Self::Shared(problem) => in_progress::outcome(problem),
            _ => Outcome::Invalid,
        }
    }

    /// The status: 200 for each request that a node may send, also if it fails. `nano_node` drops answers with another status
    /// and neither retries nor tells its own client.
    fn status(&self) -> StatusCode {
        match self {
            Self::TooHard | Self::Cancelled => StatusCode::OK,
            Self::Json(_) | Self::Action | Self::Member(_) | Self::Version => {
                StatusCode::BAD_REQUEST
            }
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Shared(Problem::KeyBusy { .. } | Problem::Overloaded | Problem::Unsolved(_)) => {
                StatusCode::OK
            }
            Self::Method(problem) | Self::Shared(problem) => problem.code().status(),
        }
    }

    /// What to do about it, where the error itself does not say that.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Json(reason) => Some(reason.clone()),
            Self::Action => Some(COMMANDS.to_owned()),
            Self::Member(error) => Some(error.to_string()),
            Self::Version => Some("version must be work_1, or left out".to_owned()),
            Self::Origin => {
                Some("ATTO_WORK_CORS_ORIGINS must list the origin of the page".to_owned())
            }
            Self::TooHard | Self::Cancelled | Self::Method(_) | Self::Shared(_) => None,
        }
    }

    /// The header that tells the client what to do instead.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Method(problem) | Self::Shared(problem) => problem.header(),
            _ => None,
        }
    }

    /// What the log, the trace and the metrics say; `None` for a request that its client has ended.
    const fn refused(&self) -> Option<Refused> {
        let code = match self {
            Self::Cancelled => return None,
            Self::Json(_) => Code::MalformedJson,
            Self::Action | Self::Member(_) | Self::Version | Self::TooHard => Code::InvalidFields,
            Self::Origin => {
                return Some(Refused {
                    code: "ORIGIN_NOT_ALLOWED",
                    class: "ORIGIN_NOT_ALLOWED",
                });
            }
            Self::Method(problem) | Self::Shared(problem) => problem.code(),
        };
        Some(code.refused())
    }
}

#[cfg(test)]
mod tests;
