//! The management listener, for probes and scrapers. Nothing here changes anything.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /health` | 200 `UP` while a device is in service, also while draining; else 503 `DOWN` |
//! | `GET /health/liveness` | 200 `UP` unless no device is left in service, which a restart may mend: then 503 `DOWN` |
//! | `GET /health/readiness` | 200 `UP` while requests are taken and a device is in service; else 503 `OUT_OF_SERVICE` |
//! | `GET /metrics`, `GET /prometheus` | the metrics |
//!
//! Paths, bodies and status codes are those of Spring Boot Actuator, as the reference server answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::http::Problem;
use crate::scheduler::{DeviceState, Scheduler};
use crate::telemetry::Metrics;

/// Where the service is in its life. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<AtomicU8>);

impl Lifecycle {
    const STARTING: u8 = 0;
    const SERVING: u8 = 1;
    const DRAINING: u8 = 2;

    /// Requests are taken from now on.
    pub fn serving(&self) {
        self.0.store(Self::SERVING, Ordering::Relaxed);
    }

    /// No more requests are taken from now on; those accepted are finished.
    pub fn draining(&self) {
        self.0.store(Self::DRAINING, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    groups: &'static [&'static str],
}

/// Everything that the management port serves.
pub fn routes(
    lifecycle: Lifecycle,
    scheduler: Scheduler,
    metrics: Metrics,
) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .map(move |method: Method, path: FullPath| {
            let route: fn(&Lifecycle, &Scheduler, &Metrics) -> Response = match path.as_str() {
                "/health" => |lifecycle, scheduler, _| health(lifecycle, scheduler),
                "/health/liveness" => |lifecycle, scheduler, _| liveness(lifecycle, scheduler),
                "/health/readiness" => |lifecycle, scheduler, _| readiness(lifecycle, scheduler),
                "/metrics" | "/prometheus" => {
                    |_, scheduler, metrics| prometheus(scheduler, metrics)
                }
                path => {
                    return Problem::NotFound {
                        path: path.to_owned(),
                    }
                    .into_response();
                }
            };
            match method {
                Method::GET | Method::HEAD => route(&lifecycle, &scheduler, &metrics),
                _ => Problem::MethodNotAllowed {
                    method,
                    allowed: "GET, HEAD",
                }
                .into_response(),
            }
        })
        .boxed()
}

fn health(lifecycle: &Lifecycle, scheduler: &Scheduler) -> Response {
    let up = !lifecycle.is(Lifecycle::STARTING) && scheduler.status().can_serve;
    respond(
        up,
        Health {
            status: if up { "UP" } else { "DOWN" },
            groups: &["liveness", "readiness"],
        },
    )
}

fn liveness(lifecycle: &Lifecycle, scheduler: &Scheduler) -> Response {
    let up = lifecycle.is(Lifecycle::STARTING) || scheduler.status().can_serve;
    respond(
        up,
        Health {
            status: if up { "UP" } else { "DOWN" },
            groups: &[],
        },
    )
}

fn readiness(lifecycle: &Lifecycle, scheduler: &Scheduler) -> Response {
    let up = lifecycle.is(Lifecycle::SERVING) && scheduler.status().can_serve;
    respond(
        up,
        Health {
            status: if up { "UP" } else { "OUT_OF_SERVICE" },
            groups: &[],
        },
    )
}

fn respond(up: bool, health: Health) -> Response {
    let status = if up {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    warp::reply::with_status(warp::reply::json(&health), status).into_response()
}

fn prometheus(scheduler: &Scheduler, metrics: &Metrics) -> Response {
    let status = scheduler.status();
    metrics.observe_queue(status.running, status.waiting, status.capacity);
    metrics.observe_pace(status.hash_rate, status.expected_wait);
    for device in scheduler.devices() {
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
