//! The description as an `OpenAPI` document.

use serde_json::{Value, json};

use super::problems::{self, SentBy, reference};
use crate::access::ApiKey;
use crate::problem::Code;
use crate::work::{MAX_AHEAD, Network, Timestamp};

/// The description of a service that needs an API key, or needs none.
pub(super) fn document(needs_key: bool) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Atto work server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Computes proof of work for the Atto network.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        // Relative to the address of the description.
        "servers": [{ "url": "./" }],
        "paths": {
            "/works": { "post": search() },
            "/works/verify": { "post": verification() },
        },
        "components": {
            "schemas": schemas(),
            "responses": problems::by_code(SentBy::Neither),
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
    let mut responses = problems::by_status(&[SentBy::Both, SentBy::Search]);
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "the work",
            "headers": { "X-Request-Id": reference("headers", "X-Request-Id") },
            "content": { "application/json": {
                "schema": reference("schemas", "Work"),
                "example": { "work": "576887B000000000" },
            } },
        }),
    );
    // Every response has its times.
    for response in responses.values_mut() {
        response["headers"]["Server-Timing"] = reference("headers", "Server-Timing");
    }
    json!({
        "operationId": "work",
        "summary": "Compute a work",
        "description": "Responds once a nonce is found. A search is cancelled when the last client waiting for it disconnects, or when the seconds in the request header `Request-Timeout` are over.",
        "requestBody": body("WorkRequest", &request()),
        "responses": responses,
    })
}

/// `POST /works/verify`.
fn verification() -> Value {
    let mut responses = problems::by_status(&[SentBy::Both]);
    let example = |valid: bool, digest: &str| json!({ "value": { "valid": valid, "digest": digest, "threshold": "8589934591" } });
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "whether the work is valid",
            "headers": { "X-Request-Id": reference("headers", "X-Request-Id") },
            "content": { "application/json": {
                "schema": reference("schemas", "Verification"),
                "examples": {
                    "valid": example(true, "5029785218"),
                    "not valid": example(false, "15424751921001482597"),
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
                "the block's time in Unix milliseconds, at most {} s ahead of the server's clock; a string that holds the \
                 number is read too",
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
            "description": "an error response (RFC 9457)",
            "required": ["status", "title", "detail", "code", "error", "path", "timestamp", "requestId"],
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
                "error": { "type": "string", "description": "the same as `title`, as Spring has it" },
                "path": { "type": "string", "description": "the path that was asked for" },
                "timestamp": { "type": "string", "format": "date-time", "description": "when this was sent" },
                "requestId": { "type": "string", "description": "the value of `X-Request-Id`" },
            },
            "additionalProperties": false,
        },
    })
}

fn headers() -> Value {
    let header = |description: &str, schema: Value, example: Value| json!({ "description": description, "schema": schema, "example": example });
    json!({
        "Accept": header(
            "the content type that is accepted",
            json!({ "type": "string" }),
            json!("application/json"),
        ),
        "Accept-Encoding": header(
            "the content encoding that is accepted",
            json!({ "type": "string" }),
            json!("identity"),
        ),
        "Allow": header(
            "the methods of this path",
            json!({ "type": "string" }),
            json!("OPTIONS, POST"),
        ),
        "Retry-After": header(
            "when to retry, in seconds",
            json!({ "type": "integer", "minimum": 0 }),
            json!(1),
        ),
        "Server-Timing": header(
            "how long this took, each part in milliseconds (W3C Server Timing)",
            json!({ "type": "string" }),
            json!("queue;dur=0.021, search;dur=412.514, total;dur=412.874"),
        ),
        "X-Request-Id": header(
            "the request's id, by which it is found in the log and in traces: that which the request had, if it is 1 to 128 \
             letters, digits and `-_.:+/=`, else a new one",
            json!({ "type": "string" }),
            json!("0f8fad5bd9cb469fa16570867728950e"),
        ),
        "WWW-Authenticate": header(
            "how to send a key (RFC 6750)",
            json!({ "type": "string" }),
            json!("Bearer realm=\"atto-work-server\""),
        ),
    })
}
