//! The public port and the management port of the real binary, over real sockets: every answer that the
//! protocol promises, and every way to be refused.

use std::io::{BufReader, Read, Write};
use std::net::Shutdown;

use crate::support::http::{
    Response, connect, exchange, get, get_as, post_works, read, read_next, works,
};
use crate::support::{Server, assert_work, eventually, now, request, target};
use serde_json::{Value, json};

/// Fails unless the answer is a problem document with this status and code.
fn assert_problem(answer: &Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert_eq!(body["code"], code);
    assert!(
        body["title"].is_string() && body["detail"].is_string(),
        "{body}"
    );
    body
}

#[test]
fn a_request_like_the_published_clients_gets_work() {
    let server = Server::on_cpu(&[]);
    let request = request("LOCAL", &target(1));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}

#[test]
fn a_target_may_be_written_in_either_case() {
    let server = Server::on_cpu(&[]);
    for target in ["ab".repeat(32), "AB".repeat(32), "aB".repeat(32)] {
        let request = request("LOCAL", &target);
        assert_work(&post_works(server.address, &request.to_string()), &request);
    }
}

#[test]
fn a_block_may_be_old_or_a_little_ahead() {
    let server = Server::on_cpu(&[]);
    for timestamp in [1_704_067_200_000, now() + 50_000] {
        let request = json!({ "network": "LOCAL", "timestamp": timestamp, "target": target(2) });
        assert_work(&post_works(server.address, &request.to_string()), &request);
    }
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let server = Server::on_cpu(&[]);
    let mut stream = connect(server.address);
    for number in 0..20 {
        let request = request("LOCAL", &target(number));
        stream
            .write_all(crate::support::http::works(&request.to_string()).as_bytes())
            .unwrap();
        assert_work(&read(&stream, false), &request);
    }
}

#[test]
fn a_chunked_body_is_read() {
    let server = Server::on_cpu(&[]);
    let request = request("LOCAL", &target(3));
    let body = request.to_string();
    let (first, second) = body.split_at(20);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut stream = connect(server.address);
    let head = "POST /works HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream
        .write_all(format!("{head}{}", chunk(first)).as_bytes())
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    stream
        .write_all(format!("{}0\r\n\r\n", chunk(second)).as_bytes())
        .unwrap();
    assert_work(&read(&stream, false), &request);
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let server = Server::on_cpu(&[]);
    let bodies = [
        "",
        "work",
        "{",
        "[]",
        "7",
        "null",
        "\"LOCAL\"",
        "{\"network\":\"LOCAL\",}",
        "\u{feff}{}",
        r#"["LOCAL",1704067200000,"0000000000000000000000000000000000000000000000000000000000000000"]"#,
    ];
    for body in bodies {
        assert_problem(&post_works(server.address, body), 400, "MALFORMED_JSON");
    }
    let doubled = r#"{"network":"LOCAL","network":"LIVE"}"#;
    let marked = "\u{feff}{}";
    for (body, named) in [(doubled, "network"), (marked, "byte order mark")] {
        let problem = assert_problem(&post_works(server.address, body), 400, "MALFORMED_JSON");
        assert!(
            problem["detail"].as_str().unwrap().contains(named),
            "{problem}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let server = Server::on_cpu(&[]);
    let mut stream = connect(server.address);
    let head = "POST /works HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n";
    stream
        .write_all(&[head.as_bytes(), b"\"\xff\xfe\""].concat())
        .unwrap();
    assert_problem(&read(&stream, false), 400, "MALFORMED_JSON");
}

#[test]
fn every_wrong_field_is_named_with_its_rule() {
    let server = Server::on_cpu(&[]);
    let right = request("LOCAL", &target(4));
    let cases = [
        ("network", Value::Null, "network is missing"),
        ("network", json!(7), "network is 7; it must be a string"),
        ("network", json!(["LOCAL"]), "network is an array"),
        (
            "network",
            json!("NOWHERE"),
            "unknown network \"NOWHERE\"; allowed are LIVE, BETA, DEV and LOCAL",
        ),
        ("network", json!("UNKNOWN"), "unknown network \"UNKNOWN\""),
        ("network", json!("local"), "unknown network \"local\""),
        ("timestamp", Value::Null, "timestamp is missing"),
        (
            "timestamp",
            json!("2026-01-01T00:00:00Z"),
            "timestamp is a string; it must be a whole number",
        ),
        (
            "timestamp",
            json!(1.5),
            "timestamp is 1.5; it must be a whole number",
        ),
        (
            "timestamp",
            json!("1.5"),
            "timestamp is a string; it must be a whole number",
        ),
        ("timestamp", json!(true), "timestamp is true; it must be"),
        (
            "timestamp",
            json!(u64::MAX),
            "timestamp is 18446744073709551615; it must be",
        ),
        (
            "timestamp",
            json!(1_704_067_199_999_i64),
            "is before 1704067200000, 2024-01-01T00:00:00Z",
        ),
        ("timestamp", json!(0), "is before"),
        ("timestamp", json!(-1), "timestamp -1 is before"),
        ("timestamp", json!(i64::MIN), "is before"),
        (
            "timestamp",
            json!(now() + 3_600_000),
            "more than 60 s ahead of the server's clock",
        ),
        ("timestamp", json!(i64::MAX), "is after"),
        ("target", Value::Null, "target is missing"),
        ("target", json!({}), "target is an object"),
        (
            "target",
            json!(""),
            "target has 0 characters; it must be 64 hex digits",
        ),
        ("target", json!("00".repeat(31)), "target has 62 characters"),
        ("target", json!("00".repeat(33)), "target has 66 characters"),
        ("target", json!("0".repeat(63)), "target has 63 characters"),
        (
            "target",
            json!("0g".repeat(32)),
            "the character 'g' at position 1; only hex digits are allowed",
        ),
        (
            "target",
            json!("é".repeat(32)),
            "the character 'é' at position 0",
        ),
    ];
    let mut seen = 0;
    for (field, value, rule) in &cases {
        let mut wrong = right.clone();
        match value {
            Value::Null => drop(wrong.as_object_mut().unwrap().remove(*field)),
            value => wrong[*field] = value.clone(),
        }
        let problem = assert_problem(
            &post_works(server.address, &wrong.to_string()),
            400,
            "INVALID_FIELDS",
        );
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{wrong}: {problem}");
        assert_eq!(errors[0]["field"], *field);
        assert!(
            errors[0]["detail"].as_str().unwrap().contains(rule),
            "{wrong}: {problem}"
        );
        seen += 1;
    }
    assert_eq!(seen, 26);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let server = Server::on_cpu(&[]);
    let body = format!("{{{}}}", " ".repeat(16 * 1024));
    assert_problem(&post_works(server.address, &body), 413, "BODY_TOO_LARGE");
}

#[test]
fn a_body_that_is_declared_too_large_is_refused_before_it_is_sent() {
    let server = Server::on_cpu(&[]);
    let head = works("").replace(
        "content-length: 0",
        "content-length: 16385\r\nexpect: 100-continue",
    );
    // The first answer is the refusal, and not the invitation.
    assert_problem(&exchange(server.address, &head), 413, "BODY_TOO_LARGE");
    let request = request("LOCAL", &target(7));
    let right = works(&request.to_string());
    let (head, body) = right.split_once("\r\n\r\n").unwrap();
    let mut stream = connect(server.address);
    let head = format!("{head}\r\nexpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    assert_eq!(read_next(&mut reader, true).status, 100);
    stream.write_all(body.as_bytes()).unwrap();
    assert_work(&read_next(&mut reader, false), &request);
}

#[test]
fn a_compressed_body_is_refused_with_what_is_accepted() {
    let server = Server::on_cpu(&[]);
    let request = request("LOCAL", &target(8));
    let encoded = |encoding: &str| {
        let header = format!("content-encoding: {encoding}\r\ncontent-type");
        let works = works(&request.to_string()).replace("content-type", &header);
        exchange(server.address, &works)
    };
    for encoding in ["gzip", "br", "deflate, gzip"] {
        let answer = encoded(encoding);
        assert_problem(&answer, 415, "UNSUPPORTED_ENCODING");
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
    }
    assert_work(&encoded("identity"), &request);
}

#[test]
fn a_timestamp_may_be_spelled_in_any_way_that_json_has() {
    let server = Server::on_cpu(&[]);
    let right =
        json!({ "network": "LOCAL", "timestamp": 1_795_329_945_748_i64, "target": target(9) });
    let answer = |spelling: &str| {
        let body = right.to_string().replace("1795329945748", spelling);
        post_works(server.address, &body)
    };
    for spelling in [
        "1795329945748",
        "\"1795329945748\"",
        "\"1795329945748e0\"",
        "1795329945748e0",
        "1795329945748E+0",
        "179532994574.8e1",
        "1795329945748.0",
        "1.795329945748e12",
    ] {
        assert_work(&answer(spelling), &right);
    }
    for spelling in [
        "1795329945748.5",
        "1795329945748.0001",
        "1.795329945748e30",
        "\"01795329945748\"",
        "\"2026-11-22T00:00:00Z\"",
    ] {
        assert_problem(&answer(spelling), 400, "INVALID_FIELDS");
    }
    for spelling in [
        "01795329945748",
        "+1795329945748",
        "0x1a2",
        "1795329945748.",
    ] {
        assert_problem(&answer(spelling), 400, "MALFORMED_JSON");
    }
}

#[test]
fn http_1_1_names_its_host_once() {
    let server = Server::on_cpu(&[]);
    for port in [server.address, server.management] {
        for host in ["", "host: a\r\nhost: a\r\n", "host: a/b\r\n"] {
            let answer = exchange(port, &format!("GET /health HTTP/1.1\r\n{host}\r\n"));
            assert_problem(&answer, 400, "INVALID_HOST");
        }
        for request in [
            "GET /health HTTP/1.0\r\n\r\n",
            "GET /health HTTP/1.1\r\nhost: \r\n\r\n",
        ] {
            assert_eq!(exchange(port, request).status, 200);
        }
    }
}

/// hyper goes by the chunks and closes the connection, as RFC 9112 (6.1) requires, so nothing can hide behind the body.
#[test]
fn a_length_beside_chunks_ends_the_connection() {
    let server = Server::on_cpu(&[]);
    let body = request("LOCAL", &target(1)).to_string();
    for header in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let head = works("").replace("content-length: 0", header);
        let request = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let mut stream = connect(server.address);
        let hidden = works(&body);
        stream
            .write_all(format!("{request}{hidden}").as_bytes())
            .unwrap();
        let mut reader = BufReader::new(stream);
        assert_eq!(read_next(&mut reader, false).status, 200);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn load_balancers_may_check_the_public_port() {
    let server = Server::on_cpu(&["--shutdown-delay", "60"]);
    let statuses = || {
        [
            "GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
            "HEAD /health HTTP/1.1\r\nhost: a\r\n\r\n",
            "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
            // HAProxy's own.
            "OPTIONS / HTTP/1.0\r\n\r\n",
        ]
        .map(|check| exchange(server.address, check).status)
    };
    assert_eq!(statuses(), [200, 200, 200, 204]);
    assert_eq!(
        get(server.address, "/health").json(),
        json!({ "status": "UP" })
    );
    assert_eq!(get(server.address, "/").status, 302);
    server.terminate();
    eventually("it is not ready", || statuses() == [503, 503, 503, 204]);
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let server = Server::on_cpu(&[]);
    let mut stream = connect(server.address);
    stream
        .write_all(
            crate::support::http::works("{\"network\":\"LOCAL\"")
                .replace("length: 18", "length: 99")
                .as_bytes(),
        )
        .unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    // As which of the two depends on what the server sees first: the end of the body or that of the connection.
    let ended = || {
        let outcomes = ["invalid", "cancelled"].into_iter();
        let ended = outcomes.map(|outcome| {
            server.metric(&format!(
                "atto_work_requests_total{{network=\"none\",outcome=\"{outcome}\"}}"
            ))
        });
        ended.sum::<f64>()
    };
    eventually("it has ended", || ended() == 1.0);
    assert_eq!(server.metric("atto_work_hashes_total{device=\"cpu\"}"), 0.0);
    let request = request("LOCAL", &target(5));
    assert_work(&post_works(server.address, &request.to_string()), &request);
    let answered = "atto_work_requests_total{network=\"LOCAL\",outcome=\"ok\"}";
    assert_eq!((server.metric(answered), ended()), (1.0, 1.0));
}

#[test]
fn invalid_chunks_are_refused() {
    let server = Server::on_cpu(&[]);
    let head = "POST /works HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = exchange(
        server.address,
        &format!("{head}5\r\n{{\"net\r\nno chunk\r\n"),
    );
    assert_problem(&answer, 400, "BODY_BROKEN");
}

#[test]
fn a_content_type_other_than_json_is_refused() {
    let server = Server::on_cpu(&[]);
    let works = crate::support::http::works(&request("LOCAL", &target(6)).to_string());
    for header in [
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "",
    ] {
        let answer = exchange(
            server.address,
            &works.replace("content-type: application/json\r\n", header),
        );
        assert_problem(&answer, 415, "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(answer.header("accept"), Some("application/json"));
    }
    for json in [
        "application/json; charset=UTF-8",
        "application/vnd.api+json",
    ] {
        let with_type = works.replace(
            "application/json\r\ncontent-length",
            &format!("{json}\r\ncontent-length"),
        );
        assert_eq!(exchange(server.address, &with_type).status, 200, "{json}");
    }
}

#[test]
fn a_wrong_method_is_refused_with_the_right_one() {
    let server = Server::on_cpu(&[]);
    for method in ["GET", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let answer = exchange(
            server.address,
            &format!("{method} /works HTTP/1.1\r\nhost: test\r\n\r\n"),
        );
        assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), Some("OPTIONS, POST"));
    }
    assert_eq!(
        exchange(server.address, "HEAD /works HTTP/1.1\r\nhost: test\r\n\r\n").status,
        405
    );
    let options = exchange(
        server.address,
        "OPTIONS /works HTTP/1.1\r\nhost: test\r\n\r\n",
    );
    assert_eq!(
        (options.status, options.header("allow"), &*options.body),
        (204, Some("OPTIONS, POST"), "")
    );
}

#[test]
fn an_unknown_path_is_refused() {
    let server = Server::on_cpu(&[]);
    for path in [
        "/work",
        "/works/",
        "/works/1",
        "/works/verify/",
        "/openapi",
        "/v3/api-docs/",
        "/Works",
        "/%00",
        "/health/",
        "/health/liveness",
        "/prometheus",
    ] {
        assert_problem(&get(server.address, path), 404, "NOT_FOUND");
    }
}

/// `POST /works/verify` with this body.
fn verify(server: &Server, body: &Value) -> Response {
    let body = body.to_string();
    exchange(
        server.address,
        &crate::support::http::request("POST", "/works/verify", "", &body),
    )
}

#[test]
fn works_are_verified_as_the_vectors_have_it() {
    let server = Server::on_cpu(&[]);
    let vectors = crate::support::conformance::vectors();
    let now = now();
    let mut seen = 0;
    for vector in &vectors.hashes {
        let mut asked = request("LOCAL", &vector.target);
        asked["work"] = vector.work.clone().into();
        let answer = verify(&server, &asked);
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(
            body.as_object().map(serde_json::Map::len),
            Some(3),
            "{body}"
        );
        assert_eq!(body["digest"], vector.digest);
        let number = |name: &str| body[name].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(body["valid"], number("digest") <= number("threshold"));
        seen += 1;
    }
    for vector in vectors
        .thresholds
        .iter()
        .filter(|vector| vector.timestamp <= now)
    {
        let asked = json!({
            "network": vector.network,
            "timestamp": vector.timestamp,
            "target": target(1),
            "work": "0000000000000000",
        });
        assert_eq!(
            verify(&server, &asked).json()["threshold"],
            vector.threshold
        );
        seen += 1;
    }
    for vector in &vectors.published {
        let asked = json!({
            "network": vector.network,
            "timestamp": vector.timestamp,
            "target": vector.target,
            "work": vector.work,
        });
        let answer = verify(&server, &asked);
        if vector.timestamp > now {
            assert_problem(&answer, 400, "INVALID_FIELDS");
        } else {
            assert_eq!(answer.json()["valid"], vector.valid, "{asked}");
        }
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn found_works_are_valid_and_what_cannot_be_verified_is_named() {
    let server = Server::on_cpu(&[]);
    let mut asked = request("LOCAL", &target(1));
    let found = post_works(server.address, &asked.to_string()).json();
    asked["work"] = found["work"].as_str().unwrap().to_lowercase().into();
    assert_eq!(verify(&server, &asked).json()["valid"], true);
    let cases = [
        (
            "work",
            Value::Null,
            "work is missing; it must be a string of 16 hex digits",
        ),
        ("work", json!(7), "work is 7"),
        (
            "work",
            json!("00"),
            "work has 2 characters; it must be 16 hex digits",
        ),
        ("work", json!("000000000000000x"), "'x' at position 15"),
        ("network", json!("UNKNOWN"), "unknown network"),
        (
            "timestamp",
            json!(now() + 3_600_000),
            "ahead of the server's clock",
        ),
        ("target", json!("00"), "target has 2 characters"),
    ];
    for (field, value, rule) in cases {
        let mut wrong = asked.clone();
        match value {
            Value::Null => drop(wrong.as_object_mut().unwrap().remove(field)),
            value => wrong[field] = value,
        }
        let problem = assert_problem(&verify(&server, &wrong), 400, "INVALID_FIELDS");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
        assert_eq!(problem["errors"][0]["field"], field);
        assert!(
            problem["detail"].as_str().unwrap().contains(rule),
            "{problem}"
        );
    }
    let all = assert_problem(&verify(&server, &json!({})), 400, "INVALID_FIELDS");
    assert_eq!(all["errors"].as_array().unwrap().len(), 4);
    assert_problem(&verify(&server, &json!([])), 400, "MALFORMED_JSON");
    let twice = r#"{"work":"00","work":"00"}"#;
    let twice = crate::support::http::request("POST", "/works/verify", "", twice);
    assert_problem(&exchange(server.address, &twice), 400, "MALFORMED_JSON");
    assert_eq!(
        get(server.address, "/works/verify").header("allow"),
        Some("OPTIONS, POST")
    );
    let counted =
        |labels: &str| server.metric(&format!("atto_work_verifications_total{{{labels}}}"));
    assert_eq!(counted("network=\"LOCAL\",outcome=\"ok\""), 1.0);
    assert_eq!(counted("network=\"none\",outcome=\"invalid\""), 10.0);
}

/// The media type of Spring Boot Actuator.
const ACTUATOR: &str = "application/vnd.spring-boot.actuator.v3+json";

#[test]
fn health_is_answered_as_actuator_does() {
    let server = Server::on_cpu(&[]);
    let management = server.management;
    let health = get(management, "/health");
    assert_eq!(
        (health.status, health.header("content-type")),
        (200, Some(ACTUATOR))
    );
    assert_eq!(
        health.json(),
        json!({ "status": "UP", "groups": ["liveness", "readiness"] })
    );
    for probe in ["/health/liveness", "/health/readiness"] {
        let answer = get(management, probe);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some(ACTUATOR))
        );
        assert_eq!(answer.json(), json!({ "status": "UP" }));
        for (accept, media_type) in [
            ("application/json", "application/json"),
            ("application/json;q=0.5, */*;q=0.9", "application/json"),
            ("*/*", ACTUATOR),
            (ACTUATOR, ACTUATOR),
            // The reference server answers 406 to this.
            ("text/html", ACTUATOR),
        ] {
            let answer = get_as(management, probe, accept);
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some(media_type)),
                "{accept}"
            );
        }
    }
    assert_eq!(
        exchange(management, "HEAD /health HTTP/1.1\r\nhost: test\r\n\r\n").status,
        200
    );
}

#[test]
fn the_root_of_management_is_a_page_for_browsers_and_links_for_all_others() {
    let server = Server::on_cpu(&[]);
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = get_as(server.management, "/", browser);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for links in [
        get(server.management, "/"),
        get_as(server.management, "/", "*/*"),
    ] {
        assert_eq!(
            (links.status, links.header("content-type")),
            (200, Some(ACTUATOR))
        );
        let links = links.json();
        let links = links["_links"].as_object().unwrap();
        assert_eq!(links.len(), 6);
        for (name, link) in links {
            let href = link["href"].as_str().unwrap();
            let path = href.strip_prefix("http://test").expect(href);
            assert_eq!(link["templated"], path.contains('{'), "{name}");
            let path = path.replace("{*path}", "liveness");
            let path = path.replace("{requiredMetricName}", "http.server.requests");
            // That metric is there after the first request.
            post_works(server.address, "{}");
            assert_eq!(get(server.management, &path).status, 200, "{name}");
        }
    }
}

#[test]
fn metrics_are_listed_and_shown_one_by_one_to_clients_that_accept_json_only() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let management = server.management;
    let request = request("LOCAL", &target(1));
    assert_work(&post_works(server.address, &request.to_string()), &request);
    for _ in 0..2 {
        assert_eq!(post_works(server.address, "{}").status, 400);
    }
    let list = get_as(management, "/metrics", "application/json");
    assert_eq!(list.header("content-type"), Some("application/json"));
    let names = list.json()["names"].clone();
    for name in [
        "application.ready.time",
        "application.started.time",
        "atto.work.request",
        "atto.work.hashes",
        "http.server.requests",
        "http.server.requests.active",
        "logback.events",
        "process.cpu.usage",
        "process.files.open",
        "process.uptime",
        "system.load.average.1m",
    ] {
        assert!(
            names.as_array().unwrap().contains(&name.into()),
            "{name}: {names}"
        );
    }
    for name in names.as_array().unwrap() {
        let path = format!("/metrics/{}", name.as_str().unwrap());
        assert_eq!(get(management, &path).json()["name"], *name);
    }
    for accept in ["*/*", "application/json, text/plain, */*", "text/plain"] {
        let page = get_as(management, "/metrics", accept);
        assert_eq!(
            page.header("content-type"),
            Some("text/plain; version=0.0.4"),
            "{accept}"
        );
    }
    let metric = |query: &str| get(management, &format!("/metrics/http.server.requests{query}"));
    let all = metric("").json();
    assert_eq!(all["baseUnit"], "seconds");
    let statistics: Vec<_> = all["measurements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|measured| {
            (
                measured["statistic"].as_str().unwrap(),
                measured["value"].as_f64().unwrap(),
            )
        })
        .collect();
    assert!(
        matches!(statistics[..], [("COUNT", 3.0), ("MAX", max), ("TOTAL_TIME", sum)] if 0.0 < max && max <= sum * 1.000_001),
        "{all}"
    );
    let status = json!({ "tag": "status", "values": ["200", "400"] });
    assert!(
        all["availableTags"].as_array().unwrap().contains(&status),
        "{all}"
    );
    let some = metric("?tag=status:400&tag=method:POST").json();
    assert_eq!(
        some["measurements"][0],
        json!({ "statistic": "COUNT", "value": 2.0 })
    );
    let tags: Vec<_> = some["availableTags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["tag"])
        .collect();
    assert!(
        !tags.contains(&&json!("status")) && tags.contains(&&json!("uri")),
        "{some}"
    );
    for unknown in [
        "?tag=status:999",
        "?tag=status",
        "?tag=nothing:7",
        "?tag=status%3A999",
    ] {
        assert_problem(&metric(unknown), 404, "NOT_FOUND");
    }
    assert_eq!(metric("?tag=status%3A400").status, 200);
    assert_problem(&get(management, "/metrics/nothing"), 404, "NOT_FOUND");
}

#[test]
fn an_error_response_has_springs_members_and_the_id_of_its_log_line() {
    let server = Server::on_cpu(&[]);
    let ask = |id: &str| {
        let asked = works("{}").replace("host: test", &format!("host: test\r\nx-request-id: {id}"));
        exchange(server.address, &asked)
    };
    let answer = ask("report-7/a.b");
    let problem = assert_problem(&answer, 400, "INVALID_FIELDS");
    assert_eq!(problem["requestId"], "report-7/a.b");
    assert_eq!(answer.header("x-request-id"), Some("report-7/a.b"));
    assert_eq!(problem["error"], "Bad Request");
    assert_eq!(problem["path"], "/works");
    let at: jiff::Timestamp = problem["timestamp"].as_str().unwrap().parse().unwrap();
    assert!((now() - at.as_millisecond()).abs() < 60_000, "{problem}");
    let lines = server.log_until("request refused");
    let line = lines.last().unwrap();
    assert_eq!(line["request_id"], "report-7/a.b");
    assert_eq!(
        (&line["code"], &line["status"]),
        (&json!("INVALID_FIELDS"), &json!(400))
    );
    // An id that is not valid is replaced, and without one there is a new one.
    let ids = [
        ask("a b"),
        ask(&"a".repeat(129)),
        post_works(server.address, "{}"),
    ]
    .map(|answer| answer.json()["requestId"].as_str().unwrap().to_owned());
    for id in &ids {
        assert_eq!(id.len(), 32);
        assert_eq!(
            server.log_until("request refused").last().unwrap()["request_id"],
            *id
        );
    }
    assert_ne!(ids[0], ids[1]);
    // Every answer has one, and so have those of the management port.
    let request = request("LOCAL", &target(1));
    assert!(post_works(server.address, &request.to_string()).has("x-request-id"));
    for path in ["/health", "/nothing"] {
        assert!(get(server.management, path).has("x-request-id"));
    }
}

#[test]
fn a_flood_of_error_responses_does_not_flood_the_log() {
    let mut server = Server::on_cpu(&[]);
    let asked: String = (0..1000).map(|_| works("{}")).collect();
    let mut stream = connect(server.address);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let sender = std::thread::spawn(move || stream.write_all(asked.as_bytes()));
    for _ in 0..1000 {
        assert_eq!(read_next(&mut reader, false).status, 400);
    }
    sender.join().unwrap().unwrap();
    // The next second counts what was left out.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(post_works(server.address, "{}").status, 400);
    server.terminate();
    let lines = server.log_until("stopped");
    server.wait();
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "request refused")
        .collect();
    let left_out: u64 = refused
        .iter()
        .filter_map(|line| line["left_out"].as_u64())
        .sum();
    assert!(
        refused.len() < 1001 && left_out > 0,
        "{} {left_out}",
        refused.len()
    );
    assert_eq!(refused.len() as u64 + left_out, 1001);
}

#[test]
fn management_refuses_what_it_does_not_serve() {
    let server = Server::on_cpu(&[]);
    for path in ["/works", "/health/", "/health/nothing"] {
        assert_problem(&get(server.management, path), 404, "NOT_FOUND");
    }
    let answer = exchange(
        server.management,
        "POST /health HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n",
    );
    assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
}

#[test]
fn what_happens_is_counted() {
    let server = Server::on_cpu(&["--threads", "1", "--queue-capacity", "77"]);
    let request = request("LOCAL", &target(8));
    assert_work(&post_works(server.address, &request.to_string()), &request);
    post_works(server.address, "{}");
    let metrics = get(server.management, "/prometheus");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert_eq!(
        metrics.metric("atto_work_requests_total{network=\"LOCAL\",outcome=\"ok\"}"),
        1.0
    );
    assert_eq!(
        metrics.metric("atto_work_requests_total{network=\"none\",outcome=\"invalid\"}"),
        1.0
    );
    assert!(metrics.metric("atto_work_hashes_total{device=\"cpu\"}") > 0.0);
    assert_eq!(metrics.metric("atto_work_queue_capacity"), 77.0);
    assert!(metrics.metric("process_resident_memory_bytes") > 0.0);
}
