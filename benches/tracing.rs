//! The cost of traces: requests a second and the service's CPU time for each, with tracing off, for 1 % of the requests,
//! for every request, and for every request while the collector is down. Each of the four is the real service in a process
//! of its own; its device knows every answer, so nothing else takes time.
//!
//!     cargo bench --bench tracing
//!
//! Rounds alternate between the four, so that a slow moment of the machine hits all of them. The figures are medians and
//! their ratios. `-- --smoke` runs one short round.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::devices::{Service, clairvoyant, limits};
use support::http::{connect, get, read_next, works};
use support::{request, target};

/// Set in a process that is the service.
const PART: &str = "PART_IN_THIS_BENCHMARK";
/// Clients that ask at once, each on its own connection and always for the same work.
const CLIENTS: u64 = 32;
/// The unit of CPU time in `/proc/PID/stat`, which is the same on all of Linux (proc(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

fn main() {
    if std::env::var_os(PART).is_some() {
        return serve();
    }
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let (rounds, round) = if smoke {
        (1, Duration::from_millis(500))
    } else {
        (9, Duration::from_secs(4))
    };
    let collector = format!("http://{}", collect());
    let vacant = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let down = format!("http://{}", vacant.local_addr().expect("an address"));
    drop(vacant);
    let one_percent = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
    ];
    let endpoint = |url| [("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
    let services = [
        ("off", Process::start(&[])),
        (
            "1 %",
            Process::start(&[&endpoint(collector.as_str())[..], &one_percent].concat()),
        ),
        ("on", Process::start(&endpoint(&collector))),
        ("down", Process::start(&endpoint(&down))),
    ];
    println!("{CLIENTS} clients, each on a kept connection, {rounds} rounds of {round:?}");
    for (_, service) in &services {
        service.load(round / 4);
    }
    let mut figures = services.each_ref().map(|_| Vec::new());
    for number in 0..rounds {
        for turn in 0..services.len() {
            let index = (number + turn) % services.len();
            figures[index].push(services[index].1.load(round));
        }
    }
    let medians = figures.map(|figures| {
        let (rates, times): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
        (median(rates), median(times))
    });
    println!("| tracing | requests/s | ratio | µs of CPU a request | ratio | spans |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let (base_rate, base_time) = medians[0];
    for ((name, service), (rate, time)) in services.iter().zip(medians) {
        println!(
            "| {name} | {rate:.0} | {:.3} | {time:.1} | {:.3} | {} |",
            rate / base_rate,
            time / base_time,
            service.spans()
        );
    }
}

/// The service, until standard input ends.
fn serve() {
    let service = Service::with_limits(limits(4, 200), vec![clairvoyant()], None);
    println!("{} {}", service.address, service.management);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// A service in a process of its own. Killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
    management: SocketAddr,
}

impl Process {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .env(PART, "the service")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("addresses");
        let mut addresses = line
            .split_whitespace()
            .map(|text| text.parse().expect("an address"));
        let mut next = || addresses.next().expect("two addresses");
        let (address, management) = (next(), next());
        Self {
            child,
            address,
            management,
        }
    }

    /// The CPU time so far.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, values) = stat.rsplit_once(") ").expect("a name in parentheses");
        // User and system time are the 12th and 13th value after the name (proc(5)).
        let ticks: u32 = values
            .split(' ')
            .skip(11)
            .take(2)
            .map(|value| value.parse::<u32>().expect("a number"))
            .sum();
        TICK * ticks
    }

    /// Requests a second, and microseconds of CPU time for each.
    fn load(&self, time: Duration) -> (f64, f64) {
        let (before, started) = (self.cpu(), Instant::now());
        let answered: u64 = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || self.ask(client, started + time)))
                .collect();
            let counts = clients
                .into_iter()
                .map(|client| client.join().expect("no panic"));
            counts.sum()
        });
        let elapsed = started.elapsed().as_secs_f64();
        let cpu = (self.cpu() - before).as_secs_f64();
        (answered as f64 / elapsed, cpu * 1e6 / answered as f64)
    }

    /// Asks until this time. Returns the number of requests.
    fn ask(&self, client: u64, until: Instant) -> u64 {
        let mut stream = connect(self.address);
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut number = 0;
        while Instant::now() < until {
            let body = request("LOCAL", &target(client)).to_string();
            stream
                .write_all(works(&body).as_bytes())
                .expect("the server reads");
            assert_eq!(read_next(&mut reader, false).status, 200);
            number += 1;
        }
        number
    }

    /// The outcomes of its spans.
    fn spans(&self) -> String {
        let metrics = get(self.management, "/prometheus");
        let count = |outcome: &str| {
            metrics.metric(&format!("atto_work_spans_total{{outcome=\"{outcome}\"}}"))
        };
        ["exported", "failed", "dropped"]
            .map(|outcome| format!("{} {outcome}", count(outcome)))
            .join(", ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A collector over HTTP that reads nothing of what it accepts, so that it costs as little as possible.
fn collect() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a descriptor");
                let mut reader = BufReader::new(stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    if line == "\r\n" {
                        reader
                            .read_exact(&mut vec![0; length])
                            .expect("the whole body");
                        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                        writer.write_all(answer.as_bytes()).expect("it reads");
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
