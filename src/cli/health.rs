//! `work-server health`: asks a running server whether it is ready, for container health checks.
//!
//! A check may run every few seconds, so it opens no device and has no thread beside its own.

use std::error::Error;
use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::error::CommandError;
use super::output::print;
use crate::config::{address, seconds};

/// Maximum bytes read of an answer's head, and of its body. The management port's answers to probes are shorter.
const LONGEST_ANSWER: usize = 16 * 1024;

/// The states that a probe may report.
const STATES: [&str; 3] = ["UP", "DOWN", "OUT_OF_SERVICE"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Management address of the server; [::] and 0.0.0.0 stand for this machine
    #[arg(
        long,
        env = "ATTO_WORK_MANAGEMENT_ADDRESS",
        value_name = "IP:PORT",
        default_value = "[::]:8081",
        value_parser = address
    )]
    address: SocketAddr,

    /// Check liveness (whether the server should keep running) instead of readiness
    #[arg(long)]
    liveness: bool,

    /// Seconds to wait for an answer before the check fails; fractions allowed [range: 0.1 to 3600]
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds(0.1))]
    timeout: Duration,

    /// Print a JSON object: `healthy`, `probe`, `address`, and `status` or `error`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    probe: &'static str,
    address: SocketAddr,
    /// The state that the server reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Why the state is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why the server's state is unknown.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(
        "nothing listens on {0}: start `work-server serve`, or name its management port with --address or \
         ATTO_WORK_MANAGEMENT_ADDRESS"
    )]
    Refused(SocketAddr),
    #[error(
        "no answer from {address} within {} s: the server hangs, or the address is not that of its management port",
        timeout.as_secs_f64()
    )]
    TimedOut {
        address: SocketAddr,
        timeout: Duration,
    },
    #[error("{address} cannot be queried: {error}")]
    Io {
        address: SocketAddr,
        error: io::Error,
    },
    #[error(
        "{address} is not a management port of work-server ({seen}): name that port with --address or \
         ATTO_WORK_MANAGEMENT_ADDRESS"
    )]
    Strange { address: SocketAddr, seen: String },
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let probe = if args.liveness {
        "liveness"
    } else {
        "readiness"
    };
    let [address, other] = reachable(args.address);
    let mut address = address;
    let mut asked = ask(address, probe, args.timeout);
    if let Err(ProbeError::Refused(_) | ProbeError::Io { .. }) = &asked
        && other != address
    {
        address = other;
        asked = ask(address, probe, args.timeout);
    }
    let healthy = asked.as_ref().is_ok_and(|answer| answer.healthy);
    let (status, error) = match asked {
        Ok(answer) => (Some(answer.status), None),
        Err(error) => (None, Some(error.to_string())),
    };
    if args.json {
        let report = Report {
            healthy,
            probe,
            address,
            status,
            error,
        };
        print(serde_json::to_string(&report)?)?;
    } else if let Some(line) = status.or(error) {
        print(line)?;
    }
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The addresses at which this machine reaches a server that listens on `address`, to be tried in turn: `[::]` may be of
/// both families, and a container often has IPv4 alone.
fn reachable(address: SocketAddr) -> [SocketAddr; 2] {
    let [v4, v6] = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ]
    .map(|ip| SocketAddr::new(ip, address.port()));
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => [v4, v4],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => [v4, v6],
        // As it is: a link-local address needs its scope.
        _ => [address, address],
    }
}

/// The state that a server reports.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    healthy: bool,
    /// One of [`STATES`].
    status: String,
}

/// Sends one request to the probe. Connecting, asking and reading together take `timeout` at most.
fn ask(address: SocketAddr, probe: &str, timeout: Duration) -> Result<Answer, ProbeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ProbeError::Io { address, error })?;
    let asked = async { tokio::time::timeout(timeout, exchange(address, probe)).await };
    runtime
        .block_on(asked)
        .unwrap_or(Err(ProbeError::TimedOut { address, timeout }))
}

async fn exchange(address: SocketAddr, probe: &str) -> Result<Answer, ProbeError> {
    #[derive(Deserialize)]
    struct Health {
        status: String,
    }
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => ProbeError::Refused(address),
            _ => ProbeError::Io { address, error },
        })?;
    let strange = |seen| ProbeError::Strange { address, seen };
    let failed = |error: hyper::Error| strange(with_causes(&error));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(LONGEST_ANSWER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // The request ends with the connection's error, so nobody awaits the task.
    tokio::spawn(connection);
    let request = Request::get(format!("/health/{probe}"))
        .header(HOST, address.to_string())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(String::new())
        .expect("the path and the headers are well formed");
    let (head, body) = sender
        .send_request(request)
        .await
        .map_err(failed)?
        .into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| strange(with_causes(&*error)))?;
    let other = || strange(format!("{:?} {}", head.version, head.status));
    let health: Health = serde_json::from_slice(&body.to_bytes()).map_err(|_| other())?;
    if !STATES.contains(&&*health.status) {
        return Err(other());
    }
    Ok(Answer {
        healthy: head.status == StatusCode::OK && health.status == "UP",
        status: health.status,
    })
}

/// The error and its causes: hyper's own text leaves them out.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Asks a listener that reads a request, answers with these bytes and keeps the connection open, or closes it.
    fn ask_one_that_answers(bytes: &[u8], keeps_open: bool) -> Result<Answer, ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                // The client may have seen enough before the end.
                let _ = stream.write_all(bytes);
                if keeps_open {
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
            ask(address, "readiness", Duration::from_secs(60))
        })
    }

    #[test]
    fn a_server_that_listens_on_every_address_is_asked_on_loopback() {
        let cases = [
            ("0.0.0.0:8081", ["127.0.0.1:8081", "127.0.0.1:8081"]),
            ("[::]:9000", ["127.0.0.1:9000", "[::1]:9000"]),
            ("10.1.2.3:8081", ["10.1.2.3:8081", "10.1.2.3:8081"]),
            ("[fe80::1%3]:8081", ["[fe80::1%3]:8081", "[fe80::1%3]:8081"]),
        ];
        for (given, asked) in cases {
            let addresses = reachable(given.parse().unwrap());
            assert_eq!(addresses.map(|address| address.to_string()), asked);
        }
    }

    #[test]
    fn a_complete_answer_is_not_kept_waiting_for_the_end_of_the_connection() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"UP\"}";
        assert!(ask_one_that_answers(answer, true).unwrap().healthy);
    }

    #[test]
    fn only_200_and_up_is_healthy() {
        let ask = |code: &str, status: &str| {
            let answer = format!("HTTP/1.1 {code}\r\nx: y\r\n\r\n{{\"status\":\"{status}\"}}");
            ask_one_that_answers(answer.as_bytes(), false)
        };
        let cases = [
            ("200 OK", "UP", true),
            ("200 OK", "DOWN", false),
            ("503 Service Unavailable", "OUT_OF_SERVICE", false),
            ("503 Service Unavailable", "UP", false),
        ];
        for (code, status, healthy) in cases {
            let answer = ask(code, status).unwrap();
            let status = status.to_owned();
            assert_eq!(answer, Answer { healthy, status }, "{code}");
        }
        // The first has no body by definition, the second is no status code.
        for code in ["204 No Content", "2000"] {
            assert!(ask(code, "UP").is_err(), "{code}");
        }
    }

    #[test]
    fn an_answer_of_something_else_is_described() {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(LONGEST_ANSWER + 1));
        let head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(2 * LONGEST_ANSWER));
        let cases: [(&[u8], &str); 8] = [
            (
                b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"FINE\"}",
                "HTTP/1.1 200 OK",
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\n<html>", "404 Not Found"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "200 OK"),
            (b"", "connection closed before message completed"),
            (b"\xff\xfe\x00", "invalid HTTP version"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP version"),
            (long.as_bytes(), "length limit exceeded"),
            (head.as_bytes(), "message head is too large"),
        ];
        for (answer, expected) in cases {
            let error = ask_one_that_answers(answer, false).unwrap_err().to_string();
            let text = String::from_utf8_lossy(answer);
            assert!(error.contains(expected), "{text:.40}: {error}");
            assert!(error.contains("--address"), "{error}");
        }
    }
}
