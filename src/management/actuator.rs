//! Responses in the form of Spring Boot Actuator: its media types, and the links at its root.

use serde::Serialize;
use serde_json::{Value, json};
use warp::Reply;
use warp::http::uri::Authority;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::accept::Accept;

/// The media type of Actuator's JSON.
const ACTUATOR: &str = "application/vnd.spring-boot.actuator.v3+json";

/// Plain JSON, for clients that prefer it.
const PLAIN: &str = "application/json";

/// Whether the client accepts JSON and no text. A client without `Accept` accepts both.
pub(super) fn accepts_json_only(accept: &Accept) -> bool {
    accept.takes(&[
        PLAIN,
        ACTUATOR,
        "application/vnd.spring-boot.actuator.v2+json",
    ]) && !accept.takes(&[
        "*/*",
        "text/*",
        "text/plain",
        "text/html",
        "application/openmetrics-text",
    ])
}

/// A JSON response.
pub(super) fn json(accept: &Accept, status: StatusCode, body: &impl Serialize) -> Response {
    let is_plain = accept.wants(PLAIN, None) > accept.wants(ACTUATOR, None);
    let media_type = if is_plain { PLAIN } else { ACTUATOR };
    let mut response = warp::reply::with_status(warp::reply::json(body), status).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// The links to everything that Actuator has too. They are absolute if the request names its host.
pub(super) fn links(accept: &Accept, host: Option<&Authority>) -> Response {
    let base = host.map_or_else(String::new, |host| format!("http://{host}"));
    let link = |path: &str| {
        let is_template = path.contains('{');
        json!({ "href": format!("{base}{path}"), "templated": is_template })
    };
    let links: Value = json!({ "_links": {
        "self": link("/"),
        "health": link("/health"),
        "health-path": link("/health/{*path}"),
        "metrics": link("/metrics"),
        "metrics-requiredMetricName": link("/metrics/{requiredMetricName}"),
        "prometheus": link("/prometheus"),
    } });
    json(accept, StatusCode::OK, &links)
}
