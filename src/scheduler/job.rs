//! One search, and those who wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::SolveError;
use super::search::Setback;
use crate::device::{DeviceInfo, NonceRange, StopFlag};
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
    /// How many nonces have been tested, in how many batches.
    hashes: AtomicU64,
    batches: AtomicU64,
    /// What found the work.
    found_by: OnceLock<Arc<DeviceInfo>>,
    setbacks: Mutex<Vec<Setback>>,
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
            hashes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            found_by: OnceLock::new(),
            setbacks: Mutex::default(),
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

    /// A batch has come back in which so many of its nonces were tested.
    pub(super) fn tested(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// How many nonces have been tested.
    pub(super) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// In how many batches.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// This device is about to answer it. Only the first that says so counts.
    pub(super) fn found(&self, device: &Arc<DeviceInfo>) {
        self.found_by.get_or_init(|| Arc::clone(device));
    }

    /// The device that has answered it.
    pub(super) fn found_by(&self) -> Option<Arc<DeviceInfo>> {
        self.found_by.get().cloned()
    }

    /// A device that worked on it has failed.
    pub(super) fn set_back(&self, setback: Setback) {
        self.lock_setbacks().push(setback);
    }

    /// What has failed so far.
    pub(super) fn setbacks(&self) -> Vec<Setback> {
        self.lock_setbacks().clone()
    }

    fn lock_setbacks(&self) -> MutexGuard<'_, Vec<Setback>> {
        let setbacks = self.setbacks.lock();
        setbacks.unwrap_or_else(PoisonError::into_inner)
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
