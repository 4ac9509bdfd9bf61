//! The description of the API: for programs as `OpenAPI` 3.1, for people the same as pages of Swagger UI, which are in
//! the binary and ask no other machine for anything.
//!
//! Refusals are described from the table in `problem`, each with an example that is made as the answer itself is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use utoipa_swagger_ui::{Config, SwaggerFile};
use warp::Reply;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::works::MAX_BODY;
use crate::access::ApiKey;
use crate::problem::{Code, FieldError, Problem};
use crate::scheduler::SolveError;
use crate::work::{MAX_AHEAD, Network, Timestamp};

/// Where the files of Swagger UI are.
pub(super) const PAGES: &str = "/swagger-ui/";

/// From the root to the first of them, and from there to the description. Both are relative, for proxies that serve
/// all of this below a path of their own.
const FIRST_PAGE: HeaderValue = HeaderValue::from_static("swagger-ui/index.html");
const DOCUMENT: &str = "../openapi.json";

/// What a page may load, so that a mistake in one cannot make it ask another machine. Swagger UI sets styles from its
/// scripts, and has pictures in its style sheet.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
     frame-ancestors 'none'; base-uri 'none'",
);

/// What is served of it.
pub(super) struct Description {
    document: Bytes,
    pages: Arc<Config<'static>>,
}

impl Description {
    /// The description of a service that needs a key or does not.
    pub(super) fn new(needs_key: bool) -> Self {
        let pages = Config::from(DOCUMENT)
            .validator_url("none")
            .try_it_out_enabled(true)
            .display_request_duration(true);
        Self {
            document: format!("{:#}", document(needs_key)).into(),
            pages: Arc::new(pages),
        }
    }

    /// The description for programs.
    pub(super) fn document(&self) -> Response {
        let json = HeaderValue::from_static("application/json");
        with_type(Response::new(self.document.clone().into()), json)
    }

    /// A file of the pages; none if there is no such file.
    pub(super) fn page(&self, path: &str) -> Option<Response> {
        let SwaggerFile {
            bytes,
            content_type,
            ..
        } = match utoipa_swagger_ui::serve(path, Arc::clone(&self.pages)) {
            Ok(file) => file?,
            Err(error) => {
                tracing::error!(%error, path, "a page of the description cannot be written");
                return Some(Problem::Internal.into_response());
            }
        };
        let answer = match bytes {
            Cow::Borrowed(bytes) => bytes.into_response(),
            Cow::Owned(bytes) => bytes.into_response(),
        };
        let mut answer = with_type(answer, HeaderValue::from_str(&content_type).ok()?);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        Some(answer)
    }
}

/// The answer to whoever comes without a path.
pub(super) fn to_the_page() -> Response {
    let mut answer = Response::default();
    *answer.status_mut() = StatusCode::FOUND;
    answer.headers_mut().insert(header::LOCATION, FIRST_PAGE);
    answer
}

fn with_type(mut answer: Response, content_type: HeaderValue) -> Response {
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    let as_declared = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, as_declared);
    answer
}

/// Where a refusal may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Whatever is not described here.
    Elsewhere,
    /// Both requests.
    Both,
    /// The search.
    Search,
}

const fn origin(code: Code) -> Origin {
    match code {
        Code::NotFound | Code::MethodNotAllowed => Origin::Elsewhere,
        Code::MalformedJson
        | Code::InvalidFields
        | Code::BodyBroken
        | Code::Unauthorized
        | Code::BodyTimeout
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::TooManyRequests
        | Code::Internal
        // A body that is still on its way when the service ends is given up.
        | Code::ShuttingDown => Origin::Both,
        Code::QueueFull | Code::NoDevice | Code::DeadlineExceeded => Origin::Search,
    }
}

/// A refusal of each kind, as it could be answered.
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
        Code::Unauthorized => Problem::KeyMissing,
        Code::NotFound => Problem::NotFound {
            path: "/work".to_owned(),
        },
        Code::MethodNotAllowed => Problem::MethodNotAllowed {
            method: warp::http::Method::GET,
            allowed: "POST",
        },
        Code::BodyTimeout => Problem::BodyTimeout(Duration::from_secs(10)),
        Code::BodyTooLarge => Problem::BodyTooLarge { limit: MAX_BODY },
        Code::UnsupportedMediaType => Problem::UnsupportedMediaType {
            given: "\"text/plain\"".to_owned(),
        },
        Code::TooManyRequests => Problem::KeyBusy { limit: 64 },
        Code::Internal => Problem::Internal,
        Code::QueueFull => SolveError::QueueFull {
            room_in: Some(Duration::from_secs(3)),
        }
        .into(),
        Code::DeadlineExceeded => SolveError::Deadline(Duration::from_secs(300)).into(),
        Code::NoDevice => SolveError::NoDevice.into(),
        Code::ShuttingDown => SolveError::Closed.into(),
    }
}

fn document(needs_key: bool) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Atto work server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Computes proof of work for the Atto network.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        // Relative to where the description is.
        "servers": [{ "url": "./" }],
        "paths": {
            "/works": { "post": search() },
            "/works/verify": { "post": verification() },
        },
        "components": {
            "schemas": schemas(),
            "responses": responses(Origin::Elsewhere),
            "headers": headers(),
            "securitySchemes": { "apiKey": {
                "type": "http",
                "scheme": "bearer",
                "description": format!(
                    "An API key of {} to {} characters. {}",
                    ApiKey::SHORTEST,
                    ApiKey::LONGEST,
                    if needs_key { "This server needs one." } else { "This server needs none." },
                ),
            } },
        },
    });
    if needs_key {
        document["security"] = json!([{ "apiKey": [] }]);
    }
    document
}

/// `POST /works`.
fn search() -> Value {
    let mut responses = refusals(&[Origin::Both, Origin::Search]);
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "the work",
            "content": { "application/json": {
                "schema": reference("schemas", "Work"),
                "example": { "work": "576887B000000000" },
            } },
        }),
    );
    // Every answer says how long it took.
    for response in responses.values_mut() {
        response["headers"]["Server-Timing"] = reference("headers", "Server-Timing");
    }
    json!({
        "operationId": "work",
        "summary": "Compute a work",
        "description": "Answers once a nonce is found. A client that hangs up ends its search.",
        "requestBody": body("WorkRequest", &request()),
        "responses": responses,
    })
}

/// `POST /works/verify`.
fn verification() -> Value {
    let mut responses = refusals(&[Origin::Both]);
    let answered = |valid: bool, digest: &str| json!({ "value": { "valid": valid, "digest": digest, "threshold": "8589934591" } });
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "whether the work is valid",
            "content": { "application/json": {
                "schema": reference("schemas", "Verification"),
                "examples": {
                    "valid": answered(true, "5029785218"),
                    "not valid": answered(false, "15424751921001482597"),
                },
            } },
        }),
    );
    let mut request = request();
    request["work"] = json!("576887B000000000");
    json!({
        "operationId": "verify",
        "summary": "Check a work",
        "description": "A work is valid if its digest is at most the threshold of the network and the time.",
        "requestBody": body("VerifyRequest", &request),
        "responses": responses,
    })
}

fn request() -> Value {
    json!({
        "network": "LIVE",
        "timestamp": Timestamp::FIRST,
        "target": "0".repeat(64),
    })
}

fn body(schema: &str, example: &Value) -> Value {
    json!({
        "required": true,
        "content": { "application/json": {
            "schema": reference("schemas", schema),
            "example": example,
        } },
    })
}

fn schemas() -> Value {
    let networks = Network::ALL.map(Network::as_str);
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let meanings: String = Code::ALL
        .iter()
        .map(|code| format!("- `{}`: {}\n", code.as_str(), code.when()))
        .collect();
    let members = json!({
        "network": { "type": "string", "enum": networks },
        "timestamp": {
            "type": "integer",
            "format": "int64",
            "minimum": Timestamp::FIRST,
            "maximum": Timestamp::LAST,
            "description": format!(
                "the block's time in Unix milliseconds, at most {} s ahead of the server's clock",
                MAX_AHEAD.as_secs(),
            ),
        },
        "target": {
            "type": "string",
            "pattern": "^[0-9A-Fa-f]{64}$",
            "description": "the account's public key for an open block, else the previous block's hash",
        },
    });
    let mut members_to_verify = members.clone();
    members_to_verify["work"] = json!({
        "type": "string",
        "pattern": "^[0-9A-Fa-f]{16}$",
        "description": "the nonce's 8 bytes, little-endian",
    });
    let unsigned = |description: &str| {
        json!({
            "type": "string",
            "pattern": "^[0-9]{1,20}$",
            "description": format!("{description}, an unsigned number of 64 bits in decimal digits"),
        })
    };
    json!({
        "WorkRequest": {
            "type": "object",
            "required": ["network", "timestamp", "target"],
            "properties": members,
        },
        "Work": {
            "type": "object",
            "required": ["work"],
            "properties": { "work": {
                "type": "string",
                "pattern": "^[0-9A-F]{16}$",
                "description": "the nonce's 8 bytes, little-endian",
            } },
            "additionalProperties": false,
        },
        "VerifyRequest": {
            "type": "object",
            "required": ["network", "timestamp", "target", "work"],
            "properties": members_to_verify,
        },
        "Verification": {
            "type": "object",
            "required": ["valid", "digest", "threshold"],
            "properties": {
                "valid": { "type": "boolean" },
                "digest": unsigned("the hash of work and target"),
                "threshold": unsigned("the most that it may be"),
            },
            "additionalProperties": false,
        },
        "Problem": {
            "type": "object",
            "description": "a refusal (RFC 9457)",
            "required": ["status", "title", "detail", "code"],
            "properties": {
                "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                "title": { "type": "string" },
                "detail": { "type": "string", "description": "what was wrong and what is allowed" },
                "code": { "type": "string", "enum": codes, "description": meanings },
                "errors": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["field", "detail"],
                        "properties": {
                            "field": { "type": "string" },
                            "detail": { "type": "string" },
                        },
                        "additionalProperties": false,
                    },
                },
            },
            "additionalProperties": false,
        },
    })
}

fn headers() -> Value {
    let header = |description: &str, schema: Value, example: Value| json!({ "description": description, "schema": schema, "example": example });
    json!({
        "Accept": header(
            "the content type that would do",
            json!({ "type": "string" }),
            json!("application/json"),
        ),
        "Allow": header(
            "the methods of this path",
            json!({ "type": "string" }),
            json!("POST"),
        ),
        "Retry-After": header(
            "when to ask again, in seconds",
            json!({ "type": "integer", "minimum": 0 }),
            json!(1),
        ),
        "Server-Timing": header(
            "how long this took, each part in milliseconds (W3C Server Timing)",
            json!({ "type": "string" }),
            json!("queue;dur=0.021, search;dur=412.514, total;dur=412.874"),
        ),
        "WWW-Authenticate": header(
            "how to send a key (RFC 6750)",
            json!({ "type": "string" }),
            json!("Bearer realm=\"atto-work-server\""),
        ),
    })
}

/// The refusals from these places, by status.
fn refusals(origins: &[Origin]) -> Map<String, Value> {
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for &code in Code::ALL {
        if origins.contains(&origin(code)) {
            by_status.entry(code.status()).or_default().push(code);
        }
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.as_str().to_owned(), refusal(&codes)))
        .collect()
}

/// The refusals from one place, by code.
fn responses(of: Origin) -> Map<String, Value> {
    Code::ALL
        .iter()
        .filter(|&&code| origin(code) == of)
        .map(|&code| (code.as_str().to_owned(), refusal(&[code])))
        .collect()
}

/// The answer for these codes, which have one status.
fn refusal(codes: &[Code]) -> Value {
    let mut description = Vec::new();
    let (mut examples, mut headers) = (Map::new(), Map::new());
    for &code in codes {
        let problem = example(code);
        description.push(format!("`{}`: {}", code.as_str(), code.when()));
        examples.insert(code.as_str().to_owned(), json!({ "value": problem.body() }));
        if let Some((name, _)) = problem.header() {
            let name = name_of(name.as_str());
            headers.insert(name.to_owned(), reference("headers", name));
        }
    }
    let mut answer = json!({
        "description": description.join("; "),
        "content": { "application/problem+json": {
            "schema": reference("schemas", "Problem"),
            "examples": examples,
        } },
    });
    if !headers.is_empty() {
        answer["headers"] = headers.into();
    }
    answer
}

/// A header's name as its standard spells it.
fn name_of(lower_case: &str) -> &str {
    match lower_case {
        "accept" => "Accept",
        "allow" => "Allow",
        "retry-after" => "Retry-After",
        "www-authenticate" => "WWW-Authenticate",
        other => other,
    }
}

fn reference(kind: &str, name: &str) -> Value {
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
