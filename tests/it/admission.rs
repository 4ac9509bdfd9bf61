//! Which requests are refused under load, and with which `Retry-After`: the service over real sockets, in this process, with a
//! device whose speed is known.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::devices::{Service, fake, honest, limits, unlucky};
use crate::support::http::{connect, get, post_works, read, works};
use crate::support::{Server, eventually, request, target, without_luck};
use atto_work_server::device::{Device, OpenDevices, Searched};
use atto_work_server::scheduler::{AnswerCache, Limits, Scheduler};
use atto_work_server::telemetry::Metrics;
use atto_work_server::work::{Difficulty, Network, Target, Timestamp, Work, WorkRequest, digest};

const RUNNING: &str = "atto_work_searches_running";
const WAITING: &str = "atto_work_queue_depth";

fn metric(service: &Service, name: &str) -> f64 {
    get(service.management, "/prometheus").metric(name)
}

fn ask(service: &Service, network: &str, number: u64) -> TcpStream {
    let mut stream = connect(service.address);
    let request = request(network, &target(number)).to_string();
    stream.write_all(works(&request).as_bytes()).unwrap();
    stream
}

/// A device that finds nothing and does 2^20 hashes in 5 ms or more: at most 210 million a second.
fn paced() -> Device {
    fake("paced", |slice| {
        thread::sleep(Duration::from_millis(5));
        Ok(Searched {
            tried: slice.nonces.count,
            found: None,
        })
    })
}

/// The `Retry-After` of a request that is refused while a search of this network has the only place.
fn retry_after(network: &str) -> u64 {
    let service = Service::with_limits(limits(1, 0), vec![paced()], None);
    let _search = ask(&service, network, 1);
    // The race that this device came with says that it is far slower.
    eventually("its speed is known", || {
        // It is there once the device is.
        let page = get(service.management, "/prometheus");
        page.metric_or_zero("atto_work_batches_total{device=\"paced\"}") > 200.0
    });
    let refused = post_works(service.address, &request("LOCAL", &target(2)).to_string());
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["code"], "QUEUE_FULL");
    assert!(metric(&service, "atto_work_hash_rate") < 210e6);
    assert!(metric(&service, "atto_work_expected_wait_seconds") > 0.0);
    refused.header("retry-after").unwrap().parse().unwrap()
}

#[test]
fn retry_after_is_the_mean_time_until_the_running_search_ends() {
    // LIVE needs 2^32 hashes, 20.5 s at best; DEV a hundredth of that.
    let (live, dev) = (retry_after("LIVE"), retry_after("DEV"));
    assert!((20..300).contains(&live), "{live}");
    assert!((1..live / 5).contains(&dev), "{dev}, {live}");
}

#[test]
fn a_request_is_refused_and_its_search_ended_at_its_deadline() {
    let slices = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&slices);
    let device = fake("counting", move |slice| {
        count.fetch_add(1, Ordering::Relaxed);
        unlucky(slice)
    });
    let limits = Limits {
        deadline: Some(Duration::from_millis(300)),
        ..limits(1, 16)
    };
    let service = Service::with_limits(limits, vec![device], None);
    // One that runs and one that waits.
    let clients = [1, 2].map(|number| ask(&service, "LIVE", number));
    for client in &clients {
        let refused = read(client, false);
        assert_eq!(refused.status, 504, "{refused:?}");
        assert_eq!(
            refused.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(refused.header("retry-after"), None);
        let problem = refused.json();
        assert_eq!(problem["code"], "DEADLINE_EXCEEDED");
        assert_eq!(problem["detail"], "there was no work within 0.3 s");
    }
    assert_eq!(
        (metric(&service, RUNNING), metric(&service, WAITING)),
        (0.0, 0.0)
    );
    let outcome = "atto_work_requests_total{network=\"LIVE\",outcome=\"deadline\"}";
    assert_eq!(metric(&service, outcome), 2.0);
    eventually("the last slice has ended", || {
        let before = slices.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
        slices.load(Ordering::Relaxed) == before
    });
}

/// A request for LIVE work whose head has this line too.
fn ask_with(service: &Service, number: u64, line: &str) -> TcpStream {
    let mut stream = connect(service.address);
    let request = works(&request("LIVE", &target(number)).to_string());
    let request = request.replacen("\r\n", &format!("\r\n{line}\r\n"), 1);
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn a_search_ends_when_its_clients_request_timeout_is_over() {
    let service = Service::with_limits(limits(1, 16), vec![fake("unlucky", unlucky)], None);
    for (number, line) in [
        (1, "request-timeout: 0.2"),
        (2, "x-envoy-expected-rq-timeout-ms: 200"),
    ] {
        let refused = read(&ask_with(&service, number, line), false);
        assert_eq!(refused.status, 504, "{refused:?}");
        let problem = refused.json();
        assert_eq!(problem["code"], "DEADLINE_EXCEEDED");
        assert_eq!(problem["detail"], "there was no work within 0.2 s");
        assert_eq!(metric(&service, RUNNING), 0.0);
    }
}

#[test]
fn a_request_is_refused_if_its_client_does_not_wait_long_enough() {
    let service = Service::with_limits(limits(1, 16), vec![paced()], None);
    let _search = ask(&service, "LIVE", 1);
    eventually("its speed is known", || {
        let page = get(service.management, "/prometheus");
        page.metric_or_zero("atto_work_batches_total{device=\"paced\"}") > 200.0
    });
    // LIVE takes 20.5 s at best.
    let refused = read(&ask_with(&service, 2, "request-timeout: 5"), false);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["code"], "QUEUE_FULL");
    let retry: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((15..300).contains(&retry), "{retry}");
    assert_eq!(metric(&service, WAITING), 0.0);
    let _patient = ask_with(&service, 3, "request-timeout: 3600");
    eventually("it waits", || metric(&service, WAITING) == 1.0);
}

#[test]
fn the_deadline_of_the_real_server_is_its_option() {
    let server = Server::on_cpu(&["--deadline", "1", "--threads", "1", "--kernel", "portable"]);
    let refused = without_luck(|number| {
        let live = request("LIVE", &target(number)).to_string();
        post_works(server.address, &live)
    });
    assert_eq!(refused.status, 504, "{refused:?}");
    assert_eq!(refused.json()["detail"], "there was no work within 1 s");
}

fn work_request(network: Network, number: u8) -> WorkRequest {
    let time = Timestamp::now();
    WorkRequest::new(network, time, Target::new([number; 32]), time).unwrap()
}

/// A scheduler without a service around it.
fn scheduler(limits: Limits, devices: Vec<Device>) -> Scheduler {
    let scheduler = Scheduler::start(limits, Metrics::new()).unwrap();
    let fallback = None;
    let opened = OpenDevices {
        devices,
        fallback,
        ..OpenDevices::default()
    };
    scheduler.put_to_work(opened).unwrap();
    scheduler
}

#[test]
fn the_expected_time_of_a_search_follows_from_the_measured_rate() {
    let nobody = scheduler(limits(1, 16), Vec::new());
    assert_eq!(nobody.estimate(&work_request(Network::Live, 1)), None);
    assert_eq!(nobody.status().expected_wait, None);

    // As fast as the race said, before it has done anything: 12 345 hashes a second.
    let idle = scheduler(limits(1, 16), vec![paced()]);
    let request = work_request(Network::Live, 1);
    let estimate = idle.estimate(&request).unwrap();
    let seconds = request.rule().expected_hashes() / 12_345.0;
    assert_eq!(estimate.wait, Duration::ZERO);
    assert!(
        (estimate.solve.as_secs_f64() / seconds - 1.0).abs() < 1e-6,
        "{estimate:?}"
    );
    let status = idle.status();
    assert!((status.hash_rate - 12_345.0).abs() < 1e-6, "{status:?}");
    assert_eq!(status.expected_wait, Some(Duration::ZERO));
}

#[test]
fn a_solved_work_has_its_waiting_and_search_times() {
    let limits = Limits {
        answers: AnswerCache::DEFAULT,
        ..limits(1, 16)
    };
    let scheduler = scheduler(limits, vec![honest()]);
    let request = work_request(Network::Local, 1);
    let solved = pollster::block_on(scheduler.solve(request)).unwrap();
    assert!(solved.searched > Duration::ZERO, "{solved:?}");
    // A slice has begun after the request.
    assert!(solved.waited > Duration::ZERO, "{solved:?}");
    let again = pollster::block_on(scheduler.solve(request)).unwrap();
    assert_eq!(again.work, solved.work);
    assert_eq!(
        (again.waited, again.searched),
        (Duration::ZERO, Duration::ZERO)
    );
}

#[test]
fn the_same_bytes_are_searched_for_once_under_each_rule() {
    let limits = Limits {
        answers: AnswerCache::DEFAULT,
        ..limits(4, 16)
    };
    let scheduler = scheduler(limits, vec![honest()]);
    let target = Target::new([1; 32]);
    let atto = work_request(Network::Local, 1);
    let [hard, easy] = [0xFFFF_C000_0000_0000, 0xF000_0000_0000_0000]
        .map(|difficulty| WorkRequest::nano(target, Difficulty::new(difficulty)));
    let value = |work: Work| digest(work.nonce(), &target);
    let solve = |request| pollster::block_on(scheduler.solve(request)).unwrap();
    // Each is answered from its own cached answer or search, also where that of the other is at hand.
    let solved = solve(atto);
    assert!(atto.rule().admits(value(solved.work)));
    let found = solve(hard);
    assert!(found.searched > Duration::ZERO, "{found:?}");
    assert!(hard.rule().admits(value(found.work)));
    assert!(!atto.rule().admits(value(found.work)));
    let recalled = solve(easy);
    assert_eq!(
        (recalled.work, recalled.searched),
        (found.work, Duration::ZERO)
    );
    assert_eq!(solve(atto).work, solved.work);
    // Both at once.
    let more = 2..10_u8;
    thread::scope(|scope| {
        for number in more {
            let scheduler = &scheduler;
            let atto = work_request(Network::Local, number);
            let nano = WorkRequest::nano(*atto.target(), Difficulty::new(0xFFFF_0000_0000_0000));
            for request in [atto, nano] {
                scope.spawn(move || {
                    let work = pollster::block_on(scheduler.solve(request)).unwrap().work;
                    let value = digest(work.nonce(), request.target());
                    assert!(request.rule().admits(value), "{request:?}");
                });
            }
        }
    });
}
