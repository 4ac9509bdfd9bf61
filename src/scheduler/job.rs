//! One search that somebody waits for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::SolveError;
use crate::device::{NonceRange, StopFlag};
use crate::work::{Work, WorkRequest};

/// A search, shared between the future that waits for it and the engines that work on it.
#[derive(Debug)]
pub(super) struct Job {
    /// What is searched for.
    pub(super) request: WorkRequest,
    /// The first nonce that no engine has been given yet.
    next: AtomicU64,
    /// Set once the job has an answer or nobody waits for one. Engines look at it while they search.
    ended: StopFlag,
    /// Where the answer goes; taken by the first to answer.
    reply: Mutex<Option<oneshot::Sender<Result<Work, SolveError>>>>,
}

impl Job {
    /// A search that starts at a random nonce, so that several machines at work on one target stay apart.
    pub(super) fn new(
        request: WorkRequest,
        reply: oneshot::Sender<Result<Work, SolveError>>,
    ) -> Self {
        Self {
            request,
            next: AtomicU64::new(fastrand::u64(..)),
            ended: StopFlag::default(),
            reply: Mutex::new(Some(reply)),
        }
    }

    /// The next `count` nonces. No two calls give the same ones, so engines on one job never overlap.
    pub(super) fn claim(&self, count: u64) -> NonceRange {
        NonceRange {
            start: self.next.fetch_add(count, Ordering::Relaxed),
            count,
        }
    }

    /// The flag that tells engines to stop.
    pub(super) const fn ended(&self) -> &StopFlag {
        &self.ended
    }

    /// Ends the job without an answer. Whether it had not ended before.
    pub(super) fn abandon(&self) -> bool {
        self.ended.set()
    }

    /// Ends the job with this answer. Only the first answer counts.
    pub(super) fn answer(&self, answer: Result<Work, SolveError>) {
        self.ended.set();
        let reply = self
            .reply
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(reply) = reply {
            // A client that has gone takes no answer, and needs none.
            let _ = reply.send(answer);
        }
    }
}
