//! A search in progress, shared between the clients that wait for it and the engines that work on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::client::ClientId;
use super::limits::SolveError;
use crate::device::{DeviceInfo, NonceRange, StopFlag};
use crate::work::{Work, WorkRequest};

/// How a search ended; `None` until it has.
pub(super) type Answer = Option<Result<Work, SolveError>>;

/// A device that worked on a search went out of service, and others went on with it.
#[derive(Clone, Debug)]
pub struct Failover {
    /// When.
    pub at: Instant,
    /// Which device failed.
    pub device: Arc<DeviceInfo>,
    /// Why.
    pub error: Arc<str>,
}

/// A search in progress.
#[derive(Debug)]
pub(super) struct Job {
    /// What is searched for.
    pub(super) request: WorkRequest,
    /// The client that began it.
    pub(super) client: ClientId,
    /// The first nonce that no engine has claimed yet.
    next: AtomicU64,
    /// When an engine first claimed nonces.
    began: OnceLock<Instant>,
    /// How many nonces have been tested, and in how many batches.
    hashes: AtomicU64,
    batches: AtomicU64,
    /// Which device found the work.
    found_by: OnceLock<Arc<DeviceInfo>>,
    failovers: Mutex<Vec<Failover>>,
    /// Set once the job has an answer or no client waits for one. Engines poll it while they search.
    ended: StopFlag,
    /// Each waiting client has a receiver.
    answer: watch::Sender<Answer>,
}

impl Job {
    /// A search of this client that starts at a random nonce, so that several servers searching for one target do not
    /// overlap. Returns the client's receiver with it.
    pub(super) fn new(request: WorkRequest, client: ClientId) -> (Self, watch::Receiver<Answer>) {
        let (answer, receiver) = watch::channel(None);
        let job = Self {
            request,
            client,
            next: AtomicU64::new(fastrand::u64(..)),
            began: OnceLock::new(),
            hashes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            found_by: OnceLock::new(),
            failovers: Mutex::default(),
            ended: StopFlag::default(),
            answer,
        };
        (job, receiver)
    }

    /// Claims the next `count` nonces. Claims never overlap.
    pub(super) fn claim(&self, count: u64) -> NonceRange {
        self.began.get_or_init(Instant::now);
        NonceRange {
            start: self.next.fetch_add(count, Ordering::Relaxed),
            count,
        }
    }

    /// When an engine first claimed nonces.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    /// Counts a completed batch in which `hashes` of its nonces were tested.
    pub(super) fn tested(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// How many nonces have been tested.
    pub(super) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// In how many batches they were.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Records which device found the work. Only the first call counts.
    pub(super) fn found(&self, device: &Arc<DeviceInfo>) {
        self.found_by.get_or_init(|| Arc::clone(device));
    }

    /// Which device found the work.
    pub(super) fn found_by(&self) -> Option<Arc<DeviceInfo>> {
        self.found_by.get().cloned()
    }

    /// Records that a device which worked on it has failed.
    pub(super) fn fail_over(&self, failover: Failover) {
        self.lock_failovers().push(failover);
    }

    /// The failovers so far.
    pub(super) fn failovers(&self) -> Vec<Failover> {
        self.lock_failovers().clone()
    }

    fn lock_failovers(&self) -> MutexGuard<'_, Vec<Failover>> {
        let failovers = self.failovers.lock();
        failovers.unwrap_or_else(PoisonError::into_inner)
    }

    /// The flag that tells engines to stop.
    pub(super) const fn ended(&self) -> &StopFlag {
        &self.ended
    }

    /// Adds a client that waits. Must be called under the scheduler's lock while the queue has the job, so that it
    /// cannot end meanwhile.
    pub(super) fn join(&self) -> watch::Receiver<Answer> {
        self.answer.subscribe()
    }

    /// Whether more than one request waits for it.
    pub(super) fn is_shared(&self) -> bool {
        self.answer.receiver_count() > 1
    }

    /// Ends the job if no client waits for it. Returns whether this call ended it. Must be called under the scheduler's
    /// lock.
    pub(super) fn cancel_if_unwanted(&self) -> bool {
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
