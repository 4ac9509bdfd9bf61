//! Which form of the shader is the fastest on a card. No form wins everywhere: it depends on the card's
//! instructions and, more, on its driver's compiler.

use std::time::Duration;

use super::{Form, GpuEngine};
use crate::device::rate::measure;
use crate::device::{DeviceError, Trial, self_test};

/// How long an engine runs to find its pace, and then each time that it is measured.
const LAP: Duration = Duration::from_millis(20);
/// How many times each engine is measured, in turns. Its best lap counts, since all that can happen to one on the
/// way, such as a clock that is still low, makes it slower.
const LAPS: usize = 2;

/// The engines that race, each with one form on the same card.
#[derive(Debug, Default)]
pub(super) struct Race {
    runners: Vec<(Form, GpuEngine, u64)>,
}

impl Race {
    /// Lets an engine take part that has passed the self-test.
    ///
    /// # Errors
    ///
    /// What the self-test fails with.
    pub(super) fn enter(&mut self, form: Form, mut engine: GpuEngine) -> Result<(), DeviceError> {
        self_test::run(&mut engine)?;
        self.runners.push((form, engine, 0));
        Ok(())
    }

    /// The fastest form and its engine, with what all forms were measured at. `None` if no engine took part that works.
    pub(super) fn run(self) -> Option<(Form, GpuEngine, Vec<Trial>)> {
        // The first lap only sets the pace.
        let mut runners = self.runners;
        for lap in 0..=LAPS {
            runners.retain_mut(|(form, engine, best)| match measure(engine, LAP) {
                #[expect(clippy::cast_possible_truncation, reason = "no card does 2^64 a second")]
                Ok(measured) => {
                    if lap > 0 {
                        *best = (*best).max(measured.rate() as u64);
                    }
                    true
                }
                Err(error) => {
                    tracing::warn!(%form, %error, "a form of the shader fails while it is measured");
                    false
                }
            });
        }
        let trials = runners.iter().map(|(form, _, rate)| Trial {
            kernel: form.to_string(),
            hashes_per_second: *rate,
        });
        let trials = trials.collect();
        let (form, engine, _) = runners.into_iter().max_by_key(|(_, _, rate)| *rate)?;
        Some((form, engine, trials))
    }
}
