//! What the reference server got wrong once, or still does, each as a case. Where another test has the case, it is named.
//!
//! | fault of the reference server | test |
//! | --- | --- |
//! | `Accept` without JSON got 406 | [`no_accept_header_is_refused`] |
//! | no tolerance for clocks that are ahead | [`a_clock_may_be_a_little_ahead`] |
//! | the network `UNKNOWN` got work | [`the_network_unknown_is_refused`] |
//! | a target of 63 digits got work | [`a_target_of_63_digits_is_refused`] |
//! | the carry of a signed nonce counter skipped nonces and repeated others | `kernels`, `cpu::` and `gpu::`: slices around every place where words carry and wrap |
//! | one thread had a range of no nonces and never ended | [`one_thread_finds_work`] |
//! | a kernel's result was not synchronised, and no answer was verified | `faults::a_device_that_answers_wrongly_is_replaced_and_its_answer_is_never_sent` |
//! | a search went on after its client had left | [`a_search_ends_with_its_client`], on cards `lifecycle::a_search_is_cancelled_when_its_client_disconnects` |
//! | work was cached under the wrong target | [`clients_at_once_and_again_get_the_work_of_their_own_target`] |
//! | a queue of size 0 hung | [`a_queue_of_size_zero_is_named_at_the_start`] |
//! | the queue had no bound | `lifecycle::a_request_beyond_the_capacity_is_refused_at_once` |
//! | a kernel that hung blocked the server for ever | `faults::a_device_that_hangs_loses_its_searches_to_others` |

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::support::http::{connect, exchange, post_works, read, works};
use crate::support::{PORTS, Server, assert_work, eventually, now, request, target, work_server};
use serde_json::json;

#[test]
fn no_accept_header_is_refused() {
    let server = Server::on_cpu(&[]);
    let request = request("LOCAL", &target(1));
    for accept in [
        "text/html",
        "text/plain;q=0.1",
        "*/*",
        "image/*",
        "nonsense",
    ] {
        let asked = works(&request.to_string())
            .replace("accept: application/json", &format!("accept: {accept}"));
        assert_work(&exchange(server.address, &asked), &request);
    }
}

#[test]
fn a_clock_may_be_a_little_ahead() {
    let server = Server::on_cpu(&[]);
    for (ahead, status) in [(50_000, 200), (90_000, 400)] {
        let request =
            json!({ "network": "LOCAL", "timestamp": now() + ahead, "target": target(1) });
        assert_eq!(
            post_works(server.address, &request.to_string()).status,
            status
        );
    }
}

/// That the request is refused because of this member, and nothing was searched for.
fn assert_refused(network: &str, target: &str, field: &str) {
    let server = Server::on_cpu(&[]);
    let answer = post_works(server.address, &request(network, target).to_string());
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["errors"][0]["field"], field);
    assert_eq!(server.metric("atto_work_hashes_total{device=\"cpu\"}"), 0.0);
}

#[test]
fn the_network_unknown_is_refused() {
    assert_refused("UNKNOWN", &target(1), "network");
}

#[test]
fn a_target_of_63_digits_is_refused() {
    assert_refused("LOCAL", &"0".repeat(63), "target");
}

#[test]
fn one_thread_finds_work() {
    let mut command = work_server(&["serve", "--backend", "cpu"]);
    command.args(PORTS).env("ATTO_WORK_THREADS", "1");
    let server = Server::spawn(command);
    let request = request("LOCAL", &target(1));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}

#[test]
fn a_search_ends_with_its_client() {
    let server = Server::on_cpu(&["--threads", "1", "--kernel", "portable"]);
    let mut client = connect(server.address);
    let live = works(&request("LIVE", &target(1)).to_string());
    client.write_all(live.as_bytes()).unwrap();
    let running = || server.metric("atto_work_searches_running");
    eventually("it runs", || running() == 1.0);
    drop(client);
    eventually("it has ended", || running() == 0.0);
    let hashes = || server.metric("atto_work_hashes_total{device=\"cpu\"}");
    let mut before = hashes();
    eventually("the thread rests", || {
        // Longer than a slice takes.
        thread::sleep(Duration::from_millis(200));
        let now = hashes();
        std::mem::replace(&mut before, now) == now
    });
}

#[test]
fn clients_at_once_and_again_get_the_work_of_their_own_target() {
    let server = Server::on_cpu(&["--threads", "2"]);
    let requests: Vec<_> = (0..32)
        .map(|number| request("LOCAL", &target(number)))
        .collect();
    // The second time, all answers are cached.
    for _ in 0..2 {
        thread::scope(|scope| {
            for request in &requests {
                scope.spawn(|| {
                    let mut client = connect(server.address);
                    client
                        .write_all(works(&request.to_string()).as_bytes())
                        .unwrap();
                    assert_work(&read(&client, false), request);
                });
            }
        });
    }
    assert_eq!(server.metric("atto_work_remembered_total"), 32.0);
}

#[test]
fn a_queue_of_size_zero_is_named_at_the_start() {
    let output = work_server(&["serve"])
        .args(PORTS)
        .env("ATTO_WORK_QUEUE_SIZE", "0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("--queue-size") && text.contains("1 to 1024"),
        "{text}"
    );
}

/// Rows of `docs/migrating.md` that no other test has.
#[test]
fn requests_are_answered_as_the_migration_guide_says() {
    let server = Server::on_cpu(&[]);
    let right = request("LOCAL", &target(0xA)).to_string();
    let utf16: Vec<u8> = right.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: [(&str, Vec<u8>, u16); 7] = [
        ("an escape", right.replace('A', "\\u0041").into(), 200),
        ("lower case", right.replace("000A", "000a").into(), 200),
        (
            "another member",
            right.replacen('{', "{\"a\":1,", 1).into(),
            200,
        ),
        ("trailing text", format!("{right} x").into(), 400),
        ("UTF-16", utf16, 400),
        (
            "200 KB",
            format!("{right}{}", " ".repeat(200_000)).into(),
            413,
        ),
        ("nothing", Vec::new(), 400),
    ];
    for (what, body, status) in bodies {
        let head = works("").replace("length: 0", &format!("length: {}", body.len()));
        let mut client = connect(server.address);
        client.write_all(head.as_bytes()).unwrap();
        // The server may have refused, and closed, before all of it is sent.
        let _ = client.write_all(&body);
        assert_eq!(read(&client, false).status, status, "{what}");
    }
    let long = "a".repeat(9 * 1024);
    let paths = [
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}"), 302),
        ("POST //works HTTP/1.1\r\nhost: a".to_owned(), 404),
        ("POST /Works HTTP/1.1\r\nhost: a".to_owned(), 404),
        ("POST /works/ HTTP/1.1\r\nhost: a".to_owned(), 404),
        ("PUT /works HTTP/1.1\r\nhost: a".to_owned(), 405),
    ];
    for (head, status) in paths {
        let answer = exchange(
            server.address,
            &format!("{head}\r\ncontent-length: 0\r\n\r\n"),
        );
        assert_eq!(answer.status, status, "{head:.40}");
    }
}
