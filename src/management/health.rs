//! Health for probes, with the paths, bodies and status codes of Spring Boot Actuator, as the reference server has them.

use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use super::accept::Accept;
use super::actuator;
use crate::lifecycle::Phase;

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    groups: &'static [&'static str],
}

/// Whether a request would be served, from the first phase in which requests are accepted.
pub(super) fn health(accept: &Accept, phase: Phase, can_serve: bool) -> Response {
    let is_up = phase != Phase::Starting && can_serve;
    respond(accept, is_up, "DOWN", &["liveness", "readiness"])
}

/// Down only if a restart may help.
pub(super) fn liveness(accept: &Accept, phase: Phase, can_serve: bool) -> Response {
    let is_up = phase == Phase::Starting || can_serve;
    respond(accept, is_up, "DOWN", &[])
}

/// Whether new requests should be sent here.
pub(super) fn readiness(accept: &Accept, phase: Phase, can_serve: bool) -> Response {
    let is_up = phase == Phase::Serving && can_serve;
    respond(accept, is_up, "OUT_OF_SERVICE", &[])
}

fn respond(
    accept: &Accept,
    is_up: bool,
    otherwise: &'static str,
    groups: &'static [&'static str],
) -> Response {
    let (code, status) = if is_up {
        (StatusCode::OK, "UP")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    };
    actuator::json(accept, code, &Health { status, groups })
}
