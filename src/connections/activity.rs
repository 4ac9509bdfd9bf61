//! What a connection is doing, and when that becomes overdue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use warp::http::Version;

use super::framing::Framing;
use super::limits::{ConnectionLimits, DRAIN_GRACE, RESETS};

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long bytes may be on their way from a client. A draining process waits at least this long for a next request.
const IN_FLIGHT: Duration = Duration::from_millis(50);

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head was not complete in time.
    Header,
    /// It carried no request for too long.
    Idle,
    /// The client does not read its response.
    Unread,
    /// The client abandons too many requests.
    Resets,
}

/// The state of one connection. Its socket and its requests report here, and its clock reads it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// How many exchanges are in progress.
    exchanges: usize,
    /// When each response was made that is not yet sent in full, by the number of the response.
    responses: BTreeMap<u64, Instant>,
    /// How many responses were ever made.
    responses_made: u64,
    /// Whether an exchange has the connection's own place.
    own_place_taken: bool,
    /// Where the requests of an HTTP/1 connection end.
    framing: Framing,
    /// When the last exchange ended, or the connection began.
    quiet_since: Instant,
    /// When the first byte of a head arrived, while the head is not complete.
    head_since: Option<Instant>,
    /// Since when a response is unsent and none was sent in full.
    responses_since: Option<Instant>,
    /// Since when the socket accepts no more bytes.
    blocked_since: Option<Instant>,
    /// How many bytes of HTTP/2's preface have arrived; `None` once other bytes have.
    preface: Option<usize>,
    /// The beginning of the second that is being counted, and how many requests were abandoned in it.
    resets: (Instant, u32),
    /// Wakes the connection's task when an exchange ends.
    waker: Option<Waker>,
}

impl Activity {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            exchanges: 0,
            responses: BTreeMap::new(),
            responses_made: 0,
            own_place_taken: false,
            framing: Framing::start(),
            quiet_since: now,
            head_since: None,
            responses_since: None,
            blocked_since: None,
            preface: Some(0),
            resets: (now, 0),
            waker: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client's next bytes. Returns how many of them hyper may have now: over HTTP/1, those of one request.
    pub(super) fn give(&self, bytes: &[u8]) -> usize {
        let mut state = self.state();
        if bytes.is_empty() || state.is_http2() {
            return bytes.len();
        }
        let count = state.framing.give(bytes);
        let bytes = &bytes[..count];
        if count == 0 {
            return 0;
        }
        state.preface = state.preface.and_then(|seen| {
            let rest = &PREFACE[seen..];
            let count = rest.len().min(bytes.len());
            (rest[..count] == bytes[..count]).then_some(seen + count)
        });
        if state.is_http2() {
            // From here on, frames arrive, and not all of them belong to a request.
            state.head_since = None;
        } else if state.exchanges == 0 {
            state.head_since.get_or_insert_with(Instant::now);
        }
        count
    }

    /// Whether hyper may have more bytes of the client now.
    pub(super) fn may_give(&self) -> bool {
        let state = self.state();
        state.is_http2() || state.framing.may_give()
    }

    /// The socket accepted bytes if `any` is true, and none otherwise.
    pub(super) fn wrote(&self, any: bool) {
        let mut state = self.state();
        if any {
            state.blocked_since = None;
        } else {
            state.blocked_since.get_or_insert_with(Instant::now);
        }
    }

    /// A request's head is complete: an exchange begins. Its body has `length` bytes; `None` if it is chunked. Beside
    /// another exchange it takes one of the `shared` places, if one is free.
    pub(super) fn begin(
        &self,
        version: Version,
        length: Option<u64>,
        shared: &Arc<Semaphore>,
    ) -> Exchange {
        let mut state = self.state();
        state.exchanges += 1;
        state.head_since = None;
        state.framing.begin_body(length);
        let place = if state.own_place_taken {
            let shared = Arc::clone(shared).try_acquire_owned();
            shared.map_or(Place::None, Place::Shared)
        } else {
            state.own_place_taken = true;
            Place::Own
        };
        Exchange {
            activity: self.clone(),
            version,
            response: None,
            place,
        }
    }

    /// Whether the client speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.state().is_http2()
    }

    /// Whether an exchange is in progress.
    pub(super) fn is_busy(&self) -> bool {
        self.state().exchanges > 0
    }

    /// Whether no exchange is in progress and no response waits for the client to read it.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.exchanges == 0 && state.blocked_since.is_none()
    }

    /// When the connection becomes overdue, and why. `None` while the client's request is arriving or being answered.
    /// `draining_since` is when the process began to drain.
    pub(super) fn deadline(
        &self,
        limits: &ConnectionLimits,
        draining_since: Option<Instant>,
    ) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let until = |since: Instant, limit: Duration| {
            draining_since.map_or(since + limit, |draining| {
                (since + limit.min(DRAIN_GRACE)).max(draining + IN_FLIGHT)
            })
        };
        let stuck = [state.responses_since, state.blocked_since];
        let stuck = stuck.into_iter().flatten().min();
        let stuck = stuck.map(|since| until(since, limits.body));
        // Responses that the client does read are no excuse for one that it leaves unread.
        let oldest = state.responses.values().next();
        let oldest = oldest.map(|&since| until(since, limits.idle));
        // hyper has dropped the response, and still has bytes of it.
        let buffered = (state.exchanges == 0 && state.blocked_since.is_some())
            .then(|| until(state.quiet_since, limits.idle));
        if state.resets.1 > RESETS {
            Some((state.resets.0, Overdue::Resets))
        } else if let Some(deadline) = stuck.into_iter().chain(oldest).chain(buffered).min() {
            Some((deadline, Overdue::Unread))
        } else if state.exchanges > 0 {
            None
        } else if let Some(since) = state.head_since {
            Some((until(since, limits.header), Overdue::Header))
        } else {
            Some((until(state.quiet_since, limits.idle), Overdue::Idle))
        }
    }

    /// Wakes `waker` when an exchange ends.
    pub(super) fn wake_at_end(&self, waker: &Waker) {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }
}

impl State {
    fn is_http2(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }
}

/// A request and its response, on one connection. The exchange ends when this is dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Activity,
    version: Version,
    /// The number of the response, once there is one.
    response: Option<u64>,
    place: Place,
}

/// A place for a request in progress. Each connection has one of its own, and all of them share some more.
#[derive(Debug)]
enum Place {
    Own,
    #[expect(dead_code, reason = "the permit is held, not read")]
    Shared(OwnedSemaphorePermit),
    /// There was none: the request must be refused.
    None,
}

impl Exchange {
    /// The response is made. From now on the client has to read it.
    pub(super) fn respond(&mut self) {
        let mut state = self.activity.state();
        state.responses_made += 1;
        let number = state.responses_made;
        state.responses.insert(number, Instant::now());
        state.responses_since.get_or_insert_with(Instant::now);
        drop(state);
        self.response = Some(number);
    }

    /// Whether there is a place for the request. If not, it must be refused.
    pub(super) const fn has_place(&self) -> bool {
        !matches!(self.place, Place::None)
    }

    /// The version of HTTP.
    pub(super) const fn version(&self) -> Version {
        self.version
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        let now = Instant::now();
        state.exchanges -= 1;
        if matches!(self.place, Place::Own) {
            state.own_place_taken = false;
        }
        if state.framing.end_request() && !state.is_http2() {
            state.head_since = Some(now);
        }
        if let Some(number) = self.response {
            state.responses.remove(&number);
            state.responses_since = (!state.responses.is_empty()).then_some(now);
        } else {
            if now > state.resets.0 + Duration::from_secs(1) {
                state.resets = (now, 0);
            }
            state.resets.1 += 1;
        }
        if state.exchanges == 0 {
            state.quiet_since = now;
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
