//! Keys, origins, ids, and the answers to correct requests that fail.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{EASY, HARD, ask, assert_error, assert_work, generate, request, root, server};
use crate::collector::{Collector, Manner};
use crate::support::devices::{Service, card, fake, limits, patient, unlucky};
use crate::support::http::{connect, exchange, get, read};
use crate::support::{PORTS, Server, eventually, key_entry, work_server};
use atto_work_server::device::DeviceError;

const ALICE: &str = "alice-has-this-key-0001";

#[test]
fn a_key_is_sent_as_a_header_or_as_a_member() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nano_access");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys");
    fs::write(&file, key_entry("alice", ALICE)).unwrap();
    let server = server(&[
        "--api-keys-file",
        file.to_str().unwrap(),
        "--api-key-requests",
        "1",
        "--nano-difficulty",
        EASY,
        "--nano-max-multiplier",
        "1000000",
    ]);
    let nano = server.nano.unwrap();
    let body = |key: Option<&str>| {
        let mut body = generate(&root(1), EASY);
        body["key"] = key.into();
        body.to_string()
    };
    let bearer = format!("authorization: Bearer {ALICE}\r\n");
    let wrong = "authorization: Bearer nobody-has-this-key\r\n";
    for (headers, key) in [
        (&*bearer, None),
        ("", Some(ALICE)),
        (&*bearer, Some(ALICE)),
        // Whichever is known counts.
        (&*bearer, Some("of something else")),
        (wrong, Some(ALICE)),
        // As Nault sends what its user types.
        ("authorization: typed\r\n", Some(ALICE)),
    ] {
        let answer = exchange(nano, &request(headers, &body(key)));
        assert_work(&answer, &root(1), EASY, EASY);
    }
    for (headers, key, error) in [
        (
            "",
            None,
            "an API key is needed: send it once, as `Authorization: Bearer` and the key",
        ),
        ("", Some("nobody-has-this-key"), "the API key is not known"),
        (wrong, None, "the API key is not known"),
        (wrong, Some(""), "the API key is not known"),
    ] {
        let answer = exchange(nano, &request(headers, &body(key)));
        assert_error(&answer, 401, error);
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
    }
    for action in ["status", "work_cancel", "work_validate"] {
        let body = json!({ "action": action, "hash": root(1), "work": "0" });
        assert_eq!(ask(nano, &body).status, 401, "{action}");
    }
    let ok = "atto_work_key_requests_total{key=\"alice\",outcome=\"ok\"}";
    assert_eq!(server.metric(ok), 6.0);

    // As many as it may have.
    let mut searching = connect(nano);
    // The hardest that this base allows.
    let hard = request(&bearer, &generate(&root(2), "ffffffffe0000000").to_string());
    searching.write_all(hard.as_bytes()).unwrap();
    eventually("a search", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    let busy = exchange(nano, &request(&bearer, &body(None)));
    assert_error(
        &busy,
        200,
        "this API key has 1 requests in progress, which is the maximum",
    );
    assert_eq!(busy.header("retry-after"), Some("1"));
}

#[test]
fn a_page_is_served_only_if_its_origin_is_allowed() {
    let body = generate(&root(1), EASY).to_string();
    let from = |origin: &str| {
        request(
            &format!("origin: {origin}\r\ncontent-type: text/plain\r\n"),
            &body,
        )
    };
    let preflight = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type\r\n\r\n"
        )
    };
    let closed = server(&["--nano-difficulty", EASY]);
    let listed = server(&[
        "--nano-difficulty",
        EASY,
        "--cors-origins",
        "https://wallet.example",
    ]);
    let open = server(&["--nano-difficulty", EASY, "--cors-origins", "*"]);
    for (server, origin, allowed) in [
        (&closed, "https://wallet.example", None),
        (
            &listed,
            "https://wallet.example",
            Some("https://wallet.example"),
        ),
        (&listed, "https://evil.example", None),
        (&listed, "null", None),
        (&open, "https://any.example", Some("*")),
    ] {
        let nano = server.nano.unwrap();
        let answer = exchange(nano, &from(origin));
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        match allowed {
            Some(_) => assert_work(&answer, &root(1), EASY, EASY),
            // Browsers send this request without a preflight, so it must not begin a search.
            None => assert_error(&answer, 403, "Origin not allowed"),
        }
        let preflight = exchange(nano, &preflight(origin));
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-origin"), allowed);
        if allowed.is_some() {
            assert_eq!(
                preflight.header("access-control-allow-methods"),
                Some("POST, OPTIONS")
            );
        }
    }
}

#[test]
fn ids_are_kept_and_logged() {
    let server = server(&[]);
    let answer = exchange(
        server.nano.unwrap(),
        &request("x-request-id: mine-7\r\n", "{}"),
    );
    assert_eq!(answer.header("x-request-id"), Some("mine-7"));
    let log = server.log_until("request refused");
    let line = log.last().unwrap();
    assert_eq!(
        (&line["request_id"], &line["code"], &line["status"]),
        (&json!("mine-7"), &json!("MALFORMED_JSON"), &json!(400))
    );
    let page = get(server.management, "/prometheus");
    let labels = "error=\"ServerWebInputException\",exception=\"ServerWebInputException\",method=\"POST\",\
                  outcome=\"CLIENT_ERROR\",status=\"400\",uri=\"NANO\"";
    assert_eq!(
        page.metric(&format!("http_server_requests_seconds_count{{{labels}}}")),
        1.0
    );
}

#[test]
fn requests_are_traced() {
    let collector = Collector::start(Manner::Takes);
    let mut command = work_server(&["serve", "--backend", "cpu"]);
    command
        .args(PORTS)
        .args(["--nano-address", "127.0.0.1:0", "--nano-difficulty", EASY])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = Server::spawn(command);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers = format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    let body = generate(&root(1), EASY).to_string();
    let answer = exchange(server.nano.unwrap(), &request(&headers, &body));
    assert_work(&answer, &root(1), EASY, EASY);
    let spans = collector.trace(trace, 4);
    let whole = spans.iter().find(|span| span.span.name == "POST NANO");
    let whole = whole.expect("the span of the request");
    for (name, value) in [
        ("http.route", "NANO"),
        ("http.response.status_code", "200"),
        ("atto.work.network", "NANO"),
        ("atto.work.difficulty", EASY),
        ("atto.work.origin", "own"),
        ("atto.work.outcome", "ok"),
    ] {
        assert_eq!(whole.attribute(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn the_status_page_shows_the_network_and_its_settings() {
    let server = server(&["--nano-difficulty", EASY]);
    let status = get(server.management, "/status.json").json();
    let networks = status["expected"].as_array().unwrap();
    let nano = networks.iter().find(|row| row["network"] == "NANO");
    assert_eq!(nano.expect("a row")["difficulty"], EASY);
    let settings = status["configuration"].as_array().unwrap();
    let setting = settings
        .iter()
        .find(|setting| setting["variable"] == "ATTO_WORK_NANO_DIFFICULTY");
    assert_eq!(setting.expect("a setting")["value"], EASY);
    let page = get(server.management, "/prometheus");
    let seconds = page.metric("atto_work_expected_solve_seconds{network=\"NANO\"}");
    assert!(seconds > 0.0, "{seconds}");
}

#[test]
fn a_full_queue_is_told_with_200() {
    let service = Service::with_limits(limits(1, 0), vec![fake("slow", unlucky)], None);
    let mut first = connect(service.nano);
    first
        .write_all(request("", &generate(&root(1), HARD).to_string()).as_bytes())
        .unwrap();
    let running = || get(service.management, "/prometheus").metric("atto_work_searches_running");
    eventually("a search", || running() == 1.0);
    let full = ask(service.nano, &generate(&root(2), HARD));
    assert_error(&full, 200, "too many searches are waiting");
    assert!(full.has("retry-after"));
}

#[test]
fn a_deadline_is_told_with_200() {
    let server = server(&["--deadline", "1"]);
    let answer = ask(server.nano.unwrap(), &generate(&root(1), HARD));
    assert_error(&answer, 200, "there was no work within 1 s");
}

#[test]
fn a_server_without_a_device_says_so_with_200() {
    let dying = card("dying", 1 << 20, |_| {
        Err(DeviceError::Driver("gone".to_owned()))
    });
    let service = Service::start(vec![dying], None);
    let answer = ask(service.nano, &generate(&root(1), HARD));
    assert_error(&answer, 200, "no device is in service");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn accepted_requests_are_finished_at_shutdown() {
    let (release, device) = patient();
    let mut service = Service::start(vec![device], None);
    let mut stream = connect(service.nano);
    stream
        .write_all(request("", &generate(&root(1), EASY).to_string()).as_bytes())
        .unwrap();
    let page = || get(service.management, "/prometheus");
    eventually("a search", || {
        page().metric("atto_work_searches_running") == 1.0
    });
    service.stop();
    let nano = service.nano;
    eventually("no connection is accepted", || {
        std::net::TcpStream::connect(nano).is_err()
    });
    drop(release);
    let answer = read(&stream, false);
    assert_work(&answer, &root(1), EASY, "fffffff800000000");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn requests_that_are_left_at_shutdown_are_refused_with_200() {
    let mut server = server(&["--shutdown-grace", "0.1"]);
    let mut stream = connect(server.nano.unwrap());
    stream
        .write_all(request("", &generate(&root(1), HARD).to_string()).as_bytes())
        .unwrap();
    eventually("a search", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    server.terminate();
    assert_error(&read(&stream, false), 200, "the server is shutting down");
    assert!(server.wait().success());
}
