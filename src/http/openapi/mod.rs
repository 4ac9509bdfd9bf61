//! The description of the API: for programs as `OpenAPI` 3.1 in JSON and YAML, for people as pages of Swagger UI, which are part of the
//! binary and load nothing from another machine.

mod document;
mod problems;
mod yaml;

use std::borrow::Cow;
use std::sync::Arc;

use hyper::body::Bytes;
use utoipa_swagger_ui::{Config, SwaggerFile};
use warp::Reply;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::head::Format;
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
    json: Bytes,
    yaml: Bytes,
    pages: Arc<Config<'static>>,
}

impl Description {
    /// The description of a service that needs a key or does not.
    pub(super) fn new(needs_key: bool) -> Self {
        let pages = Config::from(DOCUMENT)
            .validator_url("none")
            .try_it_out_enabled(true)
            .display_request_duration(true);
        let document = document::document(needs_key);
        Self {
            json: format!("{document:#}").into(),
            yaml: yaml::written(&document).into(),
            pages: Arc::new(pages),
        }
    }

    /// The description for programs.
    pub(super) fn document(&self, format: Format) -> Response {
        let (document, media_type) = match format {
            Format::Json => (&self.json, "application/json"),
            // As the reference server has it.
            Format::Yaml => (&self.yaml, "application/vnd.oai.openapi"),
        };
        let media_type = HeaderValue::from_static(media_type);
        with_type(Response::new(document.clone().into()), media_type)
    }

    /// A file of the pages; `None` if there is no such file.
    pub(super) fn page(&self, path: &str) -> Result<Option<Response>, Problem> {
        let served = utoipa_swagger_ui::serve(path, Arc::clone(&self.pages)).map_err(|error| {
            tracing::error!(%error, path, "a page of the description cannot be written");
            Problem::Internal
        });
        let Some(SwaggerFile {
            bytes,
            content_type,
            ..
        }) = served?
        else {
            return Ok(None);
        };
        let response = match bytes {
            Cow::Borrowed(bytes) => bytes.into_response(),
            Cow::Owned(bytes) => bytes.into_response(),
        };
        let content_type = HeaderValue::from_str(&content_type).map_err(|_| Problem::Internal)?;
        let mut response = with_type(response, content_type);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        Ok(Some(response))
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
