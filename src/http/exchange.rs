//! The steps of every request to a port for clients: it is counted, timed and traced, it gets its id, and its response
//! gets the headers of CORS.

use std::sync::Arc;

use tracing::Instrument;
use warp::Filter;
use warp::filters::path::FullPath;
use warp::http::Method;
use warp::reply::Response;

use super::cors;
use super::head::{Endpoint, FIELDS, Head};
use super::refusals::Refusals;
use super::request::{Body, Request};
use super::trace::Trace;
use crate::access::CorsOrigins;
use crate::connections::{Arrival, Routes};
use crate::problem::{REQUEST_ID, Refused, RequestId};
use crate::telemetry::Telemetry;

/// The route of requests without one, in metrics: the pattern of Spring's resource handler, which answers them in the
/// reference server.
const NO_ROUTE: &str = "/**";

/// The API of a port for clients.
pub(super) trait Api: Send + Sync + 'static {
    /// The endpoint at a path; `None` if there is none.
    fn endpoint(path: &str) -> Option<Endpoint>;

    /// Answers a request. If the client disconnects first, the future is dropped.
    fn answer(&self, request: Request<'_, impl Body>) -> impl Future<Output = Response> + Send;
}

/// A port for clients.
struct Exchange<A> {
    api: A,
    telemetry: Telemetry,
    origins: Option<CorsOrigins>,
    refusals: Refusals,
}

/// The routes of a port that serves `api`. One filter takes every request, so that no rejection of warp's own reaches a client.
pub(super) fn routes<A: Api>(api: A, telemetry: Telemetry, origins: Option<CorsOrigins>) -> Routes {
    let exchange = Arc::new(Exchange {
        api,
        telemetry,
        origins,
        refusals: Refusals::default(),
    });
    let filter = warp::method()
        .and(warp::path::full())
        .and(warp::ext::optional::<Arrival>())
        .map(|method: Method, path: FullPath, arrival: Option<Arrival>| {
            let fields = arrival.as_ref().map(|arrival| Arc::clone(&arrival.fields));
            let headers = fields.unwrap_or_default();
            Head {
                method,
                path: path.as_str().to_owned(),
                endpoint: A::endpoint(path.as_str()),
                id: RequestId::of(&headers),
                headers,
                arrival,
            }
        })
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let exchange = Arc::clone(&exchange);
            async move { exchange.answer(&head, body).await }
        })
        .boxed();
    Routes {
        filter,
        fields: &FIELDS,
    }
}

impl<A: Api> Exchange<A> {
    /// Answers a request, and counts, times and traces it. If the client disconnects first, the future is dropped, and the
    /// request is counted as unanswered.
    async fn answer(&self, head: &Head, body: impl Body) -> Response {
        let uri = head.endpoint.map_or(NO_ROUTE, |endpoint| endpoint.pattern);
        let metrics = &self.telemetry.metrics;
        let counted = metrics.http_request(head.method.as_str(), uri);
        let mut trace = Trace::begin(&self.telemetry.traces, head);
        let lines = trace.lines();
        let request = Request {
            head,
            trace: &trace,
            body,
        };
        let mut response = self.with_cors(request).instrument(lines.clone()).await;
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, head.id.header());
        let refused = response.extensions().get::<Refused>().copied();
        if let Some(refused) = refused {
            lines.in_scope(|| self.refusals.log(head, refused, response.status()));
        }
        trace.answered(&response);
        counted.answered(
            response.status().as_u16(),
            refused.map(|refused| refused.class),
        );
        response
    }

    /// Answers a request. If there are allowed CORS origins, the response has the headers that let their pages see it.
    async fn with_cors(&self, request: Request<'_, impl Body>) -> Response {
        let Some(origins) = &self.origins else {
            return self.api.answer(request).await;
        };
        let head = request.head;
        if let Some(response) = cors::preflight(origins, head) {
            return response;
        }
        let mut response = self.api.answer(request).await;
        cors::expose(origins, &head.headers, &mut response);
        response
    }
}
