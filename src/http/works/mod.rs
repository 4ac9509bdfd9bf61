//! `POST /works` and `POST /works/verify`.

mod reading;
mod response;

use std::time::Instant;

use serde::Serialize;
use warp::Reply;
use warp::reply::Response;

use crate::access::Keys;
use crate::http::body::{self, BodyLimits};
use crate::http::client_timeout::client_timeout;
use crate::http::head::Head;
use crate::http::in_progress::{Kind, RequestInProgress, outcome};
use crate::http::request::{Body, Request};
use crate::problem::Problem;
use crate::scheduler::{Scheduler, Solved};
use crate::telemetry::{Outcome, Telemetry};
use crate::work::{Timestamp, digest};
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
        let mut in_progress = RequestInProgress::begin(Kind::Solve, &self.telemetry, request.trace);
        let head = request.head;
        let started = in_progress.started();
        let result = async {
            self.admit(&mut in_progress, head)?;
            let address = head.address().filter(|_| self.by_address);
            let timeout = client_timeout(&head.headers);
            let body = body::read_json(&head.headers, request.body, &self.limits).await?;
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
        let result = result.map(|solved| WorksResponse::new(&solved));
        let mut response = respond(in_progress, head, result);
        times.push(("total", started.elapsed()));
        let timing = server_timing(&times);
        response.headers_mut().insert(SERVER_TIMING, timing);
        response
    }

    /// Answers `POST /works/verify`: reads the request, hashes once, and responds.
    pub(super) async fn verify(&self, request: Request<'_, impl Body>) -> Response {
        let mut in_progress =
            RequestInProgress::begin(Kind::Verify, &self.telemetry, request.trace);
        let head = request.head;
        let result = async {
            self.admit(&mut in_progress, head)?;
            let body = body::read_json(&head.headers, request.body, &self.limits).await?;
            let (request, nonce) = reading::parse_verify(&body, now()?)?;
            in_progress.asks(&request);
            let began = Instant::now();
            let digest = digest(nonce, request.target());
            in_progress.verified(began);
            Ok(VerifyResponse::new(digest, request.rule()))
        }
        .await;
        respond(in_progress, head, result)
    }

    /// Admits the client if there is a place for its request and it may ask.
    fn admit(&self, in_progress: &mut RequestInProgress<'_>, head: &Head) -> Result<(), Problem> {
        if !head.is_admitted() {
            return Err(Problem::Overloaded);
        }
        let keys = self.keys.as_ref();
        let client = keys.map(|keys| keys.identify(&head.headers, None));
        in_progress.admit(client.transpose()?)
    }
}

/// Ends a request with its response.
fn respond(
    in_progress: RequestInProgress<'_>,
    head: &Head,
    result: Result<impl Serialize, Problem>,
) -> Response {
    match result {
        Ok(body) => {
            in_progress.end(Outcome::Ok);
            warp::reply::json(&body).into_response()
        }
        Err(problem) => {
            in_progress.end(outcome(&problem));
            problem.response(&head.path, &head.id)
        }
    }
}

/// The time by which timestamps are checked.
fn now() -> Result<Timestamp, Problem> {
    Timestamp::clock().map_err(|_| Problem::ClockWrong {
        clock: jiff::Timestamp::now(),
    })
}
