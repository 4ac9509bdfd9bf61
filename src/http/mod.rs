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
mod request;
mod trace;
mod works;

use std::sync::Arc;

use tracing::Instrument;
use warp::filters::path::FullPath;
use warp::http::Method;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::access::{AccessRules, CorsOrigins};
use crate::connections::{Arrival, Routes};
use crate::problem::Problem;
use crate::scheduler::Scheduler;
use crate::telemetry::Telemetry;
use head::{Head, Route};
use openapi::Description;
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
    works: Works,
    description: Description,
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
        description: Description::new(access.keys.is_some()),
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
        .map(
            |method: Method, path: FullPath, arrival: Option<Arrival>| Head {
                method,
                path: path.as_str().to_owned(),
                headers: arrival
                    .as_ref()
                    .map(|arrival| Arc::clone(&arrival.fields))
                    .unwrap_or_default(),
                arrival,
            },
        )
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
        let response = self.with_cors(request).instrument(lines).await;
        trace.answered(&response);
        counted.answered(response.status().as_u16());
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

    /// Answers a request by its route and method.
    async fn dispatch(&self, request: Request<'_, impl Body>) -> Response {
        let head = request.head;
        if !head.is_admitted() {
            return Problem::Overloaded.into_response();
        }
        let Some(route) = head.route() else {
            return not_found(head);
        };
        match (route, &head.method) {
            (Route::Works, &Method::POST) => self.works.solve(request).await,
            (Route::Verify, &Method::POST) => self.works.verify(request).await,
            (Route::Description, &Method::GET | &Method::HEAD) => self.description.document(),
            (Route::Root, &Method::GET | &Method::HEAD) => openapi::redirect(),
            (Route::Page(file), &Method::GET | &Method::HEAD) => self
                .description
                .page(file)
                .unwrap_or_else(|| not_found(head)),
            (route, method) => Problem::MethodNotAllowed {
                method: method.clone(),
                allowed: route.methods(),
            }
            .into_response(),
        }
    }
}

fn not_found(head: &Head) -> Response {
    Problem::NotFound {
        path: head.path.clone(),
    }
    .into_response()
}
