//! `GET /` and `GET /status.json` of the management port, over real sockets: the page and its data as a client gets
//! them. What a browser makes of them is in `status_page`.

use std::fs;
use std::path::PathBuf;

use crate::support::http::{Response, exchange, get, get_as, post_works};
use crate::support::{PORTS, Server, assert_work, eventually, now, request, target};
use serde_json::{Value, json};

fn status(server: &Server) -> Value {
    get(server.management, "/status.json").json()
}

fn serve(server: &Server, number: u64) {
    let request = request("LOCAL", &target(number));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}

fn members(value: &Value) -> Vec<&str> {
    let members = value.as_object().expect("an object");
    members.keys().map(String::as_str).collect()
}

#[test]
fn the_data_have_their_shape() {
    let server = Server::on_cpu(&["--threads", "1"]);
    (0..3).for_each(|number| serve(&server, number));
    eventually("an interval has ended", || {
        let ends = &status(&server)["history"]["intervals"]["ends"];
        ends.as_array().is_some_and(|ends| !ends.is_empty())
    });
    let status = status(&server);
    assert!((status["at"].as_i64().unwrap() - now()).abs() < 3_600_000);

    let about = &status["server"];
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&about["phase"], &about["can_serve"]),
        (&json!("serving"), &json!(true))
    );
    assert!(about["uptime_seconds"].as_f64() >= Some(0.0));
    for word in ["commit", "features", "host"] {
        assert!(
            about[word].as_str().is_some_and(|text| !text.is_empty()),
            "{word}"
        );
    }

    let devices = status["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1);
    let device = &devices[0];
    assert_eq!(device["name"], "cpu");
    assert_eq!(device["backend"], "cpu");
    assert_eq!(device["state"], "up");
    assert_eq!(device["engines"], 1);
    assert_eq!(device["faults"], 0);
    assert_eq!(
        (&device["since"], &device["last_error"]),
        (&Value::Null, &Value::Null)
    );
    assert!(device["hash_rate"].as_f64() > Some(0.0));
    assert!(device["hashes"].as_u64() > Some(0));
    assert!(device["live_hash_rate"].as_f64() >= Some(0.0));

    let queue = &status["queue"];
    assert_eq!(
        (&queue["running"], &queue["waiting"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (&queue["capacity"], &queue["turns"]),
        (&json!(1000), &json!(4))
    );
    assert_eq!(queue["temperature"], "idle");
    assert_eq!(queue["expected_wait_seconds"], 0.0);

    let expected = status["expected"].as_array().unwrap();
    let networks: Vec<_> = expected
        .iter()
        .map(|row| row["network"].as_str().unwrap())
        .collect();
    assert_eq!(networks, ["LIVE", "BETA", "DEV", "LOCAL"]);
    for row in expected {
        let (mean, p99) = (
            row["mean_seconds"].as_f64().unwrap(),
            row["p99_seconds"].as_f64().unwrap(),
        );
        assert!((p99 / mean - 100_f64.ln()).abs() < 1e-9, "{row}");
    }

    let history = &status["history"];
    assert_eq!(history["requests"]["ok"], 3);
    assert_eq!(history["last_minute"]["requests"]["ok"], 3);
    for time in ["wait", "solve", "total"] {
        let times = &history["last_ten_minutes"][time];
        assert_eq!(members(times), ["p50", "p95", "p99"]);
        assert!(times["p50"].as_f64() <= times["p99"].as_f64());
    }
    let intervals = &history["intervals"];
    assert_eq!(intervals["interval_seconds"], 5);
    let length = intervals["ends"].as_array().unwrap().len();
    let mut columns = vec![
        &intervals["running"],
        &intervals["waiting"],
        &intervals["hash_rates"][0],
    ];
    columns.extend(intervals["requests"].as_object().unwrap().values());
    for time in ["wait", "solve", "total"] {
        columns.extend(intervals[time].as_object().unwrap().values());
    }
    assert_eq!(columns.len(), 3 + 11 + 9);
    for column in columns {
        assert_eq!(column.as_array().map(Vec::len), Some(length), "{column}");
    }
    assert_eq!(status["incidents"], json!([]));
    assert_eq!(status["api_keys"], Value::Null);
}

#[test]
fn a_chosen_card_that_is_absent_is_reported_as_missing() {
    let args = ["serve", "--backend", "auto", "--threads", "1"];
    let asked = ["--device", "no such card"];
    let server = Server::start(&[&args[..], &PORTS, &asked].concat());
    let missing = &status(&server)["missing_cards"];
    assert_eq!(missing["is_expected"], true, "{missing}");
    let reason = missing["reasons"][0].as_str().expect("a reason");
    assert!(
        reason.starts_with("no adapter matches \"no such card\""),
        "{reason}"
    );
    // No card is missing if the backend is the processor.
    let server = Server::on_cpu(&["--threads", "1"]);
    assert_eq!(status(&server)["missing_cards"], Value::Null);
}

#[test]
fn how_requests_end_is_counted() {
    let server = Server::on_cpu(&["--threads", "1", "--kernel", "portable"]);
    serve(&server, 1);
    let counts = |expected: Value| {
        eventually("the requests are counted", || {
            let requests = &status(&server)["history"]["requests"];
            expected
                .as_object()
                .unwrap()
                .iter()
                .all(|(outcome, count)| requests[outcome] == *count)
        });
    };
    counts(json!({ "ok": 1, "invalid": 0 }));
    assert_eq!(post_works(server.address, "{}").status, 400);
    counts(json!({ "ok": 1, "invalid": 1 }));
    // The repeated request is answered from the cache, without a search.
    serve(&server, 1);
    counts(json!({ "ok": 2, "invalid": 1, "cancelled": 0 }));
    // A search for LIVE takes this kernel minutes, and its client disconnects.
    let hard = request("LIVE", &target(2)).to_string();
    let stream = crate::support::http::connect(server.address);
    std::io::Write::write_all(&mut &stream, crate::support::http::works(&hard).as_bytes()).unwrap();
    eventually("it runs", || {
        status(&server)["queue"]["temperature"] == "warm"
    });
    drop(stream);
    counts(json!({ "ok": 2, "cancelled": 1 }));
}

#[test]
fn the_page_is_guarded() {
    let server = Server::on_cpu(&["--threads", "1"]);
    let page = get_as(server.management, "/", "text/html");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let guarded = |answer: &Response| {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("same-origin")
        );
    };
    guarded(&page);
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));

    let policy = page
        .header("content-security-policy")
        .expect("a policy")
        .to_owned();
    let directives: Vec<_> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(directives.contains(&directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("a nonce");
    assert_eq!(nonce.len(), 32);
    assert_eq!(page.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    let again = get_as(server.management, "/", "text/html");
    assert!(!again.body.contains(nonce), "it is used once");

    // It asks nobody else: the only address in it is a name.
    let own = page.body.replace("http://www.w3.org/2000/svg", "");
    for address in ["http:", "https:", "src=\"", "url("] {
        assert!(!own.contains(address), "{address}");
    }

    let data = get(server.management, "/status.json");
    assert_eq!(data.header("content-type"), Some("application/json"));
    guarded(&data);
    for path in ["/", "/status.json"] {
        let head = exchange(
            server.management,
            &format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n"),
        );
        assert_eq!(head.status, 200);
        assert_eq!(
            head.header("content-type"),
            get(server.management, path).header("content-type")
        );
        let post = exchange(
            server.management,
            &crate::support::http::request("POST", path, "", "{}"),
        );
        assert_eq!(post.status, 405);
        assert_eq!(post.header("allow"), Some("GET, HEAD"));
        // Clients have a page of their own there.
        assert!(!get(server.address, path).body.contains("uptime_seconds"));
    }
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("status");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys");
    let made = crate::support::work_server(&["hash-key", "--generate", "wallet"])
        .output()
        .unwrap();
    let line = String::from_utf8(made.stdout).unwrap();
    let key = String::from_utf8(made.stderr).unwrap();
    let hash = line.trim().rsplit(':').next().unwrap().to_owned();
    assert!(hash.len() >= 32, "{line}");
    fs::write(&file, &line).unwrap();
    let server = Server::on_cpu(&[
        "--threads",
        "1",
        "--deadline",
        "60.5",
        "--api-keys-file",
        file.to_str().unwrap(),
    ]);
    let data = get(server.management, "/status.json");
    let status = data.json();
    assert_eq!(status["api_keys"], 1);
    let setting = |variable: &str| {
        let configuration = status["configuration"].as_array().unwrap();
        let setting = configuration
            .iter()
            .find(|setting| setting["variable"] == variable);
        let setting = setting.unwrap_or_else(|| panic!("{variable} is not shown"));
        (setting["value"].clone(), setting["is_default"].clone())
    };
    assert_eq!(setting("ATTO_WORK_BACKEND"), (json!("cpu"), json!(false)));
    assert_eq!(setting("ATTO_WORK_DEADLINE"), (json!("60.5"), json!(false)));
    assert_eq!(setting("ATTO_WORK_THREADS"), (json!("1"), json!(false)));
    assert_eq!(setting("ATTO_WORK_QUEUE_SIZE"), (json!("4"), json!(true)));
    assert_eq!(setting("ATTO_WORK_KERNEL"), (Value::Null, json!(true)));
    assert_eq!(
        setting("ATTO_WORK_API_KEYS_FILE"),
        (json!(file), json!(false))
    );
    let secrets = key
        .split_whitespace()
        .filter(|word| word.len() >= 32 && !word.contains('/'));
    let secrets: Vec<_> = secrets.chain([hash.as_str()]).collect();
    assert!(secrets.len() >= 2, "{key:?}");
    for secret in secrets {
        assert!(!data.body.contains(secret), "{secret}");
    }
    assert!(
        !data.body.contains("wallet"),
        "a client's name is nobody's business"
    );
}
