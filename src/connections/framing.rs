//! Where the requests of an HTTP/1 connection end, so that hyper is given the bytes of one request at a time.
//!
//! hyper reads all bytes that have arrived. The beginning of a next request would lie in its buffer, where no time-out
//! covers it.

/// Follows the bytes that hyper is given of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Framing {
    stage: Stage,
    /// Where the bytes given so far end.
    end: End,
    /// Whether hyper may have been given bytes behind the request that it is answering.
    is_past: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A head, or nothing.
    Head,
    /// A body of which this many bytes have not been given yet.
    Body(u64),
    /// A chunked body. Its end is known to hyper alone.
    Chunks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Behind an empty line, which ends a head and a chunked body, or at the beginning of a request.
    EmptyLine,
    /// Behind any other line.
    Line,
    /// Within a line.
    Text,
}

impl Framing {
    pub(super) const fn start() -> Self {
        Self {
            stage: Stage::Head,
            end: End::EmptyLine,
            is_past: false,
        }
    }

    /// How many of these bytes, which are next, hyper may have now. They count as given.
    pub(super) fn give(&mut self, bytes: &[u8]) -> usize {
        let count = match self.stage {
            Stage::Chunks => bytes.len(),
            Stage::Body(rest) => {
                let count = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes.len());
                self.stage = Stage::Body(rest - count as u64);
                count
            }
            Stage::Head => {
                for (index, &byte) in bytes.iter().enumerate() {
                    let was_in_a_line = self.end != End::EmptyLine;
                    self.end = self.end.then(byte);
                    // Servers skip empty lines in front of a request (RFC 9112, 2.2).
                    if was_in_a_line && self.end == End::EmptyLine {
                        return index + 1;
                    }
                }
                return bytes.len();
            }
        };
        for &byte in &bytes[..count] {
            self.end = self.end.then(byte);
        }
        count
    }

    /// Whether hyper may have more bytes now.
    pub(super) fn may_give(&self) -> bool {
        self.stage != Stage::Body(0)
    }

    /// The head is complete. Its body has this many bytes; `None` if it is chunked.
    pub(super) fn begin_body(&mut self, length: Option<u64>) {
        self.stage = length.map_or(Stage::Chunks, Stage::Body);
    }

    /// The request is answered. Returns whether hyper has the beginning of another.
    pub(super) fn end_request(&mut self) -> bool {
        let may_be_past = self.is_past || self.stage == Stage::Chunks;
        self.stage = Stage::Head;
        self.is_past = may_be_past && self.end != End::EmptyLine;
        if !self.is_past {
            self.end = End::EmptyLine;
        }
        self.is_past
    }
}

impl End {
    /// Where the bytes end once this byte follows. A line may end without CR (RFC 9112, 2.2).
    const fn then(self, byte: u8) -> Self {
        match (byte, self) {
            (b'\n', Self::Text) => Self::Line,
            (b'\n', Self::Line | Self::EmptyLine) => Self::EmptyLine,
            (b'\r', Self::Line | Self::EmptyLine) => self,
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST /works HTTP/1.1\r\nhost: test\r\n\r\n";

    fn give(framing: &mut Framing, bytes: &str) -> usize {
        framing.give(bytes.as_bytes())
    }

    #[test]
    fn hyper_gets_one_request_at_a_time() {
        let mut framing = Framing::start();
        let all = format!("{HEAD}body{HEAD}");
        assert_eq!(give(&mut framing, &all), HEAD.len());
        framing.begin_body(Some(4));
        assert_eq!(give(&mut framing, &all[HEAD.len()..]), 4);
        assert!(!framing.may_give());
        assert_eq!(give(&mut framing, HEAD), 0);
        assert!(!framing.end_request());
        assert!(framing.may_give());
        assert_eq!(give(&mut framing, HEAD), HEAD.len());
    }

    #[test]
    fn a_head_ends_with_its_first_empty_line_however_it_arrives() {
        let heads = [
            HEAD,
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\n\r\n",
            "GET / HTTP/1.1\r\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ];
        for head in heads {
            let all = format!("{head}GET");
            assert_eq!(give(&mut Framing::start(), &all), head.len(), "{head:?}");
            let mut framing = Framing::start();
            let bytes = head.as_bytes().chunks(1);
            assert!(bytes.map(|byte| framing.give(byte)).all(|count| count == 1));
            framing.begin_body(Some(0));
            assert_eq!(give(&mut framing, "GET"), 0, "{head:?}");
        }
    }

    #[test]
    fn what_follows_a_chunked_body_is_seen_by_its_last_line() {
        let chunked = "4\r\nbody\r\n0\r\n\r\n";
        for (rest, is_begun) in [
            ("", false),
            ("GET / HT", true),
            ("GET / HTTP/1.1\r\n", true),
        ] {
            let mut framing = Framing::start();
            give(&mut framing, HEAD);
            framing.begin_body(None);
            let all = format!("{chunked}{rest}");
            assert_eq!(give(&mut framing, &all), all.len());
            assert_eq!(framing.end_request(), is_begun, "{rest:?}");
        }
    }

    #[test]
    fn what_hyper_was_given_too_early_is_not_forgotten_by_the_next_request() {
        let mut framing = Framing::start();
        give(&mut framing, HEAD);
        framing.begin_body(None);
        give(&mut framing, &format!("0\r\n\r\n{HEAD}GET"));
        assert!(framing.end_request());
        framing.begin_body(Some(0));
        assert!(framing.end_request());
        assert_eq!(give(&mut framing, "/ HTTP/1.1\r\n\r\nGET"), 14);
        framing.begin_body(Some(0));
        assert!(!framing.end_request());
    }
}
