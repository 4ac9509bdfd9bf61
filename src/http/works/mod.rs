//! `POST /works` and `POST /works/verify`.

mod body;
mod client_timeout;
mod in_progress;
mod reading;
mod response;

use std::time::Instant;

use warp::reply::Response;

use crate::access::Keys;
use crate::http::request::{Body, Request};
use crate::problem::Problem;
use crate::scheduler::{Scheduler, Solved};
use crate::telemetry::Telemetry;
use crate::work::{Timestamp, digest};
pub use body::BodyLimits;
pub(super) use body::MAX_BODY;
use client_timeout::client_timeout;
use in_progress::{Kind, RequestInProgress};
pub use reading::parse;
use response::{SERVER_TIMING, VerifyResponse, WorksResponse, server_timing};

/// Answers both requests.
pub(super) struct Works {
    pub(super) scheduler: Scheduler,
    pub(super) telemetry: Telemetry,
    pub(super) limits: BodyLimits,
    /// The API keys, if a request needs one.
    pub(super) keys: Option<Keys>,
    /// Whether clients without a key are told apart by their addresses.
    pub(super) by_address: bool,
}

impl Works {
    /// Answers `POST /works`: reads the request, searches, and responds.
    pub(super) async fn solve(&self, request: Request<'_, impl Body>) -> Response {
        let mut in_progress =
            RequestInProgress::begin(Kind::Solve, &self.telemetry, request.head, request.trace);
        let started = in_progress.started();
        let result = async {
            in_progress.admit(self.keys.as_ref())?;
            let address = request.head.address().filter(|_| self.by_address);
            let timeout = client_timeout(&request.head.headers);
            let body = body::read_json(&request.head.headers, request.body, &self.limits).await?;
            let request = reading::parse(&body, now()?)?;
            in_progress.asks(&request);
            let client = in_progress.client_id(address);
            let search = self.scheduler.search(request, client, timeout)?;
            let search = in_progress.waits_for(search);
            let solved = search.answer().await?;
            in_progress.solved(&solved);
            Ok::<Solved, Problem>(solved)
        }
        .await;
        let mut times = Vec::new();
        if let Ok(solved) = &result {
            times.extend([("queue", solved.waited), ("search", solved.searched)]);
        }
        let mut response = in_progress.respond(result.map(|solved| WorksResponse::new(&solved)));
        times.push(("total", started.elapsed()));
        let timing = server_timing(&times);
        response.headers_mut().insert(SERVER_TIMING, timing);
        response
    }

    /// Answers `POST /works/verify`: reads the request, hashes once, and responds.
    pub(super) async fn verify(&self, request: Request<'_, impl Body>) -> Response {
        let mut in_progress =
            RequestInProgress::begin(Kind::Verify, &self.telemetry, request.head, request.trace);
        let result = async {
            in_progress.admit(self.keys.as_ref())?;
            let body = body::read_json(&request.head.headers, request.body, &self.limits).await?;
            let (request, nonce) = reading::parse_verify(&body, now()?)?;
            in_progress.asks(&request);
            let began = Instant::now();
            let digest = digest(nonce, request.target());
            in_progress.verified(began);
            Ok(VerifyResponse::new(digest, request.threshold()))
        }
        .await;
        in_progress.respond(result)
    }
}

/// The time by which timestamps are checked.
fn now() -> Result<Timestamp, Problem> {
    Timestamp::clock().map_err(|_| Problem::ClockWrong {
        clock: jiff::Timestamp::now(),
    })
}
