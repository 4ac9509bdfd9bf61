//! The description of the API, for people with a browser. It loads nothing from elsewhere.

use warp::Reply;
use warp::http::{HeaderMap, HeaderName, HeaderValue, header};
use warp::reply::Response;

/// What the page may load: nothing but its own style.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// Whether the client is a browser that opens a page.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut types = accepted.filter_map(|accept| accept.to_str().ok());
    types.any(|types| types.to_ascii_lowercase().contains("text/html"))
}

/// The page.
pub(super) fn page() -> Response {
    let mut response = warp::reply::html(include_str!("page.html")).into_response();
    response.headers_mut().extend([
        (HeaderName::from_static("content-security-policy"), POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::VARY, HeaderValue::from_static("accept")),
    ]);
    response
}
