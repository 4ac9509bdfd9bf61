//! The trace of a request, by OpenTelemetry's semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! | span | from | to | attributes beyond the conventions |
//! | --- | --- | --- | --- |
//! | the method and the route, such as `POST /works`, of kind server | the head has arrived | the response is made, or the client has disconnected | `atto.work.network`, `atto.work.threshold` or for Nano `atto.work.difficulty`, `atto.work.origin`, `atto.work.outcome` |
//! | `queue` | the request is admitted | a device begins to search | |
//! | `search` | the end of `queue` | a device has found the work, or no client waits for it any more | `atto.work.device`, `atto.work.kernel`, `atto.work.hashes`, `atto.work.dispatches` |
//! | `verify` | the end of `search` | the reference hash has confirmed the work | |
//!
//! A request's span has its id as `http.response.header.x-request-id`. An error response is the event `atto.work.refused` of the
//! request, with its `atto.work.code`. If a device went out of
//! service during a search and others continued it, the search has the event `atto.work.retry`, with `atto.work.device` and
//! `atto.work.error`. A fault that affects no request is only logged and counted. No trace has the target: it would link the
//! trace to an account, and no question about the service needs it.

mod attributes;

use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceId};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::Span;
use warp::reply::Response;

use super::head::Head;
use crate::milliseconds::milliseconds;
use crate::problem::{Refused, RequestId};
use crate::scheduler::{Origin, Progress, Search};
use crate::telemetry::{Outcome, Recording, Traces};
use crate::work::{AnyNetwork, Rule};

/// The trace of one request, from when its head has arrived until this is dropped.
#[derive(Debug)]
pub(super) struct Trace {
    /// The method, if the conventions know it.
    method: Option<&'static str>,
    /// The route's pattern, if there is a route.
    route: Option<&'static str>,
    id: RequestId,
    started: Instant,
    status: Option<u16>,
    /// The span whose fields all log lines of the request have.
    lines: tracing::Span,
    /// `None` if the request is not sampled.
    recording: Option<Recording>,
}

/// The result of a request for work, or to verify one.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    /// What it asked for, if it was read.
    pub(super) asked: Option<(AnyNetwork, Rule)>,
    pub(super) search: Option<&'a Search<'a>>,
    /// When the reference hash began and ended.
    pub(super) verified: Option<(Instant, Instant)>,
    pub(super) outcome: Outcome,
}

impl Trace {
    /// Begins the trace of a request whose head has arrived.
    pub(super) fn begin(traces: &Traces, head: &Head) -> Self {
        let started = Instant::now();
        let route = head.endpoint.map(|endpoint| endpoint.pattern);
        let method = attributes::known_method(&head.method);
        let caller = traces.caller(&head.headers);
        let span =
            || SpanBuilder::from_name(attributes::name(method, route)).with_kind(SpanKind::Server);
        let recording = traces.begin(span, caller.clone());
        if let Some(recording) = &recording {
            let attributes = attributes::of_request(head);
            recording.span().set_attributes(attributes);
        }
        // The log names a caller's trace even if this server records nothing of it.
        let ids = recording
            .as_ref()
            .map(|recording| recording.span().span_context().clone());
        let lines = match ids.or(caller) {
            // At the highest level, so that no filter by level alone removes the ids. A filter by module must name this one.
            Some(ids) => {
                tracing::error_span!("request", trace_id = %ids.trace_id(), span_id = %ids.span_id())
            }
            None => tracing::Span::none(),
        };
        Self {
            method,
            route,
            id: head.id.clone(),
            started,
            status: None,
            lines,
            recording,
        }
    }

    /// The trace's id, if the request is sampled.
    pub(super) fn id(&self) -> Option<TraceId> {
        let recording = self.recording.as_ref();
        recording.map(|recording| recording.span().span_context().trace_id())
    }

    /// The span of the request's log lines.
    pub(super) fn lines(&self) -> tracing::Span {
        self.lines.clone()
    }

    /// The request has a response.
    pub(super) fn answered(&mut self, response: &Response) {
        self.status = Some(response.status().as_u16());
        let Some(recording) = &self.recording else {
            return;
        };
        let span = recording.span();
        let status = response.status();
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        ));
        let refused = response.extensions().get::<Refused>();
        let code = refused.map(|refused| refused.code);
        if let Some(code) = code {
            recording.event(
                "atto.work.refused",
                vec![KeyValue::new("atto.work.code", code)],
            );
        }
        // By the conventions, a 4xx is no error of the server.
        if status.is_server_error() {
            let kind = code.map_or_else(|| Value::from(status.as_str().to_owned()), Value::from);
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(""));
        }
    }

    /// The request for work, or to verify one, has ended. Must be called while its search still exists.
    pub(super) fn ended(&self, ending: &Ending<'_>) {
        let Some(recording) = &self.recording else {
            return;
        };
        let span = recording.span();
        if let Some((network, rule)) = ending.asked {
            span.set_attribute(KeyValue::new("atto.work.network", network.as_str()));
            span.set_attribute(attributes::bound(rule));
        }
        span.set_attribute(KeyValue::new("atto.work.outcome", ending.outcome.label()));
        if let Some(search) = ending.search {
            let progress = search.progress();
            span.set_attribute(KeyValue::new("atto.work.origin", origin(progress.origin)));
            if progress.origin != Origin::Cached {
                searched(recording, search.arrived(), &progress, ending.verified);
            }
        }
        if let Some((began, confirmed)) = ending.verified {
            let span = begin(recording, "verify", began);
            end(recording, span, confirmed);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _lines = self.lines.enter();
        tracing::debug!(
            request = attributes::name(self.method, self.route),
            request_id = %self.id,
            status = self.status,
            milliseconds = milliseconds(self.started.elapsed()),
            "{}",
            match self.status {
                Some(_) => "request ended",
                None => "client disconnected",
            }
        );
    }
}

/// The spans of the queue and of the search.
fn searched(
    recording: &Recording,
    arrived: Instant,
    progress: &Progress,
    verified: Option<(Instant, Instant)>,
) {
    let began = arrived + progress.waited;
    let queue = begin(recording, "queue", arrived);
    end(recording, queue, began);
    if progress.searched == Duration::ZERO {
        return;
    }
    let until = verified.map_or(began + progress.searched, |(from, _)| from);
    let mut span = begin(recording, "search", began);
    if let Some(device) = &progress.found_by {
        span.set_attribute(KeyValue::new("atto.work.device", device.name.clone()));
        span.set_attribute(KeyValue::new("atto.work.kernel", device.kernel.clone()));
    }
    span.set_attribute(KeyValue::new("atto.work.hashes", count(progress.hashes)));
    span.set_attribute(KeyValue::new(
        "atto.work.dispatches",
        count(progress.batches),
    ));
    // Earlier failovers are those of requests that this one has joined. Later ones concern no waiting request.
    let meanwhile = began..=until;
    let failovers = progress.failovers.iter();
    for failover in failovers.filter(|failover| meanwhile.contains(&failover.at)) {
        let attributes = vec![
            KeyValue::new("atto.work.device", failover.device.name.clone()),
            KeyValue::new("atto.work.error", failover.error.to_string()),
        ];
        span.add_event_with_timestamp("atto.work.retry", recording.time(failover.at), attributes);
    }
    end(recording, span, until);
}

fn begin(recording: &Recording, name: &'static str, at: Instant) -> Span {
    let span = SpanBuilder::from_name(name).with_kind(SpanKind::Internal);
    recording.child(span, at)
}

fn end(recording: &Recording, mut span: Span, at: Instant) {
    span.end_with_timestamp(recording.time(at));
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Own => "own",
        Origin::Joined => "joined",
        Origin::Cached => "remembered",
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::{Backend, DeviceInfo};
    use crate::scheduler::Failover;
    use crate::telemetry::kept;

    #[test]
    fn only_the_failovers_of_a_requests_own_time_are_its_own() {
        let device = Arc::new(DeviceInfo {
            name: "card".to_owned(),
            backend: Backend::Gpu,
            kernel: "gpu".to_owned(),
            threads: 1,
            trials: Vec::new(),
        });
        let second = Duration::from_secs(1);
        let (traces, kept) = kept::traces();
        let recording = traces.begin(|| SpanBuilder::from_name("whole"), None);
        let arrived = Instant::now() + second;
        let failover = |at, error: &str| Failover {
            at,
            device: Arc::clone(&device),
            error: error.into(),
        };
        let progress = Progress {
            origin: Origin::Joined,
            waited: second,
            searched: 4 * second,
            hashes: 1,
            batches: 1,
            found_by: None,
            failovers: vec![
                failover(arrived, "before"),
                failover(arrived + second, "first"),
                failover(arrived + 3 * second, "last"),
                failover(arrived + 4 * second, "after the answer"),
            ],
        };
        let found = arrived + 3 * second;
        let verified = Some((found, found + second / 2));
        searched(&recording.unwrap(), arrived, &progress, verified);
        let spans = kept.all();
        let search = spans.iter().find(|span| span.name == "search").unwrap();
        let attribute = |pairs: &[KeyValue], name: &str| {
            let found = pairs.iter().find(|pair| pair.key.as_str() == name);
            found.map(|pair| pair.value.as_str().into_owned())
        };
        let errors: Vec<_> = search
            .events
            .iter()
            .filter_map(|event| attribute(&event.attributes, "atto.work.error"))
            .collect();
        assert_eq!(errors, ["first", "last"]);
        for event in search.events.iter() {
            assert!((search.start_time..=search.end_time).contains(&event.timestamp));
        }
    }
}
