//! The steps in which a card is opened. Each has a time limit, since a driver call may never return.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::device::stopwatch::Stopwatch;

/// How long a step may take.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(10);

/// A step of opening a card, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A device is requested from the driver.
    Open,
    /// The driver compiles a kernel.
    Compile,
    /// The kernel runs for the first time and goes through the self-test.
    Prove,
    /// The kernels are measured.
    Race,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening the card",
            Self::Compile => "compiling the kernels",
            Self::Prove => "the self-test",
            Self::Race => "measuring the kernels",
        })
    }
}

/// The furthest step of any kernel of a card, and the time since it was reached. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<(Step, Stopwatch)>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((Step::Open, Stopwatch::begin()))))
    }
}

impl Progress {
    /// A kernel, or the card, has reached this step. Ignored if another kernel has reached it before.
    pub(super) fn reach(&self, step: Step) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if step > latest.0 {
            *latest = (step, Stopwatch::begin());
        }
    }

    /// The furthest step, and the time since it was reached.
    pub(super) fn latest(&self) -> (Step, Stopwatch) {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }
}
