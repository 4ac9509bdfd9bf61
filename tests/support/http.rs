//! A client that writes what it is told, byte by byte, and reads one answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::SOON;

/// One answer of the server.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// A header's value; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether there is a header of this name; the name in lower case.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a metric, with its labels as they are written. It must be there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let value = self.metric_if_any(name);
        value.unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }

    /// The value of a metric that appears with the first event that it counts; zero before.
    pub(crate) fn metric_or_zero(&self, name: &str) -> f64 {
        self.metric_if_any(name).unwrap_or(0.0)
    }

    fn metric_if_any(&self, name: &str) -> Option<f64> {
        let page = without_application(&self.body);
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }
}

/// A page of metrics without the label that all of them have.
pub(crate) fn without_application(page: &str) -> String {
    let label = "application=\"atto-work-server\"";
    page.replace(&format!(",{label}"), "")
        .replace(&format!("{{{label}}}"), "")
}

/// `GET path` of a client that accepts this.
pub(crate) fn get_as(address: SocketAddr, path: &str, accept: &str) -> Response {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept: {accept}\r\n\r\n"),
    )
}

/// Opens a connection on which every wait has a limit.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    stream
}

/// Writes `request` and reads the answer.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> Response {
    let mut stream = connect(address);
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    read(&stream, request.starts_with("HEAD"))
}

/// Reads an answer whose body, if `without_body` does not say otherwise, has a content length.
pub(crate) fn read(stream: &TcpStream, without_body: bool) -> Response {
    read_next(&mut BufReader::new(stream), without_body)
}

/// Reads an answer and leaves what comes behind it.
pub(crate) fn read_next(reader: &mut impl BufRead, without_body: bool) -> Response {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(
            reader.read_line(&mut line).expect("an answer"),
            0,
            "closed after {lines:?}"
        );
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0]
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; if without_body { 0 } else { length }];
    reader.read_exact(&mut body).expect("the body");
    Response {
        status,
        headers,
        body: String::from_utf8(body).expect("text"),
    }
}

/// `GET path`.
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"),
    )
}

/// `POST /works` as the published client sends it.
pub(crate) fn post_works(address: SocketAddr, body: &str) -> Response {
    exchange(address, &works(body))
}

/// The bytes of a request with these header lines, each with its end, and this body.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// The bytes of `POST /works` as the published client sends it.
pub(crate) fn works(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /works HTTP/1.1\r\nhost: test\r\naccept: application/json\r\nuser-agent: ktor-client\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
