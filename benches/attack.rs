//! What hostile clients cost: the real binary's memory and descriptors, and how long probes take beside them.
//!
//!     cargo bench --features jemalloc --bench attack
//!     cargo bench --bench attack -- PATH
//!
//! Exits with 1 if a bound of README.md, "Security", is broken. PATH names the binary of another version, for comparison.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::hostile::{Attack, flood, memory, processor_ticks};
use support::http::{connect, get};
use support::{PORTS, Server};

/// The most memory that a thousand connections may take, in MiB.
const MOST_MEMORY: f64 = 512.0;

/// When an attack's memory should be back in the system.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// The most memory that may be left then, in MiB, if the server was built with jemalloc. The C library keeps most of it.
const LEFT_MEMORY: f64 = 64.0;

/// The 99th percentile of the time of probes beside a flood may be this long.
const SLOWEST_PROBE: Duration = Duration::from_millis(25);

/// How long a probe, or the end of an attack, is waited for at most.
const PATIENCE: Duration = Duration::from_secs(120);

const BUNDLE: &str = "/swagger-ui/swagger-ui-bundle.js";

/// What one attack did.
struct Measured {
    /// Resident MiB: before, at most, and `LEFT_AFTER` it.
    memory: [f64; 3],
    descriptors: usize,
    probes: Vec<Duration>,
}

fn main() -> ExitCode {
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised");
    println!(
        "{:<34} {:>8} {:>8} {:>8} {:>6} {:>9} {:>9}",
        "attack", "MiB", "at most", "after", "files", "probe p50", "p99"
    );
    let mut fields = Attack::FIELDS;
    let mut held = measure("480 fields, 50 connections", |server| {
        streams(server, fields, 50)
    });
    fields.fields = 60;
    let thousand = [
        ("60 fields, 1000 connections", fields),
        (
            "bodies without end, 1000",
            Attack {
                fields: 0,
                body: 16_000,
                streams: 4,
                ..fields
            },
        ),
        (
            "answers unread, 1000",
            Attack {
                fields: 0,
                unread: Some(BUNDLE),
                ..fields
            },
        ),
    ];
    for (name, attack) in thousand {
        held &= measure(name, |server| streams(server, attack, 1000));
    }
    held &= measure("partial heads behind requests, 1000", |server| {
        let bytes = "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\nGET / HT";
        keep(1000, || {
            let mut stream = connect(server);
            let _ = stream.write_all(bytes.as_bytes());
            stream
        })
    });
    held &= measure("pipelined, nothing read, 200", |server| {
        let requests = format!("GET {BUNDLE} HTTP/1.1\r\nhost: test\r\n\r\n").repeat(20);
        keep(200, || {
            let mut stream = connect(server);
            let _ = stream.write_all(requests.as_bytes());
            stream
        })
    });
    held &= measure("flood of whole requests, 4", |server| {
        let until = Instant::now() + Duration::from_secs(10);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| flood(server, "/openapi.json", || Instant::now() < until));
            }
        });
        Vec::new()
    });
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Opens connections of this attack.
fn streams(server: SocketAddr, attack: Attack, connections: usize) -> Vec<TcpStream> {
    keep(connections, || attack.start(server))
}

fn keep(count: usize, open: impl Fn() -> TcpStream) -> Vec<TcpStream> {
    (0..count).map(|_| open()).collect()
}

/// Runs an attack, and prints its line. Returns whether the bounds hold.
fn measure(name: &str, attack: impl FnOnce(SocketAddr) -> Vec<TcpStream> + Send) -> bool {
    let server = match std::env::args()
        .skip(1)
        .find(|argument| argument != "--bench")
    {
        Some(path) => {
            let mut command = Command::new(path);
            command.args(["serve", "--backend", "cpu"]).args(PORTS);
            Server::spawn(command)
        }
        None => Server::on_cpu(&[]),
    };
    let pid = server.pid();
    // The pages of a first request and a first scrape.
    get(server.address, BUNDLE);
    get(server.management, "/prometheus");
    let before = memory(pid);
    let is_over = AtomicBool::new(false);
    let mut measured = Measured {
        memory: [before; 3],
        descriptors: 0,
        probes: Vec::new(),
    };
    thread::scope(|scope| {
        let probes = scope.spawn(|| {
            let mut probes = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                probes.extend(probe(server.management));
                thread::sleep(Duration::from_millis(5));
            }
            probes
        });
        let watch = scope.spawn(|| {
            let (mut most, mut files) = (before, 0);
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(memory(pid));
                let folder = std::fs::read_dir(format!("/proc/{pid}/fd"));
                files = files.max(folder.map_or(0, Iterator::count));
                thread::sleep(Duration::from_millis(10));
            }
            (most, files)
        });
        let streams = attack(server.address);
        wait_until_quiet(pid);
        drop(streams);
        is_over.store(true, Ordering::Relaxed);
        let (most, files) = watch.join().expect("it only looks");
        measured.memory[1] = most;
        measured.descriptors = files;
        measured.probes = probes.join().expect("it only asks");
    });
    thread::sleep(LEFT_AFTER);
    measured.memory[2] = memory(pid);
    print(name, measured)
}

/// Waits until the server has hardly anything to do: it answers the probes all the while.
fn wait_until_quiet(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = processor_ticks(pid);
        thread::sleep(Duration::from_secs(1));
        if processor_ticks(pid) <= before + 10 || Instant::now() > deadline {
            return;
        }
    }
}

/// How long `GET /health` takes on a connection of its own.
fn probe(address: SocketAddr) -> Option<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = b"GET /health HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200 ").then(|| began.elapsed())
}

fn print(name: &str, measured: Measured) -> bool {
    let Measured {
        memory: [before, most, after],
        descriptors,
        mut probes,
    } = measured;
    probes.sort();
    let percentile = |of: usize| {
        probes
            .get(probes.len() * of / 100)
            .copied()
            .unwrap_or(PATIENCE)
    };
    let (p50, p99) = (percentile(50), percentile(99));
    let is_given_back = !cfg!(feature = "jemalloc") || after < LEFT_MEMORY;
    let holds = most < MOST_MEMORY && is_given_back && p99 <= SLOWEST_PROBE;
    println!(
        "{name:<34} {before:>8.1} {most:>8.1} {after:>8.1} {descriptors:>6} {:>6.1} ms {:>6.1} ms{}",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        if holds { "" } else { "  too much" }
    );
    holds
}
