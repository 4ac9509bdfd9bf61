//! The commands of the real binary.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::needs::{Need, is_left_out};
use crate::support::{Server, target, work_server};
use serde_json::{Value, json};

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
fn verify_accepts_the_work_that_solve_finds() {
    let target = target(1);
    for kernel in [
        "portable",
        "avx2",
        "avx2-single",
        "avx2-mixed",
        "avx512",
        "avx512-paired",
        "avx512-mixed",
        "neon",
        "neon-sha3",
    ] {
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
fn solve_describes_its_work_in_json() {
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

/// The root of the example in Nano's documentation.
const ROOT: &str = "718CC2121C3E641059BC1C2CFC45666C99E8AE922F7A807B7D07B62C995D79E2";

#[test]
fn solve_finds_work_for_nano() {
    let solve = [
        "solve",
        "--backend",
        "cpu",
        "--network",
        "NANO",
        "--hash",
        ROOT,
    ];
    let report = json(&run(&[
        &solve[..],
        &["--difficulty", "ffff000000000000", "--json"],
    ]
    .concat()));
    assert_eq!(
        (&report["network"], &report["hash"]),
        (&json!("NANO"), &json!(ROOT))
    );
    assert_eq!(report["difficulty"], "ffff000000000000");
    let text = |name: &str| report[name].as_str().unwrap();
    assert!(text("digest") >= "ffff000000000000", "{report}");
    let multiplier: f64 = text("multiplier").parse().unwrap();
    let digest = u64::from_str_radix(text("digest"), 16).unwrap();
    let expected = 2_f64.powi(35) / (2_f64.powi(64) - digest as f64);
    assert!((multiplier / expected - 1.0).abs() < 1e-6, "{report}");
    // As text, by a multiplier: 2^29 / 2^13 hashes on average.
    let found = run(&[&solve[..], &["--multiplier", "0.0001220703125"]].concat());
    assert_eq!(code(&found), 0, "{found:?}");
    for work in [text("work"), stdout(&found).trim()] {
        assert!(
            work.len() == 16 && !work.contains(char::is_uppercase),
            "{work}"
        );
        let verified = verify_nano(work, &["--difficulty", "ffff000000000000"]);
        assert_eq!(code(&verified), 0, "{verified:?}");
    }
}

/// Verifies a work of Nano for [`ROOT`], with more flags.
fn verify_nano(work: &str, more: &[&str]) -> Output {
    let args = [
        "verify",
        "--network",
        "NANO",
        "--hash",
        ROOT,
        "--work",
        work,
    ];
    run(&[&args[..], more].concat())
}

#[test]
fn verify_knows_nano_s_published_works() {
    let valid = verify_nano("2b3d689bbcb21dca", &[]);
    assert_eq!(code(&valid), 0);
    assert_eq!(
        stdout(&valid),
        "digest     fffffff93c41ec94\ndifficulty fffffff800000000\nvalid"
    );
    // Enough for a receive, and not for a send, which is the default.
    let wrong = verify_nano("2bf29ef00786a6bc", &[]);
    assert_eq!(code(&wrong), 1);
    assert!(stdout(&wrong).ends_with("not valid: the digest is below the difficulty"));
    let report = json(&verify_nano(
        "2BF29EF00786A6BC",
        &["--multiplier", "0.015625", "--json"],
    ));
    let expected = json!({
        "valid": true,
        "digest": "ffffffd21c3933f4",
        "difficulty": "fffffe0000000000",
        "multiplier": "0.174330860917187",
    });
    assert_eq!(report, expected);
    // Short numbers are padded on the left.
    let easy = verify_nano("0", &["--difficulty", "6b90c9aab5d66034"]);
    assert_eq!(code(&easy), 0, "{easy:?}");
    assert_eq!(
        code(&verify_nano("0", &["--difficulty", "6b90c9aab5d66035"])),
        1
    );
}

#[test]
fn flags_of_one_network_are_refused_for_another() {
    let target = target(1);
    let atto = ["verify", "--network", "LOCAL", "--work", "0000000000000000"];
    let nano = ["verify", "--network", "NANO", "--work", "0"];
    let cases: [(&[&str], &[&str], &str); 12] = [
        (&atto, &[], "--network LOCAL needs --target HEX"),
        (&nano, &[], "--network NANO needs --hash HEX"),
        (
            &atto,
            &["--hash", ROOT],
            "--hash cannot be used with --network LOCAL",
        ),
        (
            &atto,
            &["--target", &target, "--difficulty", "1"],
            "--difficulty cannot be used with --network LOCAL",
        ),
        (
            &atto,
            &["--target", &target, "--multiplier", "1"],
            "--multiplier cannot be used with --network LOCAL",
        ),
        (
            &nano,
            &["--target", &target],
            "--target cannot be used with --network NANO",
        ),
        (
            &nano,
            &["--hash", ROOT, "--timestamp", "1704067200000"],
            "--timestamp cannot be used with --network NANO",
        ),
        (
            &nano,
            &["--hash", ROOT, "--difficulty", "1", "--multiplier", "1"],
            "cannot be used with",
        ),
        (
            &nano,
            &["--hash", "00"],
            "hash has 2 characters; it must be 64 hex digits",
        ),
        (
            &nano,
            &["--hash", ROOT, "--difficulty", "0x1"],
            "difficulty has the character 'x' at position 1",
        ),
        (
            &nano,
            &["--hash", ROOT, "--multiplier", "0"],
            "multiplier \"0\" is not a finite number above zero",
        ),
        (
            &["verify", "--network", "BANANO", "--work", "0"],
            &[],
            "allowed are LIVE, BETA, DEV, LOCAL and NANO",
        ),
    ];
    for (command, more, message) in cases {
        let refused = run(&[command, more].concat());
        assert_eq!(code(&refused), 64, "{message}: {refused:?}");
        assert!(stderr(&refused).contains(message), "{message}: {refused:?}");
        assert_eq!(stdout(&refused), "");
    }
    let long = ["--hash", ROOT, "--work", "00000000000000000"];
    let refused = run(&[&["verify", "--network", "NANO"][..], &long].concat());
    assert_eq!(code(&refused), 64, "{refused:?}");
    let message =
        "--work \"00000000000000000\": work has 17 characters; it must be 1 to 16 hex digits";
    assert!(stderr(&refused).contains(message), "{refused:?}");
}

#[test]
fn devices_lists_the_processor_and_the_cards() {
    let report = json(&run(&["devices", "--json"]));
    let kernels = report["cpu"]["kernels"].as_array().unwrap();
    assert_eq!(kernels.last().unwrap(), "portable");
    assert!(report["cpu"]["threads"].as_u64().unwrap() >= 1);
    if is_left_out(Need::Vulkan) {
        return;
    }
    let cards = report["gpu"].as_array().unwrap();
    for (index, card) in cards.iter().enumerate() {
        assert_eq!(card["index"], index);
        assert!(
            card["name"].is_string() && card["driver"].is_string() && card["kind"].is_string(),
            "{card}"
        );
    }
    let text = run(&["devices"]);
    assert_eq!(code(&text), 0);
    let table = stdout(&text);
    for part in [cards[0]["label"].as_str().unwrap(), "Index", "Kernels"] {
        assert!(table.contains(part), "{table}");
    }
    let rows = table.lines().take_while(|line| !line.starts_with('└'));
    assert!(
        rows.clone().all(|row| row.chars().count() <= 100),
        "{table}"
    );
    let software = rows.clone().any(|row| row.contains("software"));
    assert_eq!(
        software,
        cards.iter().any(|card| card["used_by_default"] == false),
        "{table}"
    );
    let is_needed = cards.iter().all(|card| card["used_by_default"] == false);
    assert_eq!(report["cpu"]["used_by_default"], is_needed);
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
fn a_process_that_needs_no_variables_is_not_restarted() {
    // Whatever this machine has, the operator's own driver variables stay.
    let mut command = work_server(&["devices"]);
    command
        .env("RUST_LOG", "debug")
        .env("VK_ADD_DRIVER_FILES", "");
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(!stderr(&output).contains("restarted"), "{output:?}");
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
    let trial = &device["trials"][0];
    assert_eq!(trial["kernel"], "portable");
    assert!(trial["hashes_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(device["threads"], 1);
    let number = |name: &str| device[name].as_f64().unwrap();
    assert!(number("cycles_per_hash") > 0.0 && number("clock_hertz") > 0.0);
    assert!(device["cycles"]["all"]["median"].as_f64().unwrap() > 0.0);
    assert!(number("hashes") > 0.0 && number("seconds") >= 1.0 && number("cpu_seconds") > 0.0);
    assert!((number("hashes_per_second") - number("hashes") / number("seconds")).abs() < 1.0);
    assert!(
        (number("hashes_per_cpu_second") - number("hashes") / number("cpu_seconds")).abs() < 1.0
    );
    let limit = device["limited_by"].as_str().unwrap();
    assert!(limit.contains("GHz"), "{limit}");
    // The bound is known for some makes only, and the figures of an unshared core only if there was one.
    match device["bound_of"].as_str() {
        Some(cores) => assert!(limit.contains(cores) && number("percent_of_bound") > 0.0),
        None => assert!(
            device["percent_of_bound"].is_null() && !limit.contains("allows"),
            "{limit}"
        ),
    }
    // Two reports of one rate: that of the device, and that of all of one.
    for networks in [&device["networks"], &report["together"]["networks"]] {
        let names = networks.as_array().unwrap().iter();
        let names: Vec<_> = names.map(|network| &network["network"]).collect();
        assert_eq!(names, ["LIVE", "BETA", "DEV", "LOCAL", "NANO", "NANO"]);
        let [send, receive] = [4, 5].map(|place| &networks[place]);
        assert_eq!(
            (&send["block"], &receive["block"]),
            (&json!("send"), &json!("receive"))
        );
        assert_eq!(send["difficulty"], "fffffff800000000");
        assert_eq!(receive["difficulty"], "fffffe0000000000");
        let seconds = receive["expected_seconds"].as_f64().unwrap();
        assert!((seconds * number("hashes_per_second") / 2_f64.powi(23) - 1.0).abs() < 1e-9);
        let live = &networks[0];
        let needed = 2_f64.powi(64) / (live["threshold"].as_f64().unwrap() + 1.0);
        let mean = live["expected_seconds"].as_f64().unwrap();
        assert!((mean * number("hashes_per_second") / needed - 1.0).abs() < 1e-9);
        let p99 = live["p99_seconds"].as_f64().unwrap();
        assert!((p99 / mean - 100_f64.ln()).abs() < 1e-9);
    }
    if is_left_out(Need::Vulkan) {
        return;
    }
    let table = run(&["bench", "--backend", "gpu", "--seconds", "1"]);
    assert_eq!(code(&table), 0, "{table:?}");
    let table = stdout(&table);
    for part in ["Limited by", "H/s", "LIVE", "LOCAL", "expected", "p99"] {
        assert!(table.contains(part), "no {part}: {table}");
    }
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
}

#[test]
fn bench_measures_the_kernel_of_a_card_that_is_named() {
    let report = json(&run(&[
        "bench",
        "--backend",
        "gpu",
        "--kernel",
        "insert",
        "--seconds",
        "1",
        "--json",
    ]));
    let device = &report["devices"][0];
    assert_eq!(device["kernel"], "insert");
    let trials = device["trials"].as_array().unwrap();
    assert_eq!((trials.len(), &trials[0]["kernel"]), (1, &device["kernel"]));
}

#[test]
fn a_kernel_that_no_device_may_run_is_refused_with_the_allowed_ones() {
    let cases: [(&[&str], i32, &[&str]); 3] = [
        (
            &["--kernel", "mmx"],
            64,
            &[
                "this processor has no kernel \"mmx\"",
                "portable",
                "cards have u64",
            ],
        ),
        (
            &["--kernel", "pair64", "--backend", "cpu"],
            1,
            &["pair64 is one of cards", "backend cpu", "portable"],
        ),
        (
            &["--kernel", "portable", "--backend", "gpu"],
            1,
            &[
                "portable is one of processors",
                "backend gpu",
                "pair64, dot24",
            ],
        ),
    ];
    for (flags, expected, parts) in cases {
        let output = run(&[&["bench"], flags].concat());
        assert_eq!(code(&output), expected, "{output:?}");
        for part in parts {
            assert!(stderr(&output).contains(part), "no {part}: {output:?}");
        }
    }
}

/// A command of the real binary on a terminal of 100 columns; what that shows comes through the standard output.
fn on_a_terminal(args: &str) -> Command {
    let binary = env!("CARGO_BIN_EXE_work-server");
    let line = format!("stty cols 100; exec {binary} {args}");
    // The environment of `work_server`, which has nothing of its caller's variables.
    let mut command = Command::new("script");
    for (name, value) in work_server(&[]).get_envs() {
        assert!(value.is_none(), "{name:?} is set");
        command.env_remove(name);
    }
    command
        .args(["-qefc", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

#[test]
fn bench_shows_its_progress_on_a_terminal_only() {
    const BENCH: &str = "bench --backend cpu --kernel portable --threads 1 --seconds 1";
    let piped = run(&BENCH.split(' ').collect::<Vec<_>>());
    assert_eq!(stderr(&piped), "");
    let shown = on_a_terminal(BENCH)
        .output()
        .expect("`script` of util-linux");
    assert_eq!(code(&shown), 0, "{shown:?}");
    let (progress, table) = stdout(&shown).split_once("Limited by").expect("a table");
    assert!(
        progress.contains("cpu") && progress.contains("of 1 s  "),
        "{shown:?}"
    );
    assert!(progress.contains("H/s"), "{shown:?}");
    assert!(!table.contains("of 1 s"), "{shown:?}");
}

/// A request of the year 2055: no device of today finishes its search.
const ENDLESS: &str = "solve --backend cpu --threads 1 --network LIVE --timestamp 2700000000000 --target \
                       0000000000000000000000000000000000000000000000000000000000000001";

#[test]
fn solve_shows_its_progress_on_a_terminal() {
    let mut child = on_a_terminal(ENDLESS)
        .spawn()
        .expect("`script` of util-linux");
    let mut terminal = child.stdout.take().unwrap();
    let (mut seen, mut part) = (String::new(), [0; 1024]);
    let is_shown = |seen: &str| seen.contains("LIVE: ") && seen.contains(" more on average");
    while !is_shown(&seen) {
        let length = terminal.read(&mut part).unwrap();
        assert_ne!(length, 0, "it ended with {seen:?}");
        seen += &String::from_utf8_lossy(&part[..length]);
    }
    // It passes the signal on.
    let script = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(script, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(
        seen.contains("H tested, ") && seen.contains("chance by now 0.0 %"),
        "{seen:?}"
    );
}

#[test]
fn solve_shows_no_progress_in_a_pipe() {
    let mut command = work_server(&ENDLESS.split_whitespace().collect::<Vec<_>>());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Ten times as long as a terminal is left without a line.
    thread::sleep(Duration::from_secs(1));
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((stdout(&output), stderr(&output)), ("", ""));
}

#[test]
fn only_the_service_logs_below_warnings() {
    let solve = [
        "solve",
        "--backend",
        "cpu",
        "--network",
        "LOCAL",
        "--target",
        &target(3),
    ];
    assert_eq!(stderr(&run(&solve)), "");
    let mut command = work_server(&solve);
    let told = command.env("RUST_LOG", "info").output().unwrap();
    assert!(stderr(&told).contains("device in service"), "{told:?}");
}

#[test]
fn completions_name_every_command_and_its_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0, "{output:?}");
        for part in ["health", "completions", "hash-key", "management-address"] {
            assert!(stdout(&output).contains(part), "no {part} for {shell}");
        }
    }
    assert_eq!(code(&run(&["completions", "cmd"])), 64);
}

#[test]
fn the_completions_of_bash_complete() {
    let script = run(&["completions", "bash"]);
    // As bash does it: by the function that the script has it call.
    let ask = "source /dev/stdin; complete=$(complete -p work-server); function=${complete#*-F }; \
               COMP_WORDS=(work-server he); COMP_CWORD=1; ${function%% *} work-server he work-server; \
               echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let mut bash = bash
        .args(["-c", ask])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(&script.stdout)
        .unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(
        stdout(&output).split(' ').any(|word| word == "health"),
        "{output:?}"
    );
}

#[test]
fn hash_key_never_prints_a_key_it_was_given() {
    const KEY: &str = "a-key-of-some-characters";
    let mut hash = work_server(&["hash-key", "wallet", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    hash.stdin
        .take()
        .unwrap()
        .write_all(KEY.as_bytes())
        .unwrap();
    let output = hash.wait_with_output().unwrap();
    let report = json(&output);
    assert_eq!(report["name"], "wallet");
    let line = report["line"].as_str().unwrap();
    assert!(line.starts_with("wallet:blake2b-256:"), "{line}");
    assert!(
        !stdout(&output).contains(KEY) && stderr(&output).is_empty(),
        "{output:?}"
    );
    let generated = run(&["hash-key", "wallet", "--generate", "--json"]);
    let key = stderr(&generated).trim();
    assert!(
        !key.is_empty() && !stdout(&generated).contains(key),
        "{generated:?}"
    );
}

#[test]
fn errors_say_what_to_do_next() {
    let no_keys = [
        "--address",
        "127.0.0.1:0",
        "--management-address",
        "127.0.0.1:0",
    ];
    let serve = |more: &[&'static str]| [&["serve", "--backend", "cpu"][..], more].concat();
    let cases: [(Vec<&str>, &[&str]); 8] = [
        (
            serve(&[
                "--address",
                "203.0.113.7:8080",
                "--management-address",
                "127.0.0.1:0",
            ]),
            &["203.0.113.7:8080", "--address", "[::] for all"],
        ),
        (
            [serve(&no_keys), vec!["--api-keys-file", "/no/such/keys"]].concat(),
            &["/no/such/keys", "ATTO_WORK_API_KEYS_FILE"],
        ),
        (
            vec!["bench", "--backend", "gpu", "--device", "77"],
            if is_left_out(Need::Vulkan) {
                &["no adapter matches \"77\"", "work-server devices"]
            } else {
                &[
                    "no adapter matches \"77\"",
                    "there are 0: ",
                    "work-server devices",
                ]
            },
        ),
        (
            serve(&["--threads", "many"]),
            &["--threads", "whole number from 1 to 1024"],
        ),
        (
            serve(&["--address", "localhost:8080"]),
            &["--address", "[::]:8080"],
        ),
        (
            vec![
                "verify",
                "--network",
                "LOCAL",
                "--target",
                "00",
                "--work",
                "00",
            ],
            &["--target", "64 hex digits"],
        ),
        (
            vec![
                "shader",
                "--form",
                "u64",
                "--output",
                "/no/such/folder/shader",
            ],
            &["/no/such/folder/shader", "an existing folder"],
        ),
        (vec!["hash-key"], &["0 characters", "--generate"]),
    ];
    for (args, parts) in cases {
        let output = run(&args);
        assert_ne!(code(&output), 0, "{args:?}");
        // A server that cannot start says so in its log.
        let told = format!("{}{}", stdout(&output), stderr(&output));
        for part in parts {
            assert!(told.contains(part), "no {part}: {told}");
        }
    }
}

#[test]
fn a_wrong_value_stops_the_start_and_is_named() {
    let cases: [(&[&str], &str); 33] = [
        (&["--backend", "tpu"], "--backend"),
        (&["--device", ""], "--device"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "many"], "--threads"),
        (&["--kernel", "mmx"], "--kernel"),
        (&["--queue-size", "0"], "--queue-size"),
        (&["--queue-capacity=-1"], "--queue-capacity"),
        (&["--deadline", "0"], "--deadline"),
        (&["--deadline", "86401"], "--deadline"),
        (&["--answer-memory", "1000001"], "--answer-memory"),
        (&["--address", "localhost"], "--address"),
        (
            &["--management-address", "0.0.0.0:99999"],
            "--management-address",
        ),
        (&["--nano-address", "7000"], "--nano-address"),
        (&["--nano-difficulty", ""], "--nano-difficulty"),
        (&["--nano-difficulty", "0xff"], "--nano-difficulty"),
        (
            &["--nano-difficulty", "fffffff8000000000"],
            "--nano-difficulty",
        ),
        (&["--nano-max-multiplier", "0.5"], "--nano-max-multiplier"),
        (
            &["--nano-max-multiplier", "1000001"],
            "--nano-max-multiplier",
        ),
        (&["--nano-max-connections", "0"], "--nano-max-connections"),
        (&["--shutdown-grace", "1h"], "--shutdown-grace"),
        (&["--shutdown-delay=-1"], "--shutdown-delay"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--header-timeout", "0"], "--header-timeout"),
        (&["--body-timeout", "NaN"], "--body-timeout"),
        (&["--idle-timeout", "3601"], "--idle-timeout"),
        (&["--max-connection-age", "0.5"], "--max-connection-age"),
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
fn an_error_names_the_environment_variable_that_has_the_wrong_value() {
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
        "ATTO_WORK_FAIR_BY_ADDRESS",
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
        stdout(&output).contains(&format!("cannot listen on {address}"))
            && stdout(&output).contains("choose another port with --address"),
        "{output:?}"
    );
}

#[test]
fn a_missing_card_stops_the_start_with_gpu_and_not_with_auto() {
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
fn a_command_that_succeeds_without_a_card_prints_its_answer_and_nothing_else() {
    let args = ["solve", "--network", "LOCAL", "--target", &target(1)];
    let mut command = work_server(&args);
    // As in containers. Mesa's drivers complain without it.
    command.env_remove("XDG_RUNTIME_DIR");
    let solved = command.output().unwrap();
    assert_eq!(code(&solved), 0, "{solved:?}");
    assert_eq!(stdout(&solved).len(), 16);
    // A card that is there and cannot be used is worth a line.
    let has_card = ["/dev/dri", "/dev/nvidia0", "/dev/dxg"];
    if !has_card.into_iter().any(|node| fs::exists(node).unwrap()) {
        assert_eq!(stderr(&solved), "");
    }
    assert!(!stderr(&solved).contains("XDG_RUNTIME_DIR"), "{solved:?}");
}

#[test]
fn short_help_fits_a_screen_and_long_help_has_everything() {
    for command in ["", "serve", "devices", "solve", "health", "verify", "bench"] {
        let help = |flag| {
            let args: Vec<_> = [command, flag]
                .into_iter()
                .filter(|arg| !arg.is_empty())
                .collect();
            stdout(&run(&args)).to_owned()
        };
        let short = help("-h");
        assert!(short.contains("Usage:"), "{command}: {short}");
        assert!(short.lines().count() <= 50, "{command}: {short}");
        if command == "serve" {
            assert!(!short.contains("--idle-timeout"), "{short}");
            assert!(help("--help").contains("--idle-timeout"));
        }
    }
}

#[test]
fn a_missing_card_does_not_keep_others_from_serving() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let args = ["solve", "--backend", "gpu", "--device", "no such card,0"];
    let solved = run(&[&args[..], &["--network", "LOCAL", "--target", &target(1)]].concat());
    assert_eq!(code(&solved), 0, "{solved:?}");
    assert!(stderr(&solved).contains("no such card"), "{solved:?}");
    assert_eq!(stdout(&solved).len(), 16);
}

#[test]
fn an_invalid_log_filter_is_reported() {
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
    assert_eq!(stdout(&help).matches("[env: ATTO_WORK_").count(), 27);
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
    server.wait_for_log("stopping: not ready any more, but still serving requests");
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
fn health_does_not_take_the_public_port_for_the_management_port() {
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
fn health_times_out_if_nothing_answers() {
    let (code, line) = health(&answering(b""), &["--timeout", "0.2"]);
    assert_eq!(code, 1);
    assert!(line.contains("within 0.2 s"), "{line}");
}

#[test]
fn health_rejects_answers_that_are_not_a_probes() {
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

#[test]
fn the_exit_code_is_right_even_if_the_message_cannot_be_written() {
    let full = || {
        let file = fs::OpenOptions::new().write(true).open("/dev/full");
        file.expect("Linux has it")
    };
    // An API key of no length.
    let status = work_server(&["hash-key", "wallet"]).stderr(full()).status();
    assert_eq!(status.unwrap().code(), Some(1));
    let mut serve = work_server(&["serve"]);
    serve.env("ATTO_WORK_THREADS", "many").stderr(full());
    assert_eq!(serve.status().unwrap().code(), Some(64));
}
