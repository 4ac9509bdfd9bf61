//! The ports for clients: `POST /works`, `POST /works/verify` and the description of both on the public port, and Nano's API
//! on a port of its own.
//!
//! One request, in the order of the files that it goes through:
//!
//! ```text
//! connections -> exchange (counts, times and traces it; for web pages, cors)
//!             -> Public (by its route) -> works (reads it, asks the scheduler, responds) or openapi (the description)
//!             -> or nano (by its action)
//! ```

mod body;
mod client_timeout;
mod cors;
mod exchange;
mod head;
mod in_progress;
pub mod nano;
mod openapi;
mod refusals;
mod request;
mod trace;
mod works;

use std::collections::HashMap;

use warp::Reply;
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use crate::access::{AccessRules, AllowedHosts};
use crate::connections::Routes;
use crate::lifecycle::Phase;
use crate::problem::Problem;
use crate::scheduler::Scheduler;
use crate::telemetry::Telemetry;
use crate::work::Timestamp;
pub use body::BodyLimits;
use exchange::Api;
use head::{Endpoint, Route};
use openapi::Description;
use request::{Body, Request};
use works::Works;
#[doc(hidden)]
pub use works::parse;

/// Answers the requests of the public port.
struct Public {
    hosts: Option<AllowedHosts>,
    works: Works,
    description: Description,
}

/// Everything that the public port serves.
pub fn routes(
    scheduler: Scheduler,
    telemetry: Telemetry,
    limits: BodyLimits,
    access: AccessRules,
) -> Routes {
    let public = Public {
        hosts: access.hosts,
        description: Description::new(access.keys.is_some()),
        works: Works {
            scheduler,
            telemetry: telemetry.clone(),
            limits,
            keys: access.keys,
            by_address: access.by_address,
        },
    };
    exchange::routes(public, telemetry, access.origins)
}

impl Api for Public {
    fn endpoint(path: &str) -> Option<Endpoint> {
        Route::of(path).map(Route::endpoint)
    }

    async fn answer(&self, request: Request<'_, impl Body>) -> Response {
        let head = request.head;
        let response = self.route(request).await;
        response.unwrap_or_else(|problem| problem.response(&head.path, &head.id))
    }
}

impl Public {
    /// Answers a request by its route and method.
    async fn route(&self, request: Request<'_, impl Body>) -> Result<Response, Problem> {
        let head = request.head;
        head.require_host(self.hosts.as_ref())?;
        let not_found = || Problem::NotFound {
            path: head.path.clone(),
        };
        let route = Route::of(&head.path).ok_or_else(not_found)?;
        Ok(match (route, &head.method) {
            // These count their refusals.
            (Route::Works, &Method::POST) => self.works.solve(request).await,
            (Route::Verify, &Method::POST) => self.works.verify(request).await,
            _ if !head.is_admitted() => return Err(Problem::Overloaded),
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
            (route, &Method::OPTIONS) => options(route.methods()),
            (route, method) => {
                return Err(Problem::MethodNotAllowed {
                    method: method.clone(),
                    allowed: route.methods(),
                });
            }
        })
    }

    /// Readiness, for load balancers that check the public port. The same as on the management port.
    fn health(&self) -> Response {
        let is_serving = self.works.limits.lifecycle.phase() == Phase::Serving;
        let can_serve = self.works.scheduler.status().can_serve;
        let (code, status) = if is_serving && can_serve && Timestamp::clock().is_ok() {
            (StatusCode::OK, "UP")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "OUT_OF_SERVICE")
        };
        let health = warp::reply::json(&HashMap::from([("status", status)]));
        warp::reply::with_status(health, code).into_response()
    }
}

/// The methods of a path, for `OPTIONS` (RFC 9110, 9.3.7).
fn options(methods: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(header::ALLOW, methods);
    response
}
