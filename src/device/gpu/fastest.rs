//! The choice of the fastest kernel on a card. None is the fastest on every card: it depends on the card's instructions and,
//! more, on its driver's compiler.

use std::time::Duration;

use super::engine::GpuEngine;
use super::kernel::Kernel;
use crate::device::opened::Trial;
use crate::device::rate::measure;

/// How long an engine runs each time: first to find its dispatch size, then to be measured.
const LAP: Duration = Duration::from_millis(20);
/// How many times each engine is measured, in turns. The best lap counts: everything that disturbs an engine, such as a
/// clock that is still low, makes it slower.
const LAPS: usize = 2;

/// Measures engines of one card, each with a different kernel. Returns the fastest, and the measured speed of all. `None`
/// if no engine works.
pub(super) fn fastest(
    engines: Vec<(Kernel, GpuEngine)>,
) -> Option<(Kernel, GpuEngine, Vec<Trial>)> {
    let with_rate = |(kernel, engine)| (kernel, engine, 0);
    let mut engines: Vec<(Kernel, GpuEngine, u64)> = engines.into_iter().map(with_rate).collect();
    for lap in 0..=LAPS {
        engines.retain_mut(|(kernel, engine, best)| match measure(engine, LAP) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "no card does 2^64 a second"
            )]
            Ok(measured) => {
                // The first lap only finds the dispatch size.
                if lap > 0 {
                    *best = (*best).max(measured.rate() as u64);
                }
                true
            }
            Err(error) => {
                tracing::warn!(%kernel, %error, "a kernel of a card fails while it is measured");
                false
            }
        });
    }
    let trials = engines.iter().map(|(kernel, _, rate)| Trial {
        kernel: kernel.to_string(),
        hashes_per_second: *rate,
    });
    let trials = trials.collect();
    let (kernel, engine, _) = engines.into_iter().max_by_key(|(_, _, rate)| *rate)?;
    Some((kernel, engine, trials))
}
