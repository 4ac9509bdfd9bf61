//! `work_cancel`: whose requests it ends, and whose it does not.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{HARD, ask, assert_error, generate, request, root, server};
use crate::support::http::{connect, exchange, read};
use crate::support::{Server, eventually, key_entry};

const RUNNING: &str = "atto_work_searches_running";
const ALICE: &str = "alice-has-this-key-0001";
const BOB: &str = "bob-has-this-key-000001";

fn cancel(root: &str) -> Value {
    json!({ "action": "work_cancel", "hash": root })
}

fn send(server: &Server, headers: &str, body: &Value) -> TcpStream {
    let mut stream = connect(server.nano.unwrap());
    let request = request(headers, &body.to_string());
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn every_request_for_the_root_is_cancelled_and_no_other() {
    let server = server(&[]);
    let nano = server.nano.unwrap();
    let nothing = ask(nano, &cancel(&root(1)));
    assert_eq!(
        (nothing.status, nothing.json()),
        (200, json!({ "success": "" }))
    );
    let ours = [(); 3].map(|()| send(&server, "", &generate(&root(1), HARD)));
    let other = send(&server, "", &generate(&root(2), HARD));
    eventually("two searches", || {
        server.metric(RUNNING) == 2.0 && server.metric("atto_work_coalesced_total") == 2.0
    });
    let status = ask(nano, &json!({ "action": "status" })).json();
    assert_eq!(status, json!({ "generating": "1", "queue_size": "0" }));
    let answer = ask(nano, &cancel(&root(1).to_lowercase()));
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "success": "" }))
    );
    for stream in &ours {
        assert_error(&read(stream, false), 200, "Cancelled");
    }
    eventually("one search", || server.metric(RUNNING) == 1.0);
    let counted = "atto_work_requests_total{network=\"NANO\",outcome=\"cancelled\"}";
    assert_eq!(server.metric(counted), 3.0);
    // Of the same port, and still searched for.
    assert_error(
        &{
            ask(nano, &cancel(&root(2)));
            read(&other, false)
        },
        200,
        "Cancelled",
    );
    eventually("no search", || server.metric(RUNNING) == 0.0);
}

#[test]
fn a_request_of_the_public_port_is_not_cancelled() {
    let server = server(&[]);
    let live = crate::support::request("LIVE", &root(1)).to_string();
    let mut atto = connect(server.address);
    atto.write_all(crate::support::http::works(&live).as_bytes())
        .unwrap();
    let nano = send(&server, "", &generate(&root(1), HARD));
    eventually("two searches", || server.metric(RUNNING) == 2.0);
    ask(server.nano.unwrap(), &cancel(&root(1)));
    assert_error(&read(&nano, false), 200, "Cancelled");
    eventually("one search", || server.metric(RUNNING) == 1.0);
    drop(atto);
    eventually("no search", || server.metric(RUNNING) == 0.0);
}

#[test]
fn a_key_cancels_only_its_own_requests_even_at_its_limit() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nano_cancel");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys");
    fs::write(&file, key_entry("alice", ALICE) + &key_entry("bob", BOB)).unwrap();
    let server = server(&[
        "--api-keys-file",
        file.to_str().unwrap(),
        "--api-key-requests",
        "1",
    ]);
    let bearer = |key: &str| format!("authorization: Bearer {key}\r\n");
    let alice = send(&server, &bearer(ALICE), &generate(&root(1), HARD));
    let bob = send(&server, &bearer(BOB), &generate(&root(1), HARD));
    eventually("they share a search", || {
        server.metric("atto_work_coalesced_total") == 1.0
    });
    let cancel = |key: &str| {
        let request = request(&bearer(key), &cancel(&root(1)).to_string());
        exchange(server.nano.unwrap(), &request)
    };
    assert_eq!(cancel(ALICE).json(), json!({ "success": "" }));
    assert_error(&read(&alice, false), 200, "Cancelled");
    assert_eq!(server.metric(RUNNING), 1.0, "Bob waits for it");
    assert_eq!(cancel("nobody-has-this-key-0001").status, 401);
    assert_eq!(cancel(BOB).status, 200);
    assert_error(&read(&bob, false), 200, "Cancelled");
    eventually("no search", || server.metric(RUNNING) == 0.0);
}
