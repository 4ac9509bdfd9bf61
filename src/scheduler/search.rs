//! A request's part in a search, and how the search goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::job::{Answer, Failover, Job};
use super::limits::{SolveError, Solved};
use super::shared::Shared;
use super::state::Admission;
use crate::device::DeviceInfo;
use crate::work::{Work, WorkRequest};

/// How a request came to its search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has begun one.
    Own,
    /// It has joined one that others wait for.
    Joined,
    /// Its answer was cached.
    Cached,
}

/// The progress of a search. Hashes, batches and failovers are those of all requests that share it, from its beginning.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How the request came to it.
    pub origin: Origin,
    /// From the request until a device began to search, or until now. Zero if one had begun already.
    pub waited: Duration,
    /// From then until now, including the time that went to other searches.
    pub searched: Duration,
    /// How many nonces have been tested, in batches that have come back.
    pub hashes: u64,
    /// How many batches with a slice of it have come back; on a card, dispatches.
    pub batches: u64,
    /// Which device found the work, if it is found.
    pub found_by: Option<Arc<DeviceInfo>>,
    /// Devices that failed while they worked on it.
    pub failovers: Vec<Failover>,
}

/// A request's part in a search. Dropping it leaves the search, which is cancelled when no other request waits for it.
#[derive(Debug)]
pub struct Search<'a> {
    request: WorkRequest,
    arrived: Instant,
    /// How long [`Search::answer`] waits.
    timeout: Option<Duration>,
    part: Part<'a>,
}

#[derive(Debug)]
enum Part<'a> {
    Cached(Work),
    Waits {
        shared: &'a Shared,
        job: Arc<Job>,
        /// There until this is dropped.
        answer: Option<watch::Receiver<Answer>>,
        has_joined: bool,
    },
}

impl<'a> Search<'a> {
    /// The part of a request that was admitted.
    pub(super) fn new(
        shared: &'a Shared,
        request: WorkRequest,
        arrived: Instant,
        timeout: Option<Duration>,
        admission: Admission,
    ) -> Self {
        let part = match admission {
            Admission::Cached(work) => Part::Cached(work),
            Admission::Waits {
                job,
                answer,
                has_joined,
                ..
            } => Part::Waits {
                shared,
                job,
                answer: Some(answer),
                has_joined,
            },
        };
        Self {
            request,
            arrived,
            timeout,
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
        reason = "an answer serves every request that joined the search"
    )]
    pub async fn answer(&mut self) -> Result<Solved, SolveError> {
        let answer = match &mut self.part {
            Part::Cached(work) => {
                return Ok(Solved {
                    work: *work,
                    waited: Duration::ZERO,
                    searched: Duration::ZERO,
                });
            }
            Part::Waits { answer, .. } => received(answer.as_mut()),
        };
        let found = match self.timeout {
            None => answer.await,
            Some(timeout) => tokio::time::timeout(timeout, answer)
                .await
                .unwrap_or(Err(SolveError::Deadline(timeout))),
        }?;
        let (waited, searched) = self.times(Instant::now());
        // The search was at least as hard as the request.
        let work = Work::verify(found.nonce(), self.request.target(), self.request.rule())
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
            Part::Cached(_) => Origin::Cached,
            Part::Waits {
                has_joined: true, ..
            } => Origin::Joined,
            Part::Waits { .. } => Origin::Own,
        }
    }

    /// When the request arrived.
    pub const fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Its progress now.
    pub fn progress(&self) -> Progress {
        let (waited, searched) = self.times(Instant::now());
        let job = self.job();
        Progress {
            origin: self.origin(),
            waited,
            searched,
            hashes: job.map_or(0, Job::hashes),
            batches: job.map_or(0, Job::batches),
            found_by: job.and_then(Job::found_by),
            failovers: job.map(Job::failovers).unwrap_or_default(),
        }
    }

    fn job(&self) -> Option<&Job> {
        match &self.part {
            Part::Cached(_) => None,
            Part::Waits { job, .. } => Some(job),
        }
    }

    /// How long it has waited for a device by `now`, and has been searched for since.
    fn times(&self, now: Instant) -> (Duration, Duration) {
        let Some(job) = self.job() else {
            return (Duration::ZERO, Duration::ZERO);
        };
        let began = job.began().unwrap_or(now).max(self.arrived);
        (began - self.arrived, now.saturating_duration_since(began))
    }
}

/// Waits with the request's own receiver: the job counts receivers, so a copy would pass for another request.
async fn received(answer: Option<&mut watch::Receiver<Answer>>) -> Result<Work, SolveError> {
    let answer = answer.ok_or(SolveError::Closed)?;
    // The sender lives in the job, which outlives this future: it cannot be dropped unanswered.
    let answer = answer.wait_for(Option::is_some).await;
    answer
        .ok()
        .and_then(|answer| *answer)
        .unwrap_or(Err(SolveError::Closed))
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if let Self::Waits {
            shared,
            job,
            answer,
            has_joined,
        } = self
            && let Some(answer) = answer.take()
        {
            shared.leave_search(job, answer, *has_joined);
        }
    }
}
