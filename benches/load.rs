//! The cost of the service besides the search: answered requests a second, and the time of an answer over a socket
//! compared with the same search without one. The service is the real one, in this process.
//!
//!     cargo bench --bench load
//!     cargo bench --bench load -- card    easy work on the first card, for one to 64 clients

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use atto_work_server::device::{Device, OpenDevices, cpu, gpu, rate};
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
    if std::env::args().any(|argument| argument == "card") {
        card();
    } else {
        processor_and_service();
    }
}

/// How many LOCAL works a second clients get from a card, beside what the rate of its kernel allows.
fn card() {
    const ROUNDS: usize = 5;
    const NUMBERS: [u64; 5] = [1, 2, 4, 16, 64];
    let adapters = gpu::adapters().expect("the adapters can be listed");
    let adapter = adapters
        .first()
        .expect("no Vulkan adapter here: install Mesa's lavapipe (mesa-vulkan-drivers)");
    println!("{}, {}", adapter.info().label, adapter.info().driver);
    let open = || gpu::open(adapter, None).expect("the adapter works");
    let mut alone = open().engines.remove(0);
    let mut raw = || {
        let measured = rate::measure(&mut *alone, Duration::from_millis(750));
        measured.expect("it works").rate()
    };
    let service = Service::with_limits(limits(4, 200), vec![open()], None);
    let mut measured = NUMBERS.map(|_| (Vec::new(), Vec::new()));
    for round in 0..ROUNDS as u64 {
        for ((rates, shares), clients) in measured.iter_mut().zip(NUMBERS) {
            let before = raw();
            let targets = |client, number| {
                target(((round + 1) << 40 | clients << 32) + (client << 20) + number)
            };
            let rate = load(service.address, clients, targets);
            let possible = (before + raw()) / 2.0 / expected_of_local();
            rates.push(rate);
            shares.push(rate / possible);
        }
    }
    println!("LOCAL over HTTP, medians of {ROUNDS} rounds");
    for ((rates, shares), clients) in measured.into_iter().zip(NUMBERS) {
        println!(
            "{clients:>2} clients: {:4.0} works/s, {:3.0} % of what the rate of the kernel allows",
            median(rates),
            100.0 * median(shares)
        );
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn processor_and_service() {
    println!("{CLIENTS} clients, each on a kept connection, for {DURATION:?}");
    let service = Service::with_limits(limits(4, 200), vec![clairvoyant()], None);
    // Each client repeats one request, whose answer the device knows.
    let per_second = load(service.address, CLIENTS, |client, _| target(client));
    println!("a device that knows every answer at once: {per_second:.0} requests/s");
    drop(service);
    let service = Service::with_limits(limits(4, 200), vec![processor()], None);
    let per_second = load(service.address, CLIENTS, |client, number| {
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
fn load(
    address: SocketAddr,
    clients: u64,
    target: impl Fn(u64, u64) -> String + Copy + Send,
) -> f64 {
    let started = Instant::now();
    let answered: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
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

/// A request for LOCAL work.
fn local(number: u64) -> WorkRequest {
    let time = Timestamp::now();
    let target = target(number).parse().expect("64 hex digits");
    WorkRequest::new(Network::Local, time, target, time).expect("not ahead")
}

/// How many nonces a LOCAL work takes on average.
fn expected_of_local() -> f64 {
    local(0).rule().expected_hashes()
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
        pollster::block_on(scheduler.solve(local(number))).expect("there is room");
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
