//! The management port, for probes, scrapers and people. Nothing here changes anything.
//!
//! | route | response |
//! | --- | --- |
//! | `GET /health` | 200 `UP` once requests are accepted, while a device is in service and the clock is right; else 503 `DOWN` |
//! | `GET /health/liveness` | 503 `DOWN` if no device is left in service, which a restart may fix; else, and while starting, 200 `UP` |
//! | `GET /health/readiness` | 200 `UP` while clients should send requests, a device is in service and the clock is right; else 503 `OUT_OF_SERVICE`. From the signal to stop on it is 503, although requests are still served |
//! | `GET /metrics`, `GET /prometheus` | the metrics |
//! | `GET /` | the status page, for people |
//! | `GET /status.json` | the data of the status page |

mod clock;
mod guard;
mod health;
mod server;
mod status;
mod status_page;

use std::sync::Arc;

use warp::filters::path::FullPath;
use warp::http::Method;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::connections::Routes;
use crate::lifecycle::Lifecycle;
use crate::problem::Problem;
use crate::scheduler::{DeviceState, Scheduler};
use crate::telemetry::Metrics;
use crate::work::Timestamp;
pub use clock::watch_clock;
pub use server::Server;
pub use status::{About, Setting, observe};

/// What the responses are made from.
struct Management {
    lifecycle: Lifecycle,
    scheduler: Scheduler,
    metrics: Metrics,
    about: About,
}

/// Everything that the management port serves.
pub fn routes(
    lifecycle: Lifecycle,
    scheduler: Scheduler,
    metrics: Metrics,
    about: About,
) -> Routes {
    let management = Arc::new(Management {
        lifecycle,
        scheduler,
        metrics,
        about,
    });
    let filter = warp::method()
        .and(warp::path::full())
        .map(move |method: Method, path: FullPath| management.answer(method, path.as_str()))
        .boxed();
    Routes {
        filter,
        fields: &[],
    }
}

impl Management {
    fn answer(&self, method: Method, path: &str) -> Response {
        let route: fn(&Self) -> Response = match path {
            "/" => |_| status_page::page(),
            "/status.json" => |of| status::data(of.lifecycle.phase(), &of.scheduler, &of.about),
            "/health" => |of| health::health(of.lifecycle.phase(), of.can_answer()),
            "/health/liveness" => |of| health::liveness(of.lifecycle.phase(), of.can_serve()),
            "/health/readiness" => |of| health::readiness(of.lifecycle.phase(), of.can_answer()),
            "/metrics" | "/prometheus" => Self::metrics,
            path => {
                return Problem::NotFound {
                    path: path.to_owned(),
                }
                .into_response();
            }
        };
        match method {
            Method::GET | Method::HEAD => route(self),
            _ => Problem::MethodNotAllowed {
                method,
                allowed: "GET, HEAD",
            }
            .into_response(),
        }
    }

    /// Whether requests can be answered: no timestamp can be checked by a wrong clock.
    fn can_answer(&self) -> bool {
        self.can_serve() && Timestamp::clock().is_ok()
    }

    fn can_serve(&self) -> bool {
        self.scheduler.status().can_serve
    }

    fn metrics(&self) -> Response {
        let status = self.scheduler.status();
        let metrics = &self.metrics;
        metrics.observe_queue(status.running, status.waiting, status.capacity);
        metrics.observe_pace(status.hash_rate, status.expected_wait);
        for device in self.scheduler.devices() {
            let states = DeviceState::ALL.map(|state| (state.as_str(), state == device.state));
            metrics.observe_device(&device.info, states, device.hash_rate);
        }
        match metrics.render() {
            Ok(text) => warp::reply::with_header(text, "content-type", "text/plain; version=0.0.4")
                .into_response(),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be rendered");
                Problem::Internal.into_response()
            }
        }
    }
}
