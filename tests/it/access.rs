//! Access: API keys and their limit of requests in progress, CORS origins, allowed hosts, and what the management port
//! refuses. The real binary, over real sockets.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::nano;
use crate::support::http::{Response, connect, exchange, get, read};
use crate::support::{Server, assert_work, eventually, request, target, work_server};
use rustix::process::Signal;

const ALICE: &str = "alice-has-this-key-0001";
const ALICE_TOO: &str = "alice-has-this-key-0002";
const BOB: &str = "bob-has-this-key-000001";
const NOBODY: &str = "nobody-has-this-key-0001";

const RELOADED: &str = "API keys reloaded";
const NOT_RELOADED: &str = "cannot reload the API keys; those loaded before stay in use";

/// A folder of this test's own, empty.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What `work-server hash-key` does with these arguments and this on its standard input.
fn hash_key(args: &[&str], input: &str) -> Output {
    let mut child = work_server(&[&["hash-key"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without a look at it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The line of the file for this key.
fn entry(name: &str, key: &str) -> String {
    let output = hash_key(&[name], key);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A file with the keys of Alice and Bob.
fn keys(folder: &Path) -> PathBuf {
    let file = folder.join("keys");
    let text = entry("alice", ALICE) + "# who else\n" + &entry("bob", BOB);
    fs::write(&file, text).unwrap();
    file
}

/// A server that is slow at LIVE searches, and accepts only these keys.
fn server(file: &Path, more: &[&str]) -> Server {
    let file = file.to_str().unwrap();
    let args = [
        "--threads",
        "1",
        "--kernel",
        "portable",
        "--api-keys-file",
        file,
    ];
    Server::on_cpu(&[&args, more].concat())
}

/// Nano's port, which allows searches that no machine ends within a test.
const NANO: [&str; 4] = [
    "--nano-address",
    "127.0.0.1:0",
    nano::NO_LIMIT[0],
    nano::NO_LIMIT[1],
];

/// Begins such a search.
fn search_without_end(server: &Server, key: &str) -> TcpStream {
    let body = nano::generate(&nano::root(1), nano::HARD).to_string();
    let mut searching = connect(server.nano.expect("such a port"));
    searching
        .write_all(nano::request(&bearer(key), &body).as_bytes())
        .unwrap();
    searching
}

/// The header line that sends a key.
fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

/// A request for an easy work with these header lines.
fn ask(server: &Server, headers: &str) -> Response {
    let body = request("LOCAL", &target(1)).to_string();
    exchange(
        server.address,
        &crate::support::http::request("POST", "/works", headers, &body),
    )
}

/// A request to verify with these header lines.
fn ask_to_verify(server: &Server, headers: &str) -> Response {
    let mut body = request("LOCAL", &target(1));
    body["work"] = "0000000000000000".into();
    exchange(
        server.address,
        &crate::support::http::request("POST", "/works/verify", headers, &body.to_string()),
    )
}

fn assert_problem(answer: &Response, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.json()["code"], code, "{answer:?}");
}

#[test]
fn without_a_file_of_keys_no_key_is_checked() {
    let server = Server::on_cpu(&[]);
    for headers in [&bearer(NOBODY), "authorization: Basic eA==\r\n", ""] {
        assert_eq!(ask(&server, headers).status, 200);
    }
    let metrics = get(server.management, "/prometheus").body;
    assert!(!metrics.contains("atto_work_key_requests"), "{metrics}");
}

#[test]
fn with_a_file_of_keys_only_its_keys_are_accepted() {
    let server = server(&keys(&folder("only_its_keys")), &[]);
    let missing = "Bearer realm=\"atto-work-server\"";
    let unknown = "Bearer realm=\"atto-work-server\", error=\"invalid_token\"";
    let cases = [
        (String::new(), missing),
        ("authorization: Basic YWxpY2U6eA==\r\n".to_owned(), missing),
        (format!("authorization: {ALICE}\r\n"), missing),
        (bearer(""), missing),
        (bearer(ALICE) + &bearer(BOB), missing),
        (format!("x-api-key: {ALICE}\r\n"), missing),
        (bearer(NOBODY), unknown),
        (bearer("alice"), unknown),
        (bearer(&ALICE[1..]), unknown),
        (bearer(&format!("{ALICE}0")), unknown),
        (bearer(&ALICE.to_uppercase()), unknown),
        (bearer(&"a".repeat(4000)), unknown),
    ];
    for (headers, challenge) in &cases {
        for answer in [ask(&server, headers), ask_to_verify(&server, headers)] {
            assert_problem(&answer, 401, "UNAUTHORIZED");
            assert_eq!(
                answer.header("www-authenticate"),
                Some(*challenge),
                "{headers}"
            );
        }
    }
    // What is in the file is not a key.
    let hash = entry("alice", ALICE);
    let hash = hash.trim_end().rsplit(':').next().unwrap();
    assert_eq!(ask(&server, &bearer(hash)).status, 401);

    for headers in [
        bearer(ALICE),
        bearer(BOB),
        format!("Authorization: bearer {ALICE}\r\n"),
    ] {
        let asked = request("LOCAL", &target(1));
        let answer = exchange(
            server.address,
            &crate::support::http::request("POST", "/works", &headers, &asked.to_string()),
        );
        assert_work(&answer, &asked);
        assert_eq!(ask_to_verify(&server, &headers).status, 200);
    }
    let count = |name: &str| server.metric(name);
    assert_eq!(
        count("atto_work_requests_total{network=\"none\",outcome=\"unauthorized\"}"),
        13.0
    );
    assert_eq!(
        count("atto_work_key_requests_total{key=\"alice\",outcome=\"ok\"}"),
        4.0
    );
    assert_eq!(
        count("atto_work_key_requests_total{key=\"bob\",outcome=\"ok\"}"),
        2.0
    );
    let metrics = get(server.management, "/prometheus").body;
    assert_eq!(
        metrics.matches("\natto_work_key_requests_total{").count(),
        2,
        "{metrics}"
    );
}

#[test]
fn only_requests_for_work_and_to_verify_need_a_key() {
    let server = server(&keys(&folder("nothing_else")), &[]);
    for path in ["/openapi.json", "/v3/api-docs", "/swagger-ui/index.html"] {
        assert_eq!(get(server.address, path).status, 200, "{path}");
    }
    assert_eq!(get(server.address, "/").status, 302);
    assert_eq!(get(server.address, "/works").status, 405);
    assert_eq!(get(server.address, "/nothing").status, 404);
    for path in [
        "/health",
        "/health/liveness",
        "/health/readiness",
        "/prometheus",
    ] {
        assert_eq!(get(server.management, path).status, 200, "{path}");
    }
}

#[test]
fn a_request_without_a_key_is_refused_before_its_body_arrives() {
    let server = server(
        &keys(&folder("not_waited_for")),
        &["--body-timeout", "3600"],
    );
    let mut stream = connect(server.address);
    let head = crate::support::http::request("POST", "/works", "", "{}")
        .replace("length: 2", "length: 99");
    stream.write_all(head.as_bytes()).unwrap();
    assert_problem(&read(&stream, false), 401, "UNAUTHORIZED");
}

#[test]
fn the_requests_in_progress_of_a_key_are_limited() {
    let folder = folder("in_progress");
    let file = keys(&folder);
    let server = server(&file, &[&NANO[..], &["--api-key-requests", "1"]].concat());
    let searching = search_without_end(&server, ALICE);
    eventually("a search", || {
        server.metric("atto_work_searches_running") == 1.0
    });

    let assert_busy = |key: &str| {
        for answer in [
            ask(&server, &bearer(key)),
            ask_to_verify(&server, &bearer(key)),
        ] {
            assert_problem(&answer, 429, "TOO_MANY_REQUESTS");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    };
    assert_busy(ALICE);
    assert_eq!(ask(&server, &bearer(BOB)).status, 200);

    // Neither a second key of the same name nor a reload of the file gets around the limit.
    let text = fs::read_to_string(&file).unwrap() + &entry("alice", ALICE_TOO);
    fs::write(&file, text).unwrap();
    eventually("a second key", || {
        ask(&server, &bearer(ALICE_TOO)).status != 401
    });
    assert_busy(ALICE);
    assert_busy(ALICE_TOO);
    assert!(
        server.metric("atto_work_key_requests_total{key=\"alice\",outcome=\"limited\"}") >= 6.0
    );
    assert!(server.metric("atto_work_requests_total{network=\"none\",outcome=\"limited\"}") >= 3.0);

    drop(searching);
    eventually("room", || ask(&server, &bearer(ALICE)).status == 200);
    assert_eq!(
        server.metric("atto_work_key_requests_total{key=\"alice\",outcome=\"cancelled\"}"),
        1.0
    );
    // A refused request frees its slot too.
    for _ in 0..3 {
        let wrong = crate::support::http::request("POST", "/works", &bearer(ALICE), "{}");
        assert_eq!(exchange(server.address, &wrong).status, 400);
    }
}

#[test]
fn a_full_queue_has_room_for_another_client() {
    let folder = folder("full_queue");
    let file = keys(&folder);
    let queue = ["--queue-size", "1", "--queue-capacity", "2"];
    let server = server(&file, &[&NANO[..], &queue].concat());
    let search = |key: &str, number| {
        let live = request("LIVE", &target(number)).to_string();
        let live = crate::support::http::request("POST", "/works", &bearer(key), &live);
        let mut searching = connect(server.address);
        searching.write_all(live.as_bytes()).unwrap();
        searching
    };
    let waiting = || server.metric("atto_work_queue_depth");
    let _running = search_without_end(&server, ALICE);
    eventually("it runs", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    let [_first, last] = [1, 2].map(|number| {
        let searching = search(ALICE, number);
        eventually("it waits", || waiting() == number as f64);
        searching
    });
    let full = exchange(
        server.address,
        &crate::support::http::request(
            "POST",
            "/works",
            &bearer(ALICE),
            &request("LIVE", &target(4)).to_string(),
        ),
    );
    assert_problem(&full, 503, "QUEUE_FULL");

    // The client with the most searches loses its last one.
    let _bob = search(BOB, 5);
    assert_problem(&read(&last, false), 503, "QUEUE_FULL");
    assert_eq!(waiting(), 2.0);
    let refused = |key: &str| {
        let labels = format!("key=\"{key}\",outcome=\"queue_full\"");
        get(server.management, "/prometheus")
            .metric_or_zero(&format!("atto_work_key_requests_total{{{labels}}}"))
    };
    assert_eq!((refused("alice"), refused("bob")), (2.0, 0.0));
}

#[test]
fn a_changed_file_of_keys_is_reloaded() {
    let folder = folder("changes");
    let file = keys(&folder);
    let server = server(&file, &[]);

    // Rewritten.
    fs::write(&file, entry("bob", BOB)).unwrap();
    eventually("Alice is gone", || {
        ask(&server, &bearer(ALICE)).status == 401
    });
    assert_eq!(ask(&server, &bearer(BOB)).status, 200);
    // Put in its place.
    fs::write(folder.join("new"), entry("alice", ALICE)).unwrap();
    fs::rename(folder.join("new"), &file).unwrap();
    eventually("Alice is back", || {
        ask(&server, &bearer(ALICE)).status == 200
    });
    assert_eq!(ask(&server, &bearer(BOB)).status, 401);
}

#[test]
fn a_changed_secret_of_kubernetes_is_reloaded() {
    // The file is a link through `..data`, which is a link to the folder of a version and is put in its place.
    let folder = folder("kubernetes");
    for (version, name, key) in [("..1", "alice", ALICE), ("..2", "bob", BOB)] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("keys"), entry(name, key)).unwrap();
    }
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/keys", folder.join("keys")).unwrap();
    let server = server(&folder.join("keys"), &[]);
    assert_eq!(ask(&server, &bearer(ALICE)).status, 200);
    symlink("..2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    eventually("Bob's version", || ask(&server, &bearer(BOB)).status == 200);
    assert_eq!(ask(&server, &bearer(ALICE)).status, 401);
}

#[test]
fn sighup_reloads_the_file_of_keys() {
    let server = server(&keys(&folder("hangup")), &[]);
    // Nothing has changed, so it can only be for the signal.
    server.signal(Signal::HUP);
    server.wait_for_log(RELOADED);
    assert_eq!(ask(&server, &bearer(ALICE)).status, 200);
}

#[test]
fn an_invalid_file_of_keys_changes_nothing() {
    let folder = folder("wrong");
    let file = keys(&folder);
    let server = server(&file, &[]);
    let refused = || {
        let log = server.log_until(NOT_RELOADED);
        let line = log.last().unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(ask(&server, &bearer(ALICE)).status, 200);
        line["error"].as_str().unwrap().to_owned()
    };
    fs::write(&file, format!("{}bob:{BOB}\n", entry("alice", ALICE_TOO))).unwrap();
    let error = refused();
    assert!(
        error.contains("line 2") && error.contains(file.to_str().unwrap()),
        "{error}"
    );
    assert!(!error.contains(BOB), "{error}");
    assert_eq!(ask(&server, &bearer(ALICE_TOO)).status, 401);
    fs::write(&file, "# nobody\n").unwrap();
    assert!(refused().contains("no key"));
    fs::remove_file(&file).unwrap();
    assert!(refused().contains("cannot be read"));
    // A valid file is loaded again.
    fs::write(&file, entry("alice", ALICE_TOO)).unwrap();
    server.wait_for_log(RELOADED);
    assert_eq!(ask(&server, &bearer(ALICE_TOO)).status, 200);
    assert_eq!(ask(&server, &bearer(ALICE)).status, 401);
}

#[test]
fn an_invalid_file_of_keys_stops_the_start() {
    let folder = folder("wrong_at_the_start");
    let file = folder.join("keys");
    let start = || {
        let output = work_server(&["--backend", "cpu", "--address", "127.0.0.1:0"])
            .args(["--management-address", "127.0.0.1:0"])
            .env("ATTO_WORK_API_KEYS_FILE", &file)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        text
    };
    assert!(start().contains("cannot be read"));
    fs::write(&file, "").unwrap();
    assert!(start().contains("no key"));
    fs::write(&file, format!("# keys\n\nbob:{BOB}\n")).unwrap();
    let text = start();
    assert!(text.contains("line 3") && !text.contains(BOB), "{text}");
    fs::write(&file, " ".repeat(1024 * 1024 + 1)).unwrap();
    assert!(start().contains("1048576 bytes"));
}

#[test]
fn the_log_has_the_name_of_a_key_and_never_the_key() {
    let folder = folder("log");
    let file = keys(&folder);
    let mut command = work_server(&["serve", "--backend", "cpu", "--address", "127.0.0.1:0"]);
    command
        .args(["--management-address", "127.0.0.1:0", "--api-keys-file"])
        .arg(&file)
        .env("RUST_LOG", "trace");
    let mut server = Server::spawn(command);
    for key in [ALICE, BOB, NOBODY] {
        ask(&server, &bearer(key));
        ask_to_verify(&server, &bearer(key));
    }
    // A key where its hash should be.
    fs::write(&file, format!("eve:{NOBODY}\n")).unwrap();
    let mut log = server.log_until(NOT_RELOADED);
    server.terminate();
    log.extend(server.log_until("stopped"));
    server.wait();
    let log: Vec<_> = log.iter().map(ToString::to_string).collect();
    let log = log.join("\n");
    for key in [ALICE, BOB, NOBODY] {
        assert!(!log.contains(key), "{key}");
    }
    assert!(
        log.contains("\"key\":\"alice\"") && log.contains("\"key\":\"bob\""),
        "{log}"
    );
}

#[test]
fn hash_key_reads_a_key_and_writes_its_line() {
    let line = entry("alice", ALICE);
    assert!(line.starts_with("alice:blake2b-256:") && line.ends_with('\n'));
    assert_eq!(line.len(), "alice:blake2b-256:\n".len() + 64);
    for input in [format!("{ALICE}\n"), format!("{ALICE}\r\n")] {
        assert_eq!(hash_key(&["alice"], &input).stdout, line.as_bytes());
    }
    assert!(hash_key(&[], ALICE).stdout.starts_with(b"client:"));
    for wrong in [
        "",
        "fifteen-letters",
        "with a space in it",
        "two-of-them-here\n\n",
    ] {
        let output = hash_key(&["alice"], wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong}: {output:?}");
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("the key has"), "{text}");
    }
    // Every process can see arguments, so a key may not be one.
    for args in [
        &["alice", ALICE][..],
        &["not a name"],
        &[""],
        &["--key", ALICE],
    ] {
        assert_eq!(hash_key(args, ALICE).status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn keys_made_by_hash_key_are_accepted() {
    let made = hash_key(&["--generate", "carol"], "");
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stderr).unwrap();
    let line = String::from_utf8(made.stdout).unwrap();
    assert_eq!(key.trim_end().len(), 64);
    assert_eq!(line, entry("carol", &key));
    let again = hash_key(&["--generate", "carol"], "");
    assert_ne!(again.stdout, line.as_bytes());
    let file = folder("generated").join("keys");
    fs::write(&file, line).unwrap();
    let server = server(&file, &[]);
    assert_eq!(ask(&server, &bearer(key.trim_end())).status, 200);
}

const WALLET: &str = "https://wallet.example";

fn origin(origin: &str) -> String {
    format!("origin: {origin}\r\n")
}

/// The preflight that a browser sends before JSON.
fn preflight(server: &Server, path: &str, from: &str) -> Response {
    let head = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: test\r\n{}access-control-request-method: POST\r\n\
         access-control-request-headers: authorization,content-type\r\n\r\n",
        origin(from)
    );
    exchange(server.address, &head)
}

#[test]
fn by_default_no_page_may_ask() {
    let server = Server::on_cpu(&[]);
    let refused = preflight(&server, "/works", WALLET);
    assert_eq!(refused.status, 204);
    let answer = ask(&server, &origin(WALLET));
    assert_eq!(answer.status, 200);
    for answer in [refused, answer] {
        assert!(!answer.has("access-control-allow-origin") && !answer.has("vary"));
    }
}

#[test]
fn only_pages_of_listed_origins_are_allowed() {
    let list = format!("{WALLET},http://localhost:3000");
    let server = Server::on_cpu(&["--cors-origins", &list]);
    for path in ["/works", "/works/verify"] {
        for from in [WALLET, "http://localhost:3000"] {
            let answer = preflight(&server, path, from);
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (204, ""),
                "{answer:?}"
            );
            let header = |name: &str| answer.header(name).unwrap_or_default();
            assert_eq!(header("access-control-allow-origin"), from);
            assert_eq!(header("access-control-allow-methods"), "OPTIONS, POST");
            assert_eq!(
                header("access-control-allow-headers"),
                "authorization, content-type, request-timeout, x-request-id"
            );
            assert_eq!(header("access-control-max-age"), "7200");
            assert!(header("vary").contains("origin"));
            assert!(!answer.has("access-control-allow-credentials"));
        }
        for from in [
            "https://other.example",
            "http://localhost",
            "null",
            "https://wallet.example.org",
        ] {
            let answer = preflight(&server, path, from);
            assert_eq!(answer.status, 204);
            assert!(!answer.has("access-control-allow-origin"), "{answer:?}");
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    let seen = ask(&server, &origin(WALLET));
    assert_eq!(seen.status, 200);
    assert_eq!(seen.header("access-control-allow-origin"), Some(WALLET));
    assert_eq!(
        seen.header("access-control-expose-headers"),
        Some("retry-after, server-timing, www-authenticate, x-request-id")
    );
    for from in [origin("https://other.example"), String::new()] {
        let hidden = ask(&server, &from);
        assert_eq!(hidden.status, 200);
        assert!(!hidden.has("access-control-allow-origin"));
        assert_eq!(hidden.header("vary"), Some("origin"));
    }
    // OPTIONS that is no preflight.
    let options = crate::support::http::request("OPTIONS", "/works", &origin(WALLET), "");
    let options = exchange(server.address, &options);
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("OPTIONS, POST"))
    );
    assert!(!options.has("access-control-allow-methods"));
    assert_eq!(preflight(&server, "/nothing", WALLET).status, 404);
}

#[test]
fn a_host_that_is_not_listed_is_refused_on_both_ports() {
    let server = Server::on_cpu(&["--allowed-hosts", "work.example"]);
    for port in [server.address, server.management] {
        let status = |host: &str| {
            let asked = format!("GET /health HTTP/1.1\r\nhost: {host}\r\n\r\n");
            exchange(port, &asked)
        };
        for host in [
            "work.example",
            "work.example:8080",
            "localhost",
            &port.to_string(),
        ] {
            assert_eq!(status(host).status, 200, "{host}");
        }
        assert_problem(&status("rebound.example"), 421, "HOST_NOT_ALLOWED");
    }
    assert_eq!(
        exchange(server.management, "GET /health HTTP/1.0\r\n\r\n").status,
        200
    );
}

#[test]
fn pages_of_extensions_and_apps_may_be_allowed() {
    let extension = "chrome-extension://ihgkadpbkahkfbdbphcnidmfhnfmhbkl";
    let list = format!("{extension},tauri://localhost");
    let server = Server::on_cpu(&["--cors-origins", &list]);
    for from in [extension, "tauri://localhost"] {
        let seen = ask(&server, &origin(from));
        assert_eq!(seen.header("access-control-allow-origin"), Some(from));
    }
    let other = ask(&server, &origin("capacitor://localhost"));
    assert!(!other.has("access-control-allow-origin"));
}

#[test]
fn pages_see_refusals_too() {
    let file = keys(&folder("pages"));
    let server = server(&file, &["--cors-origins", "*"]);
    let answer = preflight(&server, "/works", WALLET);
    // Browsers send a preflight without a key.
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let from = origin(WALLET);
    let wrong = crate::support::http::request("POST", "/works", &(bearer(ALICE) + &from), "{}");
    let answers = [
        (ask(&server, &from), 401),
        (exchange(server.address, &wrong), 400),
        (
            exchange(
                server.address,
                &crate::support::http::request("PUT", "/works", &from, ""),
            ),
            405,
        ),
        (
            exchange(
                server.address,
                &crate::support::http::request("GET", "/nothing", &from, ""),
            ),
            404,
        ),
        (ask(&server, &(bearer(ALICE) + &from)), 200),
    ];
    for (answer, status) in answers {
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{answer:?}"
        );
    }
}

#[test]
fn the_management_port_only_tells() {
    let server = Server::on_cpu(&["--cors-origins", "*"]);
    for path in [
        "/health",
        "/health/liveness",
        "/health/readiness",
        "/prometheus",
    ] {
        for method in [
            "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE",
        ] {
            // The target of CONNECT has another form, which is refused too.
            let answer = exchange(
                server.management,
                &crate::support::http::request(method, path, &origin(WALLET), ""),
            );
            if method == "CONNECT" {
                assert!(answer.status >= 400, "{answer:?}");
                continue;
            }
            assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
            assert!(!answer.has("access-control-allow-origin"));
        }
        for method in ["GET", "HEAD"] {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n");
            assert_eq!(
                exchange(server.management, &head).status,
                200,
                "{method} {path}"
            );
        }
    }
    assert_eq!(get(server.management, "/health").json()["status"], "UP");
}
