//! Traces of requests as a collector receives them, over HTTP and over gRPC, and log lines that name them. The real
//! binary, over real sockets; where a device has to fail, the same service in a process of its own.
//!
//! To see a trace: `cargo test --test it traces::a_request_is_traced_over_http -- --nocapture`

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::collector::{Collector, Manner, Received, Vacant, text};
use crate::support::devices::{Service, fake, patient};
use crate::support::http::{
    Response, connect, exchange, get, get_as, post_works, read, request as http_request,
    without_application,
};
use crate::support::{
    PORTS, Server, assert_work, eventually, key_entry, request, target, without_luck, work_server,
};
use atto_work_server::device::{DeviceError, Searched, Slice};
use atto_work_server::telemetry::{LogFormat, log_to_stderr};
use atto_work_server::work::{Nonce, digest};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// gRPC's path.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GONE: &str =
    "the collector does not accept traces: they are lost until it does; requests are not affected";
const BACK: &str = "the collector accepts traces again";
const LOST: &str = "the collector has not taken the last traces in time: they are lost";

/// A server that sends its traces to `url`, with more variables and arguments.
fn server(url: &str, variables: &[(&str, &str)], args: &[&str]) -> Server {
    let mut command = work_server(&["serve", "--backend", "cpu"]);
    command
        .args(PORTS)
        .args(args)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .envs(variables.iter().copied());
    Server::spawn(command)
}

/// The header of a caller whose own trace is sampled.
fn sampled(trace: &str) -> String {
    format!("traceparent: 00-{trace}-{CALLER}-01\r\n")
}

/// Asks for an easy work, with these headers.
fn ask(server: &Server, headers: &str, number: u64) -> Response {
    let body = request("LOCAL", &target(number)).to_string();
    exchange(
        server.address,
        &http_request("POST", "/works", headers, &body),
    )
}

/// The span of this name.
fn named<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    let mut found = spans.iter().filter(|received| received.span.name == name);
    let first = found.next();
    assert!(found.next().is_none(), "{name} is there twice: {spans:#?}");
    first.unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

fn status(received: &Received) -> StatusCode {
    let status = received.span.status.clone().unwrap_or_default();
    status.code()
}

/// Prints a trace as a tree, for people.
fn print(spans: &[Received]) {
    let from = spans
        .iter()
        .map(|span| span.span.start_time_unix_nano)
        .min()
        .unwrap();
    let at = |nanos: u64| (nanos - from) as f64 / 1e6;
    let mut spans: Vec<_> = spans.iter().collect();
    spans.sort_by_key(|received| received.span.start_time_unix_nano);
    println!(
        "trace {}, as received at {}",
        spans[0].trace_id(),
        spans[0].path
    );
    for pair in &spans[0].resource {
        println!(
            "  {} = {}",
            pair.key,
            text(&spans[0].resource, &pair.key).unwrap_or_default()
        );
    }
    for received in spans {
        let span = &received.span;
        let (start, end) = (at(span.start_time_unix_nano), at(span.end_time_unix_nano));
        println!(
            "{} ({:?}) {start:.3} to {end:.3} ms",
            span.name,
            span.kind()
        );
        println!(
            "  span {} within {}",
            hex::encode(&span.span_id),
            hex::encode(&span.parent_span_id)
        );
        for pair in &span.attributes {
            println!(
                "  {} = {}",
                pair.key,
                received.attribute(&pair.key).unwrap_or_default()
            );
        }
        for event in &span.events {
            println!(
                "  at {:.3} ms: {} {:?}",
                at(event.time_unix_nano),
                event.name,
                event.attributes
            );
        }
    }
}

/// One request, as it must be received by either way.
fn is_traced(protocol: &str, path: &str) {
    let collector = Collector::start(Manner::Takes);
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20of-the-collector",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=work-0"),
    ];
    let server = server(&collector.url(), &variables, &[]);
    let mut stream = connect(server.address);
    let headers = format!("{}user-agent: ktor-client\r\n", sampled(TRACE));
    let body = request("LOCAL", &target(1)).to_string();
    let asked = http_request("POST", "/works", &headers, &body);
    stream.write_all(asked.as_bytes()).unwrap();
    let answer = read(&stream, false);
    assert_eq!(answer.status, 200);
    let spans = collector.trace(TRACE, 4);
    print(&spans);

    let of_request = named(&spans, "POST /works");
    assert_eq!(of_request.span.kind(), SpanKind::Server);
    assert_eq!(hex::encode(&of_request.span.parent_span_id), CALLER);
    assert_eq!(status(of_request), StatusCode::Unset);
    let port = stream.local_addr().unwrap().port().to_string();
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/works"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("url.path", "/works"),
        ("server.address", "test"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "ktor-client"),
        ("atto.work.network", "LOCAL"),
        ("atto.work.origin", "own"),
        ("atto.work.outcome", "ok"),
    ] {
        assert_eq!(of_request.attribute(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(of_request.attribute("client.port"), Some(port));
    let id = answer.header("x-request-id").map(str::to_owned);
    let name = "http.response.header.x-request-id";
    assert_eq!(of_request.attribute(name), id);
    // The buckets of its times name the trace.
    let page = get_as(
        server.management,
        "/prometheus",
        "application/openmetrics-text",
    )
    .body;
    for family in ["request", "wait", "solve"] {
        let series = format!("atto_work_{family}_seconds_bucket{{");
        let example = format!(" # {{trace_id=\"{TRACE}\"}} ");
        let lines = page
            .lines()
            .filter(|line| line.starts_with(&series) && line.contains(&example));
        assert_eq!(lines.count(), 1, "{family}: {page}");
    }
    if protocol == "grpc" {
        // For tests/monitoring.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("open_metrics.txt");
        fs::write(path, &page).unwrap();
    }
    assert_eq!(of_request.attribute("error.type"), None);
    let threshold = of_request.attribute("atto.work.threshold").unwrap();
    assert!(threshold.parse::<u64>().unwrap() > 0);
    assert!(of_request.span.events.is_empty());

    // The parts follow each other without a gap, within the whole.
    let parts = ["queue", "search", "verify"].map(|name| named(&spans, name));
    let mut at = of_request.span.start_time_unix_nano;
    for part in parts {
        assert_eq!(part.span.parent_span_id, of_request.span.span_id);
        assert_eq!(part.span.kind(), SpanKind::Internal);
        assert!(part.span.start_time_unix_nano >= at, "{spans:#?}");
        at = part.span.end_time_unix_nano;
        assert!(at >= part.span.start_time_unix_nano, "{spans:#?}");
    }
    assert!(of_request.span.end_time_unix_nano >= at, "{spans:#?}");
    let [queue, search, verify] = parts.map(|part| &part.span);
    assert_eq!(queue.end_time_unix_nano, search.start_time_unix_nano);
    assert_eq!(search.end_time_unix_nano, verify.start_time_unix_nano);
    assert!(search.end_time_unix_nano > search.start_time_unix_nano);
    assert_eq!(
        parts[1].attribute("atto.work.device").as_deref(),
        Some("cpu")
    );
    assert!(parts[1].attribute("atto.work.kernel").is_some());
    let number = |name| parts[1].attribute(name).unwrap().parse::<u64>().unwrap();
    assert!(number("atto.work.hashes") > 0 && number("atto.work.dispatches") > 0);

    for received in &spans {
        assert_eq!(received.path, path);
        assert_eq!(
            received.authorization.as_deref(),
            Some("Bearer of-the-collector")
        );
        for (name, value) in [
            ("service.name", "atto-work-server"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("k8s.pod.name", "work-0"),
            ("telemetry.sdk.language", "rust"),
        ] {
            assert_eq!(received.resource(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(received.resource("service.instance.id").unwrap().len(), 36);
    }
    eventually("they are counted", || {
        server.metric("atto_work_spans_total{outcome=\"exported\"}") == 4.0
    });
    assert_eq!(
        server.metric("atto_work_spans_total{outcome=\"failed\"}"),
        0.0
    );
}

#[test]
fn a_request_is_traced_over_http() {
    is_traced("http/protobuf", "/v1/traces");
}

#[test]
fn a_request_is_traced_over_grpc() {
    is_traced("grpc", EXPORT);
}

#[test]
fn answers_without_a_search_and_verifications_are_traced() {
    let collector = Collector::start(Manner::Takes);
    let server = server(&collector.url(), &[("OTEL_SERVICE_NAME", "work")], &[]);
    let asked = request("LOCAL", &target(1));
    let body = asked.to_string();
    let with = |path: &str, trace: &str, body: &str| {
        exchange(
            server.address,
            &http_request("POST", path, &sampled(trace), body),
        )
    };
    let (first, again, check) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
    let found = with("/works", &first, &body);
    assert_work(&found, &asked);
    assert_work(&with("/works", &again, &body), &asked);
    let remembered = collector.trace(&again, 2);
    let of_request = named(&remembered, "POST /works");
    assert_eq!(
        of_request.attribute("atto.work.origin").as_deref(),
        Some("remembered")
    );
    assert_eq!(of_request.resource("service.name").as_deref(), Some("work"));
    named(&remembered, "verify");

    let mut body = asked;
    body["work"] = found.json()["work"].clone();
    assert_eq!(with("/works/verify", &check, &body.to_string()).status, 200);
    let spans = collector.trace(&check, 2);
    let of_request = named(&spans, "POST /works/verify");
    assert_eq!(
        of_request.attribute("atto.work.outcome").as_deref(),
        Some("ok")
    );
    let verify = named(&spans, "verify");
    assert_eq!(verify.span.parent_span_id, of_request.span.span_id);

    // Probes and scrapes are no requests.
    for path in ["/health", "/health/readiness", "/prometheus"] {
        assert_eq!(get(server.management, path).status, 200);
    }
    assert_eq!(get(server.address, "/openapi.json").status, 200);
    eventually("the description is traced", || {
        let received = collector.received();
        received
            .iter()
            .any(|span| span.span.name == "GET /openapi.json")
    });
    let names: Vec<_> = collector
        .received()
        .into_iter()
        .map(|received| received.span.name)
        .collect();
    assert_eq!(names.len(), 4 + 2 + 2 + 1, "{names:?}");
}

#[test]
fn error_responses_and_disconnects_are_traced() {
    let collector = Collector::start(Manner::Takes);
    let args = [
        "--threads",
        "1",
        "--kernel",
        "portable",
        "--queue-size",
        "1",
        "--queue-capacity",
        "0",
    ];
    let server = server(&collector.url(), &[], &args);
    let trace = |digit: &str| digit.repeat(32);
    let live = |number| request("LIVE", &target(number)).to_string();
    let event = |code: &str| vec![("atto.work.refused".to_owned(), Some(code.to_owned()))];

    let wrong = http_request("POST", "/works", &sampled(&trace("1")), "{}");
    assert_eq!(exchange(server.address, &wrong).status, 400);
    let spans = collector.trace(&trace("1"), 1);
    assert_eq!(spans[0].events("atto.work.code"), event("INVALID_FIELDS"));
    assert_eq!(spans[0].attribute("error.type"), None, "it is the client's");
    assert_eq!(
        spans[0].attribute("atto.work.outcome").as_deref(),
        Some("invalid")
    );
    assert_eq!(status(&spans[0]), StatusCode::Unset, "it is the client's");

    let mut leaving = connect(server.address);
    leaving
        .write_all(http_request("POST", "/works", &sampled(&trace("2")), &live(1)).as_bytes())
        .unwrap();
    eventually("it runs", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    eventually("it is known how fast the core is", || {
        server.metric("atto_work_hash_rate") > 0.0
    });
    eventually("it has searched", || {
        server.metric("atto_work_hashes_total{device=\"cpu\"}") > 0.0
    });
    let full = http_request("POST", "/works", &sampled(&trace("3")), &live(2));
    assert_eq!(exchange(server.address, &full).status, 503);
    drop(leaving);
    let spans = collector.trace(&trace("3"), 1);
    assert_eq!(spans[0].events("atto.work.code"), event("QUEUE_FULL"));
    assert_eq!(
        spans[0].attribute("http.response.status_code").as_deref(),
        Some("503")
    );
    assert_eq!(
        spans[0].attribute("atto.work.network").as_deref(),
        Some("LIVE")
    );
    assert_eq!(
        spans[0].attribute("error.type").as_deref(),
        Some("QUEUE_FULL")
    );
    assert_eq!(status(&spans[0]), StatusCode::Error);

    let spans = collector.trace(&trace("2"), 3);
    let of_request = named(&spans, "POST /works");
    assert_eq!(
        of_request.attribute("atto.work.outcome").as_deref(),
        Some("cancelled")
    );
    assert_eq!(of_request.attribute("http.response.status_code"), None);
    assert_eq!(status(of_request), StatusCode::Unset);
    let search = named(&spans, "search");
    assert!(
        search
            .attribute("atto.work.hashes")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert_eq!(
        search.attribute("atto.work.device"),
        None,
        "nothing has found it"
    );
    named(&spans, "queue");

    let nowhere = http_request("BREW", "/coffee", &sampled(&trace("4")), "");
    assert_eq!(exchange(server.address, &nowhere).status, 404);
    let spans = collector.trace(&trace("4"), 1);
    assert_eq!(spans[0].span.name, "HTTP");
    assert_eq!(spans[0].attribute("http.route"), None);

    for (method, path, trace, name) in [
        ("GET", "/works", trace("5"), "GET /works"),
        (
            "HEAD",
            "/swagger-ui/index.html",
            trace("6"),
            "HEAD /swagger-ui/**",
        ),
    ] {
        let asked = http_request(method, path, &sampled(&trace), "");
        exchange(server.address, &asked);
        assert_eq!(collector.trace(&trace, 1)[0].span.name, name);
    }
}

#[test]
fn a_search_that_takes_too_long_is_traced() {
    let collector = Collector::start(Manner::Takes);
    let args = ["--threads", "1", "--kernel", "portable", "--deadline", "1"];
    let server = server(&collector.url(), &[], &args);
    let mut trace = String::new();
    let late = without_luck(|number| {
        trace = format!("{number:032x}");
        let live = request("LIVE", &target(number)).to_string();
        exchange(
            server.address,
            &http_request("POST", "/works", &sampled(&trace), &live),
        )
    });
    assert_eq!(late.status, 504);
    let spans = collector.trace(&trace, 3);
    let of_request = named(&spans, "POST /works");
    assert_eq!(
        of_request.attribute("atto.work.outcome").as_deref(),
        Some("deadline")
    );
    assert_eq!(
        of_request.attribute("error.type").as_deref(),
        Some("DEADLINE_EXCEEDED")
    );
    assert_eq!(status(of_request), StatusCode::Error);
    let search = &named(&spans, "search").span;
    assert!(search.end_time_unix_nano <= of_request.span.end_time_unix_nano);
}

/// Traces a request whose first device does what `search` does, once, and whose second device goes on. Runs as the test of
/// this name, and as the process whose device fails, since the exporter is configured by the environment. Returns the
/// trace, the status page's data and the log; `None` in the process.
fn with_a_failing_device(
    test: &str,
    search: impl FnMut(&Slice) -> Result<Searched, DeviceError> + Send + 'static,
) -> Option<(Vec<Received>, String, String)> {
    const PART: &str = "PART_IN_THIS_TEST";
    if std::env::var_os(PART).is_some() {
        log_to_stderr(LogFormat::Json, tracing::level_filters::LevelFilter::INFO);
        let failing = fake("failing", search);
        let (release, patient) = patient();
        let service = Service::start(vec![failing, patient], None);
        let body = request("LOCAL", &secret_target());
        let mut stream = connect(service.address);
        let asked = http_request("POST", "/works", &sampled(TRACE), &body.to_string());
        stream.write_all(asked.as_bytes()).unwrap();
        let faults = "atto_work_device_faults_total{device=\"failing\"}";
        eventually("the device has failed", || {
            get(service.management, "/prometheus").metric_or_zero(faults) == 1.0
        });
        drop(release);
        assert_work(&read(&stream, false), &body);
        println!("{}", get(service.management, "/status.json").body);
        return None;
    }
    let collector = Collector::start(Manner::Takes);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("traces::{test}"), "--nocapture"])
        .env(PART, "the service")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output()
        .unwrap();
    let [page, log] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{page}{log}");
    for (place, text) in [("the page", &page), ("the log", &log)] {
        assert!(text.contains("failing"), "{place} tells of it: {text}");
    }
    Some((collector.trace(TRACE, 4), page, log))
}

/// A target that nothing else looks like.
fn secret_target() -> String {
    "C0FFEE".to_owned() + &target(1)[6..]
}

#[test]
fn a_device_that_fails_during_a_search_is_traced() {
    let Some((spans, ..)) =
        with_a_failing_device("a_device_that_fails_during_a_search_is_traced", |_| {
            Err(DeviceError::Lost("fell off the bus".to_owned()))
        })
    else {
        return;
    };
    let search = named(&spans, "search");
    assert_eq!(
        search.attribute("atto.work.device").as_deref(),
        Some("patient")
    );
    let event = |value: &str| vec![("atto.work.retry".to_owned(), Some(value.to_owned()))];
    assert_eq!(search.events("atto.work.device"), event("failing"));
    assert_eq!(
        search.events("atto.work.error"),
        event("device lost: fell off the bus")
    );
    let at = search.span.events[0].time_unix_nano;
    assert!((search.span.start_time_unix_nano..=search.span.end_time_unix_nano).contains(&at));
    assert_eq!(
        named(&spans, "POST /works")
            .attribute("atto.work.outcome")
            .as_deref(),
        Some("ok")
    );
}

#[test]
fn a_wrong_answer_of_a_device_is_traced_without_the_target() {
    let Some((spans, page, log)) = with_a_failing_device(
        "a_wrong_answer_of_a_device_is_traced_without_the_target",
        |slice| {
            let is_none = |&nonce: &Nonce| !slice.rule.admits(digest(nonce, &slice.target));
            Ok(Searched {
                tried: slice.nonces.count,
                found: (0..).map(Nonce::new).find(is_none),
            })
        },
    ) else {
        return;
    };
    let events = named(&spans, "search").events("atto.work.error");
    let [(name, Some(message))] = &events[..] else {
        panic!("one event: {events:?}");
    };
    assert_eq!(name, "atto.work.retry");
    assert!(message.contains("is not work under"), "{message}");
    let spans = format!("{spans:?}");
    for (place, text) in [("a span", spans), ("the page", page), ("the log", log)] {
        let text = text.to_uppercase();
        assert!(!text.contains("C0FFEE"), "the target is in {place}: {text}");
    }
}

#[test]
fn requests_that_are_not_sampled_are_not_exported() {
    let collector = Collector::start(Manner::Takes);
    let mut by_default = server(&collector.url(), &[], &[]);
    let unsampled = format!("traceparent: 00-{TRACE}-{CALLER}-00\r\n");
    assert_eq!(ask(&by_default, &unsampled, 1).status, 200);
    assert_eq!(ask(&by_default, &sampled(&"1".repeat(32)), 2).status, 200);
    by_default.terminate();
    assert_eq!(by_default.wait().code(), Some(0));
    let ids: Vec<_> = collector
        .received()
        .iter()
        .map(Received::trace_id)
        .collect();
    assert_eq!(ids, vec!["1".repeat(32); 4]);

    let collector = Collector::start(Manner::Takes);
    let off = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let mut by_request = server(&collector.url(), &off, &[]);
    assert_eq!(ask(&by_request, "", 1).status, 200);
    assert_eq!(ask(&by_request, &sampled(TRACE), 2).status, 200);
    by_request.terminate();
    assert_eq!(by_request.wait().code(), Some(0));
    let ids: Vec<_> = collector
        .received()
        .iter()
        .map(Received::trace_id)
        .collect();
    assert_eq!(ids, vec![TRACE.to_owned(); 4]);
}

/// A file with this text, which is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_collector_is_reached_by_tls_if_its_certificate_is_trusted() {
    for (protocol, path, trusted_by) in [
        (
            "http/protobuf",
            "/v1/traces",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ),
        ("grpc", EXPORT, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"),
        // The system's certificates, which this variable of OpenSSL names.
        ("http/protobuf", "/v1/traces", "SSL_CERT_FILE"),
    ] {
        let collector = Collector::with_tls();
        let trusted = Temporary::new("trusted.pem", collector.certificate());
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            (trusted_by, trusted.path()),
        ];
        let server = server(&collector.url(), &variables, &[]);
        assert_eq!(ask(&server, &sampled(TRACE), 1).status, 200);
        let spans = collector.trace(TRACE, 4);
        assert!(spans.iter().all(|span| span.path == path), "{spans:#?}");
    }
}

#[test]
fn a_collector_that_is_not_trusted_gets_nothing() {
    let other = Collector::with_tls();
    let other = Temporary::new("other.pem", other.certificate());
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::with_tls();
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", other.path()),
        ];
        let server = server(&collector.url(), &variables, &[]);
        assert_eq!(ask(&server, &sampled(TRACE), 1).status, 200);
        let lines = server.log_until(GONE);
        let gone = lines.last().unwrap();
        let said = if protocol == "grpc" { "error" } else { "cause" };
        let said = gone[said].as_str().unwrap();
        assert!(said.contains("certificate"), "{gone}");
        assert_eq!(collector.received().len(), 0);
    }
}

#[test]
fn a_caller_that_is_not_followed_begins_no_trace() {
    let collector = Collector::start(Manner::Takes);
    let server = server(&collector.url(), &[("OTEL_PROPAGATORS", "none")], &[]);
    assert_eq!(ask(&server, &sampled(TRACE), 1).status, 200);
    eventually("a trace has come", || !collector.received().is_empty());
    for received in collector.received() {
        assert_ne!(received.trace_id(), TRACE);
    }
}

#[test]
fn nothing_is_sent_where_tracing_is_off() {
    let collector = Collector::start(Manner::Takes);
    let url = collector.url();
    for variables in [
        [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ],
        [
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ],
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ],
    ] {
        let mut server = server(&url, &variables, &[]);
        assert_eq!(ask(&server, &sampled(TRACE), 1).status, 200);
        assert!(!has_exporter(&server), "{variables:?}");
        let metrics = get(server.management, "/prometheus").body;
        for outcome in ["exported", "failed", "dropped"] {
            let zero = format!("atto_work_spans_total{{outcome=\"{outcome}\"}} 0\n");
            assert!(without_application(&metrics).contains(&zero), "no {zero}");
        }
        server.terminate();
        assert_eq!(server.wait().code(), Some(0));
    }
    assert_eq!(collector.connections(), 0);
    assert!(
        has_exporter(&server(&url, &[], &[])),
        "the check itself works"
    );
}

/// Whether the process has the thread that exports.
fn has_exporter(server: &Server) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    names.any(|name| name.unwrap_or_default().starts_with("OpenTelemetry"))
}

#[test]
fn a_wrong_export_setting_is_reported_and_requests_are_served() {
    for (variable, value, expected) in [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "ftp://collector:4318",
            "must have the scheme http or https",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            "it must be http/protobuf or grpc",
        ),
    ] {
        let mut command = work_server(&["serve", "--backend", "cpu"]);
        let mut child = command
            .args(PORTS)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
            .env(variable, value)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen: Vec<_> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.contains("\"ready\""))
            .collect();
        let said = seen
            .iter()
            .find(|line| line.contains("no traces are exported"));
        let said = said.unwrap_or_else(|| panic!("{seen:#?}"));
        assert!(
            said.contains(expected) && said.contains("\"ERROR\""),
            "{said}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_collector_that_is_down_delays_nothing() {
    for protocol in ["http/protobuf", "grpc"] {
        let vacant = Vacant::new();
        let url = vacant.url();
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "40"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20"),
        ];
        let mut server = server(&url, &variables, &[]);
        for number in 1..=100 {
            assert_eq!(ask(&server, "", number).status, 200);
        }
        let lines = server.log_until(GONE);
        let said = lines.last().unwrap();
        assert_eq!(said["level"], "WARN");
        let path = if protocol == "grpc" { "" } else { "/v1/traces" };
        assert_eq!(said["endpoint"], format!("{url}{path}"));
        let dropped = "atto_work_spans_total{outcome=\"dropped\"}";
        eventually("some are dropped, and counted", || {
            server.metric(dropped) > 0.0
        });
        server.terminate();
        let lines = server.log_until("stopped");
        let again = lines.iter().any(|line| line["message"] == GONE);
        assert!(!again, "it is said once: {lines:#?}");
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn a_collector_that_never_answers_delays_nothing() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start(Manner::Silent);
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
        ];
        let mut server = server(&collector.url(), &variables, &[]);
        for number in 1..=20 {
            assert_eq!(ask(&server, "", number).status, 200);
        }
        eventually("it is asked", || collector.connections() > 0);
        let started = std::time::Instant::now();
        server.terminate();
        let lines = server.log_until("stopped");
        let lost = lines.iter().find(|line| line["message"] == LOST);
        let lost = lost.unwrap_or_else(|| panic!("{lines:#?}"));
        assert_eq!(lost["spans"], 80, "four a request");
        assert_eq!(server.wait().code(), Some(0));
        // Three seconds and what a busy machine adds; the grace time is 25, and the exporter's own limit an hour.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

#[test]
fn a_collector_that_returns_gets_the_later_traces() {
    for protocol in ["http/protobuf", "grpc"] {
        let vacant = Vacant::new();
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let server = server(&vacant.url(), &variables, &[]);
        assert_eq!(ask(&server, "", 1).status, 200);
        server.wait_for_log(GONE);
        let failed = server.metric("atto_work_spans_total{outcome=\"failed\"}");
        assert!(failed >= 1.0, "{failed}");
        let collector = Collector::at(vacant, Manner::Takes);
        assert_eq!(ask(&server, &sampled(TRACE), 2).status, 200);
        collector.trace(TRACE, 4);
        server.wait_for_log(BACK);
    }
}

#[test]
fn a_connection_that_the_collector_closes_between_two_batches_costs_none() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start(Manner::Takes);
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let server = server(&collector.url(), &variables, &[]);
        for number in 1..=3 {
            let trace = number.to_string().repeat(32);
            assert_eq!(ask(&server, &sampled(&trace), number).status, 200);
            collector.trace(&trace, 4);
            collector.close_connections();
        }
        assert!(collector.connections() >= 3);
        eventually("all are counted", || {
            server.metric("atto_work_spans_total{outcome=\"exported\"}") == 12.0
        });
        assert_eq!(
            server.metric("atto_work_spans_total{outcome=\"failed\"}"),
            0.0
        );
    }
}

#[test]
fn variables_with_white_space_mean_the_same_and_a_password_stays_out_of_the_log() {
    let collector = Collector::start(Manner::Takes);
    let mut child = work_server(&["serve", "--backend", "cpu"])
        .args(PORTS)
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://somebody:hidden@{}\n", collector.address),
        )
        .env("OTEL_TRACES_SAMPLER", "parentbased_always_off\n")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50\n")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let ready = loop {
        let line = lines.next().expect("a line").unwrap();
        seen.push(line.clone());
        if line.contains("\"ready\"") {
            break serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    };
    let address = ready["address"].as_str().unwrap().parse().unwrap();
    let body = request("LOCAL", &target(1)).to_string();
    let without = http_request("POST", "/works", "", &body);
    assert_eq!(exchange(address, &without).status, 200);
    let body = request("LOCAL", &target(2)).to_string();
    let asked = http_request("POST", "/works", &sampled(TRACE), &body);
    assert_eq!(exchange(address, &asked).status, 200);
    collector.trace(TRACE, 4);
    assert_eq!(collector.received().len(), 4, "the other is not sampled");
    child.kill().unwrap();
    child.wait().unwrap();
    seen.extend(lines.map_while(Result::ok));
    let log = seen.join("\n");
    assert!(log.contains("has a user name in it"), "{log}");
    assert!(
        !log.contains("hidden") && !log.contains("somebody"),
        "{log}"
    );
}

#[test]
fn the_last_traces_are_sent_before_the_end() {
    let collector = Collector::start(Manner::Takes);
    let late = [("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let mut server = server(&collector.url(), &late, &[]);
    assert_eq!(ask(&server, &sampled(TRACE), 1).status, 200);
    assert!(collector.received().is_empty());
    server.terminate();
    assert_eq!(server.wait_for_log("stopped"), ["draining", "stopped"]);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(collector.trace(TRACE, 4).len(), 4);
}

#[test]
fn a_requests_log_lines_name_its_trace() {
    let collector = Collector::start(Manner::Takes);
    for url in [&collector.url(), ""] {
        let debug = [("RUST_LOG", "info,atto_work_server=debug")];
        let server = server(url, &debug, &[]);
        assert_eq!(ask(&server, &sampled(TRACE), 1).status, 200);
        let lines = server.log_until("request ended");
        let admitted = lines
            .iter()
            .find(|line| line["message"] == "search admitted");
        let ended = lines.last().unwrap();
        assert_eq!(
            (ended["request"].as_str(), ended["status"].as_u64()),
            (Some("POST /works"), Some(200))
        );
        for line in [admitted.unwrap(), ended] {
            assert_eq!(line["trace_id"], TRACE, "{line}");
            assert_eq!(line["span_id"], admitted.unwrap()["span_id"]);
        }
        let span = ended["span_id"].as_str().unwrap();
        if url.is_empty() {
            // There is no span of our own, so it is the caller's.
            assert_eq!(span, CALLER);
        } else {
            let spans = collector.trace(TRACE, 4);
            assert_eq!(
                span,
                hex::encode(&named(&spans, "POST /works").span.span_id)
            );
        }
        // What is not of a request has none, nor what is of one without a trace.
        if url.is_empty() {
            assert_eq!(ask(&server, "", 2).status, 200);
        }
        server.terminate();
        let lines = server.log_until("stopped");
        let of_requests = lines.iter().filter(|line| !line["request"].is_null());
        assert_eq!(of_requests.count(), usize::from(url.is_empty()));
        for line in &lines {
            assert!(line["trace_id"].is_null(), "{line}");
        }
    }
}

#[test]
fn text_lines_name_the_trace_too() {
    let mut child = work_server(&["serve", "--backend", "cpu", "--log-format", "text"])
        .args(PORTS)
        .env("RUST_LOG", "info,atto_work_server=debug")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line_with = |part: &str| {
        let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(part)));
        found.expect("such a line").unwrap()
    };
    let ready = line_with(" ready ");
    assert!(
        !ready.contains('\u{1b}'),
        "no colour but on a terminal: {ready}"
    );
    let address = ready.split(" address=").nth(1).unwrap();
    let address = address.split(' ').next().unwrap().parse().unwrap();
    let body = request("LOCAL", &target(1)).to_string();
    let asked = http_request("POST", "/works", &sampled(TRACE), &body);
    assert_eq!(exchange(address, &asked).status, 200);
    let ended = line_with("request ended");
    let expected = format!("request{{trace_id={TRACE} span_id={CALLER}}}");
    assert!(ended.contains(&expected), "{ended}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_log_has_no_secret_and_no_target() {
    const KEY: &str = "wallet-has-this-key-0001";
    const WRONG: &str = "nobody-has-this-key-0001";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("the-log-has-no-secret");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys");
    fs::write(&file, key_entry("wallet", KEY)).unwrap();
    let secret = [(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "authorization=of-the-collector",
    )];
    let vacant = Vacant::new();
    let url = vacant.url();
    let args = [
        "--api-keys-file",
        file.to_str().unwrap(),
        "--threads",
        "1",
        "--kernel",
        "portable",
    ];
    let mut server = server(&url, &secret, &args);

    let targets: Vec<_> = (1..=4)
        .map(|number| "C0FFEE".to_owned() + &target(number)[6..])
        .collect();
    let bearer = |key: &str| format!("{}authorization: Bearer {key}\r\n", sampled(TRACE));
    let post = |key: &str, body: &str| {
        exchange(
            server.address,
            &http_request("POST", "/works", &bearer(key), body),
        )
        .status
    };
    assert_eq!(post(KEY, &request("LOCAL", &targets[0]).to_string()), 200);
    assert_eq!(post(WRONG, &request("LOCAL", &targets[1]).to_string()), 401);
    assert_eq!(post(KEY, &format!("\"{}\"", targets[2])), 400);
    assert_eq!(post(KEY, &request("OTHER", &targets[2]).to_string()), 400);
    assert_eq!(post_works(server.address, "{}").status, 401);
    let mut leaving = connect(server.address);
    let live = request("LIVE", &targets[3]).to_string();
    leaving
        .write_all(http_request("POST", "/works", &bearer(KEY), &live).as_bytes())
        .unwrap();
    eventually("it runs", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    drop(leaving);
    eventually("it has left", || {
        server.metric("atto_work_searches_running") == 0.0
    });
    let early = server.log_until(GONE);
    server.terminate();
    let log = format!("{early:?} {:?}", server.log_until("stopped"));
    assert_eq!(server.wait().code(), Some(0));
    for secret in ["C0FFEE", "c0ffee", KEY, WRONG, "of-the-collector", "Bearer"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}
