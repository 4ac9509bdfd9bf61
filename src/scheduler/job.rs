//! One search, and those who wait for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use super::SolveError;
use crate::device::{NonceRange, StopFlag};
use crate::work::{Work, WorkRequest};

/// What a search came to; `None` until it has ended.
pub(super) type Answer = Option<Result<Work, SolveError>>;

/// A search, shared between the futures that wait for it and the engines that work on it.
#[derive(Debug)]
pub(super) struct Job {
    /// What is searched for.
    pub(super) request: WorkRequest,
    /// The first nonce that no engine has been given yet.
    next: AtomicU64,
    /// When an engine was first given a part of it.
    began: OnceLock<Instant>,
    /// Set once the job has an answer or nobody waits for one. Engines look at it while they search.
    ended: StopFlag,
    /// Where the answer goes. Whoever waits for it has a receiver.
    answer: watch::Sender<Answer>,
}

impl Job {
    /// A search that starts at a random nonce, so that several machines at work on one target stay apart. Comes with
    /// what the first to wait for it receives the answer by.
    pub(super) fn new(request: WorkRequest) -> (Self, watch::Receiver<Answer>) {
        let (answer, receiver) = watch::channel(None);
        let job = Self {
            request,
            next: AtomicU64::new(fastrand::u64(..)),
            began: OnceLock::new(),
            ended: StopFlag::default(),
            answer,
        };
        (job, receiver)
    }

    /// The next `count` nonces. No two calls give the same ones, so engines on one job never overlap.
    pub(super) fn claim(&self, count: u64) -> NonceRange {
        self.began.get_or_init(Instant::now);
        NonceRange {
            start: self.next.fetch_add(count, Ordering::Relaxed),
            count,
        }
    }

    /// When an engine was first given a part of it.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    /// The flag that tells engines to stop.
    pub(super) const fn ended(&self) -> &StopFlag {
        &self.ended
    }

    /// Another one waits for it. To be called where nobody can end it meanwhile: under the scheduler's lock, while
    /// the queue has it.
    pub(super) fn join(&self) -> watch::Receiver<Answer> {
        self.answer.subscribe()
    }

    /// Ends the job if nobody waits for it. Whether that is so and it had not ended before. To be called under the
    /// scheduler's lock.
    pub(super) fn abandon_if_unwanted(&self) -> bool {
        self.answer.receiver_count() == 0 && self.ended.set()
    }

    /// Ends the job with this answer. Only the first answer counts.
    pub(super) fn answer(&self, answer: Result<Work, SolveError>) {
        self.ended.set();
        self.answer.send_if_modified(|slot| {
            let is_first = slot.is_none();
            slot.get_or_insert(answer);
            is_first
        });
    }
}
