//! A request's part in a search: who waits for it, and what is known of how it goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::job::{Answer, Job};
use super::shared::Shared;
use super::{SolveError, Solved};
use crate::device::DeviceInfo;
use crate::work::{Work, WorkRequest};

/// How a request came to its search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has begun one.
    Own,
    /// Others waited for one that serves it, too.
    Joined,
    /// Its answer was found before.
    Remembered,
}

/// A device that worked on a search went out of service, and others went on with it.
#[derive(Clone, Debug)]
pub struct Setback {
    /// When.
    pub at: Instant,
    /// Which device.
    pub device: Arc<DeviceInfo>,
    /// What was wrong with it.
    pub error: Arc<str>,
}

/// How a search goes. Of one that several requests share, hashes, batches and setbacks are those of all, from its
/// beginning.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How the request came to it.
    pub origin: Origin,
    /// From the request until a device began to search, or until now. Zero if one was at it already.
    pub waited: Duration,
    /// From then until now, the turns of other searches included.
    pub searched: Duration,
    /// How many nonces have been tested, in batches that have come back.
    pub hashes: u64,
    /// How many batches with a part of it have come back; on a card, dispatches.
    pub batches: u64,
    /// What found the work, if it is found.
    pub found_by: Option<Arc<DeviceInfo>>,
    /// What went wrong on the way.
    pub setbacks: Vec<Setback>,
}

/// A request's part in a search. It *is* the client's interest: dropping it leaves the search, which others may wait for
/// too, and which ends when nobody does.
#[derive(Debug)]
pub struct Search<'a> {
    request: WorkRequest,
    arrived: Instant,
    part: Part<'a>,
}

/// What a request waits for, if for anything.
#[derive(Debug)]
enum Part<'a> {
    Remembered(Work),
    Interest(Interest<'a>),
}

/// An interest in a job, lost when it is dropped.
#[derive(Debug)]
struct Interest<'a> {
    shared: &'a Shared,
    job: Arc<Job>,
    /// There until it is dropped.
    answer: Option<watch::Receiver<Answer>>,
    /// Whether others waited for the job before.
    has_joined: bool,
}

impl<'a> Search<'a> {
    /// One that was answered before.
    pub(super) fn remembered(request: WorkRequest, arrived: Instant, work: Work) -> Self {
        Self {
            request,
            arrived,
            part: Part::Remembered(work),
        }
    }

    /// One that is in the queue, with the receiver of its answer.
    pub(super) fn begun(
        shared: &'a Shared,
        request: WorkRequest,
        arrived: Instant,
        job: Arc<Job>,
        answer: watch::Receiver<Answer>,
        has_joined: bool,
    ) -> Self {
        let part = Part::Interest(Interest {
            shared,
            job,
            answer: Some(answer),
            has_joined,
        });
        Self {
            request,
            arrived,
            part,
        }
    }

    /// Waits until there is a verified answer.
    ///
    /// # Errors
    ///
    /// [`SolveError`] if the search is given up because it takes too long, no device is left or the service ends.
    #[expect(
        clippy::missing_panics_doc,
        reason = "an answer serves everybody who joined the search"
    )]
    pub async fn answer(&self) -> Result<Solved, SolveError> {
        let interest = match &self.part {
            Part::Remembered(work) => {
                return Ok(Solved {
                    work: *work,
                    waited: Duration::ZERO,
                    searched: Duration::ZERO,
                });
            }
            Part::Interest(interest) => interest,
        };
        let found = match interest.shared.limits.deadline {
            None => interest.answer().await,
            Some(deadline) => tokio::time::timeout(deadline, interest.answer())
                .await
                .unwrap_or(Err(SolveError::Deadline(deadline))),
        }?;
        let (waited, searched) = self.times(Instant::now());
        // The search was at least as hard as the request.
        let work = Work::verify(
            found.nonce(),
            self.request.target(),
            self.request.threshold(),
        )
        .expect("a search is joined only by requests that its answer serves");
        Ok(Solved {
            work,
            waited,
            searched,
        })
    }

    /// How the request came to it.
    pub const fn origin(&self) -> Origin {
        match &self.part {
            Part::Remembered(_) => Origin::Remembered,
            Part::Interest(interest) if interest.has_joined => Origin::Joined,
            Part::Interest(_) => Origin::Own,
        }
    }

    /// When the request came to it.
    pub const fn arrived(&self) -> Instant {
        self.arrived
    }

    /// How it goes now.
    pub fn progress(&self) -> Progress {
        let (waited, searched) = self.times(Instant::now());
        let origin = self.origin();
        let Part::Interest(Interest { job, .. }) = &self.part else {
            return Progress {
                origin,
                waited,
                searched,
                hashes: 0,
                batches: 0,
                found_by: None,
                setbacks: Vec::new(),
            };
        };
        Progress {
            origin,
            waited,
            searched,
            hashes: job.hashes(),
            batches: job.batches(),
            found_by: job.found_by(),
            setbacks: job.setbacks(),
        }
    }

    /// How long it has waited for a device by `now`, and been searched for since.
    fn times(&self, now: Instant) -> (Duration, Duration) {
        let Part::Interest(interest) = &self.part else {
            return (Duration::ZERO, Duration::ZERO);
        };
        let began = interest.job.began().unwrap_or(now).max(self.arrived);
        (began - self.arrived, now.saturating_duration_since(began))
    }
}

impl Interest<'_> {
    /// Waits for the answer.
    async fn answer(&self) -> Result<Work, SolveError> {
        let Some(mut answer) = self.answer.clone() else {
            return Err(SolveError::Closed);
        };
        // The sender lives in the job, which lives here: it cannot be dropped unanswered.
        let answer = answer.wait_for(Option::is_some).await;
        answer
            .ok()
            .and_then(|answer| *answer)
            .unwrap_or(Err(SolveError::Closed))
    }
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        if self.has_joined {
            self.shared.joined.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(answer) = self.answer.take() {
            self.shared.leave_search(&self.job, answer);
        }
    }
}
