//! The steps in which a card is opened. Each has a time limit, since a driver call may never return.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a step may take. Longer than a dispatch may, so that a driver that still answers reports its own error.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(12);

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
            Self::Open => "opening it",
            Self::Compile => "compiling for it",
            Self::Prove => "its self-test",
            Self::Race => "measuring its kernels",
        })
    }
}

/// Which step a card is at, and since when. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<(Step, Instant)>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((Step::Open, Instant::now()))))
    }
}

impl Progress {
    /// Begins a step, of one kernel or of all.
    pub(super) fn begin(&self, step: Step) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (step, Instant::now());
    }

    #[cfg(test)]
    pub(super) fn begin_at(&self, step: Step, since: Instant) {
        *self.0.lock().unwrap() = (step, since);
    }

    /// The step that was begun last, and when that was.
    pub(super) fn latest(&self) -> (Step, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
