//! How fast an engine is with nothing else to do.

use std::time::{Duration, Instant};

use super::{DeviceError, Engine, NonceRange, Slice, StopFlag};
use crate::work::{Target, Threshold};

/// What an engine did while it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How many nonces it tested.
    pub hashes: u64,
    /// How long that took.
    pub elapsed: Duration,
}

impl Measured {
    /// Hashes a second.
    pub fn rate(&self) -> f64 {
        self.hashes as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Keeps an engine that has nothing in flight as busy as it can be for this long, and until what it has begun by
/// then is done.
///
/// # Errors
///
/// What the engine fails with.
pub fn measure(engine: &mut dyn Engine, duration: Duration) -> Result<Measured, DeviceError> {
    // No digest is this low, so every slice runs to its end.
    let threshold = Threshold::new(0);
    let stop = StopFlag::default();
    let started = Instant::now();
    let mut start = fastrand::u64(..);
    let (mut hashes, mut in_flight) = (0, 0);
    loop {
        while in_flight < engine.capacity().batches && started.elapsed() < duration {
            let count = engine.lengths(&[threshold]).into_iter().sum();
            engine.submit(vec![Slice {
                target: Target::new(*b"a target that stands for all oth"),
                threshold,
                nonces: NonceRange { start, count },
                stop: stop.clone(),
            }])?;
            start = start.wrapping_add(count);
            in_flight += 1;
        }
        if in_flight == 0 {
            let elapsed = started.elapsed();
            return Ok(Measured { hashes, elapsed });
        }
        hashes += engine
            .complete()?
            .iter()
            .map(|done| done.tried)
            .sum::<u64>();
        in_flight -= 1;
    }
}
