//! The hash rate of an engine that does nothing else.

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::DeviceError;
use super::slice::{NonceRange, Slice, StopFlag};
use crate::work::{Rule, Target};

/// The result of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How many nonces the engine tested.
    pub hashes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Measured {
    /// Hashes per second.
    pub fn rate(&self) -> f64 {
        self.hashes as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Keeps an engine busy for this long, then waits for its batches in flight. It must have none in flight before.
///
/// # Errors
///
/// The engine's error.
pub fn measure(engine: &mut dyn Engine, duration: Duration) -> Result<Measured, DeviceError> {
    // Next to no digest is valid, so every slice runs to its end.
    let rule = Rule::HARDEST;
    let stop = StopFlag::default();
    let started = Instant::now();
    let mut start = fastrand::u64(..);
    let (mut hashes, mut in_flight) = (0, 0);
    loop {
        while in_flight < engine.capacity().batches && started.elapsed() < duration {
            let count = engine.lengths(&[rule]).into_iter().sum();
            engine.submit(vec![Slice {
                target: Target::new(*b"a target that stands for all oth"),
                rule,
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
