//! `POST /works`: read, validate, solve, answer. And `POST /works/verify`, whose request is the same with a work in it.

use std::time::{Duration, Instant};

use futures_util::{Stream, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use warp::http::{HeaderMap, HeaderName, HeaderValue, header};
use warp::reply::Response;
use warp::{Buf, Reply};

use super::trace::{Ending, Trace};
use super::{Api, BodyLimits};
use crate::access::Client;
use crate::connections::DRAIN_GRACE;
use crate::lifecycle::Lifecycle;
use crate::problem::{FieldError, Problem};
use crate::scheduler::{Origin, Search, SolveError, Solved};
use crate::telemetry::{EndedRequest, History, Metrics, Outcome};
use crate::work::{InvalidRequest, Network, Nonce, Threshold, Timestamp, WorkRequest, digest};

/// The most bytes that a body may have. A request has about 130; this leaves room for white space and for
/// members that are ignored.
pub const MAX_BODY: usize = 16 * 1024;

/// A request on the wire. Members are read as whatever they are, so that each can be judged by its own rule.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct WorksRequest {
    network: Option<Value>,
    timestamp: Option<Value>,
    target: Option<Value>,
}

/// The answer on the wire: exactly one member, since clients parse strictly.
#[derive(Debug, Serialize)]
struct WorksResponse {
    work: String,
}

/// A request to verify on the wire.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct VerifyRequest {
    network: Option<Value>,
    timestamp: Option<Value>,
    target: Option<Value>,
    work: Option<Value>,
}

/// The answer to it. The numbers are strings, since the digest often is beyond what JavaScript's numbers can hold
/// (RFC 7493, 2.2).
#[derive(Debug, Serialize)]
struct VerifyResponse {
    valid: bool,
    digest: String,
    threshold: String,
}

/// How long a request took, from its head to its answer (W3C Server Timing).
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Answers a request for work.
pub(super) async fn post(
    api: &Api,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    trace: &Trace,
) -> Response {
    let mut count = CountOnDrop::new(&api.telemetry.metrics, Metrics::request_ended, trace);
    count.history = Some(&api.telemetry.history);
    let started = count.started;
    let answer = async {
        count.admit(api, headers)?;
        let request = parse(
            &read_json(headers, body, &api.limits).await?,
            Timestamp::now(),
        )?;
        count.asks(&request);
        let search = count.search.insert(api.scheduler.search(request)?);
        let solved = search.answer().await?;
        if search.origin() != Origin::Remembered {
            let Solved {
                waited, searched, ..
            } = solved;
            count.searched = Some((waited, searched));
            api.telemetry
                .metrics
                .search_ended(request.network(), waited, searched);
        }
        // What is left of the time since it was found went into the reference hash.
        let found = search.arrived() + solved.waited + solved.searched;
        count.verified = Some((found, Instant::now()));
        Ok(solved)
    }
    .await;
    let mut times = Vec::new();
    let answer = answer.map(|solved: Solved| {
        times.extend([("queue", solved.waited), ("search", solved.searched)]);
        WorksResponse {
            work: solved.work.to_string(),
        }
    });
    let mut response = count.respond(answer);
    times.push(("total", started.elapsed()));
    let timing = server_timing(&times);
    response.headers_mut().insert(SERVER_TIMING, timing);
    response
}

/// Answers whether a work is valid.
pub(super) async fn verify(
    api: &Api,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    trace: &Trace,
) -> Response {
    let ended: Ended = |metrics, network, outcome, _| metrics.verification_ended(network, outcome);
    let mut count = CountOnDrop::new(&api.telemetry.metrics, ended, trace);
    let answer = async {
        count.admit(api, headers)?;
        let body = read_json(headers, body, &api.limits).await?;
        let (request, nonce) = parse_verify(&body, Timestamp::now())?;
        count.asks(&request);
        let began = Instant::now();
        let (digest, threshold) = (digest(nonce, request.target()), request.threshold());
        count.verified = Some((began, Instant::now()));
        Ok(VerifyResponse {
            valid: digest.meets(threshold),
            digest: digest.get().to_string(),
            threshold: threshold.get().to_string(),
        })
    }
    .await;
    count.respond(answer)
}

/// The value of the header: names, each with the milliseconds that it took.
fn server_timing(parts: &[(&str, Duration)]) -> HeaderValue {
    let part =
        |(name, time): &(&str, Duration)| format!("{name};dur={:.3}", time.as_secs_f64() * 1e3);
    let parts: Vec<_> = parts.iter().map(part).collect();
    HeaderValue::from_str(&parts.join(", ")).expect("names and digits")
}

/// Counts a request of this network, if it was understood, and outcome, which has ended this long after its head had come.
type Ended = fn(&Metrics, Option<Network>, Outcome, Duration);

/// Counts the request when it has ended, however it ends: warp drops the handler of a client that leaves. Until
/// then it is one of its key's.
struct CountOnDrop<'a> {
    metrics: &'a Metrics,
    /// Where requests for work leave their trace, for the status page.
    history: Option<&'a History>,
    ended: Ended,
    /// When its head had come.
    started: Instant,
    network: Option<Network>,
    threshold: Option<Threshold>,
    /// There once a request for work was admitted. The search ends with it, if nobody else waits for it.
    search: Option<Search<'a>>,
    /// How long an answered search was waited for and took.
    searched: Option<(Duration, Duration)>,
    client: Option<Client>,
    /// When the reference hash began and ended.
    verified: Option<(Instant, Instant)>,
    outcome: Outcome,
    trace: &'a Trace,
}

impl<'a> CountOnDrop<'a> {
    fn new(metrics: &'a Metrics, ended: Ended, trace: &'a Trace) -> Self {
        Self {
            metrics,
            history: None,
            ended,
            started: Instant::now(),
            network: None,
            threshold: None,
            search: None,
            searched: None,
            client: None,
            verified: None,
            outcome: Outcome::Cancelled,
            trace,
        }
    }

    /// The request is understood.
    fn asks(&mut self, request: &WorkRequest) {
        self.network = Some(request.network());
        self.threshold = Some(request.threshold());
    }

    /// Lets the request go on, if keys are not needed or it has one that may ask for more.
    fn admit(&mut self, api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(keys) = &api.access.keys else {
            return Ok(());
        };
        let client = self.client.insert(keys.identify(headers)?);
        client.begin()?;
        tracing::debug!(key = client.name(), "admitted");
        Ok(())
    }

    fn respond(mut self, answer: Result<impl Serialize, Problem>) -> Response {
        match answer {
            Ok(answer) => {
                self.outcome = Outcome::Ok;
                warp::reply::json(&answer).into_response()
            }
            Err(problem) => {
                self.outcome = outcome(&problem);
                problem.into_response()
            }
        }
    }
}

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        let total = self.started.elapsed();
        (self.ended)(self.metrics, self.network, self.outcome, total);
        if let Some(history) = self.history {
            history.request_ended(EndedRequest {
                outcome: self.outcome,
                total,
                search: self.searched,
            });
        }
        if let Some(client) = &self.client {
            self.metrics.key_request_ended(client.name(), self.outcome);
        }
        self.trace.ended(&Ending {
            network: self.network,
            threshold: self.threshold,
            search: self.search.as_ref(),
            verified: self.verified,
            outcome: self.outcome,
        });
    }
}

const fn outcome(problem: &Problem) -> Outcome {
    match problem {
        Problem::Unsolved(SolveError::QueueFull { .. }) => Outcome::QueueFull,
        Problem::Unsolved(SolveError::Closed) => Outcome::Closed,
        Problem::Unsolved(SolveError::NoDevice) => Outcome::NoDevice,
        Problem::Unsolved(SolveError::Deadline(_)) => Outcome::Deadline,
        Problem::KeyMissing | Problem::KeyUnknown => Outcome::Unauthorized,
        Problem::KeyBusy { .. } => Outcome::Limited,
        _ => Outcome::Invalid,
    }
}

/// The bytes of a body that is declared to be JSON.
async fn read_json(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    limits: &BodyLimits,
) -> Result<Vec<u8>, Problem> {
    require_json(headers)?;
    read(body, limits).await
}

/// The media type must be JSON; parameters such as a character set are of no importance.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::UnsupportedMediaType {
            given: "missing".to_owned(),
        });
    };
    let media_type = given
        .to_str()
        .ok()
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Problem::UnsupportedMediaType {
        given: format!("{given:?}"),
    })
}

/// Collects the body, whole or chunked, up to [`MAX_BODY`] bytes and as long as the limits allow.
async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    limits: &BodyLimits,
) -> Result<Vec<u8>, Problem> {
    let collect = body.map_err(|_| Problem::BodyBroken).try_fold(
        Vec::new(),
        |mut bytes, mut chunk| async move {
            if bytes.len() + chunk.remaining() > MAX_BODY {
                return Err(Problem::BodyTooLarge { limit: MAX_BODY });
            }
            bytes.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            Ok(bytes)
        },
    );
    tokio::select! {
        biased;
        body = collect => body,
        () = tokio::time::sleep(limits.timeout) => Err(Problem::BodyTimeout(limits.timeout)),
        () = overdue(&limits.lifecycle) => Err(SolveError::Closed.into()),
    }
}

/// Completes when a draining process waits no longer.
async fn overdue(lifecycle: &Lifecycle) {
    lifecycle.draining().await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

/// Reads a request, and names everything that is wrong with it at once. Public for the fuzz targets only.
///
/// # Errors
///
/// [`Problem::MalformedJson`] or [`Problem::InvalidFields`].
pub fn parse(body: &[u8], now: Timestamp) -> Result<WorkRequest, Problem> {
    fields(object(body)?, now).map_err(Problem::InvalidFields)
}

/// Reads a request to verify likewise.
fn parse_verify(body: &[u8], now: Timestamp) -> Result<(WorkRequest, Nonce), Problem> {
    let wire: VerifyRequest = object(body)?;
    let request = WorksRequest {
        network: wire.network,
        timestamp: wire.timestamp,
        target: wire.target,
    };
    let work = member("work", wire.work, "a string of 16 hex digits", |value| {
        Some(value.as_str()?.parse())
    });
    match (fields(request, now), work) {
        (Ok(request), Ok(work)) => Ok((request, work)),
        (request, work) => {
            let mut errors = request.err().unwrap_or_default();
            errors.extend(work.err());
            Err(Problem::InvalidFields(errors))
        }
    }
}

/// Reads a JSON object.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Serde would take an array of the members' values for the object.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::MalformedJson("it is an array".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| Problem::MalformedJson(error.to_string()))
}

/// Judges each member of a request.
fn fields(wire: WorksRequest, now: Timestamp) -> Result<WorkRequest, Vec<FieldError>> {
    let network = member("network", wire.network, "a string", |value| {
        Some(value.as_str()?.parse())
    });
    let timestamp = member(
        "timestamp",
        wire.timestamp,
        "a whole number of Unix milliseconds, in 64 bits",
        |value| {
            let timestamp = Timestamp::from_millis(value.as_i64()?);
            Some(timestamp.and_then(|timestamp| timestamp.not_ahead_of(now)))
        },
    );
    let target = member(
        "target",
        wire.target,
        "a string of 64 hex digits",
        |value| Some(value.as_str()?.parse()),
    );
    match (network, timestamp, target) {
        (Ok(network), Ok(timestamp), Ok(target)) => {
            WorkRequest::new(network, timestamp, target, now).map_err(|error| vec![error.into()])
        }
        (network, timestamp, target) => {
            let errors = [network.err(), timestamp.err(), target.err()];
            Err(errors.into_iter().flatten().collect())
        }
    }
}

/// One member of the request: `read` gives `None` where the value is not of the `expected` type.
fn member<T>(
    field: &'static str,
    value: Option<Value>,
    expected: &str,
    read: impl FnOnce(&Value) -> Option<Result<T, InvalidRequest>>,
) -> Result<T, FieldError> {
    let Some(value) = value else {
        return Err(FieldError {
            field,
            detail: format!("{field} is missing; it must be {expected}"),
        });
    };
    match read(&value) {
        Some(read) => read.map_err(FieldError::from),
        None => Err(FieldError {
            field,
            detail: format!("{field} is {}; it must be {expected}", describe(&value)),
        }),
    }
}

/// What a JSON value is, in words or, if it is short, as it stands.
fn describe(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

impl From<InvalidRequest> for FieldError {
    fn from(error: InvalidRequest) -> Self {
        Self {
            field: error.field(),
            detail: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use std::time::Duration;
    use warp::http::HeaderValue;

    use super::*;
    use crate::lifecycle::{self, Transitions};
    use crate::work::Target;

    const NOW: i64 = 1_795_329_945_748;

    fn parsed(body: &str) -> Result<WorkRequest, Problem> {
        parse(body.as_bytes(), Timestamp::from_millis(NOW).unwrap())
    }

    /// A body with these three members, as JSON text.
    fn body(network: &str, timestamp: &str, target: &str) -> String {
        format!(r#"{{"network":{network},"timestamp":{timestamp},"target":{target}}}"#)
    }

    fn target() -> String {
        format!("{:?}", "07".repeat(32))
    }

    #[test]
    fn a_right_request_is_read() {
        let request = parsed(&body("\"LOCAL\"", &NOW.to_string(), &target())).unwrap();
        assert_eq!(request.network(), Network::Local);
        assert_eq!(request.target(), &Target::new([7; 32]));
        assert_eq!(request.threshold().get(), 429_496_729_550_000);
    }

    #[test]
    fn members_that_nobody_knows_are_ignored() {
        let body = body("\"LOCAL\"", &NOW.to_string(), &target()).replace('}', ",\"extra\":[1]}");
        assert!(parsed(&body).is_ok());
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let Err(Problem::InvalidFields(errors)) =
            parsed(r#"{"network":"UNKNOWN","timestamp":"now"}"#)
        else {
            panic!("not refused");
        };
        let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
        assert_eq!(fields, ["network", "timestamp", "target"]);
        assert_eq!(
            errors[1].detail,
            "timestamp is a string; it must be a whole number of Unix milliseconds, in 64 bits"
        );
        assert_eq!(
            errors[2].detail,
            "target is missing; it must be a string of 64 hex digits"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_named_for_what_they_are() {
        let cases = [
            ("null", "is missing"),
            (
                "true",
                "is true; it must be a whole number of Unix milliseconds, in 64 bits",
            ),
            ("1.5", "is 1.5;"),
            ("18446744073709551615", "is 18446744073709551615;"),
            ("[]", "is an array;"),
            ("{}", "is an object;"),
        ];
        for (value, expected) in cases {
            let Err(Problem::InvalidFields(errors)) = parsed(&body("\"LOCAL\"", value, &target()))
            else {
                panic!("{value} is not refused");
            };
            assert_eq!(errors.len(), 1);
            assert!(errors[0].detail.contains(expected), "{}", errors[0].detail);
        }
    }

    #[test]
    fn an_array_of_the_values_is_no_object() {
        let array = format!(r#" ["LOCAL",{NOW},{}]"#, target());
        assert!(matches!(parsed(&array), Err(Problem::MalformedJson(_))));
    }

    #[test]
    fn json_is_json_with_and_without_parameters() {
        let judged = |given: &'static str| {
            let given = HeaderValue::from_static(given);
            require_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, given)]))
        };
        for given in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
        ] {
            assert!(judged(given).is_ok(), "{given}");
        }
        for given in ["text/plain", "application/jsonl", ""] {
            assert!(judged(given).is_err(), "{given}");
        }
        assert!(require_json(&HeaderMap::new()).is_err());
    }

    fn limits() -> (Transitions, BodyLimits) {
        let (transitions, lifecycle) = lifecycle::begin();
        let limits = BodyLimits {
            timeout: Duration::from_secs(10),
            lifecycle,
        };
        (transitions, limits)
    }

    #[tokio::test]
    async fn a_body_may_come_in_chunks_up_to_the_limit() {
        let chunks = |count: usize| {
            stream::iter((0..count).map(|_| Ok::<_, warp::Error>(Bytes::from(vec![b' '; 1024]))))
        };
        let (_transitions, limits) = limits();
        assert_eq!(read(chunks(16), &limits).await.unwrap().len(), MAX_BODY);
        assert!(matches!(
            read(chunks(17), &limits).await,
            Err(Problem::BodyTooLarge { limit: MAX_BODY })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let silence = stream::pending::<Result<Bytes, warp::Error>>();
        let (transitions, limits) = limits();
        let timed_out = read(silence, &limits).await;
        assert!(matches!(timed_out, Err(Problem::BodyTimeout(_))));

        transitions.draining();
        let silence = stream::pending::<Result<Bytes, warp::Error>>();
        let refused = read(silence, &limits).await;
        assert!(matches!(
            refused,
            Err(Problem::Unsolved(SolveError::Closed))
        ));
    }

    #[test]
    fn a_request_to_verify_has_all_its_errors_too() {
        let verify =
            |body: &str| parse_verify(body.as_bytes(), Timestamp::from_millis(NOW).unwrap());
        let right = body("\"LOCAL\"", &NOW.to_string(), &target())
            .replace('}', ",\"work\":\"576887b000000000\"}");
        let (request, nonce) = verify(&right).unwrap();
        assert_eq!(request.network(), Network::Local);
        assert_eq!(nonce.to_string(), "576887B000000000");
        let Err(Problem::InvalidFields(errors)) = verify("{\"timestamp\":1,\"work\":7}") else {
            panic!("not refused");
        };
        let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
        assert_eq!(fields, ["network", "timestamp", "target", "work"]);
        assert_eq!(
            errors[3].detail,
            "work is 7; it must be a string of 16 hex digits"
        );
    }

    #[test]
    fn timings_are_written_in_milliseconds() {
        let parts = [("a", Duration::from_micros(1500)), ("b", Duration::ZERO)];
        assert_eq!(server_timing(&parts), "a;dur=1.500, b;dur=0.000");
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body: Vec<u8>) {
            let now = Timestamp::from_millis(NOW).unwrap();
            let _ = parse(&body, now);
            let _ = parse_verify(&body, now);
        }
    }
}
