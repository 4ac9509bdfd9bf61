//! What a request's trace says, after OpenTelemetry's semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! | span | from | to | attributes of our own |
//! | --- | --- | --- | --- |
//! | the method and the route, such as `POST /works`, of the kind server | its head has come | its answer is made, or its client has left | `atto.work.network`, `atto.work.threshold`, `atto.work.origin`, `atto.work.outcome` |
//! | `queue` | the request is admitted | a device begins to search | |
//! | `search` | then | a device has found the work, or nobody waits for it any more | `atto.work.device`, `atto.work.kernel`, `atto.work.hashes`, `atto.work.dispatches` |
//! | `verify` | then | the reference hash has confirmed the work | |
//!
//! A refusal is the event `atto.work.refused` of the request, with its `atto.work.code`. A device that went out of service
//! in the middle of a search, which others went on with, is the event `atto.work.retry` of that, with
//! `atto.work.device` and `atto.work.error`. A fault that hits no request belongs to no trace, and is logged and counted
//! only. The target is in no trace: it would tie it to an account, and no question about the service needs it.

use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::Span;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, Method, Version, header};
use warp::reply::Response;

use super::Route;
use crate::connections::Arrival;
use crate::problem::Code;
use crate::scheduler::{Origin, Progress, Search};
use crate::telemetry::{Outcome, Recording, Traces};
use crate::work::{Network, Threshold};

/// The most bytes of a client's text that go into a trace.
const LONGEST: usize = 256;

/// The trace of one request, from its head to its answer or to where it is dropped.
#[derive(Debug)]
pub(super) struct Trace {
    /// One of those that are known.
    method: Option<&'static str>,
    /// The pattern, if there is such a route.
    route: Option<&'static str>,
    started: Instant,
    status: Option<u16>,
    /// What the log says of all its lines.
    lines: tracing::Span,
    /// There if the request is sampled.
    recording: Option<Recording>,
}

/// What is known of a request's work when it ends.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) network: Option<Network>,
    pub(super) threshold: Option<Threshold>,
    pub(super) search: Option<&'a Search<'a>>,
    /// When the reference hash began, and when it had confirmed the work.
    pub(super) verified: Option<(Instant, Instant)>,
    pub(super) outcome: Outcome,
}

impl Trace {
    /// Begins the trace of a request whose head has come.
    pub(super) fn begin(
        traces: &Traces,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        arrival: Option<&Arrival>,
    ) -> Self {
        let started = Instant::now();
        let route = Route::of(path).map(Route::pattern);
        let caller = traces.caller(headers);
        let span =
            || SpanBuilder::from_name(name(known(method), route)).with_kind(SpanKind::Server);
        let recording = traces.begin(span, caller.clone());
        if let Some(recording) = &recording {
            let attributes = request_attributes(method, route, path, headers, arrival);
            recording.span().set_attributes(attributes);
        }
        // A caller's trace is of use in the log also where nothing of it is recorded here.
        let ids = recording
            .as_ref()
            .map(|recording| recording.span().span_context().clone());
        let lines = match ids.or(caller) {
            // At the highest level, so that a filter which is for levels alone lets every line have them. One that is for
            // some modules only has to name this one, too.
            Some(ids) => {
                tracing::error_span!("request", trace_id = %ids.trace_id(), span_id = %ids.span_id())
            }
            None => tracing::Span::none(),
        };
        Self {
            method: known(method),
            route,
            started,
            status: None,
            lines,
            recording,
        }
    }

    /// The span of the request's log lines.
    pub(super) fn lines(&self) -> tracing::Span {
        self.lines.clone()
    }

    /// The request has an answer.
    pub(super) fn answered(&mut self, answer: &Response) {
        self.status = Some(answer.status().as_u16());
        let Some(recording) = &self.recording else {
            return;
        };
        let span = recording.span();
        let status = answer.status();
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        ));
        let code = answer.extensions().get::<Code>().map(|code| code.as_str());
        if let Some(code) = code {
            recording.event(
                "atto.work.refused",
                vec![KeyValue::new("atto.work.code", code)],
            );
        }
        // What a client does wrong is no error of the server's.
        if status.is_server_error() {
            let kind = code.map_or_else(|| Value::from(status.as_str().to_owned()), Value::from);
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(""));
        }
    }

    /// The request's work has come to this. To be called while its search is still there.
    pub(super) fn ended(&self, ending: &Ending<'_>) {
        let Some(recording) = &self.recording else {
            return;
        };
        let span = recording.span();
        if let Some(network) = ending.network {
            span.set_attribute(KeyValue::new("atto.work.network", network.as_str()));
        }
        if let Some(threshold) = ending.threshold {
            // As text: half of its values are beyond the signed integers that attributes have.
            let threshold = threshold.get().to_string();
            span.set_attribute(KeyValue::new("atto.work.threshold", threshold));
        }
        span.set_attribute(KeyValue::new("atto.work.outcome", ending.outcome.label()));
        if let Some(search) = ending.search {
            let progress = search.progress();
            span.set_attribute(KeyValue::new("atto.work.origin", origin(progress.origin)));
            if progress.origin != Origin::Remembered {
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
            request = name(self.method, self.route),
            status = self.status,
            milliseconds = self.started.elapsed().as_secs_f64() * 1e3,
            "{}",
            match self.status {
                Some(_) => "request ended",
                None => "client left",
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
    // Those before are of the requests that this one has joined, and those after of none that waits for it.
    let meanwhile = began..=until;
    let setbacks = progress.setbacks.iter();
    for setback in setbacks.filter(|setback| meanwhile.contains(&setback.at)) {
        let attributes = vec![
            KeyValue::new("atto.work.device", setback.device.name.clone()),
            KeyValue::new("atto.work.error", setback.error.to_string()),
        ];
        span.add_event_with_timestamp("atto.work.retry", recording.time(setback.at), attributes);
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

/// The name of a request's span, of which there are few: the method and the route, as far as they are known.
fn name(method: Option<&'static str>, route: Option<&'static str>) -> String {
    let method = method.unwrap_or("HTTP");
    match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

/// The methods that the conventions know, so that a client cannot make up new values.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

fn request_attributes(
    method: &Method,
    route: Option<&'static str>,
    path: &str,
    headers: &HeaderMap,
    arrival: Option<&Arrival>,
) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(12);
    let mut add = |name: &'static str, value: Value| attributes.push(KeyValue::new(name, value));
    add(
        "http.request.method",
        known(method).unwrap_or("_OTHER").into(),
    );
    if known(method).is_none() {
        add("http.request.method_original", cut(method.as_str()).into());
    }
    if let Some(route) = route {
        add("http.route", route.into());
    }
    add("url.scheme", "http".into());
    add("url.path", cut(path).into());
    if let Some(agent) = headers.get(header::USER_AGENT) {
        let agent = String::from_utf8_lossy(agent.as_bytes());
        add("user_agent.original", cut(&agent).into());
    }
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(arrival) = arrival else {
        return attributes;
    };
    if let Some(authority) = host.as_ref().or(arrival.authority.as_ref()) {
        add("server.address", cut(authority.host()).into());
        if let Some(port) = authority.port_u16() {
            add("server.port", i64::from(port).into());
        }
    }
    if let Some(peer) = arrival.peer {
        // Whoever connects: what a proxy says of its own clients could be said by anybody.
        add(
            "client.address",
            peer.ip().to_canonical().to_string().into(),
        );
        add("client.port", i64::from(peer.port()).into());
    }
    let version = match arrival.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    add("network.protocol.version", version.into());
    attributes
}

/// No more of a client's text than is worth keeping.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    text[..end].to_owned()
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Own => "own",
        Origin::Joined => "joined",
        Origin::Remembered => "remembered",
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
    use crate::scheduler::Setback;
    use crate::telemetry::kept;

    #[test]
    fn a_client_cannot_make_names_up() {
        let brew = Method::from_bytes(b"BREW").unwrap();
        let names = [
            (Method::POST, "/works", "POST /works"),
            (Method::GET, "/works", "GET /works"),
            (Method::HEAD, "/v3/api-docs", "HEAD /openapi.json"),
            (Method::POST, "/elsewhere", "POST"),
            (brew.clone(), "/works", "HTTP /works"),
            (brew.clone(), "/elsewhere", "HTTP"),
            (Method::GET, "/swagger-ui/index.html", "GET /swagger-ui/**"),
        ];
        for (method, path, expected) in names {
            let route = Route::of(path).map(Route::pattern);
            assert_eq!(name(known(&method), route), expected, "{method} {path}");
        }
        let attributes = request_attributes(&brew, None, &"é".repeat(200), &HeaderMap::new(), None);
        let of = |name: &str| {
            let found = attributes.iter().find(|pair| pair.key.as_str() == name);
            found.map(|pair| pair.value.as_str().into_owned())
        };
        assert_eq!(of("http.request.method").as_deref(), Some("_OTHER"));
        assert_eq!(of("http.request.method_original").as_deref(), Some("BREW"));
        assert_eq!(of("url.path").unwrap().len(), LONGEST);
        assert_eq!(of("http.route"), None);
    }

    #[test]
    fn only_the_setbacks_of_a_requests_own_time_are_its_own() {
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
        let setback = |at, error: &str| Setback {
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
            setbacks: vec![
                setback(arrived, "before"),
                setback(arrived + second, "first"),
                setback(arrived + 3 * second, "last"),
                setback(arrived + 4 * second, "after the answer"),
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
