//! Misbehaving clients, and what happens to the others: the real binary, over real sockets.
//!
//! Nothing here asserts how fast the server is; that something ends is asserted with the patience of `SOON`.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::devices::{Service, patient};
use crate::support::http::{connect, exchange, get, post_works, read, read_next, works};
use crate::support::proxy::Proxy;
use crate::support::{SOON, Server, assert_work, eventually, request, target};
use h2::client::SendRequest;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use warp::http::{Request, StatusCode};

const RUNNING: &str = "atto_work_searches_running";
const OPEN: &str = "atto_work_connections{listener=\"public\"}";

/// A time-out that is over while a test waits.
const SHORT: &str = "0.3";
/// One that is not.
const LONG: &str = "3600";
/// Waits for every client.
const PATIENT: [&str; 6] = [
    "--header-timeout",
    LONG,
    "--body-timeout",
    LONG,
    "--idle-timeout",
    LONG,
];

/// A server with one search thread of the slowest kernel, so that no LIVE search ends within a test.
fn server(args: &[&str]) -> Server {
    Server::on_cpu(&[&["--threads", "1", "--kernel", "portable"], args].concat())
}

fn closed(server: &Server, reason: &str) -> f64 {
    server.metric(&format!(
        "atto_work_connections_closed_total{{listener=\"public\",reason=\"{reason}\"}}"
    ))
}

/// Waits for the end of a connection on which no more answer comes.
fn assert_closed(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
        // Closed before the server had read everything.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Writes these bytes, then a letter every 20 ms for as long as the server takes it.
fn drip(address: SocketAddr, start: &str) -> TcpStream {
    let stream = connect(address);
    let mut writer = stream.try_clone().unwrap();
    writer.write_all(start.as_bytes()).unwrap();
    thread::spawn(move || {
        while writer.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    stream
}

fn send(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

/// A search that takes too long for these tests, of its own every time.
fn live() -> String {
    works(&live_body())
}

fn live_body() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1_000_000);
    request("LIVE", &target(NUMBER.fetch_add(1, Ordering::Relaxed))).to_string()
}

fn local(number: u64) -> String {
    works(&request("LOCAL", &target(number)).to_string())
}

fn assert_serves(server: &Server) {
    let request = request("LOCAL", &target(99));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}

/// Closes a connection by a reset.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// An HTTP/2 connection with prior knowledge, and a runtime for it.
struct Http2 {
    runtime: tokio::runtime::Runtime,
    client: SendRequest<bytes::Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    fn connect(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (client, connection) = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (client, connection) = builder.handshake(stream).await.unwrap();
            (client, tokio::spawn(connection))
        });
        Self {
            runtime,
            client,
            connection,
        }
    }

    /// Sends `POST /works` with this body.
    fn post(
        &mut self,
        body: String,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>), h2::Error> {
        let request = Request::post("http://test/works")
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        within(&self.runtime, async {
            let mut client = self.client.clone().ready().await?;
            let (answer, mut stream) = client.send_request(request, false)?;
            stream.send_data(body.into(), true)?;
            Ok((answer, stream))
        })
    }

    /// Sends `HEAD` for this path.
    fn head(&mut self, path: &str) -> h2::client::ResponseFuture {
        let request = Request::head(format!("http://test{path}"))
            .body(())
            .unwrap();
        let mut client = within(&self.runtime, self.client.clone().ready()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        answer
    }

    fn answer(&self, answer: h2::client::ResponseFuture) -> Result<StatusCode, h2::Error> {
        within(&self.runtime, async {
            let mut answer = answer.await?;
            while let Some(data) = answer.body_mut().data().await {
                data?;
            }
            Ok(answer.status())
        })
    }

    /// Waits for the end of the connection. Returns an error if it did not end as HTTP/2 requires.
    fn end(self) -> Result<(), h2::Error> {
        within(&self.runtime, self.connection).expect("no panic")
    }
}

fn within<T>(runtime: &tokio::runtime::Runtime, future: impl Future<Output = T>) -> T {
    let limited = runtime.block_on(async { tokio::time::timeout(SOON, future).await });
    limited.expect("soon")
}

#[test]
fn a_client_that_sends_nothing_is_disconnected() {
    let server = server(&["--idle-timeout", SHORT, "--header-timeout", LONG]);
    assert_closed(&connect(server.address));
    eventually("it is counted", || closed(&server, "idle_timeout") == 1.0);
    assert_closed(&connect(server.management));
    let counted =
        "atto_work_connections_closed_total{listener=\"management\",reason=\"idle_timeout\"}";
    eventually("it is counted", || server.metric(counted) == 1.0);
}

#[test]
fn an_idle_kept_connection_is_closed() {
    let server = server(&["--idle-timeout", SHORT, "--header-timeout", LONG]);
    let stream = send(server.address, &local(1));
    assert_eq!(read(&stream, false).status, 200);
    assert_closed(&stream);
    eventually("it is counted", || closed(&server, "idle_timeout") == 1.0);

    let http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let ended = http2.end();
    assert!(ended.is_ok() || ended.is_err_and(|error| error.is_io()));
    eventually("it is counted", || closed(&server, "idle_timeout") == 2.0);
}

#[test]
fn a_head_that_does_not_end_is_timed_out() {
    let server = server(&["--header-timeout", SHORT, "--idle-timeout", LONG]);
    let cases = [
        "P",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n",
        "POST /works HTTP/1.1\r\nhost: test\r\nx-",
    ];
    for start in cases {
        assert_closed(&send(server.address, start));
    }
    assert_closed(&drip(server.address, cases[2]));
    // The second request of a connection, after a first that was right.
    let mut stream = send(server.address, &local(1));
    assert_eq!(read(&stream, false).status, 200);
    stream.write_all(cases[2].as_bytes()).unwrap();
    assert_closed(&stream);
    // The same behind a first request, with or without a body of a known length, and read together with it.
    let chunked =
        "POST /nothing HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    for first in [
        &*local(2),
        "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n",
        chunked,
    ] {
        let stream = send(server.address, &format!("{first}{}", cases[2]));
        assert!([200, 404].contains(&read(&stream, false).status), "{first}");
        assert_closed(&stream);
    }
    eventually("all are counted", || {
        closed(&server, "header_timeout") == 8.0
    });
    assert_eq!(server.metric(OPEN), 0.0);
}

#[test]
fn a_body_that_does_not_end_is_answered_with_408() {
    let server = server(&["--body-timeout", SHORT]);
    let start = "POST /works HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{";
    for stream in [send(server.address, start), drip(server.address, start)] {
        let answer = read(&stream, false);
        assert_eq!(answer.status, 408, "{answer:?}");
        assert_eq!(answer.json()["code"], "BODY_TIMEOUT");
        assert_eq!(
            answer.json()["detail"],
            "the body did not arrive within 0.3 s"
        );
        assert_closed(&stream);
    }
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let server = server(&["--body-timeout", SHORT, "--idle-timeout", LONG]);
    let mut stream = connect(server.address);
    let requests = "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1000);
    // The server stops reading when the client does not read its answers, and then closes.
    stream.set_write_timeout(Some(SOON)).unwrap();
    while stream.write_all(requests.as_bytes()).is_ok() {}
    eventually("it is counted", || closed(&server, "answer_unread") == 1.0);

    // The same by the flow control of HTTP/2, where the socket is never full.
    let mut builder = h2::client::Builder::new();
    let mut http2 = Http2::connect(server.address, builder.initial_window_size(0));
    let (answer, _stream) = http2.post("{}".to_owned()).unwrap();
    assert!(http2.answer(answer).is_err());
    eventually("it is counted", || closed(&server, "answer_unread") == 2.0);
    assert_serves(&server);
}

#[test]
fn heads_have_limits() {
    let server = server(&[]);
    let head = |headers: &str| format!("GET /nothing HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    let many = |count| head(&"x: y\r\n".repeat(count));
    assert_eq!(exchange(server.address, &many(63)).status, 404);
    assert_eq!(exchange(server.address, &many(64)).status, 431);
    let long = |length| head(&format!("x: {}\r\n", "y".repeat(length)));
    assert_eq!(exchange(server.address, &long(15 * 1024)).status, 404);
    assert_eq!(exchange(server.address, &long(16 * 1024)).status, 431);
    // HTTP/2 has the same limit on their number.
    let http2 = Http2::connect(server.address, &h2::client::Builder::new());
    for (count, status) in [(64, 404), (65, 431)] {
        let mut request = Request::get("http://test/nothing").body(()).unwrap();
        for _ in 0..count {
            let value = "y".try_into().unwrap();
            request.headers_mut().append("x", value);
        }
        let mut client = within(&http2.runtime, http2.client.clone().ready()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        assert_eq!(http2.answer(answer).unwrap(), status, "{count}");
    }
    assert_serves(&server);
}

#[test]
fn a_body_that_is_far_too_large_still_gets_its_answer() {
    let server = server(&[]);
    let answer = post_works(server.address, &" ".repeat(4 << 20));
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &"BODY_TOO_LARGE".into())
    );
}

#[test]
fn idle_connections_make_room_for_others() {
    let server = server(&["--max-connections", "2"]);
    let [first, second] = [1, 2].map(|number| {
        let stream = send(server.address, &local(number));
        assert_eq!(read(&stream, false).status, 200);
        stream
    });
    assert_serves(&server);
    // The one that had been idle for longest had to go.
    assert_closed(&first);
    assert_eq!(closed(&server, "displaced"), 1.0);
    (&second).write_all(local(3).as_bytes()).unwrap();
    assert_eq!(read(&second, false).status, 200);
}

#[test]
fn a_client_that_got_its_slot_otherwise_evicts_no_connection_later() {
    let (server, first, second) = loop {
        let server = server(&["--max-connections", "1"]);
        let first = send(server.address, &live());
        eventually("it is searched for", || server.metric(RUNNING) == 1.0);
        let second = send(server.address, &local(1));
        // The server has seen the second by then, and no connection is idle, unless the first is answered by luck.
        thread::sleep(Duration::from_millis(300));
        if server.metric(RUNNING) == 1.0 {
            break (server, first, second);
        }
    };
    drop(first);
    assert_eq!(read(&second, false).status, 200);
    thread::sleep(Duration::from_millis(300));
    (&second).write_all(local(2).as_bytes()).unwrap();
    assert_eq!(read(&second, false).status, 200);
    assert_eq!(closed(&server, "displaced"), 0.0);
}

#[test]
fn a_client_that_reads_slowly_is_not_idle() {
    /// More than the kernel's buffers have room for.
    const REQUESTS: usize = 8;

    let server = server(&["--max-connections", "1", "--max-connection-age", LONG]);
    let slow = connect(server.address);
    rustix::net::sockopt::set_socket_recv_buffer_size(&slow, 65_536).unwrap();
    let request = "GET /swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nhost: test\r\n\r\n";
    (&slow)
        .write_all(request.repeat(REQUESTS).as_bytes())
        .unwrap();
    let mut reader = BufReader::new(&slow);
    let first = read_next(&mut reader, false);
    assert!(first.body.len() > 1_000_000, "{}", first.body.len());
    // It waits for the slot, and must not get it before the slow one has all of its answers.
    let waiting = send(server.address, &local(1));
    for _ in 1..REQUESTS {
        thread::sleep(Duration::from_millis(50));
        assert_eq!(read_next(&mut reader, false).body.len(), first.body.len());
    }
    assert_eq!(read(&waiting, false).status, 200);
    assert_eq!(closed(&server, "displaced"), 1.0);
}

#[test]
fn beyond_the_limit_clients_wait_until_there_is_room() {
    let (server, first, _second, waiting) = loop {
        let server = server(&["--max-connections", "2"]);
        let [first, second] = [1, 2].map(|_| send(server.address, &live()));
        eventually("both are searched for", || server.metric(RUNNING) == 2.0);
        let waiting = send(server.address, &local(3));
        waiting
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let read = (&waiting).read(&mut [0]);
        // Neither is answered by luck.
        if server.metric(RUNNING) == 2.0 {
            let error = read.expect_err("there is no room");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            break (server, first, second, waiting);
        }
    };
    // Probes have a port, and so connections, of their own.
    assert_eq!(get(server.management, "/health/readiness").status, 200);
    drop(first);
    waiting.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(read(&waiting, false).status, 200);
}

#[test]
fn a_lack_of_descriptors_ends_neither_port() {
    let server = Server::after("ulimit -n 24", &[]);
    // More than there can be descriptors for.
    let silent: Vec<_> = (0..40).map(|_| connect(server.management)).collect();
    server.wait_for_log("cannot accept connections; retrying");
    drop(silent);
    assert_serves(&server);
    assert_eq!(get(server.management, "/health").status, 200);
}

#[test]
fn as_many_descriptors_as_possible_are_taken() {
    let limit = |server: &Server| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line.unwrap().split_whitespace().nth(3).unwrap().to_owned();
        soft.parse::<u64>().unwrap()
    };
    let server = Server::after("ulimit -S -n 100", &["--max-connections", "300"]);
    assert!(limit(&server) > 300, "{}", limit(&server));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = server(&[]);
    let requests = [1, 2, 3].map(|number| request("LOCAL", &target(number)));
    let all: String = requests
        .iter()
        .map(|request| works(&request.to_string()))
        .collect();
    let stream = send(server.address, &all);
    let mut reader = BufReader::new(&stream);
    for request in &requests {
        assert_work(&read_next(&mut reader, false), request);
    }
}

#[test]
fn a_kept_connection_serves_requests_that_are_answered_at_once() {
    let server = server(&[]);
    let mut stream = connect(server.address);
    for _ in 0..3 {
        stream
            .write_all(b"GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n")
            .unwrap();
        assert_eq!(read(&stream, false).status, 404);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_search_is_cancelled_also_with_another_request_behind_it() {
    let server = server(&[]);
    let pipelined = || {
        let stream = send(server.address, &(live() + &local(1)));
        eventually("the search runs", || server.metric(RUNNING) == 1.0);
        stream
    };
    drop(pipelined());
    eventually("it is abandoned", || server.metric(RUNNING) == 0.0);
    reset(pipelined());
    eventually("it is abandoned", || server.metric(RUNNING) == 0.0);

    // The second comes later, and in parts.
    let mut stream = send(server.address, &live());
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    for part in local(1).as_bytes().chunks(50) {
        stream.write_all(part).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    drop(stream);
    eventually("it is abandoned", || server.metric(RUNNING) == 0.0);
}

#[test]
fn requests_that_were_read_ahead_are_answered() {
    let (release, device) = patient();
    let server = Service::start(vec![device], None);
    let requests = [1, 2].map(|number| request("LOCAL", &target(number)));
    let [first, second] = requests
        .each_ref()
        .map(|request| works(&request.to_string()));
    let mut stream = send(server.address, &first);
    eventually("the search runs", || {
        get(server.management, "/prometheus").metric(RUNNING) == 1.0
    });
    for part in second.as_bytes().chunks(50) {
        stream.write_all(part).unwrap();
        // Each is to be read on its own.
        thread::sleep(Duration::from_millis(20));
    }
    release.send(()).unwrap();
    let mut reader = BufReader::new(&stream);
    for request in &requests {
        assert_work(&read_next(&mut reader, false), request);
    }
}

#[test]
fn a_client_that_resets_its_connection_cancels_its_search() {
    let server = server(&[]);
    let stream = send(server.address, &live());
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    reset(stream);
    eventually("it is abandoned", || server.metric(RUNNING) == 0.0);
    eventually("it is counted", || closed(&server, "broken") == 1.0);
}

#[test]
fn http_2_is_spoken_with_prior_knowledge() {
    let server = server(&[]);
    let mut http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let (answer, _stream) = http2
        .post(request("LOCAL", &target(1)).to_string())
        .unwrap();
    assert_eq!(http2.answer(answer).unwrap(), 200);

    // A stream that is reset abandons its search and no more.
    let live = request("LIVE", &target(2)).to_string();
    let (_answer, mut stream) = http2.post(live.clone()).unwrap();
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    stream.send_reset(h2::Reason::CANCEL);
    eventually("it is abandoned", || server.metric(RUNNING) == 0.0);
    let (answer, _stream) = http2
        .post(request("LOCAL", &target(3)).to_string())
        .unwrap();
    assert_eq!(http2.answer(answer).unwrap(), 200);

    // So does the end of the connection.
    let (_answer, _stream) = http2.post(live).unwrap();
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    drop(http2);
    eventually("it is abandoned", || server.metric(RUNNING) == 0.0);
}

#[test]
fn an_answer_to_head_has_no_body_over_http_2_either() {
    let server = server(&[]);
    // The client's library takes a body for an error.
    for (address, path, status) in [
        (server.address, "/openapi.json", 200),
        (server.address, "/nothing", 404),
        (server.address, "/works", 405),
        (server.management, "/health", 200),
        (server.management, "/nothing", 404),
    ] {
        let mut http2 = Http2::connect(address, &h2::client::Builder::new());
        let answer = http2.head(path);
        assert_eq!(http2.answer(answer).unwrap(), status, "{path}");
    }
}

#[test]
fn a_flood_of_resets_ends_its_connection_only() {
    // An answer that is found by luck is not to serve the others.
    let server = server(&["--answer-memory", "0"]);
    let mut http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let body = request("LIVE", &target(1)).to_string();
    let mut sent = 0;
    while let Ok((_answer, mut stream)) = http2.post(body.clone()) {
        stream.send_reset(h2::Reason::CANCEL);
        sent += 1;
        assert!(sent < 100_000, "{sent} resets");
    }
    assert!(http2.end().is_err(), "{sent} resets");
    // Before or after a search has begun, whichever bound is reached first.
    eventually("it is counted", || {
        closed(&server, "reset_flood") + closed(&server, "broken") == 1.0
    });
    eventually("no search is left", || server.metric(RUNNING) == 0.0);
    assert_serves(&server);
}

#[test]
fn a_client_that_keeps_abandoning_searches_is_disconnected() {
    const BATCH: u32 = 90;

    let server = server(&[]);
    let mut http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let ended = |outcome: &str| {
        format!("atto_work_requests_total{{network=\"LIVE\",outcome=\"{outcome}\"}}")
    };
    let (cancelled, lucky) = (ended("cancelled"), ended("ok"));
    let mut sent = 0;
    while closed(&server, "reset_flood") == 0.0 {
        let streams: Result<Vec<_>, _> = (0..BATCH).map(|_| http2.post(live_body())).collect();
        let Ok(streams) = streams else { break };
        sent += BATCH;
        assert!(sent < 10_000, "{sent} searches were abandoned");
        eventually(
            "all searches have begun, or the connection is closed",
            || {
                let metrics = get(server.management, "/prometheus");
                let begun = [RUNNING, "atto_work_queue_depth", &cancelled, &lucky];
                begun.map(|name| metrics.metric(name)).iter().sum::<f64>() >= f64::from(sent)
                    || closed(&server, "reset_flood") == 1.0
            },
        );
        for (_answer, mut stream) in streams {
            stream.send_reset(h2::Reason::CANCEL);
        }
    }
    eventually("it is counted", || closed(&server, "reset_flood") == 1.0);
    eventually("no search is left", || server.metric(RUNNING) == 0.0);
    assert_serves(&server);
}

#[test]
fn bad_clients_leave_nothing_behind() {
    /// As many as the usual limit of 4096 descriptors has room for.
    const EACH: usize = 300;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .unwrap();
    let server = server(&[&PATIENT[..], &["--queue-capacity", "100000"]].concat());
    let descriptors = || {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        folder.count()
    };
    assert_serves(&server);
    eventually("it is quiet", || server.metric(OPEN) == 0.0);
    let before = descriptors();
    let body = "POST /works HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let starts = ["", "P", "POST /wo", body, preface, "no HTTP at all"];
    for round in 0..2 {
        let mut streams: Vec<_> = starts
            .iter()
            .map(|start| {
                (0..EACH)
                    .map(|_| send(server.address, start))
                    .collect::<Vec<_>>()
            })
            .collect();
        streams.push((0..EACH).map(|_| send(server.address, &live())).collect());
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let expected = (EACH * (starts.len() - 1)) as f64;
        eventually("all but those that do not speak HTTP are open", || {
            server.metric(OPEN) >= expected
        });
        for stream in streams.into_iter().flatten() {
            if round == 0 {
                reset(stream);
            } else {
                drop(stream);
            }
        }
        eventually("all are gone", || server.metric(OPEN) == 0.0);
        eventually("no search is left", || server.metric(RUNNING) == 0.0);
        // One is this test's own look at the metrics, which may not be closed yet.
        eventually("no descriptor is left", || descriptors() <= before + 1);
    }
    assert_serves(&server);
}

#[test]
fn keep_alive_probes_look_for_vanished_clients() {
    let server = server(&[]);
    let stream = send(server.address, &live());
    eventually("the search runs", || server.metric(RUNNING) == 1.0);
    let [here, there] = [server.address, stream.local_addr().unwrap()]
        .map(|address| format!(":{:04X}", address.port()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let timer = table.lines().find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let is_ours = columns[1].ends_with(&here) && columns[2].ends_with(&there);
        is_ours.then(|| columns[5].to_owned())
    });
    // 02 is a keep-alive probe to come (proc_net_tcp.txt of the kernel's documentation).
    assert!(timer.as_ref().unwrap().starts_with("02:"), "{timer:?}");
}

#[test]
fn no_client_holds_up_the_end() {
    let mut server = server(&[&PATIENT[..], &["--shutdown-grace", LONG]].concat());
    let kept = send(server.address, &local(1));
    assert_eq!(read(&kept, false).status, 200);
    let mut unread = connect(server.address);
    let requests = "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1000);
    unread
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    while unread.write_all(requests.as_bytes()).is_ok() {}
    let head = "POST /works HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n";
    let body = format!("{head}\r\n{{");
    let others = [
        connect(server.address),
        send(server.address, "P"),
        send(server.address, head),
        drip(server.address, head),
    ];
    let half = [send(server.address, &body), drip(server.address, &body)];
    let http2 = Http2::connect(server.address, &h2::client::Builder::new());
    eventually("all are accepted", || server.metric(OPEN) == 9.0);
    server.terminate();
    for stream in half {
        let answer = read(&stream, false);
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
        assert_eq!(answer.json()["code"], "SHUTTING_DOWN");
    }
    for stream in others {
        assert_closed(&stream);
    }
    let _ = http2.end();
    let mut messages = server.wait_for_log("stopped");
    // What is not read to its end is refused.
    messages.retain(|message| message != "request refused");
    assert_eq!(messages, ["draining", "stopped"]);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_http_2_client_gets_a_goaway_and_its_answer_at_shutdown() {
    let mut server = Server::on_cpu(&["--shutdown-grace", LONG]);
    let mut http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let (answer, _stream) = http2.post(request("DEV", &target(1)).to_string()).unwrap();
    eventually("it has arrived", || {
        server.metric(RUNNING) == 1.0
            || server.metric("atto_work_requests_total{network=\"DEV\",outcome=\"ok\"}") == 1.0
    });
    server.terminate();
    server.wait_for_log("draining");
    assert_eq!(http2.answer(answer).unwrap(), 200);
    // After a GOAWAY without an error, the connection ends properly.
    http2.end().unwrap();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn clients_of_old_connections_are_asked_to_reconnect() {
    let server = server(&["--max-connection-age", "1"]);
    let http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let kept = connect(server.address);
    let mut number = 0;
    let mut answers = || {
        number += 1;
        (&kept).write_all(local(number).as_bytes()).unwrap();
        let answer = read(&kept, false);
        assert_eq!(answer.status, 200);
        answer.header("connection").map(str::to_owned)
    };
    assert_eq!(answers(), None);
    let mut last = None;
    eventually("it is asked", || {
        last = answers();
        last.is_some()
    });
    assert_eq!(last.as_deref(), Some("close"));
    assert_closed(&kept);
    // An HTTP/2 client gets a frame, even without a request.
    http2.end().unwrap();
    // Others are served as before.
    let answer = read(&send(server.address, &local(0)), false);
    assert_eq!((answer.status, answer.header("connection")), (200, None));
}

#[test]
fn every_request_is_served_until_the_shutdown_delay_is_over() {
    let mut server = server(&["--shutdown-delay", LONG]);
    let kept = send(server.address, &local(1));
    let answer = read(&kept, false);
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    server.terminate();
    server.wait_for_log("stopping: not ready any more, but still serving requests");
    assert_eq!(get(server.management, "/health/readiness").status, 503);
    assert_eq!(get(server.management, "/health/liveness").status, 200);
    // A new connection is served, and so is an old one; both are asked to come back by another.
    for stream in [kept, connect(server.address)] {
        (&stream).write_all(local(2).as_bytes()).unwrap();
        let answer = read(&stream, false);
        assert_eq!(
            (answer.status, answer.header("connection")),
            (200, Some("close"))
        );
        assert_closed(&stream);
    }
    let mut http2 = Http2::connect(server.address, &h2::client::Builder::new());
    let (answer, _stream) = http2
        .post(request("LOCAL", &target(3)).to_string())
        .unwrap();
    assert_eq!(http2.answer(answer).unwrap(), 200);
    server.terminate();
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn draining_begins_when_the_shutdown_delay_is_over() {
    let mut server = server(&["--shutdown-delay", SHORT]);
    server.terminate();
    assert_eq!(
        server.wait_for_log("stopped"),
        [
            "stopping: not ready any more, but still serving requests",
            "draining",
            "stopped"
        ]
    );
    assert_eq!(server.wait().code(), Some(0));
}

/// Updates a deployment of two servers, one after the other, behind a proxy that sends new connections to the servers that
/// are ready.
#[test]
fn a_rolling_restart_costs_no_request() {
    const CLIENTS: u64 = 3;
    const ROUNDS: usize = 2;

    let start = || Server::on_cpu(&["--threads", "1", "--shutdown-delay", "3"]);
    let mut servers = [start(), start()];
    let proxy = Proxy::start();
    for (slot, server) in servers.iter().enumerate() {
        proxy.put(slot, server.address, server.management);
    }
    eventually("both are in use", || proxy.ready() == 2);
    let stop = AtomicBool::new(false);
    let answered: [AtomicUsize; 2] = Default::default();
    thread::scope(|scope| {
        for client in 0..2 * CLIENTS {
            let keep_alive = client < CLIENTS;
            let (stop, proxy, count) = (&stop, &proxy, &answered[usize::from(keep_alive)]);
            scope.spawn(move || {
                let mut kept: Option<TcpStream> = None;
                let mut number = client << 32;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let request = request("LOCAL", &target(number));
                    let mut stream = kept.take().unwrap_or_else(|| connect(proxy.address));
                    stream
                        .write_all(works(&request.to_string()).as_bytes())
                        .expect("a connection that was not said to be closed is open");
                    let answer = read(&stream, false);
                    assert_work(&answer, &request);
                    if keep_alive && answer.header("connection").is_none() {
                        kept = Some(stream);
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The clients end also when something here fails.
        let _stop = StopOnDrop(&stop);
        let progress = || {
            let before = answered
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed));
            eventually("every kind of client is answered", || {
                let counts = answered.iter().zip(before);
                counts
                    .into_iter()
                    .all(|(count, before)| count.load(Ordering::Relaxed) > before + 20)
            });
        };
        progress();
        for slot in (0..servers.len()).cycle().take(ROUNDS * servers.len()) {
            servers[slot].terminate();
            assert_eq!(servers[slot].wait().code(), Some(0));
            servers[slot] = start();
            proxy.put(slot, servers[slot].address, servers[slot].management);
            eventually("both are in use", || proxy.ready() == 2);
            progress();
        }
    });
    let [without, with] = answered.map(AtomicUsize::into_inner);
    println!(
        "{without} requests on connections of their own, {with} on kept ones, and none failed"
    );
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
