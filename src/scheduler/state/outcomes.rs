//! What transitions return, and what threads report to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::scheduler::estimate::Estimate;
use crate::scheduler::job::{Answer, Job};
use crate::scheduler::queue::Batch;
use crate::work::Work;

/// Which threads may have something to do since these were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::scheduler) struct Changes {
    /// An engine that had nothing to do may have something.
    pub(in crate::scheduler) work: bool,
    /// An engine came into service or went out of it, a device is to be opened, or the scheduler has stopped.
    pub(in crate::scheduler) service: bool,
}

/// How an admitted request gets its answer.
#[derive(Debug)]
pub(in crate::scheduler) enum Admission {
    /// Its answer is cached.
    Cached(Work),
    /// It waits for a search.
    Waits {
        job: Arc<Job>,
        answer: watch::Receiver<Answer>,
        /// Whether others waited for the search before it.
        has_joined: bool,
        /// `None` if it has joined others, or no engine's hash rate is known.
        estimate: Option<Estimate>,
    },
}

/// What an engine is to do next.
#[derive(Debug)]
pub(in crate::scheduler) enum Next {
    /// Take on this batch.
    Submit(Batch),
    /// Wait for this batch, the first in flight.
    Complete(Batch),
    /// Run the self-test again: the engine did not come back in time.
    ProveAgain,
    /// End: the scheduler has stopped, or the device was reopened.
    End,
}

/// Why there is nothing for an engine to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Idle {
    /// No search needs it.
    NoWork,
    /// Another device is in service.
    StandsBy,
}

/// What an engine has done in a batch.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Done {
    /// How many nonces it has tested.
    pub(in crate::scheduler) tried: u64,
    /// How long it took for them alone. `None` if the batch ended early, which says nothing of the engine's speed.
    pub(in crate::scheduler) took: Option<Duration>,
}
