//! Notices engines that do not come back from a batch, so that their searches go on elsewhere, and devices that do not
//! open.
//!
//! It counts its own turns instead of reading the clock: when a process was stopped and continued, or a machine slept,
//! many seconds have passed but only one turn, and no engine is blamed. On a busy machine a turn also takes longer, once
//! an engine is late: only then are the threads' waits for a core looked at, since that takes two files of each.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::device::{DeviceError, Stopwatch};
use crate::scheduler::fleet::{EngineState, Loss, Recovery};
use crate::scheduler::shared::Shared;
use crate::scheduler::state::State;

/// An engine is taken out of service after this many turns without a heartbeat.
const TURNS: u32 = 10;

/// Starts the watchdog's thread, which ends with the scheduler.
pub(in crate::scheduler) fn spawn(shared: Weak<Shared>, patience: Duration) -> io::Result<()> {
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            let mut watchdog = Watchdog {
                patience,
                seen: Vec::new(),
                is_late: false,
            };
            loop {
                let turn = patience / TURNS;
                if watchdog.is_late {
                    Stopwatch::begin().sleep(turn);
                } else {
                    thread::sleep(turn);
                }
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                watchdog.turn(&shared);
            }
        })?;
    Ok(())
}

struct Watchdog {
    patience: Duration,
    /// What was seen of each engine, by its number.
    seen: Vec<Seen>,
    /// Whether an engine or a device that is being opened is late by a turn or more.
    is_late: bool,
}

/// The heartbeat that an engine was last seen at, and for how many turns.
#[derive(Clone, Copy, Default)]
struct Seen {
    beats: u64,
    turns: u32,
}

impl Watchdog {
    fn turn(&mut self, shared: &Arc<Shared>) {
        let losses = shared.apply(|state| self.look(state, Instant::now()));
        for loss in losses {
            let reopen = shared.settle(loss, &DeviceError::Hung(self.patience));
            if let Some(reopen) = reopen {
                shared.apply(|state| state.request(Recovery::Reopen(reopen)));
            }
        }
    }

    /// Takes the engines out of service that have been at work without a heartbeat for [`TURNS`] turns, this one
    /// included, and gives up devices that have been opening for as long.
    fn look(&mut self, state: &mut State, now: Instant) -> Vec<Loss> {
        let hung = DeviceError::Hung(self.patience);
        let heartbeats: Vec<_> = state.heartbeats().collect();
        self.seen.resize(heartbeats.len(), Seen::default());
        let mut losses = Vec::new();
        for (number, (beats, seen)) in heartbeats.into_iter().zip(&mut self.seen).enumerate() {
            if beats != Some(seen.beats) {
                *seen = Seen {
                    beats: beats.unwrap_or_default(),
                    turns: 0,
                };
                continue;
            }
            seen.turns += 1;
            if seen.turns >= TURNS {
                losses.extend(state.lose(number, EngineState::Unresponsive, &hung, now));
            }
        }
        let is_opening = state.age_pending(TURNS);
        self.is_late = is_opening || self.seen.iter().any(|seen| seen.turns > 0);
        losses
    }
}
