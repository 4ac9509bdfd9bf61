//! What happens to a request when its client disconnects, when there are too many, and when the service stops: the real binary,
//! and the service in this process with a device that never finds what is hard, over real sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::devices::{Service, limits, never_live, patient};
use crate::support::http::{connect, get, post_works, read, works};
use crate::support::needs::{Need, is_left_out};
use crate::support::{PORTS, Server, assert_work, eventually, request, target, work_server};

const RUNNING: &str = "atto_work_searches_running";
const WAITING: &str = "atto_work_queue_depth";

/// Asks for the hardest work there is, and returns the connection that waits for it.
fn start_live_search(address: SocketAddr, number: u64) -> TcpStream {
    let mut stream = connect(address);
    let request = request("LIVE", &target(number)).to_string();
    stream.write_all(works(&request).as_bytes()).unwrap();
    stream
}

/// Three of these, for the real binary, which may be lucky. One takes it minutes on average; that all three end within the
/// seconds of a test does not happen in a million runs.
fn start_live_searches(server: &Server) -> [TcpStream; 3] {
    let searches = [1, 2, 3].map(|number| start_live_search(server.address, number));
    eventually("the searches run", || server.metric(RUNNING) == 3.0);
    searches
}

/// The service on a device for which LOCAL is easy and LIVE endless.
fn service(running: usize, waiting: usize) -> Service {
    Service::with_limits(limits(running, waiting), vec![never_live()], None)
}

fn metric(service: &Service, name: &str) -> f64 {
    get(service.management, "/prometheus").metric(name)
}

/// A server that searches with one thread of the slowest kernel.
fn slow_server(args: &[&str]) -> Server {
    Server::on_cpu(&[&["--threads", "1", "--kernel", "portable"], args].concat())
}

#[test]
fn a_search_is_cancelled_when_its_client_disconnects() {
    let service = service(1, 16);
    let metric = |name| metric(&service, name);
    let running = start_live_search(service.address, 1);
    eventually("the search runs", || metric(RUNNING) == 1.0);
    let waiting = start_live_search(service.address, 2);
    eventually("the second waits", || metric(WAITING) == 1.0);

    drop(waiting);
    eventually("the second has left the queue", || metric(WAITING) == 0.0);
    assert_eq!(metric(RUNNING), 1.0);
    drop(running);
    eventually("the first is abandoned", || metric(RUNNING) == 0.0);
    let cancelled = "atto_work_requests_total{network=\"LIVE\",outcome=\"cancelled\"}";
    eventually("both are counted", || metric(cancelled) == 2.0);

    // The device really has stopped: it tests nothing more.
    let hashes = "atto_work_hashes_total{device=\"quick\"}";
    eventually("the last slice has ended", || {
        let before = metric(hashes);
        thread::sleep(Duration::from_millis(200));
        metric(hashes) == before
    });
}

#[test]
fn easy_searches_do_not_wait_for_the_hard_one_that_runs() {
    let service = service(2, 16);
    let _hard = start_live_search(service.address, 1);
    eventually("the search runs", || metric(&service, RUNNING) == 1.0);
    for number in 10..15 {
        let request = request("LOCAL", &target(number));
        assert_work(&post_works(service.address, &request.to_string()), &request);
    }
    assert_eq!(metric(&service, RUNNING), 1.0);
}

#[test]
fn easy_searches_wait_for_no_turn() {
    let service = service(1, 16);
    let metric = |name| metric(&service, name);
    let hard = [1, 2].map(|number| start_live_search(service.address, number));
    eventually("one runs and one waits", || {
        metric(RUNNING) == 1.0 && metric(WAITING) == 1.0
    });
    for number in 10..20 {
        let request = request("LOCAL", &target(number));
        assert_work(&post_works(service.address, &request.to_string()), &request);
    }
    assert_eq!((metric(RUNNING), metric(WAITING)), (1.0, 1.0));
    drop(hard);
}

#[test]
fn a_request_beyond_the_capacity_is_refused_at_once() {
    let service = service(1, 1);
    let metric = |name| metric(&service, name);
    let running = start_live_search(service.address, 1);
    eventually("one runs", || metric(RUNNING) == 1.0);
    let _waiting = start_live_search(service.address, 2);
    eventually("one waits", || metric(WAITING) == 1.0);
    eventually("it is known how fast the device is", || {
        metric("atto_work_hash_rate") > 0.0
    });

    let request = request("LOCAL", &target(3));
    let refused = post_works(service.address, &request.to_string());
    assert_eq!(refused.status, 503);
    // That of a LIVE search; see admission.rs.
    let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((2..=300).contains(&retry_after), "{retry_after}");
    assert_eq!(refused.json()["code"], "QUEUE_FULL");
    // A full queue does not make the server unready: that would only move its load to other servers.
    assert_eq!(get(service.management, "/health/readiness").status, 200);

    drop(running);
    eventually("the one that waited runs", || metric(WAITING) == 0.0);
    let _waiting = start_live_search(service.address, 4);
    eventually("there is room again", || metric(WAITING) == 1.0);
}

/// With a device of the test's own, which finds nothing until it is told to: so the search is sure to be running
/// when the service is asked to stop.
#[test]
fn a_service_that_stops_finishes_what_it_has_accepted() {
    let (release, device) = patient();
    let mut service = Service::start(vec![device], None);
    let searches = [1, 2, 3, 4, 5, 6].map(|number| {
        let request = request("LOCAL", &target(number));
        let mut stream = connect(service.address);
        stream
            .write_all(works(&request.to_string()).as_bytes())
            .unwrap();
        (stream, request)
    });
    let running = || get(service.management, "/prometheus").metric(RUNNING);
    eventually("they run", || running() == 6.0);
    service.stop();
    let readiness = || get(service.management, "/health/readiness").status;
    eventually("it is not ready", || readiness() == 503);
    eventually("no new connection is accepted", || {
        TcpStream::connect(service.address).is_err()
    });
    release.send(()).unwrap();
    for (stream, request) in &searches {
        assert_work(&read(stream, false), request);
    }
}

#[test]
fn a_search_that_outlasts_the_shutdown_grace_gets_an_error_response() {
    let mut server = slow_server(&["--shutdown-grace", "6"]);
    let searches = start_live_searches(&server);
    server.terminate();
    server.wait_for_log("draining");
    let probe = get(server.management, "/health/readiness");
    assert_eq!(
        (probe.status, probe.json()["status"].as_str()),
        (503, Some("OUT_OF_SERVICE"))
    );
    assert_eq!(get(server.management, "/health").status, 200);
    assert_eq!(get(server.management, "/health/liveness").status, 200);
    eventually("no new connection is accepted", || {
        TcpStream::connect(server.address).is_err()
    });
    let mut answers: Vec<_> = searches.iter().map(|stream| read(stream, false)).collect();
    answers.retain(|answer| answer.status != 200);
    assert!(!answers.is_empty());
    for answer in answers {
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
        assert_eq!(answer.json()["code"], "SHUTTING_DOWN");
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_on_a_card_stops_cleanly_during_a_search() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let ports = [
        "--address",
        "127.0.0.1:0",
        "--management-address",
        "127.0.0.1:0",
    ];
    let mut server = Server::start(
        &[
            &["serve", "--backend", "gpu", "--shutdown-grace", "0"],
            &ports[..],
        ]
        .concat(),
    );
    let _searches = start_live_searches(&server);
    server.terminate();
    let messages = server.wait_for_log("stopped");
    assert!(
        !messages
            .iter()
            .any(|message| message.contains("stopping without waiting for them")),
        "{messages:?}"
    );
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn search_threads_have_a_lower_priority_than_the_service() {
    let server = Server::on_cpu(&["--threads", "3"]);
    // The main thread's is that of the whole service; search threads lower their own when they start.
    let service = niceness(server.pid(), "work-server")[0];
    eventually("three threads search at a lower priority", || {
        let searches = niceness(server.pid(), "search-");
        searches.len() == 3 && searches.iter().all(|&nice| nice == (service + 10).min(19))
    });
    assert!(
        niceness(server.pid(), "tokio")
            .iter()
            .all(|&nice| nice == service)
    );
}

#[test]
fn a_cards_thread_has_the_priority_of_the_service() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let mut command = work_server(&["serve", "--backend", "gpu"]);
    command.args(PORTS);
    let server = Server::spawn(command);
    let service = niceness(server.pid(), "work-server")[0];
    let _search = start_live_search(server.address, 1);
    eventually("the card has searched", || {
        let page = get(server.management, "/prometheus").body;
        let hashes = |line: &&str| line.starts_with("atto_work_hashes_total{device=\"llvmpipe");
        page.lines()
            .find(hashes)
            .is_some_and(|line| !line.ends_with(" 0"))
    });
    let cards = niceness(server.pid(), "search-");
    assert!(
        !cards.is_empty() && cards.iter().all(|&nice| nice == service),
        "{cards:?}"
    );
}

/// The niceness of the process's threads whose names begin so.
fn niceness(process: u32, name: &str) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            // The name stands in parentheses; behind it, niceness is the seventeenth value (proc(5)).
            let (start, values) = stat.rsplit_once(") ")?;
            let is_meant = start.split_once(" (")?.1.starts_with(name);
            is_meant
                .then(|| values.split(' ').nth(16)?.parse().ok())
                .flatten()
        })
        .collect()
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = slow_server(&["--shutdown-grace", "3600"]);
    let _searches = start_live_searches(&server);
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
    // Nothing else happens: in particular, no engine is left behind.
    assert_eq!(server.wait_for_log("stopped"), ["draining", "stopped"]);
    assert_eq!(server.wait().code(), Some(0));
}
