//! Notices engines that do not come back from a batch, so that their searches go on elsewhere, and devices that do
//! not open.
//!
//! It counts its own turns and not the clock: a process that was stopped and continued, or a machine that
//! slept, has let many seconds pass but only one turn, and no engine is blamed for it.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::shared::{EngineState, Shared};
use crate::device::DeviceError;

/// An engine is passed over after this many turns without a heartbeat.
const TURNS: u32 = 10;

/// Starts the watchdog's thread, which ends with the scheduler.
pub(super) fn spawn(shared: Weak<Shared>, patience: Duration) -> io::Result<()> {
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            let mut seen = Vec::new();
            loop {
                thread::sleep(patience / TURNS);
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                turn(&shared, &mut seen, patience);
            }
        })?;
    Ok(())
}

/// The heartbeat that an engine was seen at, and for how many turns.
#[derive(Clone, Copy, Default)]
struct Seen {
    beats: u64,
    turns: u32,
}

/// Passes over the engines that have been at work without a heartbeat for [`TURNS`] turns, this one included.
fn turn(shared: &Arc<Shared>, seen: &mut Vec<Seen>, patience: Duration) {
    let mut state = shared.lock();
    seen.resize(state.engines.len(), Seen::default());
    let mut losses = Vec::new();
    for (number, seen) in seen.iter_mut().enumerate() {
        let engine = &state.engines[number];
        let at_work = engine.state == EngineState::Up && !engine.in_flight.is_empty();
        if !at_work || engine.beats != seen.beats {
            *seen = Seen {
                beats: engine.beats,
                turns: 0,
            };
            continue;
        }
        seen.turns += 1;
        if seen.turns >= TURNS {
            let hung = DeviceError::Hung(patience);
            let backoff = &shared.limits.backoff;
            losses.extend(state.lose(number, EngineState::Unresponsive, &hung, backoff));
        }
    }
    state.grow_impatient(TURNS);
    drop(state);
    for loss in losses {
        // Opening a device takes its time, and others may hang meanwhile.
        shared.spawn_recovery(loss, DeviceError::Hung(patience));
    }
}
