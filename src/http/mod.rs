//! The public port: `POST /works`, `POST /works/verify`, and the description of both.
//!
//! One request, in the order of the files that it goes through:
//!
//! ```text
//! connections -> Api::answer (counts, times and traces it) -> Api::with_cors (for web pages) -> Api::dispatch (by its route)
//!             -> works (reads it, asks the scheduler, responds) or openapi (the description)
//! ```

mod cors;
mod head;
mod openapi;
mod refusals;
mod request;
mod trace;
mod works;

use std::collections::HashMap;
use std::sync::Arc;

use tracing::Instrument;
use warp::filters::path::FullPath;
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::access::{AccessRules, AllowedHosts, CorsOrigins};
use crate::connections::{Arrival, Routes};
use crate::lifecycle::Phase;
use crate::problem::{Code, Problem, REQUEST_ID, RequestId};
use crate::scheduler::Scheduler;
use crate::telemetry::Telemetry;
use head::{Head, Route};
use openapi::Description;
use refusals::Refusals;
use request::{Body, Request};
use trace::Trace;
pub use works::BodyLimits;
use works::Works;
#[doc(hidden)]
pub use works::parse;

/// The route of requests without one, in metrics: the pattern of Spring's resource handler, which answers them in the
/// reference server.
const NO_ROUTE: &str = "/**";

/// Answers the requests of the public port.
struct Api {
    telemetry: Telemetry,
    origins: Option<CorsOrigins>,
    hosts: Option<AllowedHosts>,
    works: Works,
    description: Description,
    refusals: Refusals,
}

/// Everything that the public port serves. One filter takes every request, so that no rejection of warp's own reaches a
/// client.
pub fn routes(
    scheduler: Scheduler,
    telemetry: Telemetry,
    limits: BodyLimits,
    access: AccessRules,
) -> Routes {
    let api = Arc::new(Api {
        telemetry: telemetry.clone(),
        origins: access.origins,
        hosts: access.hosts,
        description: Description::new(access.keys.is_some()),
        refusals: Refusals::default(),
        works: Works {
            scheduler,
            telemetry,
            limits,
            keys: access.keys,
            by_address: access.by_address,
        },
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
                id: RequestId::of(&headers),
                headers,
                arrival,
            }
        })
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let api = Arc::clone(&api);
            async move { api.answer(&head, body).await }
        })
        .boxed();
    Routes {
        filter,
        fields: &head::FIELDS,
    }
}

impl Api {
    /// Answers a request, and counts, times and traces it. If the client disconnects first, the future is dropped, and the
    /// request is counted as unanswered.
    async fn answer(&self, head: &Head, body: impl Body) -> Response {
        let uri = head.route().map_or(NO_ROUTE, Route::pattern);
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
        let refusal = response.extensions().get::<Code>().copied();
        if let Some(code) = refusal {
            lines.in_scope(|| self.refusals.log(head, code));
        }
        trace.answered(&response);
        counted.answered(response.status().as_u16(), refusal.map(Code::class));
        response
    }

    /// Answers a request. If web pages may ask, the response has the headers that let an allowed page see it.
    async fn with_cors(&self, request: Request<'_, impl Body>) -> Response {
        let Some(origins) = &self.origins else {
            return self.dispatch(request).await;
        };
        let head = request.head;
        if let Some(response) = cors::preflight(origins, head) {
            return response;
        }
        let mut response = self.dispatch(request).await;
        cors::expose(origins, &head.headers, &mut response);
        response
    }

    async fn dispatch(&self, request: Request<'_, impl Body>) -> Response {
        let head = request.head;
        let response = self.route(request).await;
        response.unwrap_or_else(|problem| problem.response(&head.path, &head.id))
    }

    /// Answers a request by its route and method.
    async fn route(&self, request: Request<'_, impl Body>) -> Result<Response, Problem> {
        let head = request.head;
        if !head.is_admitted() {
            return Err(Problem::Overloaded);
        }
        head.require_host(self.hosts.as_ref())?;
        let not_found = || Problem::NotFound {
            path: head.path.clone(),
        };
        let route = head.route().ok_or_else(not_found)?;
        Ok(match (route, &head.method) {
            (Route::Works, &Method::POST) => self.works.solve(request).await,
            (Route::Verify, &Method::POST) => self.works.verify(request).await,
            (Route::Description(format), &Method::GET | &Method::HEAD) => {
                self.description.document(format)
            }
            (Route::Root, &Method::GET) => openapi::redirect(),
            (Route::Root, &Method::HEAD) | (Route::Health, &Method::GET | &Method::HEAD) => {
                self.health()
            }
            (Route::Page(file), &Method::GET | &Method::HEAD) => {
                self.description.page(file)?.ok_or_else(not_found)?
            }
            (route, &Method::OPTIONS) => options(route),
            (route, method) => {
                return Err(Problem::MethodNotAllowed {
                    method: method.clone(),
                    allowed: route.methods(),
                });
            }
        })
    }

    /// Whether requests should be sent here, for load balancers that check the port that serves: the readiness of the
    /// management port.
    fn health(&self) -> Response {
        let is_serving = self.works.limits.lifecycle.phase() == Phase::Serving;
        let (code, status) = if is_serving && self.works.scheduler.status().can_serve {
            (StatusCode::OK, "UP")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "OUT_OF_SERVICE")
        };
        let health = warp::reply::json(&HashMap::from([("status", status)]));
        warp::reply::with_status(health, code).into_response()
    }
}

/// The methods of a route, for `OPTIONS` (RFC 9110, 9.3.7).
fn options(route: Route<'_>) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static(route.methods());
    response.headers_mut().insert(header::ALLOW, methods);
    response
}
