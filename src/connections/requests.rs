//! Between hyper and the routes: limits and reports requests, and asks clients to open a new connection.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;
use warp::Reply;
use warp::http::uri::Authority;
use warp::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header,
};
use warp::reply::Response;

use super::activity::{Activity, Exchange};
use super::limits::MAX_FIELDS;
use super::shared::Shared;
use crate::lifecycle::Phase;
use crate::problem::{Problem, RequestId};

/// How a request arrived. An extension of the request, for the routes to read.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The client's end of the connection.
    pub peer: Option<SocketAddr>,
    /// The version of HTTP.
    pub version: Version,
    /// The host that the client addresses, where HTTP names it outside the headers, as HTTP/2 does.
    pub authority: Option<Authority>,
    /// The header fields that the routes read. The request itself has none.
    pub fields: Arc<HeaderMap>,
    /// False if the limit of requests in progress is reached: the request must be refused.
    pub is_admitted: bool,
}

/// Answers the requests of one connection. From `old_at` on, its client is asked to open a new one.
pub(super) fn answer(
    shared: Arc<Shared>,
    activity: Activity,
    old_at: Instant,
    peer: Option<SocketAddr>,
) -> impl Service<
    Request<Incoming>,
    Response = warp::http::Response<
        ResponseBody<impl Body<Data: Send, Error: Send + Sync + std::error::Error>>,
    >,
    Error = Infallible,
    Future: Send + 'static,
> {
    let routes = TowerToHyperService::new(warp::service(shared.routes.filter.clone()));
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let length = request.body().size_hint().exact();
        let mut exchange = activity.begin(request.version(), length, &shared.places);
        let without_body = request.method() == Method::HEAD;
        let all = std::mem::take(request.headers_mut());
        let fields = Arc::new(kept(&all, shared.routes.fields));
        let uri = request.uri().clone();
        // As hyper does it over HTTP/1 by itself.
        let response = (all.len() <= MAX_FIELDS).then(|| {
            let arrival = Arrival {
                peer,
                version: request.version(),
                authority: request.uri().authority().cloned(),
                fields: Arc::clone(&fields),
                is_admitted: exchange.has_place(),
            };
            request.extensions_mut().insert(arrival);
            AssertUnwindSafe(routes.call(request)).catch_unwind()
        });
        drop(all);
        let lifecycle = shared.lifecycle.clone();
        async move {
            let mut response = match response {
                Some(response) => {
                    let response = response.await;
                    response.unwrap_or_else(|panic| Ok(failed(&*panic, uri.path(), &fields)))?
                }
                None => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
            };
            exchange.respond();
            // HTTP/2 has a frame for this.
            let is_over = lifecycle.phase() > Phase::Serving || Instant::now() >= old_at;
            if exchange.version() < Version::HTTP_2 && is_over {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            // hyper omits the body of a response to HEAD over HTTP/1.1 only.
            if without_body && let Some(length) = response.body().size_hint().exact() {
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length.into());
            }
            Ok(response.map(|body| ResponseBody {
                body: (!without_body).then_some(body),
                _exchange: exchange,
            }))
        }
    })
}

/// A copy of the fields with these names. It shares no memory with the others, of which there may be many.
fn kept(fields: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in names {
        for value in fields.get_all(name) {
            // Cannot fail: the bytes were a value before.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                kept.append(name, value);
            }
        }
    }
    kept
}

/// The response to a request whose handler has panicked.
fn failed(panic: &(dyn Any + Send), path: &str, fields: &HeaderMap) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text, "a request failed because of a bug");
    Problem::Internal.response(path, &RequestId::of(fields))
}

/// A response's body. The exchange ends when this is dropped, which hyper does once all of it is sent.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    /// `None` in a response to HEAD.
    body: Option<B>,
    _exchange: Exchange,
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
