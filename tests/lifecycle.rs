//! What becomes of a request when its client leaves, when there are too many, and when the service stops:
//! the real binary, over real sockets.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use support::http::{connect, get, post_works, read, works};
use support::{Server, assert_work, eventually, request, target};

const RUNNING: &str = "atto_work_searches_running";
const WAITING: &str = "atto_work_queue_depth";

/// Asks for the hardest work there is, and returns the connection that waits for it.
///
/// The search takes a quarter of an hour on average on a [`slow_server`]. It has no memory, so one run in some
/// hundreds may see it end within the second or so that a test lasts, and fail for that.
fn start_endless_search(server: &Server, number: u64) -> TcpStream {
    let mut stream = connect(server.address);
    stream
        .write_all(works(&request("LIVE", &target(number)).to_string()).as_bytes())
        .unwrap();
    stream
}

/// A server that searches with one thread of the slowest kernel.
fn slow_server(args: &[&str]) -> Server {
    Server::on_cpu(&[&["--threads", "1", "--kernel", "portable"], args].concat())
}

#[test]
fn a_search_is_abandoned_when_its_client_leaves() {
    let server = slow_server(&["--queue-size", "1"]);
    let running = start_endless_search(&server, 1);
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    let waiting = start_endless_search(&server, 2);
    eventually("the second waits", || server.metric(WAITING) == 1.0);

    drop(waiting);
    eventually("the second has left the queue", || {
        server.metric(WAITING) == 0.0
    });
    assert_eq!(server.metric(RUNNING), 1.0);
    drop(running);
    eventually("the first is abandoned", || server.metric(RUNNING) == 0.0);
    let cancelled = "atto_work_requests_total{network=\"LIVE\",outcome=\"cancelled\"}";
    eventually("both are counted", || server.metric(cancelled) == 2.0);

    // The device really has stopped: it tests nothing more.
    let hashes = "atto_work_hashes_total{device=\"cpu\"}";
    eventually("the last slice has ended", || {
        let before = server.metric(hashes);
        thread::sleep(Duration::from_millis(200));
        server.metric(hashes) == before
    });
}

#[test]
fn easy_searches_do_not_wait_for_the_hard_one_that_runs() {
    let server = slow_server(&["--queue-size", "2"]);
    let _hard = start_endless_search(&server, 1);
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    for number in 10..15 {
        let request = request("LOCAL", &target(number));
        assert_work(&post_works(server.address, &request.to_string()), &request);
    }
}

#[test]
fn a_request_beyond_the_capacity_is_refused_at_once() {
    let server = slow_server(&["--queue-size", "1", "--queue-capacity", "1"]);
    let running = start_endless_search(&server, 1);
    eventually("one runs", || server.metric(RUNNING) == 1.0);
    let _waiting = start_endless_search(&server, 2);
    eventually("one waits", || server.metric(WAITING) == 1.0);

    let request = request("LOCAL", &target(3));
    let refused = post_works(server.address, &request.to_string());
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["code"], "QUEUE_FULL");
    // A full queue is no reason to send the load elsewhere: the others would be no better off.
    assert_eq!(get(server.management, "/health/readiness").status, 200);

    drop(running);
    eventually("the one that waited runs", || server.metric(WAITING) == 0.0);
    let _waiting = start_endless_search(&server, 4);
    eventually("there is room again", || server.metric(WAITING) == 1.0);
}

#[test]
fn a_service_that_stops_finishes_what_it_has_accepted() {
    let mut server = Server::on_cpu(&[
        "--threads",
        "1",
        "--queue-size",
        "2",
        "--shutdown-grace",
        "3600",
    ]);
    // Each takes about a second, and two of them turns: they do not all end before the signal comes.
    let searches = [1, 2, 3].map(|number| {
        let request = request("DEV", &target(number));
        let mut stream = connect(server.address);
        stream
            .write_all(works(&request.to_string()).as_bytes())
            .unwrap();
        (stream, request)
    });
    eventually("two run and one waits", || {
        server.metric(RUNNING) == 2.0 && server.metric(WAITING) == 1.0
    });
    server.terminate();
    for (stream, request) in &searches {
        assert_work(&read(stream, false), request);
    }
    server.wait_for_log("stopped");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_search_that_outlasts_the_grace_time_is_refused_properly() {
    let mut server = slow_server(&["--shutdown-grace", "1"]);
    let searches = [
        start_endless_search(&server, 1),
        start_endless_search(&server, 2),
    ];
    eventually("the searches run", || server.metric(RUNNING) == 2.0);
    server.terminate();
    server.wait_for_log("draining");
    let probe = get(server.management, "/health/readiness");
    assert_eq!(
        (probe.status, probe.json()["status"].as_str()),
        (503, Some("OUT_OF_SERVICE"))
    );
    assert_eq!(get(server.management, "/health").status, 200);
    assert_eq!(get(server.management, "/health/liveness").status, 200);
    assert!(
        TcpStream::connect(server.address).is_err(),
        "new connections are still accepted"
    );
    for stream in &searches {
        let answer = read(stream, false);
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
        assert_eq!(answer.json()["code"], "SHUTTING_DOWN");
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = slow_server(&["--shutdown-grace", "3600"]);
    let _search = start_endless_search(&server, 1);
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    server.terminate();
    server.wait_for_log("draining");
    server.terminate();
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn an_idle_service_stops_at_once_with_its_connections_open() {
    let mut server = Server::on_cpu(&["--shutdown-grace", "3600"]);
    let request = request("LOCAL", &target(1));
    let mut stream = connect(server.address);
    stream
        .write_all(works(&request.to_string()).as_bytes())
        .unwrap();
    assert_work(&read(&stream, false), &request);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
}
