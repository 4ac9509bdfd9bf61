//! The real binary under mixed traffic for minutes or hours: nothing may grow, and every answer must be right.
//!
//!     cargo bench --bench soak -- --minutes 5
//!
//! Exits with 1 if an answer was wrong, if searches are left, or if memory, descriptors or threads grow by more than
//! the slack. Growth is the trend over the second half of the run: Theil and Sen's, the median of the slopes between all
//! pairs of lines.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};
use support::http::{connect, get, post_works, read_next, works};
use support::{Server, assert_work, eventually, now, request, target};
use warp::http::Request;

/// The time between two lines of the table, for each of which everything is measured.
const LINE: Duration = Duration::from_secs(10);

/// Clients over HTTP/1.1.
const CLIENTS: u64 = 12;

/// The growth allowed in the second half of the run, which the allocator and chance may cause. In five minutes of a
/// thousand requests a second, 4 MiB are some 30 bytes a request; a longer run finds smaller leaks.
const SLACK: [(&str, f64); 3] = [
    ("memory, KiB", 4096.0),
    ("descriptors", 20.0),
    ("threads", 2.0),
];

/// The clients' observations.
#[derive(Default)]
struct Tally {
    requests: u64,
    works: u64,
    /// By `code`.
    refused: BTreeMap<String, u64>,
    /// Descriptions of everything wrong.
    wrong: Vec<String>,
}

type Shared<'a> = &'a Mutex<Tally>;

fn main() -> ExitCode {
    let Some(minutes) = minutes() else {
        eprintln!("soak: what may be given is --minutes N, of at least 1");
        return ExitCode::from(64);
    };
    // Clients sometimes want more slots than there are, so that some are refused. Timeouts are short enough to occur.
    let server = Server::on_cpu(&[
        "--queue-size",
        "2",
        "--queue-capacity",
        "6",
        "--header-timeout",
        "2",
        "--body-timeout",
        "2",
        "--idle-timeout",
        "5",
    ]);
    let (tally, over) = (Mutex::new(Tally::default()), AtomicBool::new(false));
    let lines = thread::scope(|scope| {
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let mut client = Client {
                address: server.address,
                rng: Rng::with_seed(number),
                number: number << 32,
                tally: &tally,
            };
            clients.push(scope.spawn(|| run(&over, move || client.act())));
        }
        clients.push(scope.spawn(|| run(&over, || http2(server.address, &tally))));
        let lines = watch(&server, minutes, &tally);
        over.store(true, Ordering::Relaxed);
        for client in clients {
            if client.join().is_err() {
                let mut tally = tally.lock().expect("nobody panics with it");
                tally.wrong.push("a client gave up, see above".to_owned());
            }
        }
        lines
    });
    eventually("no search is left", || {
        server.metric("atto_work_searches_running") + server.metric("atto_work_queue_depth") == 0.0
    });
    let last = request("LOCAL", &target(u64::MAX));
    assert_work(&post_works(server.address, &last.to_string()), &last);
    judge(&lines, &tally.into_inner().expect("nobody panics with it"))
}

/// The value of `--minutes`, else five. Cargo adds `--bench`.
fn minutes() -> Option<f64> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let args = args.strip_suffix(&["--bench"]).unwrap_or(&args);
    match args {
        [] => Some(5.0),
        ["--minutes", minutes] => minutes.parse().ok().filter(|&minutes| minutes >= 1.0),
        _ => None,
    }
}

fn run(over: &AtomicBool, mut act: impl FnMut()) {
    while !over.load(Ordering::Relaxed) {
        act();
    }
}

/// Prints the table. Returns the memory, descriptors and threads of each line.
fn watch(server: &Server, minutes: f64, tally: Shared<'_>) -> Vec<[f64; 3]> {
    println!(
        "{:>7} {:>9} {:>8} {:>11} {:>6} {:>7}  refused",
        "seconds", "requests", "works", "memory KiB", "files", "threads"
    );
    let start = Instant::now();
    let mut lines = Vec::new();
    while start.elapsed().as_secs_f64() < minutes * 60.0 {
        thread::sleep(LINE);
        let metrics = get(server.management, "/prometheus");
        let line = [
            metrics.metric("process_resident_memory_bytes") / 1024.0,
            metrics.metric("process_open_fds"),
            threads(server.pid()),
        ];
        let [memory, files, threads] = line;
        let seconds = start.elapsed().as_secs();
        let tally = tally.lock().expect("nobody panics with it");
        let (requests, works) = (tally.requests, tally.works);
        let refused: Vec<_> = tally
            .refused
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        println!(
            "{seconds:>7} {requests:>9} {works:>8} {memory:>11.0} {files:>6} {threads:>7}  {}",
            refused.join(", ")
        );
        lines.push(line);
    }
    lines
}

/// The number of the process's threads.
fn threads(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("a number")
}

fn judge(lines: &[[f64; 3]], tally: &Tally) -> ExitCode {
    let mut failed = false;
    let half = &lines[lines.len() / 2..];
    for (index, (name, slack)) in SLACK.iter().enumerate() {
        let values: Vec<_> = half.iter().map(|line| line[index]).collect();
        let growth = growth(&values);
        let verdict = if growth > *slack { "TOO MUCH" } else { "fine" };
        failed |= growth > *slack;
        println!(
            "growth of {name} over the second half: {growth:+.1} of {slack} allowed: {verdict}"
        );
    }
    for wrong in &tally.wrong {
        println!("WRONG: {wrong}");
    }
    if tally.works == 0 {
        println!("WRONG: there was no work at all");
    }
    if failed || tally.works == 0 || !tally.wrong.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The median slope between all pairs of values, times their count less one.
#[expect(clippy::cast_precision_loss, reason = "there are few values")]
fn growth(values: &[f64]) -> f64 {
    let mut slopes = Vec::new();
    for (i, first) in values.iter().enumerate() {
        for (j, second) in values.iter().enumerate().skip(i + 1) {
            slopes.push((second - first) / (j - i) as f64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    let median = slopes.get(slopes.len() / 2).copied().unwrap_or(0.0);
    median * values.len().saturating_sub(1) as f64
}

/// One client over HTTP/1.1.
struct Client<'a> {
    address: SocketAddr,
    rng: Rng,
    number: u64,
    tally: Shared<'a>,
}

impl Client<'_> {
    fn act(&mut self) {
        match self.rng.u8(..20) {
            0 => self.leaves(),
            1 => self.breaks_off(false),
            2 if self.rng.u8(..8) == 0 => self.breaks_off(true),
            3 => self.is_wrong(),
            _ => self.asks(),
        }
    }

    fn question(&mut self, network: &str) -> Value {
        self.number += 1;
        json!({ "network": network, "timestamp": now(), "target": target(self.number) })
    }

    /// Asks several times, each on a new connection or all on a kept one.
    fn asks(&mut self) {
        let stream = connect(self.address);
        let mut reader = BufReader::new(&stream);
        for _ in 0..self.rng.usize(1..20) {
            let asked = self.question("LOCAL");
            (&stream)
                .write_all(works(&asked.to_string()).as_bytes())
                .expect("the server reads");
            let answer = read_next(&mut reader, false);
            if answer.status == 200 {
                assert_work(&answer, &asked);
                record(self.tally, Ok(()));
                continue;
            }
            let code = answer.json()["code"].to_string();
            let is_proper = answer.status == 503 && answer.header("retry-after").is_some();
            if !is_proper || code != "\"QUEUE_FULL\"" {
                self.wrong(format!("{answer:?} to {asked}"));
            }
            record(self.tally, Err(code));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Disconnects before the answer.
    fn leaves(&mut self) {
        let asked = self.question("LIVE");
        let mut stream = connect(self.address);
        stream
            .write_all(works(&asked.to_string()).as_bytes())
            .expect("the server reads");
        thread::sleep(Duration::from_millis(self.rng.u64(..50)));
        record(self.tally, Err("(left)".to_owned()));
    }

    /// Sends a part of a request, and then disconnects or waits for the server's timeout.
    fn breaks_off(&mut self, waits: bool) {
        let request = works(&self.question("LOCAL").to_string());
        let sent = self.rng.usize(1..request.len());
        let mut stream = connect(self.address);
        stream
            .write_all(&request.as_bytes()[..sent])
            .expect("the server reads");
        if waits {
            // The answer is 408, or none.
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
            if ended.as_ref().is_err_and(|error| !is_reset(error)) {
                self.wrong(format!("half a request was not ended: {ended:?}"));
            }
            if !rest.is_empty() && !rest.starts_with(b"HTTP/1.1 408") {
                self.wrong(format!(
                    "half a request: {}",
                    String::from_utf8_lossy(&rest)
                ));
            }
        }
        record(self.tally, Err("(half a request)".to_owned()));
    }

    fn is_wrong(&mut self) {
        let right = self.question("LOCAL").to_string();
        let (body, status) = match self.rng.u8(..4) {
            0 => ("{".to_owned(), 400),
            1 => ("{}".to_owned(), 400),
            2 => (right.replace("LOCAL", "MOON"), 400),
            _ => (right + &" ".repeat(16 * 1024), 413),
        };
        let stream = connect(self.address);
        (&stream)
            .write_all(works(&body).as_bytes())
            .expect("the server reads");
        let answer = read_next(&mut BufReader::new(&stream), false);
        let _ = stream.shutdown(Shutdown::Both);
        if answer.status != status {
            self.wrong(format!("{answer:?} and not {status}"));
        }
        record(self.tally, Err(answer.json()["code"].to_string()));
    }

    fn wrong(&self, what: String) {
        let mut tally = self.tally.lock().expect("nobody panics with it");
        tally.wrong.push(what);
    }
}

/// Counts a request that was answered with work or refused with this code.
fn record(tally: Shared<'_>, outcome: Result<(), String>) {
    let mut tally = tally.lock().expect("nobody panics with it");
    tally.requests += 1;
    match outcome {
        Ok(()) => tally.works += 1,
        Err(code) => *tally.refused.entry(code.replace('"', "")).or_default() += 1,
    }
}

/// Several requests at once over one connection of HTTP/2, of which one is cancelled.
fn http2(address: SocketAddr, tally: Shared<'_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("the server listens");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let mut sender = sender.ready().await.expect("it is open");
        let mut answers = Vec::new();
        for network in ["LOCAL", "LOCAL", "LIVE", "LOCAL"] {
            let asked = request(network, &target(fastrand::u64(..)));
            let head = Request::post("http://test/works")
                .header("content-type", "application/json")
                .body(())
                .expect("a request");
            let (answer, mut body) = sender.send_request(head, false).expect("it is sent");
            body.send_data(Bytes::from(asked.to_string()), true)
                .expect("it is sent");
            if network == "LIVE" {
                body.send_reset(h2::Reason::CANCEL);
                record(tally, Err("(left)".to_owned()));
            } else {
                answers.push(answer);
            }
        }
        for answer in answers {
            let status = answer.await.expect("an answer").status();
            let outcome = match status.as_u16() {
                200 => Ok(()),
                503 => Err("QUEUE_FULL".to_owned()),
                other => {
                    let mut tally = tally.lock().expect("nobody panics with it");
                    tally.wrong.push(format!("HTTP/2: {other}"));
                    Err(other.to_string())
                }
            };
            record(tally, outcome);
        }
        drop(sender);
        let _ = driver.await;
    });
    thread::sleep(Duration::from_millis(100));
}
