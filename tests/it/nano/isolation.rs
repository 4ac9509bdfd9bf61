//! Whatever Nano's port is sent, the public port serves as before.

use std::io::Write;
use std::net::TcpStream;

use super::{HARD, ask, assert_error, generate, request, root, server};
use crate::support::devices::{Service, fake, limits, unlucky};
use crate::support::http::{connect, exchange, get, post_works, works};
use crate::support::{assert_work, eventually, target};

/// A request that stays without an answer.
fn search(nano: std::net::SocketAddr, number: u64) -> TcpStream {
    let mut stream = connect(nano);
    let body = generate(&root(number), HARD).to_string();
    stream.write_all(request("", &body).as_bytes()).unwrap();
    stream
}

#[test]
fn half_of_the_queue_is_always_the_public_ports() {
    let service = Service::with_limits(limits(2, 6), vec![fake("slow", unlucky)], None);
    let searches = || {
        let page = get(service.management, "/prometheus");
        page.metric("atto_work_searches_running") + page.metric("atto_work_queue_depth")
    };
    let _nano: Vec<_> = (0..4).map(|number| search(service.nano, number)).collect();
    eventually("four searches", || searches() == 4.0);
    let full = ask(service.nano, &generate(&root(9), HARD));
    assert_error(&full, 200, "too many searches are waiting");
    // Also one that would only join.
    let full = ask(service.nano, &generate(&root(1), HARD));
    assert_error(&full, 200, "too many searches are waiting");
    let _atto: Vec<_> = (0..4)
        .map(|number| {
            let mut stream = connect(service.address);
            let body = crate::support::request("LIVE", &target(number)).to_string();
            stream.write_all(works(&body).as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("eight searches", || searches() == 8.0);
}

#[test]
fn connections_of_the_port_have_a_limit_of_their_own() {
    let server = server(&["--nano-max-connections", "2"]);
    let nano = server.nano.unwrap();
    let _busy: Vec<_> = (0..2).map(|number| search(nano, number)).collect();
    let open = "atto_work_connections{listener=\"nano\"}";
    eventually("both are open", || server.metric(open) == 2.0);
    // More wait, and nothing of the public port does.
    let _waiting: Vec<_> = (2..20).map(|number| search(nano, number)).collect();
    let request = crate::support::request("LOCAL", &target(1));
    assert_work(&post_works(server.address, &request.to_string()), &request);
    assert_eq!(server.metric(open), 2.0);
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let server = server(&["--header-timeout", "0.2"]);
    let nano = server.nano.unwrap();
    let mut kept = connect(server.address);
    for garbage in [
        &b"\0\0\0\0"[..],
        b"POST / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage that is no frame",
        b"\xff\xfe{\"action\":1}",
    ] {
        let mut stream = connect(nano);
        stream.write_all(garbage).unwrap();
    }
    let deep = format!("{}{}", "[".repeat(8000), "]".repeat(8000));
    let deep = format!("{{\"action\":\"status\",\"block\":{deep}}}");
    // What is ignored is not read.
    assert_eq!(exchange(nano, &request("", &deep)).status, 200);
    let deep = format!("{{\"action\":{}{}}}", "[".repeat(8000), "]".repeat(8000));
    assert_error(&exchange(nano, &request("", &deep)), 400, "Unknown command");
    let asked = crate::support::request("LOCAL", &target(1));
    kept.write_all(works(&asked.to_string()).as_bytes())
        .unwrap();
    assert_work(&crate::support::http::read(&kept, false), &asked);
    assert_eq!(get(server.management, "/health").status, 200);
}
