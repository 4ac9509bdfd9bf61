//! Between hyper and the routes: keeps count of requests, and tells clients to connect anew.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::time::Instant;
use warp::filters::BoxedFilter;
use warp::http::uri::Authority;
use warp::http::{HeaderValue, Method, Request, Response, Version, header};

use super::Phase;
use super::pulse::{InProgress, Pulse};

/// How a request has come, for the routes to ask for.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// Of HTTP.
    pub version: Version,
    /// Whom the client takes this server for, where that is said beside the headers, as HTTP/2 does.
    pub authority: Option<Authority>,
}

/// Answers the requests of one connection, which the client is to replace by another from `old_at` on.
pub(super) fn answer(
    routes: BoxedFilter<(warp::reply::Response,)>,
    pulse: Pulse,
    phase: watch::Receiver<Phase>,
    old_at: Instant,
    peer: Option<SocketAddr>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Answer<impl Body<Data: Send, Error: Send + Sync + std::error::Error>>>,
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
        let mut in_progress = pulse.begin(request.version());
        let without_body = request.method() == Method::HEAD;
        let answer = routes.call(request);
        let phase = phase.clone();
        async move {
            let mut answer = answer.await?;
            in_progress.answer();
            // HTTP/2 says so by a frame of its own.
            let is_over = *phase.borrow() > Phase::Serving || Instant::now() >= old_at;
            if in_progress.version() < Version::HTTP_2 && is_over {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            // hyper leaves the body of an answer to HEAD out over HTTP/1.1 only.
            if without_body && let Some(length) = answer.body().size_hint().exact() {
                answer
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length.into());
            }
            Ok(answer.map(|body| Answer {
                body: (!without_body).then_some(body),
                _in_progress: in_progress,
            }))
        }
    })
}

/// An answer's body. Its request is in progress until this is dropped, which hyper does when all of it is sent.
#[derive(Debug)]
pub(super) struct Answer<B> {
    /// None in an answer to HEAD.
    body: Option<B>,
    _in_progress: InProgress,
}

impl<B: Body + Unpin> Body for Answer<B> {
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
