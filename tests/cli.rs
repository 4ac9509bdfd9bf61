//! The commands of the real binary.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread;

use serde_json::Value;
use support::{Server, target, work_server};

fn run(args: &[&str]) -> Output {
    work_server(args).output().expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout)
        .expect("text")
        .trim_end()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

fn json(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{output:?}");
    serde_json::from_str(stdout(output)).expect("one JSON document and nothing else")
}

#[test]
fn what_solve_finds_verify_accepts() {
    let target = target(1);
    for kernel in ["portable", "avx2", "avx512", "neon", "neon-sha3"] {
        let solved = run(&[
            "solve",
            "--backend",
            "cpu",
            "--kernel",
            kernel,
            "--network",
            "LOCAL",
            "--target",
            &target,
        ]);
        if code(&solved) == 64 {
            // Only a kernel that this processor does not have may be refused.
            assert!(
                kernel != "portable" && stderr(&solved).contains("has no kernel"),
                "{solved:?}"
            );
            continue;
        }
        let work = stdout(&solved);
        assert_eq!(work.len(), 16, "{solved:?}");
        let verified = run(&[
            "verify",
            "--network",
            "LOCAL",
            "--target",
            &target,
            "--work",
            work,
        ]);
        assert_eq!(code(&verified), 0, "{verified:?}");
        assert!(stdout(&verified).ends_with("\nvalid"), "{verified:?}");
        let refused = run(&[
            "verify",
            "--network",
            "LIVE",
            "--target",
            &target,
            "--work",
            work,
        ]);
        assert_eq!(code(&refused), 1, "{refused:?}");
    }
}

#[test]
fn solve_tells_all_about_its_work_in_json() {
    let target = target(2);
    let args = [
        "solve",
        "--backend",
        "cpu",
        "--network",
        "LOCAL",
        "--target",
        &target,
        "--timestamp",
        "1704067200000",
        "--json",
    ];
    let report = json(&run(&args));
    assert_eq!(report["network"], "LOCAL");
    assert_eq!(report["timestamp"], 1_704_067_200_000_u64);
    assert_eq!(report["target"], target);
    assert_eq!(report["threshold"], 858_993_459_100_000_u64);
    assert!(report["digest"].as_u64().unwrap() <= 858_993_459_100_000);
    let work = report["work"].as_str().unwrap();
    let verified = json(&run(&[
        "verify",
        "--network",
        "LOCAL",
        "--target",
        &target,
        "--work",
        work,
        "--timestamp",
        "1704067200000",
        "--json",
    ]));
    assert_eq!(
        (&verified["valid"], &verified["digest"]),
        (&Value::Bool(true), &report["digest"])
    );
}

#[test]
fn verify_prints_digest_and_threshold() {
    let args = [
        "verify",
        "--network",
        "LIVE",
        "--target",
        &"00".repeat(32),
        "--timestamp",
        "1704067200000",
        "--work",
    ];
    let valid = run(&[&args[..], &["576887B000000000"]].concat());
    assert_eq!(code(&valid), 0);
    assert!(
        stdout(&valid).contains("5029785218") && stdout(&valid).contains("8589934591"),
        "{valid:?}"
    );
    let wrong = run(&[&args[..], &["0000000000000000"]].concat());
    assert_eq!(code(&wrong), 1);
    assert!(stdout(&wrong).contains("not valid"), "{wrong:?}");
}

#[test]
fn devices_lists_the_processor_and_the_cards() {
    let report = json(&run(&["devices", "--json"]));
    let kernels = report["cpu"]["kernels"].as_array().unwrap();
    assert_eq!(kernels.last().unwrap(), "portable");
    assert!(report["cpu"]["threads"].as_u64().unwrap() >= 1);
    let cards = report["gpu"].as_array().unwrap();
    assert!(
        !cards.is_empty(),
        "no Vulkan device: run `tests/run`, which installs Mesa's lavapipe"
    );
    for (index, card) in cards.iter().enumerate() {
        assert_eq!(card["index"], index);
        assert!(
            card["name"].is_string() && card["driver"].is_string() && card["kind"].is_string(),
            "{card}"
        );
    }
    let text = run(&["devices"]);
    assert_eq!(code(&text), 0);
    assert!(
        stdout(&text).contains(cards[0]["name"].as_str().unwrap()),
        "{text:?}"
    );
}

#[test]
fn devices_says_why_a_card_is_not_used() {
    let report = json(&run(&["devices", "--json"]));
    let cards = report["gpu"].as_array().unwrap();
    let names = |report: &Value| {
        let obstacles = report["obstacles"].as_array().unwrap().clone();
        let name = |obstacle: &Value| obstacle["obstacle"].as_str().unwrap().to_owned();
        obstacles.iter().map(name).collect::<Vec<_>>()
    };
    let only_software = cards.iter().all(|card| card["kind"] == "software");
    assert_eq!(
        names(&report).iter().any(|name| name == "only_software"),
        only_software && !cards.is_empty(),
        "{report}"
    );
    let misled = |args: &[&str]| {
        let mut command = work_server(args);
        command.env("VK_DRIVER_FILES", "/no/such/driver.json");
        command.output().unwrap()
    };
    let report = json(&misled(&["devices", "--json"]));
    assert_eq!(names(&report)[0], "no_such_manifest", "{report}");
    let reason = report["obstacles"][0]["text"].as_str().unwrap();
    assert!(reason.contains("/no/such/driver.json"), "{reason}");
    let text = misled(&["devices"]);
    assert!(stdout(&text).contains(reason), "{text:?}");
    let solve = ["solve", "--network", "LOCAL", "--target", &target(1)];
    let refused = misled(&[&solve[..], &["--backend", "gpu"]].concat());
    assert_eq!(code(&refused), 1, "{refused:?}");
    assert!(stderr(&refused).contains(reason), "{refused:?}");
    let fallen_back = misled(&solve);
    assert_eq!(code(&fallen_back), 0, "{fallen_back:?}");
    // Quotation marks are escaped in the log.
    assert!(
        stderr(&fallen_back).contains("no Vulkan driver's manifest is there"),
        "{fallen_back:?}"
    );
}

#[test]
fn a_process_that_needs_nothing_is_not_started_again() {
    // Whatever this machine has, an operator's word on drivers stands.
    let mut command = work_server(&["devices"]);
    command
        .env("RUST_LOG", "debug")
        .env("VK_ADD_DRIVER_FILES", "");
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(!stderr(&output).contains("starting again"), "{output:?}");
    let listings = stderr(&output).matches("listed the Vulkan adapters");
    assert_eq!(listings.count(), 1, "{output:?}");
}

#[test]
fn bench_measures_what_it_is_told_to() {
    let args = [
        "bench",
        "--backend",
        "cpu",
        "--kernel",
        "portable",
        "--threads",
        "1",
        "--seconds",
        "1",
        "--json",
    ];
    let report = json(&run(&args));
    let [device] = &report["devices"].as_array().unwrap()[..] else {
        panic!("{report}")
    };
    assert_eq!(device["name"], "cpu");
    assert_eq!(device["backend"], "cpu");
    assert_eq!(device["kernel"], "portable");
    assert_eq!(device["threads"], 1);
    let number = |name: &str| device[name].as_f64().unwrap();
    assert!(number("cycles_per_hash") > 0.0 && number("percent_of_bound") > 0.0);
    assert!(number("hashes") > 0.0 && number("seconds") >= 1.0 && number("cpu_seconds") > 0.0);
    assert!((number("hashes_per_second") - number("hashes") / number("seconds")).abs() < 1.0);
    assert!(
        (number("hashes_per_cpu_second") - number("hashes") / number("cpu_seconds")).abs() < 1.0
    );
    let table = run(&["bench", "--backend", "gpu", "--seconds", "1"]);
    assert_eq!(code(&table), 0, "{table:?}");
    assert!(stdout(&table).lines().count() >= 2, "{table:?}");
}

#[test]
fn a_wrong_value_stops_the_start_and_is_named() {
    let cases: [(&[&str], &str); 25] = [
        (&["--backend", "tpu"], "--backend"),
        (&["--device", ""], "--device"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "many"], "--threads"),
        (&["--kernel", "mmx"], "--kernel"),
        (&["--queue-size", "0"], "--queue-size"),
        (&["--queue-capacity=-1"], "--queue-capacity"),
        (&["--deadline", "0"], "--deadline"),
        (&["--deadline", "3601"], "--deadline"),
        (&["--answer-memory", "1000001"], "--answer-memory"),
        (&["--address", "localhost"], "--address"),
        (
            &["--management-address", "0.0.0.0:99999"],
            "--management-address",
        ),
        (&["--shutdown-grace", "1h"], "--shutdown-grace"),
        (&["--shutdown-delay=-1"], "--shutdown-delay"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--header-timeout", "0"], "--header-timeout"),
        (&["--body-timeout", "NaN"], "--body-timeout"),
        (&["--idle-timeout", "3601"], "--idle-timeout"),
        (&["--api-keys-file", ""], "--api-keys-file"),
        (&["--api-key-requests", "0"], "--api-key-requests"),
        (&["--api-key-requests", "100001"], "--api-key-requests"),
        (&["--cors-origins", ""], "--cors-origins"),
        (&["--cors-origins", "wallet.example"], "--cors-origins"),
        (&["--log-format", "xml"], "--log-format"),
        (&["--no-such-flag"], "--no-such-flag"),
    ];
    for (args, named) in cases {
        let output = run(args);
        assert_eq!(code(&output), 64, "{args:?}: {output:?}");
        assert!(stderr(&output).contains(named), "{args:?}: {output:?}");
    }
    for args in [
        &["solve", "--network", "UNKNOWN", "--target", &target(1)][..],
        &["solve", "--network", "LOCAL", "--target", "00"],
        &[
            "verify",
            "--network",
            "LOCAL",
            "--target",
            &target(1),
            "--work",
            "xyz",
        ],
        &[
            "verify",
            "--network",
            "LOCAL",
            "--target",
            &target(1),
            "--work",
            "0000000000000000",
            "--timestamp",
            "0",
        ],
        &["bench", "--seconds", "0"],
        &["mine"],
    ] {
        assert_eq!(code(&run(args)), 64, "{args:?}");
    }
}

#[test]
fn a_wrong_variable_is_named_as_the_variable_that_it_is() {
    for variable in [
        "ATTO_WORK_BACKEND",
        "ATTO_WORK_DEVICE",
        "ATTO_WORK_THREADS",
        "ATTO_WORK_KERNEL",
        "ATTO_WORK_QUEUE_SIZE",
        "ATTO_WORK_QUEUE_CAPACITY",
        "ATTO_WORK_DEADLINE",
        "ATTO_WORK_ANSWER_MEMORY",
        "ATTO_WORK_ADDRESS",
        "ATTO_WORK_MANAGEMENT_ADDRESS",
        "ATTO_WORK_API_KEY_REQUESTS",
        "ATTO_WORK_CORS_ORIGINS",
        "ATTO_WORK_SHUTDOWN_GRACE",
        "ATTO_WORK_LOG_FORMAT",
    ] {
        let output = work_server(&[]).env(variable, ",").output().unwrap();
        assert_eq!(code(&output), 64, "{variable}: {output:?}");
        assert!(stderr(&output).contains(variable), "{variable}: {output:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&[
        "--backend",
        "cpu",
        "--address",
        &address,
        "--management-address",
        "127.0.0.1:0",
    ]);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains(&format!("cannot listen on {address}")),
        "{output:?}"
    );
}

#[test]
fn a_card_that_is_not_there_stops_the_start_of_gpu_and_not_of_auto() {
    let args = [
        "solve",
        "--device",
        "no such card",
        "--network",
        "LOCAL",
        "--target",
        &target(1),
    ];
    let refused = run(&[&args[..], &["--backend", "gpu"]].concat());
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("no such card"), "{refused:?}");
    let fallen_back = run(&[&args[..], &["--backend", "auto"]].concat());
    assert_eq!(code(&fallen_back), 0, "{fallen_back:?}");
    assert!(
        stderr(&fallen_back).contains("falling back to the processor"),
        "{fallen_back:?}"
    );
    assert_eq!(stdout(&fallen_back).len(), 16);
}

#[test]
fn a_card_that_is_not_there_keeps_no_other_from_serving() {
    let args = ["solve", "--backend", "gpu", "--device", "no such card,0"];
    let solved = run(&[&args[..], &["--network", "LOCAL", "--target", &target(1)]].concat());
    assert_eq!(code(&solved), 0, "{solved:?}");
    assert!(stderr(&solved).contains("no such card"), "{solved:?}");
    assert_eq!(stdout(&solved).len(), 16);
}

#[test]
fn a_log_filter_that_cannot_be_read_is_told_of() {
    let args = [
        "solve",
        "--backend",
        "cpu",
        "--network",
        "LOCAL",
        "--target",
        &target(1),
    ];
    let output = work_server(&args)
        .env("RUST_LOG", "work=loud")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
    assert!(
        stderr(&output).contains("RUST_LOG cannot be read"),
        "{output:?}"
    );
}

#[test]
fn help_documents_every_variable() {
    let help = run(&["serve", "--help"]);
    assert_eq!(code(&help), 0);
    assert_eq!(stdout(&help).matches("[env: ATTO_WORK_").count(), 20);
    assert_eq!(code(&run(&["--version"])), 0);
}

/// The exit code of `health`, and the one line that it prints.
fn health(address: &str, args: &[&str]) -> (i32, String) {
    let output = run(&[&["health", "--address", address], args].concat());
    let line = stdout(&output).to_owned();
    assert_eq!(line.lines().count(), 1, "{output:?}");
    assert_eq!(stderr(&output), "", "{output:?}");
    (code(&output), line)
}

#[test]
fn health_follows_a_server_from_ready_to_gone() {
    let up = (0, "UP".to_owned());
    let mut server = Server::on_cpu(&["--shutdown-delay", "60"]);
    let address = server.management.to_string();
    assert_eq!(health(&address, &[]), up);
    assert_eq!(health(&address, &["--liveness"]), up);
    // The variable of the server is enough, with the address that it listens on.
    let everywhere = format!("0.0.0.0:{}", server.management.port());
    let mut told = work_server(&["health"]);
    told.env("ATTO_WORK_MANAGEMENT_ADDRESS", everywhere);
    assert_eq!(code(&told.output().unwrap()), 0);

    server.terminate();
    server.wait_for_log("not ready any more, and still serving");
    assert_eq!(health(&address, &[]), (1, "OUT_OF_SERVICE".to_owned()));
    assert_eq!(health(&address, &["--liveness"]), up);
    let report = run(&["health", "--address", &address, "--json"]);
    assert_eq!(code(&report), 1);
    let report: Value = serde_json::from_str(stdout(&report)).unwrap();
    assert_eq!(
        report,
        serde_json::json!({
            "healthy": false, "probe": "readiness", "address": address, "status": "OUT_OF_SERVICE"
        })
    );

    server.terminate();
    server.wait();
    let (code, line) = health(&address, &[]);
    assert_eq!(code, 1);
    assert!(
        line.contains(&address) && line.contains("--address"),
        "{line}"
    );
}

#[test]
fn health_takes_no_public_port_for_the_management_port() {
    let server = Server::on_cpu(&[]);
    let (code, line) = health(&server.address.to_string(), &[]);
    assert_eq!(code, 1);
    assert!(line.contains("404") && line.contains("--address"), "{line}");
}

/// A listener that answers one connection with these bytes; without any, it says nothing and keeps it open.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = client.read(&mut request);
        let _ = client.write_all(bytes);
        if bytes.is_empty() {
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[test]
fn health_does_not_wait_for_what_says_nothing() {
    let (code, line) = health(&answering(b""), &["--timeout", "0.2"]);
    assert_eq!(code, 1);
    assert!(line.contains("within 0.2 s"), "{line}");
}

#[test]
fn health_believes_no_answer_but_that_of_a_probe() {
    for bytes in [
        &b"\xff\x00\r\n\r\n"[..],
        b"+PONG\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"UP\"}",
        b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"DOWN\"}",
    ] {
        let (code, line) = health(&answering(bytes), &[]);
        assert_eq!(code, 1, "{bytes:?}: {line}");
    }
}

#[test]
fn a_wrong_management_address_is_blamed_on_the_variable_that_it_came_from() {
    let mut command = work_server(&["health"]);
    let output = command
        .env("ATTO_WORK_MANAGEMENT_ADDRESS", "here")
        .output()
        .unwrap();
    assert_eq!(code(&output), 64, "{output:?}");
    assert!(
        stderr(&output).contains("variable ATTO_WORK_MANAGEMENT_ADDRESS"),
        "{output:?}"
    );
}

#[test]
fn the_version_tells_what_was_built() {
    use atto_work_server::build_info::{COMMIT, FEATURES, TARGET, VERSION};

    let short = run(&["-V"]);
    assert_eq!(stdout(&short), format!("work-server {VERSION}"));
    let long = run(&["--version"]);
    assert_eq!(code(&long), 0);
    for part in [VERSION, COMMIT, FEATURES, TARGET] {
        assert!(stdout(&long).contains(part), "{part}: {long:?}");
    }
}
