//! Nano's and Banano's work API, on a port of its own: what `nano-work-server` serves to nodes, wallets and bots.
//!
//! ```text
//! exchange -> Nano (by its method) -> members (JSON to text) -> command (text to values)
//!          -> the scheduler, the reference hash, or waiting (cancels) -> answer or refusal
//! ```
//!
//! A request is a `POST` of a JSON object to any path, and its member `action` says what it asks for. It differs from the
//! public port in three ways that `nano_node` needs: the content type is ignored, `Host` may be a bare IPv6 address, and a
//! request that is right gets 200 also when it fails (`refusal`).
//!
//! This port has limits of its own: its connections ([`Port::Nano`](crate::connections::Port::Nano)), and its share of
//! the queue, so that the public port always has the rest.

mod answer;
mod command;
mod members;
mod page;
mod refusal;
mod waiting;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::Semaphore;
use warp::Reply;
use warp::http::Method;
use warp::reply::Response;

use super::body::{self, BodyLimits};
use super::client_timeout::client_timeout;
use super::exchange::{self, Api};
use super::head::{Endpoint, Head};
use super::in_progress::{Kind, RequestInProgress};
use super::request::{Body, Request};
use super::{cors, options};
use crate::access::{AccessRules, Client};
use crate::connections::Routes;
use crate::problem::Problem;
use crate::scheduler::{Limits, Scheduler, SolveError};
use crate::telemetry::{Outcome, Telemetry};
use crate::work::{Difficulty, NanoWork, Target, WorkRequest, digest};
use answer::{Busy, Cancelled, Generated, Validated};
pub use command::{Command, Difficulties};
use members::Members;
pub use refusal::Refusal;
use waiting::{Owner, Waiting};

/// The methods of every path, as the `Allow` header lists them.
const METHODS: &str = "POST, OPTIONS";

/// The name of every path in metrics and traces: the port has no routes.
const PATTERN: &str = "NANO";

/// Answers the requests of Nano's port.
struct Nano {
    scheduler: Scheduler,
    telemetry: Telemetry,
    limits: BodyLimits,
    access: AccessRules,
    difficulties: Difficulties,
    /// The requests that `work_cancel` may end.
    waiting: Waiting,
    /// One permit for each further request that may wait for a work.
    places: Semaphore,
}

/// Everything that Nano's port serves. At most half of the searches that `queue` allows are this port's.
pub fn routes(
    scheduler: Scheduler,
    telemetry: Telemetry,
    limits: BodyLimits,
    access: AccessRules,
    difficulties: Difficulties,
    queue: &Limits,
) -> Routes {
    let origins = access.origins.clone();
    let places = queue.running.get().saturating_add(queue.waiting) / 2;
    let nano = Nano {
        scheduler,
        telemetry: telemetry.clone(),
        limits,
        access,
        difficulties,
        waiting: Waiting::default(),
        places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
    };
    exchange::routes(nano, telemetry, origins)
}

/// Reads the body of a request. Public for the fuzz targets only.
///
/// # Errors
///
/// The [`Refusal`] of a request that is wrong.
#[doc(hidden)]
pub fn parse(body: &[u8], difficulties: &Difficulties) -> Result<Command, Refusal> {
    Command::of(&Members::read(body)?, difficulties)
}

impl Api for Nano {
    fn endpoint(_path: &str) -> Option<Endpoint> {
        Some(Endpoint {
            pattern: PATTERN,
            methods: METHODS,
        })
    }

    async fn answer(&self, request: Request<'_, impl Body>) -> Response {
        let response = self.by_method(request).await;
        response.unwrap_or_else(|refusal| refusal.response())
    }
}

impl Nano {
    /// Answers a request by its method.
    async fn by_method(&self, request: Request<'_, impl Body>) -> Result<Response, Refusal> {
        let head = request.head;
        head.require_host_or_address(self.access.hosts.as_ref())?;
        match head.method {
            // This counts its refusals.
            Method::POST => self.act(request).await,
            _ if !head.is_admitted() => Err(Problem::Overloaded.into()),
            Method::OPTIONS => Ok(options(METHODS)),
            Method::GET if head.path == "/" && page::is_wanted(&head.headers) => Ok(page::page()),
            _ => Err(Refusal::Method(Problem::MethodNotAllowed {
                method: head.method.clone(),
                allowed: METHODS,
            })),
        }
    }

    /// Answers a request by its action, and records it if it is for work or to verify one.
    async fn act(&self, request: Request<'_, impl Body>) -> Result<Response, Refusal> {
        // What it is for is known once it is read; until then it counts as one for work.
        let mut in_progress = RequestInProgress::begin(Kind::Solve, &self.telemetry, request.trace);
        let done = self.perform(&mut in_progress, request).await;
        in_progress.end(done.as_ref().map_or_else(Refusal::outcome, |_| Outcome::Ok));
        done
    }

    async fn perform<'a>(
        &'a self,
        in_progress: &mut RequestInProgress<'a>,
        request: Request<'_, impl Body>,
    ) -> Result<Response, Refusal> {
        let head = request.head;
        if !head.is_admitted() {
            return Err(Problem::Overloaded.into());
        }
        // A page could make any browser send this: without a content type of JSON there is no preflight.
        if cors::is_foreign(self.access.origins.as_ref(), &head.headers) {
            return Err(Refusal::Origin);
        }
        let body = body::read_any(&head.headers, request.body, &self.limits).await?;
        let members = Members::read(&body)?;
        let client = self.client(head, &members)?;
        match Command::of(&members, &self.difficulties)? {
            Command::Generate { root, difficulty } => {
                self.generate(in_progress, head, client, root, difficulty)
                    .await
            }
            Command::Validate {
                root,
                work,
                difficulty,
            } => {
                in_progress.is_for(Kind::Verify);
                in_progress.admit(client)?;
                Ok(self.validate(in_progress, &root, work, difficulty))
            }
            // Neither counts as a request in progress of its key, so a client at its limit can still cancel requests.
            Command::Cancel { root } => {
                in_progress.is_for(Kind::Other);
                // Before the answer is written: some clients close the connection without reading it.
                self.waiting.cancel(root, owner(client.as_ref()));
                Ok(json(&Cancelled::new()))
            }
            Command::Status => {
                in_progress.is_for(Kind::Other);
                Ok(json(&Busy::new(&self.scheduler.status())))
            }
        }
    }

    /// The client, known by its key, if a request needs one.
    fn client(&self, head: &Head, members: &Members) -> Result<Option<Client>, Problem> {
        let Some(keys) = &self.access.keys else {
            return Ok(None);
        };
        keys.identify(&head.headers, members.key.as_deref())
            .map(Some)
    }

    /// Searches for a work until there is one or the request is cancelled.
    async fn generate<'a>(
        &'a self,
        in_progress: &mut RequestInProgress<'a>,
        head: &Head,
        client: Option<Client>,
        root: Target,
        difficulty: Difficulty,
    ) -> Result<Response, Refusal> {
        let owner = owner(client.as_ref());
        in_progress.admit(client)?;
        let request = WorkRequest::nano(root, difficulty);
        in_progress.asks(&request);
        let full = |_| Problem::from(SolveError::QueueFull { room_in: None });
        // Also for a cached answer: only the scheduler knows what is cached, and it may evict another search to admit this one.
        let _place = self.places.try_acquire().map_err(full)?;
        let mut wait = self.waiting.enter(root, owner);
        let address = head.address().filter(|_| self.access.by_address);
        let client = in_progress.client_id(address);
        let timeout = client_timeout(&head.headers);
        let search = self.scheduler.search(request, client, timeout);
        let search = in_progress.waits_for(search.map_err(Problem::from)?);
        let solved = tokio::select! {
            biased;
            solved = search.answer() => solved.map_err(Problem::from)?,
            () = wait.cancelled() => return Err(Refusal::Cancelled),
        };
        in_progress.solved(&solved);
        let base = self.difficulties.base;
        Ok(json(&Generated::new(&root, solved.work, base)))
    }

    /// Hashes once.
    fn validate(
        &self,
        in_progress: &mut RequestInProgress<'_>,
        root: &Target,
        work: NanoWork,
        difficulty: Option<Difficulty>,
    ) -> Response {
        let base = self.difficulties.base;
        in_progress.asks(&WorkRequest::nano(*root, difficulty.unwrap_or(base)));
        let began = Instant::now();
        let digest = digest(work.nonce(), root);
        in_progress.verified(began);
        json(&Validated::new(digest, base, difficulty))
    }
}

/// The owner of this client's requests.
fn owner(client: Option<&Client>) -> Owner {
    client.map(|client| Arc::from(client.name()))
}

fn json(body: &impl Serialize) -> Response {
    warp::reply::json(body).into_response()
}
