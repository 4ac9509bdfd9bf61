//! The log of the service: where it goes, what a line has, and a reader that stalls.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::http::{connect, get, read, request as http_request};
use crate::support::{PORTS, eventually, request, target, work_server};
use atto_work_server::telemetry::{LogFormat, log_to_stdout};

const LOST: &str = "atto_work_log_lines_lost_total";

/// A server whose log is not read after the line `ready`.
struct Unread {
    child: Child,
    log: BufReader<std::process::ChildStdout>,
    ready: Value,
}

impl Unread {
    fn start() -> Self {
        let mut child = work_server(&[&["serve", "--backend", "cpu"], &PORTS[..]].concat())
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let ready = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it is not ready");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "ready" {
                break line;
            }
        };
        Self { child, log, ready }
    }

    fn address(&self, name: &str) -> std::net::SocketAddr {
        self.ready[name].as_str().unwrap().parse().unwrap()
    }

    /// Asks until lines are lost, each time with an answer. For no search, which would take long beside another.
    fn fill_the_queue(&self) {
        let management = self.address("management_address");
        let mut body = request("LOCAL", &target(1));
        body["work"] = "0".repeat(16).into();
        let asked = http_request("POST", "/works/verify", "", &body.to_string());
        eventually("lines are lost", || {
            let stream = connect(self.address("address"));
            for _ in 0..100 {
                (&stream).write_all(asked.as_bytes()).unwrap();
                assert_eq!(read(&stream, false).status, 200);
            }
            get(management, "/prometheus").metric(LOST) > 0.0
        });
        assert_eq!(get(management, "/health/readiness").status, 200);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_stalled_reader_stops_neither_requests_nor_the_shutdown() {
    let mut server = Unread::start();
    server.fill_the_queue();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_server_whose_log_is_not_read() {
    let mut server = Unread::start();
    // Its searches keep the server from ending by itself. They are not all answered within the seconds of this test.
    let _searches = [1, 2, 3, 4].map(|number| {
        let mut stream = connect(server.address("address"));
        let body = request("LIVE", &target(number)).to_string();
        let asked = http_request("POST", "/works", "", &body);
        stream.write_all(asked.as_bytes()).unwrap();
        stream
    });
    let management = server.address("management_address");
    eventually("it searches", || {
        get(management, "/prometheus").metric("atto_work_searches_running") >= 1.0
    });
    server.fill_the_queue();
    server.signal(Signal::TERM);
    eventually("it drains", || {
        get(management, "/health/readiness").status == 503
    });
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(1));
}

#[test]
fn a_reader_that_resumes_is_told_how_many_lines_it_missed() {
    let mut server = Unread::start();
    server.fill_the_queue();
    let log = std::mem::replace(&mut server.log, {
        let mut other = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        other.wait().unwrap();
        BufReader::new(other.stdout.take().unwrap())
    });
    let reader = thread::spawn(move || {
        let told = log.lines().map_while(Result::ok).find_map(|line| {
            let line: Value = serde_json::from_str(&line).expect("whole lines");
            (line["message"] == "log lines were lost").then_some(line)
        });
        told.expect("such a line")
    });
    eventually("it is told", || reader.is_finished());
    let told = reader.join().unwrap();
    assert!(told["lines"].as_u64() > Some(0), "{told}");
    assert_eq!(told["severity"], "WARNING");
}

#[test]
fn a_service_logs_json_to_standard_output_and_nothing_to_standard_error() {
    let mut child = work_server(&[&["serve", "--backend", "cpu"], &PORTS[..]].concat())
        // An empty filter counts as unset.
        .env("RUST_LOG", "")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|line: &Value| line["message"] != "ready")
    {
        let line = lines.next().expect("it gets ready").unwrap();
        seen.push(serde_json::from_str(&line).expect("JSON"));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    seen.extend(lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).expect("JSON")));
    assert_eq!(seen.last().unwrap()["message"], "stopped");
    for line in &seen {
        for member in ["timestamp", "severity", "level", "message", "target"] {
            assert!(line[member].is_string(), "no {member}: {line}");
        }
    }
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
    child.wait().unwrap();
}

#[test]
fn text_is_what_a_terminal_shows() {
    // `script` gives the server a terminal.
    let server = env!("CARGO_BIN_EXE_work-server");
    let command = format!("{server} serve {} --backend cpu", PORTS.join(" "));
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--command", &command, "/dev/null"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.find_map(|line| {
        let line = line.unwrap();
        assert!(!line.contains("\"message\""), "{line}");
        line.contains("ready").then_some(line)
    });
    // In colour.
    assert!(ready.expect("it gets ready").contains('\u{1b}'));
    // `script` passes the signal on.
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}

/// Runs as the test, and as the process that panics.
#[test]
fn a_panic_is_one_line_and_one_of_the_main_thread_ends_the_process() {
    const PART: &str = "PART_IN_THIS_TEST";
    if std::env::var_os(PART).is_some() {
        let _log = log_to_stdout(LogFormat::Json, tracing::level_filters::LevelFilter::INFO);
        let other = thread::Builder::new().name("other".to_owned());
        let other = other.spawn(|| panic!("a driver's text\nof two lines"));
        assert!(other.unwrap().join().is_err());
        panic!("this thread started the log");
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "log::a_panic_is_one_line_and_one_of_the_main_thread_ends_the_process",
        ])
        .arg("--nocapture")
        .env(PART, "panics")
        .env_remove("RUST_LOG")
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let [of_other, of_main] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(of_other["message"], "panic: a driver's text\nof two lines");
    assert_eq!(of_other["thread"], "other");
    assert_eq!(of_main["message"], "panic: this thread started the log");
    for line in [of_other, of_main] {
        assert_eq!(line["severity"], "ERROR");
        assert!(
            line["location"].as_str().unwrap().contains("log.rs"),
            "{line}"
        );
        assert!(line["backtrace"].is_string(), "{line}");
    }
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
