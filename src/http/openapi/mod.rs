//! The description of the API: for programs as `OpenAPI` 3.1, for people as pages of Swagger UI, which are part of the
//! binary and load nothing from another machine.

mod document;
mod problems;

use std::borrow::Cow;
use std::sync::Arc;

use hyper::body::Bytes;
use utoipa_swagger_ui::{Config, SwaggerFile};
use warp::Reply;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;

use crate::problem::Problem;

/// From the root to the first page, and from there to the description. Both are relative, for proxies that serve the port
/// below a path of their own.
const FIRST_PAGE: HeaderValue = HeaderValue::from_static("swagger-ui/index.html");
const DOCUMENT: &str = "../openapi.json";

/// What a page may load: nothing from another machine. Swagger UI sets styles in its scripts, and has images in its style
/// sheet.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
     frame-ancestors 'none'; base-uri 'none'",
);

/// The description of the API, as it is served.
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
            document: format!("{:#}", document::document(needs_key)).into(),
            pages: Arc::new(pages),
        }
    }

    /// The description for programs.
    pub(super) fn document(&self) -> Response {
        let json = HeaderValue::from_static("application/json");
        with_type(Response::new(self.document.clone().into()), json)
    }

    /// A file of the pages; `None` if there is no such file.
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
        let response = match bytes {
            Cow::Borrowed(bytes) => bytes.into_response(),
            Cow::Owned(bytes) => bytes.into_response(),
        };
        let mut response = with_type(response, HeaderValue::from_str(&content_type).ok()?);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        Some(response)
    }
}

/// The redirection from the root to the first page.
pub(super) fn redirect() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, FIRST_PAGE);
    response
}

fn with_type(mut response: Response, content_type: HeaderValue) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
