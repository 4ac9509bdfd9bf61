//! Limits what browsers may do with the status page and its data.

use warp::http::{HeaderName, HeaderValue, header};
use warp::reply::Response;

/// Keeps pages of other origins from loading a response (Fetch standard).
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Tells browsers not to store a response, not to guess its type, and not to give it to pages of other origins.
pub(super) fn guarded(mut response: Response) -> Response {
    response.headers_mut().extend([
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ]);
    response
}
