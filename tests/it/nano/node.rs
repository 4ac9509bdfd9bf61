//! Clients that behave as `nano_node` does: a connection for each request, pretty-printed JSON, a bare address as `Host`, and
//! connections that are closed before the answer is read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{EASY, HARD, assert_work, root, server};
use crate::support::eventually;
use crate::support::http::{connect, read};

const RUNNING: &str = "atto_work_searches_running";

/// A request as `nano_node` writes it.
fn node_request(host: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// `work_generate` as `nano_node` writes it.
fn generate(root: &str, difficulty: &str) -> String {
    format!(
        "{{\n    \"action\": \"work_generate\",\n    \"hash\": \"{root}\",\n    \"difficulty\": \"{difficulty}\",\n    \
         \"account\": \"nano_3t6k35gi95xu6tergt6p69ck76ogmitsa8mnijtpxm9fkcm736xtoncuohr3\"\n}}\n"
    )
}

fn cancel(root: &str) -> String {
    format!("{{\n    \"action\": \"work_cancel\",\n    \"hash\": \"{root}\"\n}}\n")
}

/// Sends a request on a connection of its own.
fn send(address: SocketAddr, body: &str) -> TcpStream {
    let mut stream = connect(address);
    let request = node_request(&address.ip().to_string(), body);
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn a_node_gets_its_works() {
    let server = server(&["--nano-difficulty", EASY]);
    let nano = server.nano.unwrap();
    for number in 0..20 {
        let hash = root(number);
        let stream = send(nano, &generate(&hash, EASY));
        assert_work(&read(&stream, false), &hash, EASY, EASY);
    }
}

#[test]
fn a_cancel_acts_although_its_answer_is_not_read() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    // Closed at once, and with the end of the connection behind the last byte of the body.
    for number in 0..50 {
        let hash = root(number);
        let stream = send(nano, &generate(&hash, HARD));
        eventually("the search runs", || server.metric(RUNNING) == 1.0);
        drop(send(nano, &cancel(&hash)));
        let answer = read(&stream, false);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), serde_json::json!({ "error": "Cancelled" }));
        eventually("the search ends", || server.metric(RUNNING) == 0.0);
    }
}

#[test]
fn a_cancel_in_two_parts_acts_although_its_answer_is_not_read() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    for number in 0..20 {
        let hash = root(number);
        let stream = send(nano, &generate(&hash, HARD));
        eventually("the search runs", || server.metric(RUNNING) == 1.0);
        // The head is there before, so that the body and the end of the connection come together.
        let request = node_request("127.0.0.1", &cancel(&hash));
        let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
        let mut canceller = connect(nano);
        canceller.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        canceller.write_all(body.as_bytes()).unwrap();
        drop(canceller);
        assert_eq!(read(&stream, false).json()["error"], "Cancelled");
    }
}

#[test]
fn a_node_that_hangs_up_ends_its_search() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    let stream = send(nano, &generate(&root(1), HARD));
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    drop(stream);
    eventually("the search ends", || server.metric(RUNNING) == 0.0);
    let cancelled = "atto_work_requests_total{network=\"NANO\",outcome=\"cancelled\"}";
    eventually("it is counted", || server.metric(cancelled) == 1.0);
}

#[test]
fn a_bare_ipv6_address_is_a_host() {
    if TcpListener::bind("[::1]:0").is_err() {
        // Without IPv6, the header is the same.
        let server = server(&["--nano-difficulty", EASY]);
        return asks_with_hosts(server.nano.unwrap());
    }
    let server = crate::support::Server::on_cpu(&[
        "--nano-address",
        "[::1]:0",
        "--nano-difficulty",
        EASY,
        "--allowed-hosts",
        "work.example",
    ]);
    asks_with_hosts(server.nano.unwrap());
}

fn asks_with_hosts(nano: SocketAddr) {
    for host in [
        "::1",
        "fe80::1%2",
        "::ffff:127.0.0.1",
        "[::1]",
        "127.0.0.1",
        "work.example",
    ] {
        let mut stream = connect(nano);
        let request = node_request(host, &generate(&root(1), EASY));
        stream.write_all(request.as_bytes()).unwrap();
        assert_work(&read(&stream, false), &root(1), EASY, EASY);
    }
    for (host, status) in [("a b", 400), ("rebound.example", 421)] {
        let mut stream = connect(nano);
        let request = node_request(host, &generate(&root(1), EASY));
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read(&stream, false);
        assert_eq!(answer.status, status, "{host}");
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn a_connection_is_kept_or_closed_as_the_client_asks() {
    let server = server(&["--nano-difficulty", EASY]);
    let nano = server.nano.unwrap();
    let body = generate(&root(1), EASY);
    let mut stream = connect(nano);
    for _ in 0..2 {
        stream
            .write_all(node_request("x", &body).as_bytes())
            .unwrap();
        assert_work(&read(&stream, false), &root(1), EASY, EASY);
    }
    // As ApacheBench and old clients ask.
    let old = node_request("x", &body).replace("HTTP/1.1", "HTTP/1.0");
    let mut stream = connect(nano);
    stream.write_all(old.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.contains(" 200 OK") && all.contains("\"work\""), "{all}");
}
