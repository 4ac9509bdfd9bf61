//! The record of a request for work, or to verify one, while it is in progress, on either port for clients.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::trace::{Ending, Trace};
use crate::access::Client;
use crate::problem::Problem;
use crate::scheduler::{ClientId, Origin, Search, SolveError, Solved};
use crate::telemetry::{EndedRequest, Outcome, Telemetry};
use crate::work::{AnyNetwork, Rule, WorkRequest};

/// Which metrics count a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For work. The status page counts these too.
    Solve,
    /// To verify a work.
    Verify,
    /// Neither: it is not counted.
    Other,
}

/// A request in progress. When it is dropped, the request has ended and is counted: as [`Outcome::Cancelled`], unless
/// [`RequestInProgress::end`] was called. warp drops the handler of a client that disconnects, and this with it.
#[derive(Debug)]
pub(super) struct RequestInProgress<'a> {
    kind: Kind,
    telemetry: &'a Telemetry,
    trace: &'a Trace,
    /// When its head had arrived.
    started: Instant,
    /// The client, if it is known by a key.
    client: Option<Client>,
    /// What is asked for, once the request is read.
    asked: Option<(AnyNetwork, Rule)>,
    /// Its part in a search. If no other request waits for that search, the search is cancelled when this is dropped.
    search: Option<Search<'a>>,
    times: Times,
    outcome: Outcome,
}

/// What a request's time was spent on, once it is known.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// How long the search waited for a device, and how long devices searched. `None` if no search answered the request.
    search: Option<(Duration, Duration)>,
    /// When the reference hash began and ended.
    verification: Option<(Instant, Instant)>,
}

impl<'a> RequestInProgress<'a> {
    /// A request whose head has arrived.
    pub(super) fn begin(kind: Kind, telemetry: &'a Telemetry, trace: &'a Trace) -> Self {
        Self {
            kind,
            telemetry,
            trace,
            started: Instant::now(),
            client: None,
            asked: None,
            search: None,
            times: Times::default(),
            outcome: Outcome::Cancelled,
        }
    }

    /// The request is read, and of this kind.
    pub(super) const fn is_for(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// When its head had arrived.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// Admits this client, known by its key if there is one. Until this is dropped, it counts as a request in progress
    /// of that key.
    ///
    /// # Errors
    ///
    /// [`Problem::KeyBusy`].
    pub(super) fn admit(&mut self, client: Option<Client>) -> Result<(), Problem> {
        if let Some(client) = client {
            let client = self.client.insert(client);
            client.begin()?;
            tracing::debug!(key = client.name(), "admitted");
        }
        Ok(())
    }

    /// The client, known by its key or else by its `address`, if those tell clients apart.
    pub(super) fn client_id(&self, address: Option<IpAddr>) -> ClientId {
        let key = self.client.as_ref();
        key.map(|client| ClientId::Key(client.name().into()))
            .or_else(|| address.map(ClientId::at))
            .unwrap_or_default()
    }

    /// The request is read: this is what it asks for.
    pub(super) fn asks(&mut self, request: &WorkRequest) {
        self.asked = Some((request.network(), request.rule()));
    }

    /// The request waits for this search.
    pub(super) fn waits_for(&mut self, search: Search<'a>) -> &mut Search<'a> {
        self.search.insert(search)
    }

    /// The search has answered, and its work is verified.
    pub(super) fn solved(&mut self, solved: &Solved) {
        let (Some(search), Some((network, _))) = (&self.search, self.asked) else {
            return;
        };
        let Solved {
            waited, searched, ..
        } = *solved;
        if search.origin() != Origin::Cached {
            self.times.search = Some((waited, searched));
            let metrics = &self.telemetry.metrics;
            metrics.search_ended(network, waited, searched, self.trace.id());
        }
        // The time since the work was found went into the reference hash.
        self.verified(search.arrived() + waited + searched);
    }

    /// The reference hash, which began at this time, has ended.
    pub(super) fn verified(&mut self, began: Instant) {
        self.times.verification = Some((began, Instant::now()));
    }

    /// Ends the request, which has its response now.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for RequestInProgress<'_> {
    fn drop(&mut self) {
        let Telemetry {
            metrics, history, ..
        } = self.telemetry;
        let total = self.started.elapsed();
        let network = self.asked.map(|(network, _)| network);
        match self.kind {
            Kind::Solve => {
                metrics.request_ended(network, self.outcome, total, self.trace.id());
                history.request_ended(EndedRequest {
                    outcome: self.outcome,
                    total,
                    search: self.times.search,
                });
            }
            Kind::Verify => metrics.verification_ended(network, self.outcome),
            Kind::Other => return,
        }
        if let Some(client) = &self.client {
            metrics.key_request_ended(client.name(), self.outcome);
        }
        self.trace.ended(&Ending {
            asked: self.asked,
            search: self.search.as_ref(),
            verified: self.times.verification,
            outcome: self.outcome,
        });
    }
}

/// The outcome of a request that gets this error response.
pub(super) const fn outcome(problem: &Problem) -> Outcome {
    match problem {
        Problem::Unsolved(SolveError::QueueFull { .. }) => Outcome::QueueFull,
        Problem::Unsolved(SolveError::Closed) => Outcome::Closed,
        Problem::Unsolved(SolveError::NoDevice) => Outcome::NoDevice,
        Problem::Unsolved(SolveError::Deadline(_)) => Outcome::Deadline,
        Problem::KeyMissing | Problem::KeyUnknown => Outcome::Unauthorized,
        Problem::KeyBusy { .. } => Outcome::Limited,
        Problem::Overloaded => Outcome::Overloaded,
        Problem::ClockWrong { .. } => Outcome::ClockWrong,
        _ => Outcome::Invalid,
    }
}
