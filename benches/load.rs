//! The cost of the service beside the search: answered requests a second, and the time of an answer over a socket
//! compared with the same search without one. The service is the real one, in this process.
//!
//!     cargo bench --bench load

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use atto_work_server::device::cpu;
use atto_work_server::device::{Device, OpenDevices};
use atto_work_server::scheduler::Scheduler;
use atto_work_server::telemetry::Metrics;
use atto_work_server::work::{Network, Timestamp, WorkRequest};
use support::devices::{Service, clairvoyant, limits};
use support::http::{connect, read_next, works};
use support::{request, target};

/// Clients that ask at once, each on its own connection.
const CLIENTS: u64 = 32;
/// How long they ask.
const DURATION: Duration = Duration::from_secs(5);
/// Searches, one after another.
const SEARCHES: u64 = 4000;

fn main() {
    println!("{CLIENTS} clients, each on a kept connection, for {DURATION:?}");
    let service = Service::with_limits(limits(4, 200), vec![clairvoyant()], None);
    // Each client repeats one request, whose answer the device knows.
    let per_second = load(service.address, |client, _| target(client));
    println!("a device that knows every answer at once: {per_second:.0} requests/s");
    drop(service);
    let service = Service::with_limits(limits(4, 200), vec![processor()], None);
    let per_second = load(service.address, |client, number| {
        target(1_000_000 * (client + 1) + number)
    });
    println!("LOCAL on every core: {per_second:.0} requests/s");

    println!("{SEARCHES} LOCAL searches one after another, milliseconds");
    let over_socket = over_socket(&service);
    drop(service);
    let bare = bare();
    for (name, permille) in [("p50", 500), ("p99", 990)] {
        let (bare, over_socket) = (at(&bare, permille), at(&over_socket, permille));
        println!(
            "{name}: {over_socket:.3} over a socket, {bare:.3} without: {:.2} times",
            over_socket / bare
        );
    }
}

/// The processor with every core.
fn processor() -> Device {
    cpu::open(None, cpu::available_threads()).expect("the processor computes")
}

/// Requests a second, for targets by the client's number and the request's.
fn load(address: SocketAddr, target: fn(u64, u64) -> String) -> f64 {
    let started = Instant::now();
    let answered: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut stream = connect(address);
                    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
                    let mut number = 0;
                    while started.elapsed() < DURATION {
                        let body = request("LOCAL", &target(client, number)).to_string();
                        stream
                            .write_all(works(&body).as_bytes())
                            .expect("the server reads");
                        assert_eq!(read_next(&mut reader, false).status, 200);
                        number += 1;
                    }
                    number
                })
            })
            .collect();
        let counts = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        counts.sum()
    });
    answered as f64 / started.elapsed().as_secs_f64()
}

/// The sorted times of the searches over a socket.
fn over_socket(service: &Service) -> Vec<Duration> {
    let mut stream = connect(service.address);
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    sorted(|number| {
        let body = request("LOCAL", &target(number)).to_string();
        stream
            .write_all(works(&body).as_bytes())
            .expect("the server reads");
        assert_eq!(read_next(&mut reader, false).status, 200);
    })
}

/// The sorted times of the same searches without a socket.
fn bare() -> Vec<Duration> {
    let scheduler =
        Scheduler::start(limits(4, 16), Metrics::new()).expect("threads can be started");
    let opened = OpenDevices {
        devices: vec![processor()],
        ..OpenDevices::default()
    };
    scheduler
        .put_to_work(opened)
        .expect("threads can be started");
    sorted(|number| {
        let time = Timestamp::now();
        let target = target(number).parse().expect("64 hex digits");
        let request = WorkRequest::new(Network::Local, time, target, time).expect("not ahead");
        pollster::block_on(scheduler.solve(request)).expect("there is room");
    })
}

fn sorted(mut search: impl FnMut(u64)) -> Vec<Duration> {
    let mut times: Vec<_> = (0..SEARCHES)
        .map(|number| {
            let started = Instant::now();
            search(number);
            started.elapsed()
        })
        .collect();
    times.sort();
    times
}

/// A quantile, in milliseconds.
fn at(times: &[Duration], permille: usize) -> f64 {
    times[(times.len() - 1) * permille / 1000].as_secs_f64() * 1e3
}
