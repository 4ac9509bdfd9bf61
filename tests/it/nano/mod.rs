//! Nano's API: the real binary over real sockets, asked as nodes, wallets and bots ask. `docs/nano.md` has the rules.

mod access;
mod cancel;
mod isolation;
mod node;
mod requests;

use std::net::SocketAddr;

use atto_work_server::work::{Difficulty, NanoWork, digest, parse_root};
use serde_json::{Value, json};

use crate::support::Server;
use crate::support::http::{Response, exchange};

/// The root of the example in Nano's documentation.
pub(super) const ROOT: &str = "718CC2121C3E641059BC1C2CFC45666C99E8AE922F7A807B7D07B62C995D79E2";

/// A difficulty that a debug build meets in milliseconds.
pub(super) const EASY: &str = "ffff000000000000";

/// One that no machine meets within a test.
pub(super) const HARD: &str = "ffffffffffff0000";

/// So that [`HARD`] is allowed, and whatever difficulty an answer reaches by luck.
pub(super) const NO_LIMIT: [&str; 2] = ["--nano-max-multiplier", "1e6"];

/// A server that is slow, and has Nano's port.
pub(super) fn server(more: &[&str]) -> Server {
    let args = [
        "--nano-address",
        "127.0.0.1:0",
        "--threads",
        "1",
        "--kernel",
        "portable",
    ];
    let limit: &[&str] = if more.contains(&NO_LIMIT[0]) {
        &[]
    } else {
        &NO_LIMIT
    };
    Server::on_cpu(&[&args, limit, more].concat())
}

/// A root of 64 hex digits, another for each number.
pub(super) fn root(number: u64) -> String {
    format!("{number:064X}")
}

/// The bytes of a `POST` with these header lines and this body.
pub(super) fn request(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// The answer to a `POST` of this body, as `curl -d` sends it.
pub(super) fn post(address: SocketAddr, body: &str) -> Response {
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    exchange(address, &request(form, body))
}

/// The answer to this JSON.
pub(super) fn ask(address: SocketAddr, body: &Value) -> Response {
    post(address, &body.to_string())
}

/// A request for a work.
pub(super) fn generate(root: &str, difficulty: &str) -> Value {
    json!({ "action": "work_generate", "hash": root, "difficulty": difficulty })
}

/// Fails unless `answer` has a work for this root that meets the difficulty, and tells of it as it should.
pub(super) fn assert_work(answer: &Response, root: &str, difficulty: &str, base: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let members = body.as_object().unwrap();
    let mut names: Vec<_> = members.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["difficulty", "hash", "multiplier", "work"],
        "{body}"
    );
    let text = |name: &str| body[name].as_str().expect("a string").to_owned();
    assert_eq!(text("hash"), root.to_uppercase());
    let is_lower_hex = |text: &str| {
        text.len() == 16 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
    };
    assert!(
        is_lower_hex(&text("work")) && is_lower_hex(&text("difficulty")),
        "{body}"
    );
    let work: NanoWork = text("work").parse().unwrap();
    let value = digest(work.nonce(), &parse_root(root).unwrap());
    assert_eq!(text("difficulty"), format!("{:016x}", value.get()));
    let asked: Difficulty = difficulty.parse().unwrap();
    assert!(value.get() >= asked.get(), "{body} for {difficulty}");
    assert_multiplier(&text("multiplier"), value.get(), base);
}

/// Fails unless the text is the multiplier of a value to the base, without an exponent.
pub(super) fn assert_multiplier(text: &str, value: u64, base: &str) {
    assert!(
        text.len() <= 39
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    );
    let (_, places) = text.split_once('.').expect("a point");
    assert_eq!(places.len(), 15, "{text}");
    let above = |bound: u64| (u128::from(u64::MAX) + 1 - u128::from(bound)) as f64;
    let base = u64::from_str_radix(base, 16).unwrap();
    let expected = above(base) / above(value);
    let given: f64 = text.parse().unwrap();
    let error = (given - expected).abs();
    assert!(
        error <= 1e-12 * expected + 1e-15,
        "{text} is not {expected}"
    );
}

/// Fails unless `answer` is this error.
pub(super) fn assert_error(answer: &Response, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["error"], error, "{answer:?}");
    assert!(answer.has("x-request-id"));
}
