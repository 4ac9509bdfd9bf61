//! The cost of idle connections: the real binary's memory and descriptors with 0, 1000 and 10 000 of them.
//!
//!     cargo bench --bench connections

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::io::Write;
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::http::{connect, read, works};
use support::{Server, assert_work, eventually, request, target};

/// Numbers of open connections.
const STEPS: [usize; 3] = [0, 1000, 10_000];

/// The most memory that an idle connection may take, in KiB.
const BOUND: f64 = 64.0;

fn main() {
    allow_descriptors();
    println!(
        "{:<40} {:>8} {:>12} {:>8} {:>8}",
        "connections that", "count", "resident KiB", "each", "files"
    );
    measure("have sent nothing", |server| connect(server.address));
    measure("have half a head", |server| send(server, "POST /works HT"));
    measure("have half a body", |server| {
        let whole = works(&request("LOCAL", &target(1)).to_string());
        send(server, &whole[..whole.len() - 10])
    });
    measure("had an answer", |server| {
        let stream = send(server, "GET /nothing HTTP/1.1\r\nhost: bench\r\n\r\n");
        assert_eq!(read(&stream, false).status, 404);
        stream
    });
    measure("speak HTTP/2", |server| {
        let empty_settings = "\0\0\0\x04\0\0\0\0\0";
        send(
            server,
            &format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{empty_settings}"),
        )
    });
}

fn measure(name: &str, open: impl Fn(&Server) -> TcpStream) {
    let long = ["--header-timeout", "--body-timeout", "--idle-timeout"];
    let mut args: Vec<_> = long.iter().flat_map(|flag| [*flag, "3600"]).collect();
    // Room for one more connection, which must be served beside them.
    args.extend(["--max-connections", "11000"]);
    let server = Server::on_cpu(&args);
    let mut streams = Vec::new();
    let mut before = 0.0;
    for count in STEPS {
        streams.resize_with(count, || open(&server));
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let count = count as f64;
        eventually("all are accepted", || {
            server.metric("atto_work_connections{listener=\"public\"}") == count
        });
        let memory = server.metric("process_resident_memory_bytes") / 1024.0;
        let files = server.metric("process_open_fds");
        if count == 0.0 {
            before = memory;
        }
        let each = (memory - before) / count.max(1.0);
        println!("{name:<40} {count:>8} {memory:>12.0} {each:>8.1} {files:>8}");
        assert!(each < BOUND, "more than {BOUND} KiB");
        // Other clients are still served.
        let request = request("LOCAL", &target(7));
        let answer = support::http::post_works(server.address, &request.to_string());
        assert_work(&answer, &request);
    }
}

fn send(server: &Server, bytes: &str) -> TcpStream {
    let mut stream = connect(server.address);
    stream
        .write_all(bytes.as_bytes())
        .expect("the server reads");
    stream
}

/// Allows this process as many descriptors as the system does.
fn allow_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
}
