//! `work-server health`: asks a serving process whether it is ready, for container health checks.
//!
//! A check may come every few seconds, so this starts neither a runtime nor a driver: one connection, one request by
//! hand, one answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{CommandError, print};
use crate::config::{address, seconds};

/// More than the head and the body of any answer of the management port to a probe.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// What a server says of itself.
const STATES: [&str; 3] = ["UP", "DOWN", "OUT_OF_SERVICE"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The management port of the server: an IP address and a port; of 0.0.0.0 and [::] this machine's own is asked
    #[arg(
        long,
        env = "ATTO_WORK_MANAGEMENT_ADDRESS",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:8081",
        value_parser = address
    )]
    address: SocketAddr,

    /// Ask whether the server should be left running, instead of whether it takes requests
    #[arg(long)]
    liveness: bool,

    /// How many seconds the answer may take in all, fractions allowed [range: 0.1 to 3600]
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
    /// What the server says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Why it is not known what the server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why there is no answer to go by.
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
    #[error("{address} cannot be asked: {error}")]
    Io {
        address: SocketAddr,
        error: io::Error,
    },
    #[error(
        "{address} does not answer as a management port does ({seen}): name that with --address or \
         ATTO_WORK_MANAGEMENT_ADDRESS"
    )]
    Strange { address: SocketAddr, seen: String },
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let address = reachable(args.address);
    let probe = if args.liveness {
        "liveness"
    } else {
        "readiness"
    };
    let asked = ask(address, probe, args.timeout);
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

/// Where a server that listens on `address` is to be found from this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    // Everything else stays as it is: a link-local address means nothing without its scope.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// What the server says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    healthy: bool,
    /// One of [`STATES`].
    status: String,
}

fn ask(address: SocketAddr, probe: &str, timeout: Duration) -> Result<Answer, ProbeError> {
    let answer = exchange(address, probe, timeout).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeError::Refused(address),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            ProbeError::TimedOut { address, timeout }
        }
        _ => ProbeError::Io { address, error },
    })?;
    read(&answer).map_err(|seen| ProbeError::Strange { address, seen })
}

/// Sends the request, and reads until the answer is whole or the server closes. All of it takes `timeout` at most.
fn exchange(address: SocketAddr, probe: &str, timeout: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    // No time at all would mean without end.
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!(
        "GET /health/{probe} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while (answer.len() as u64) < LONGEST_ANSWER && !is_whole(&answer) {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part)? {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    Ok(answer)
}

/// Whether the answer has as much of a body as its head says.
fn is_whole(answer: &[u8]) -> bool {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else { return false };
    let head = String::from_utf8_lossy(&answer[..end]);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        value.trim().parse::<usize>().ok().filter(|_| is_length)
    });
    length.is_some_and(|length| answer.len() - (end + 4) >= length)
}

/// Reads the answer to a probe, or says what is there instead. Its body is never chunked, since a probe's has a length.
fn read(answer: &[u8]) -> Result<Answer, String> {
    #[derive(Deserialize)]
    struct Health {
        status: String,
    }
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err("it closed the connection without an answer".to_owned());
    }
    let code = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split(' ').next());
    // Not more than fits a line, of what may be anything.
    let shown = || format!("{:?}", line.chars().take(60).collect::<String>());
    let code = code.ok_or_else(shown)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let health: Health = serde_json::from_str(body).map_err(|_| shown())?;
    if !STATES.contains(&&*health.status) {
        return Err(shown());
    }
    Ok(Answer {
        healthy: code == "200" && health.status == "UP",
        status: health.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_asked_on_its_own() {
        let cases = [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:9000", "[::1]:9000"),
            ("10.1.2.3:8081", "10.1.2.3:8081"),
            ("[fe80::1%3]:8081", "[fe80::1%3]:8081"),
        ];
        for (given, asked) in cases {
            let address = reachable(given.parse().unwrap());
            assert_eq!(address.to_string(), asked);
        }
    }

    #[test]
    fn nobody_waits_for_the_end_of_a_connection_whose_answer_is_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"UP\"}";
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the other side has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let answer = ask(address, "readiness", Duration::from_secs(60)).unwrap();
        assert!(answer.healthy);
        server.join().unwrap();
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is_there() {
        let whole = |text: &str| is_whole(text.as_bytes());
        assert!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        assert!(!whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{"));
        assert!(!whole("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"));
        // Without a length, the end of the connection ends it.
        assert!(!whole("HTTP/1.1 200 OK\r\nx: 2\r\n\r\n{}"));
    }

    #[test]
    fn only_200_and_up_is_healthy() {
        let answer = |code: &str, status: &str| {
            read(format!("HTTP/1.1 {code}\r\nx: y\r\n\r\n{{\"status\":\"{status}\"}}").as_bytes())
        };
        let cases = [
            ("200 OK", "UP", true),
            ("200 OK", "DOWN", false),
            ("503 Service Unavailable", "OUT_OF_SERVICE", false),
            ("503 Service Unavailable", "UP", false),
            ("2000", "UP", false),
        ];
        for (code, status, healthy) in cases {
            let status = status.to_owned();
            assert_eq!(answer(code, &status), Ok(Answer { healthy, status }));
        }
    }

    #[test]
    fn what_is_no_answer_to_a_probe_is_shown() {
        let cases: [(&[u8], &str); 6] = [
            (b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"FINE\"}", "200 OK"),
            (b"", "without an answer"),
            (b"\xff\xfe\x00", "\u{fffd}"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"),
            (b"HTTP/1.1 404 Not Found\r\n\r\n<html>", "404 Not Found"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "200 OK"),
        ];
        for (answer, shown) in cases {
            let seen = read(answer).unwrap_err();
            assert!(seen.contains(shown), "{seen}");
        }
    }
}
