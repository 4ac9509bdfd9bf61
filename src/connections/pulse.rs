//! What a connection is doing, and until when it may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;
use warp::http::Version;

use super::{FAREWELL, Limits, RESETS};

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What may be under way to a client when its connection is to be closed takes about so long.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// Why a connection is closed by the server's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head has not become complete in time.
    Header,
    /// It carried no request for too long.
    Idle,
    /// The client does not take its answer.
    Unread,
    /// The client abandons too many requests.
    Resets,
}

/// The state of one connection, shared by its socket, its requests and its clock.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// How many requests have begun and are not yet answered in full.
    requests: usize,
    /// Since when those of them that have an answer which is not yet taken in full have had it, the oldest first.
    answers: BTreeMap<u64, Instant>,
    /// How many answers there ever were.
    answered: u64,
    /// When the last request ended, or the connection began.
    quiet_since: Instant,
    /// When the first byte came of what should become a request.
    head_since: Option<Instant>,
    /// When an answer was last seen to move, while there is one.
    answers_since: Option<Instant>,
    /// When the socket would take no more.
    blocked_since: Option<Instant>,
    /// How many bytes of HTTP/2's preface have come; `None` once others have.
    preface: Option<usize>,
    /// The second that is being counted in, and how many requests were abandoned in it.
    resets: (Instant, u32),
    /// Wakes the connection's task, which the end of an HTTP/2 request would not.
    waker: Option<Waker>,
}

impl Pulse {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            requests: 0,
            answers: BTreeMap::new(),
            answered: 0,
            quiet_since: now,
            head_since: None,
            answers_since: None,
            blocked_since: None,
            preface: Some(0),
            resets: (now, 0),
            waker: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These bytes came from the client.
    pub(super) fn read(&self, bytes: &[u8]) {
        let mut state = self.state();
        if bytes.is_empty() || state.is_http2() {
            return;
        }
        state.preface = state.preface.and_then(|seen| {
            let rest = &PREFACE[seen..];
            let count = rest.len().min(bytes.len());
            (rest[..count] == bytes[..count]).then_some(seen + count)
        });
        if state.is_http2() {
            // From here on frames come that are no requests.
            state.head_since = None;
        } else if state.requests == 0 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// The socket took bytes, or would take none.
    pub(super) fn wrote(&self, any: bool) {
        let mut state = self.state();
        if any {
            state.blocked_since = None;
        } else {
            state.blocked_since.get_or_insert_with(Instant::now);
        }
    }

    /// A request's head is complete. The request ends with what is returned.
    pub(super) fn begin(&self, version: Version) -> InProgress {
        let mut state = self.state();
        state.requests += 1;
        state.head_since = None;
        InProgress {
            pulse: self.clone(),
            version,
            answer: None,
        }
    }

    /// Whether HTTP/2 is spoken.
    pub(super) fn is_http2(&self) -> bool {
        self.state().is_http2()
    }

    /// Whether a request is in progress.
    pub(super) fn is_busy(&self) -> bool {
        self.state().requests > 0
    }

    /// Whether a request has no answer yet.
    pub(super) fn awaits_answer(&self) -> bool {
        let state = self.state();
        state.requests > state.answers.len()
    }

    /// Until when this may go on, and what it is otherwise. For ever, if a request is waited for or sent.
    /// `closing` is when the service began to close.
    pub(super) fn deadline(
        &self,
        limits: &Limits,
        closing: Option<Instant>,
    ) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let until = |since: Instant, limit: Duration| {
            closing.map_or(since + limit, |closing| {
                (since + limit.min(FAREWELL)).max(closing + UNDER_WAY)
            })
        };
        let stuck = [state.answers_since, state.blocked_since];
        let stuck = stuck.into_iter().flatten().min();
        let stuck = stuck.map(|since| until(since, limits.body));
        // Others that are taken do not excuse one that is not.
        let oldest = state.answers.values().next();
        let oldest = oldest.map(|&since| until(since, limits.idle));
        if state.resets.1 > RESETS {
            Some((state.resets.0, Overdue::Resets))
        } else if let Some(deadline) = stuck.into_iter().chain(oldest).min() {
            Some((deadline, Overdue::Unread))
        } else if state.requests > 0 {
            None
        } else if let Some(since) = state.head_since {
            Some((until(since, limits.header), Overdue::Header))
        } else {
            Some((until(state.quiet_since, limits.idle), Overdue::Idle))
        }
    }

    /// Has `waker` woken when a request of an HTTP/2 connection ends: those run in tasks of their own.
    pub(super) fn wake(&self, waker: &Waker) {
        let mut state = self.state();
        if state.is_http2() && !state.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }
}

impl State {
    fn is_http2(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }
}

/// A request in progress. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct InProgress {
    pulse: Pulse,
    version: Version,
    /// The number of its answer, once it has one.
    answer: Option<u64>,
}

impl InProgress {
    /// There is an answer, which the client is to take.
    pub(super) fn answer(&mut self) {
        let mut state = self.pulse.state();
        state.answered += 1;
        let number = state.answered;
        state.answers.insert(number, Instant::now());
        state.answers_since.get_or_insert_with(Instant::now);
        drop(state);
        self.answer = Some(number);
    }

    /// The protocol that it came by.
    pub(super) const fn version(&self) -> Version {
        self.version
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        let now = Instant::now();
        state.requests -= 1;
        if let Some(number) = self.answer {
            state.answers.remove(&number);
            state.answers_since = (!state.answers.is_empty()).then_some(now);
        } else {
            if now > state.resets.0 + Duration::from_secs(1) {
                state.resets = (now, 0);
            }
            state.resets.1 += 1;
        }
        if state.requests == 0 {
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
mod tests {
    use std::num::NonZeroUsize;

    use tokio::time::advance;

    use super::*;

    const LIMITS: Limits = Limits {
        open: NonZeroUsize::MIN,
        header: Duration::from_secs(10),
        body: Duration::from_secs(20),
        idle: Duration::from_secs(75),
        age: Duration::from_secs(30),
    };

    /// In how many seconds what will be overdue.
    fn due(pulse: &Pulse, closing: Option<Instant>) -> Option<(u64, Overdue)> {
        let (deadline, what) = pulse.deadline(&LIMITS, closing)?;
        Some(((deadline - Instant::now()).as_secs(), what))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_due_from_its_first_byte() {
        let pulse = Pulse::start();
        advance(Duration::from_secs(5)).await;
        assert_eq!(due(&pulse, None), Some((70, Overdue::Idle)));
        pulse.read(b"P");
        advance(Duration::from_secs(4)).await;
        pulse.read(b"O");
        assert_eq!(due(&pulse, None), Some((6, Overdue::Header)));
        let request = pulse.begin(Version::HTTP_11);
        assert_eq!(due(&pulse, None), None);
        pulse.read(b"a body, or the next head");
        assert_eq!(due(&pulse, None), None);
        drop(request);
        assert_eq!(due(&pulse, None), Some((75, Overdue::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http_2_are_no_heads() {
        let pulse = Pulse::start();
        pulse.read(&PREFACE[..1]);
        assert_eq!(due(&pulse, None), Some((10, Overdue::Header)));
        pulse.read(&[&PREFACE[1..], b"frames"].concat());
        assert!(pulse.is_http2());
        pulse.read(b"more frames");
        assert_eq!(due(&pulse, None), Some((75, Overdue::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_due_to_move() {
        let pulse = Pulse::start();
        let mut requests = [(); 2].map(|()| pulse.begin(Version::HTTP_2));
        for request in &mut requests {
            request.answer();
        }
        advance(Duration::from_secs(15)).await;
        assert_eq!(due(&pulse, None), Some((5, Overdue::Unread)));
        let [first, second] = requests;
        drop(first);
        assert_eq!(due(&pulse, None), Some((20, Overdue::Unread)));
        drop(second);
        pulse.wrote(false);
        assert_eq!(due(&pulse, None), Some((20, Overdue::Unread)));
        pulse.wrote(true);
        assert_eq!(due(&pulse, None), Some((75, Overdue::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_never_taken_is_due_whatever_becomes_of_others() {
        let pulse = Pulse::start();
        let mut stuck = pulse.begin(Version::HTTP_2);
        assert!(pulse.awaits_answer());
        stuck.answer();
        assert!(pulse.is_busy() && !pulse.awaits_answer());
        for _ in 0..14 {
            advance(Duration::from_secs(5)).await;
            pulse.begin(Version::HTTP_2).answer();
        }
        // 75 s after its answer, 70 of which are over.
        assert_eq!(due(&pulse, None), Some((5, Overdue::Unread)));
        drop(stuck);
        assert_eq!(due(&pulse, None), Some((75, Overdue::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn everything_but_a_search_is_due_soon_when_the_service_closes() {
        let pulse = Pulse::start();
        advance(Duration::from_secs(5)).await;
        let closing = Some(Instant::now());
        let (deadline, _) = pulse.deadline(&LIMITS, closing).unwrap();
        assert_eq!(deadline - Instant::now(), UNDER_WAY);
        pulse.read(b"P");
        assert_eq!(due(&pulse, closing), Some((1, Overdue::Header)));
        let _request = pulse.begin(Version::HTTP_11);
        assert_eq!(due(&pulse, closing), None);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_may_be_abandoned_now_and_then() {
        let pulse = Pulse::start();
        for _ in 0..3 {
            advance(Duration::from_millis(1001)).await;
            for _ in 0..RESETS {
                drop(pulse.begin(Version::HTTP_2));
            }
        }
        assert_eq!(due(&pulse, None), Some((75, Overdue::Idle)));
        drop(pulse.begin(Version::HTTP_2));
        assert_eq!(
            pulse.deadline(&LIMITS, None).map(|(_, what)| what),
            Some(Overdue::Resets)
        );
    }
}
