//! The management listener, for probes and scrapers. Nothing here changes anything.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /health` | 200 `UP` from the first request that is taken to the end, while a device is in service; else 503 `DOWN` |
//! | `GET /health/liveness` | 200 `UP` unless no device is left in service, which a restart may mend: then 503 `DOWN`; while starting 200 `UP` |
//! | `GET /health/readiness` | 200 `UP` while requests should come and a device is in service; else 503 `OUT_OF_SERVICE`, from the signal to stop on also while requests are still served |
//! | `GET /metrics`, `GET /prometheus` | the metrics |
//! | `GET /` | the status page, for people: `status` |
//! | `GET /status.json` | what it shows |
//!
//! Paths, bodies and status codes are those of Spring Boot Actuator, as the reference server answers.

mod status;

use std::sync::Arc;

use serde::Serialize;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::lifecycle::{Lifecycle, Phase};
use crate::problem::Problem;
use crate::scheduler::{DeviceState, Scheduler};
use crate::telemetry::Metrics;
pub use status::{About, Setting, observe};

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    groups: &'static [&'static str],
}

/// What answers need.
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
) -> BoxedFilter<(Response,)> {
    let management = Arc::new(Management {
        lifecycle,
        scheduler,
        metrics,
        about,
    });
    warp::method()
        .and(warp::path::full())
        .map(move |method: Method, path: FullPath| {
            let route: fn(&Management) -> Response = match path.as_str() {
                "/" => status::page,
                "/status.json" => status::data,
                "/health" => |of| health(&of.lifecycle, &of.scheduler),
                "/health/liveness" => |of| liveness(&of.lifecycle, &of.scheduler),
                "/health/readiness" => |of| readiness(&of.lifecycle, &of.scheduler),
                "/metrics" | "/prometheus" => |of| prometheus(&of.scheduler, &of.metrics),
                path => {
                    return Problem::NotFound {
                        path: path.to_owned(),
                    }
                    .into_response();
                }
            };
            match method {
                Method::GET | Method::HEAD => route(&management),
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
    let up = lifecycle.phase() != Phase::Starting && scheduler.status().can_serve;
    respond(
        up,
        Health {
            status: if up { "UP" } else { "DOWN" },
            groups: &["liveness", "readiness"],
        },
    )
}

fn liveness(lifecycle: &Lifecycle, scheduler: &Scheduler) -> Response {
    let up = lifecycle.phase() == Phase::Starting || scheduler.status().can_serve;
    respond(
        up,
        Health {
            status: if up { "UP" } else { "DOWN" },
            groups: &[],
        },
    )
}

fn readiness(lifecycle: &Lifecycle, scheduler: &Scheduler) -> Response {
    let up = lifecycle.phase() == Phase::Serving && scheduler.status().can_serve;
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
