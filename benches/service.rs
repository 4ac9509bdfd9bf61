//! The real binary over real sockets: the times of `/health` and of LOCAL work on an idle machine and while every core
//! searches.
//!
//!     cargo bench --bench service

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::http::{connect, read, works};
use support::{Server, eventually, request, target};

/// Requests of each kind.
const REQUESTS: u64 = 2000;

fn main() {
    // Both measurements ask for the same targets, so no answer may be cached.
    let server = Server::on_cpu(&["--answer-memory", "0"]);
    println!("{REQUESTS} requests each on one connection, milliseconds");
    println!("{:<40} {:>8} {:>8} {:>8}", "", "p50", "p99", "max");
    measure_both(&server, "idle");
    // A search that is too hard to end during the measurement keeps every core busy.
    let _busy = ask_for_live(&server);
    measure_both(&server, "every core searches");
    assert_eq!(
        server.metric("atto_work_searches_running"),
        1.0,
        "that search has ended too soon: run this again"
    );
}

fn ask_for_live(server: &Server) -> TcpStream {
    let mut stream = connect(server.address);
    stream
        .write_all(works(&request("LIVE", &target(1)).to_string()).as_bytes())
        .expect("the server reads");
    eventually("the search runs", || {
        server.metric("atto_work_searches_running") == 1.0
    });
    stream
}

fn measure_both(server: &Server, when: &str) {
    let health = "GET /health HTTP/1.1\r\nhost: bench\r\n\r\n".to_owned();
    measure(&format!("GET /health, {when}"), server.management, |_| {
        health.clone()
    });
    measure(
        &format!("POST /works LOCAL, {when}"),
        server.address,
        |number| works(&request("LOCAL", &target(number)).to_string()),
    );
}

fn measure(name: &str, address: SocketAddr, request: impl Fn(u64) -> String) {
    let mut stream = connect(address);
    let mut times: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let request = request(number);
            let started = Instant::now();
            stream
                .write_all(request.as_bytes())
                .expect("the server reads");
            let answer = read(&stream, false);
            assert_eq!(answer.status, 200, "{answer:?}");
            started.elapsed()
        })
        .collect();
    times.sort();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000].as_secs_f64() * 1e3;
    println!(
        "{name:<40} {:>8.2} {:>8.2} {:>8.2}",
        at(500),
        at(990),
        at(1000)
    );
    // Lets the machine become quiet before the next measurement.
    std::thread::sleep(Duration::from_millis(100));
}
