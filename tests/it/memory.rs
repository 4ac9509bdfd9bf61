//! How much memory the worst clients can take: the real binary, over real sockets.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::hostile::{Attack, memory, processor_ticks};
use crate::support::http::post_works;
use crate::support::needs::{Need, is_left_out};
use crate::support::{SOON, Server, assert_work, eventually, request, target};

const OPEN: &str = "atto_work_connections{listener=\"public\"}";

/// The most that the server's memory is while these connections are open and after, in MiB.
fn peak(server: &Server, attack: Attack, connections: usize) -> f64 {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut peak = memory(server.pid());
    for _ in 0..connections {
        streams.push(attack.start(server.address));
        peak = peak.max(memory(server.pid()));
    }
    // Until the server has done with all of it.
    let (mut ticks, deadline) = (0, Instant::now() + 4 * SOON);
    loop {
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            peak = peak.max(memory(server.pid()));
            thread::sleep(Duration::from_millis(5));
        }
        let before = std::mem::replace(&mut ticks, processor_ticks(server.pid()));
        if ticks <= before + 1 {
            break;
        }
        assert!(Instant::now() < deadline, "the server is still at work");
    }
    drop(streams);
    eventually("all are gone", || server.metric(OPEN) == 0.0);
    peak
}

/// A server that waits for these clients, so that all of them are there at once.
fn server() -> Server {
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let patient = ["--header-timeout", "--body-timeout", "--idle-timeout"];
    let patient: Vec<_> = patient.iter().flat_map(|flag| [*flag, "600"]).collect();
    let server = Server::on_cpu(&[&["--threads", "1"], &patient[..]].concat());
    assert_serves(&server);
    server
}

fn assert_serves(server: &Server) {
    let request = request("LOCAL", &target(99));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}

#[test]
fn many_small_fields_cost_little_memory() {
    const CONNECTIONS: usize = 50;

    let server = server();
    let wire = CONNECTIONS * Attack::FIELDS.bytes().len();
    assert!((2_400_000..3_000_000).contains(&wire), "{wire} bytes");
    let before = memory(server.pid());
    let peak = peak(&server, Attack::FIELDS, CONNECTIONS);
    println!("{wire} bytes on the wire, {before:.1} MiB before, {peak:.1} at most");
    assert!(
        peak - before <= 60.0,
        "{before:.1} MiB before, {peak:.1} at most"
    );
    assert_serves(&server);
}

#[test]
fn a_thousand_connections_with_every_stream_open_stay_within_bounds() {
    if is_left_out(Need::Minutes) {
        return;
    }
    let attacks = [
        // As many fields as a request may have.
        Attack {
            fields: 60,
            ..Attack::FIELDS
        },
        // Each of more than that, which has to be refused.
        Attack::FIELDS,
        // What the connection's window has room for.
        Attack {
            fields: 0,
            body: 16_000,
            streams: 4,
            ..Attack::FIELDS
        },
        Attack {
            fields: 0,
            unread: Some("/swagger-ui/swagger-ui-bundle.js"),
            ..Attack::FIELDS
        },
    ];
    for attack in attacks {
        let server = server();
        let peak = peak(&server, attack, 1000);
        println!("{attack:?}: {peak:.1} MiB at most");
        assert!(peak < 512.0, "{attack:?}: {peak:.1} MiB at most");
        assert_serves(&server);
        // There are places for 5096 of these.
        let refused = "atto_work_requests_total{network=\"none\",outcome=\"overloaded\"}";
        let are_too_many = attack.fields == 60 && attack.unread.is_none();
        assert_eq!(server.metric(refused) > 0.0, are_too_many, "{attack:?}");
    }
}
