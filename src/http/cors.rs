//! The headers that let web pages of allowed origins see responses (Fetch standard, "CORS protocol").
//!
//! A request from any other origin is answered like that of any client, and the browser keeps the response from the page.
//! This is safe, since browsers send a preflight before they send JSON.
//!
//! Two libraries have this, and both would change responses. `tower_http`'s layer answers every `OPTIONS` with 200: also
//! for an unknown path, from an origin that is not allowed, and where nothing is asked; and it names the same methods for
//! every path. warp's filter answers 403 to every origin that is not on the list, and so to the page that is served here,
//! since browsers send the origin of its requests too.

use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::head::Head;
use crate::access::CorsOrigins;

/// How long a browser may cache a preflight, in seconds. Browsers cap it: Chromium at this value.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The request headers that a page may set.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, request-timeout, x-request-id");

/// The response headers that a page may read.
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("retry-after, server-timing, www-authenticate, x-request-id");

/// The request headers that the response to a preflight depends on.
const VARY: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

/// The response to a preflight. `None` if this is not a preflight, its path has no route, or its origin is not allowed.
pub(super) fn preflight(origins: &CorsOrigins, head: &Head) -> Option<Response> {
    let methods = head.endpoint?.methods;
    let headers = &head.headers;
    if head.method != Method::OPTIONS
        || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let allowed = allowed(origins, headers)?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().extend([
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(methods),
        ),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        (header::VARY, VARY),
    ]);
    Some(response)
}

/// Lets the page that sent these `headers` see the response, if its origin is allowed.
pub(super) fn expose(origins: &CorsOrigins, headers: &HeaderMap, response: &mut Response) {
    let response = response.headers_mut();
    if *origins != CorsOrigins::Any {
        response.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(allowed) = allowed(origins, headers) else {
        return;
    };
    response.extend([
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS),
    ]);
}

/// Whether a page of another origin sent the request, and that origin is not allowed. For requests that browsers send without
/// a preflight.
pub(super) fn is_foreign(origins: Option<&CorsOrigins>, headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        && origins.is_none_or(|origins| allowed(origins, headers).is_none())
}

/// The origin that may see the response, or `*`. `None` if the page's origin is not allowed, or `headers` name none.
fn allowed(origins: &CorsOrigins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    match origins {
        CorsOrigins::Any => Some(HeaderValue::from_static("*")),
        CorsOrigins::List(origins) => origins.contains(origin).then(|| origin.clone()),
    }
}
