//! Hostile clients, which cost a server more than themselves: HTTP/2 frames that no ordinary client sends.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The most streams that a connection may have open, as the server's settings say.
pub(crate) const STREAMS: u32 = 100;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames, and their flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a hostile connection asks for on every stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// Fields with a name of one letter and no value, beside those that a request must have.
    pub(crate) fields: usize,
    /// Bytes of a body that does not end.
    pub(crate) body: usize,
    /// `GET` for this path, and none of the response is taken; else `POST /works` that does not end.
    pub(crate) unread: Option<&'static str>,
    pub(crate) streams: u32,
}

impl Attack {
    pub(crate) const FIELDS: Self = Self {
        fields: 480,
        body: 0,
        unread: None,
        streams: STREAMS,
    };

    /// All bytes of one connection.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE
        let window = if self.unread.is_some() { 0 } else { 65_535_u32 };
        let settings = [&[0, 4], &window.to_be_bytes()[..]].concat();
        frame(&mut bytes, SETTINGS, 0, 0, &settings);
        for number in 0..self.streams {
            let stream = 2 * number + 1;
            let flags = match self.unread {
                Some(_) => END_HEADERS | END_STREAM,
                None => END_HEADERS,
            };
            frame(&mut bytes, HEADERS, flags, stream, &self.head(number == 0));
            let body = vec![b' '; self.body];
            for part in body.chunks(16_384) {
                frame(&mut bytes, DATA, 0, stream, part);
            }
        }
        bytes
    }

    /// The head in HPACK (RFC 7541). The first head of a connection puts the small field into the table, from which one byte
    /// takes it.
    fn head(self, is_first: bool) -> Vec<u8> {
        // `:scheme: http`, `:authority: test`
        let mut head = b"\x86\x01\x04test".to_vec();
        // `:method` by its place in the table, `:path` with a value.
        let path = self.unread.unwrap_or("/works");
        head.push(if self.unread.is_some() { 0x82 } else { 0x83 });
        head.push(0x04);
        literal(&mut head, path);
        if self.unread.is_none() {
            // `content-type`, 31 in the table
            head.extend(b"\x0f\x10");
            literal(&mut head, "application/json");
        }
        let mut fields = self.fields;
        if is_first && fields > 0 {
            head.extend(b"\x40\x01a\x00");
            fields -= 1;
        }
        head.resize(head.len() + fields, 0xbe);
        head
    }

    /// Opens a connection, and sends all of it.
    pub(crate) fn start(self, address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .expect("not zero");
        // The server may close as soon as it has seen enough.
        let _ = stream.write_all(&self.bytes());
        stream
    }
}

fn literal(head: &mut Vec<u8>, text: &str) {
    head.push(u8::try_from(text.len()).expect("short"));
    head.extend(text.as_bytes());
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    bytes.extend(&length[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// Whole `GET` requests on one connection, as fast as the server takes them, until `go_on` says no. Returns how many were
/// sent.
pub(crate) fn flood(address: SocketAddr, path: &'static str, go_on: impl Fn() -> bool) -> u64 {
    let mut sent = 0;
    while go_on() {
        let attack = Attack {
            fields: 0,
            body: 0,
            unread: Some(path),
            streams: 0,
        };
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        let timeout = Some(Duration::from_secs(10));
        let _ = stream.set_write_timeout(timeout);
        let _ = stream.set_read_timeout(timeout);
        let mut bytes = PREFACE.to_vec();
        frame(&mut bytes, SETTINGS, 0, 0, &[]);
        // As much as may be, so that the server never waits for this client.
        let window = [0x7f, 0, 0, 0];
        frame(&mut bytes, WINDOW_UPDATE, 0, 0, &window);
        let head = attack.head(false);
        let mut stream_number = 1;
        let mut answers = [0; 65_536];
        // Each round has half of the streams that may be open.
        while go_on() && stream_number < u32::from(u16::MAX) {
            for _ in 0..STREAMS / 2 {
                let flags = END_HEADERS | END_STREAM;
                frame(&mut bytes, HEADERS, flags, stream_number, &head);
                stream_number += 2;
            }
            if stream.write_all(&bytes).is_err() {
                break;
            }
            sent += u64::from(STREAMS / 2);
            bytes.clear();
            match stream.read(&mut answers) {
                Ok(0) => break,
                Err(error) if error.kind() != ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
    }
    sent
}

/// The resident memory of a process in MiB.
pub(crate) fn memory(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("a number") / 1024.0
}

/// How much of the processors' time a process has had, in the kernel's ticks of 10 ms.
pub(crate) fn processor_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // The name in front may have spaces, and ends with a bracket.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let times = fields.split(' ').skip(11).take(2);
    times
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}
