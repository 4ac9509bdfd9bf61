//! Between hyper and the routes: reports exchanges to the connection, and asks clients to open a new connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;
use warp::filters::BoxedFilter;
use warp::http::uri::Authority;
use warp::http::{HeaderValue, Method, Request, Response, Version, header};

use super::activity::{Activity, Exchange};
use crate::lifecycle::{Lifecycle, Phase};

/// How a request arrived. An extension of the request, for the routes to read.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The client's end of the connection.
    pub peer: Option<SocketAddr>,
    /// The version of HTTP.
    pub version: Version,
    /// The host that the client addresses, where HTTP names it outside the headers, as HTTP/2 does.
    pub authority: Option<Authority>,
}

/// Answers the requests of one connection. From `old_at` on, its client is asked to open a new one.
pub(super) fn answer(
    routes: BoxedFilter<(warp::reply::Response,)>,
    activity: Activity,
    lifecycle: Lifecycle,
    old_at: Instant,
    peer: Option<SocketAddr>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<
        ResponseBody<impl Body<Data: Send, Error: Send + Sync + std::error::Error>>,
    >,
    Error = Infallible,
    Future: Send + 'static,
> {
    let routes = TowerToHyperService::new(warp::service(routes));
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let arrival = Arrival {
            peer,
            version: request.version(),
            authority: request.uri().authority().cloned(),
        };
        request.extensions_mut().insert(arrival);
        let mut exchange = activity.begin(request.version());
        let without_body = request.method() == Method::HEAD;
        let response = routes.call(request);
        let lifecycle = lifecycle.clone();
        async move {
            let mut response = response.await?;
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
