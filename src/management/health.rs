//! Health for probes, with the paths, bodies and status codes of Spring Boot Actuator, as the reference server has them.

use serde::Serialize;
use warp::Reply;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::lifecycle::Phase;

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    groups: &'static [&'static str],
}

/// Whether a request would be served, from the first phase in which requests are accepted.
pub(super) fn health(phase: Phase, can_serve: bool) -> Response {
    let is_up = phase != Phase::Starting && can_serve;
    respond(is_up, "DOWN", &["liveness", "readiness"])
}

/// Down only if a restart may help.
pub(super) fn liveness(phase: Phase, can_serve: bool) -> Response {
    let is_up = phase == Phase::Starting || can_serve;
    respond(is_up, "DOWN", &[])
}

/// Whether new requests should be sent here.
pub(super) fn readiness(phase: Phase, can_serve: bool) -> Response {
    let is_up = phase == Phase::Serving && can_serve;
    respond(is_up, "OUT_OF_SERVICE", &[])
}

fn respond(is_up: bool, otherwise: &'static str, groups: &'static [&'static str]) -> Response {
    let (code, status) = if is_up {
        (StatusCode::OK, "UP")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    };
    let health = warp::reply::json(&Health { status, groups });
    warp::reply::with_status(health, code).into_response()
}
