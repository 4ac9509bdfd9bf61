//! Notices engines that do not come back from a batch, so that their searches go on elsewhere, and devices that do not
//! open.
//!
//! It counts its own turns instead of reading the clock: when a process was stopped and continued, or a machine slept,
//! many seconds have passed but only one turn, and no engine is blamed for it.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::device::DeviceError;
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
            };
            loop {
                thread::sleep(patience / TURNS);
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
        state.age_pending(TURNS);
        losses
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::device::{Backend, Capacity, DeviceInfo, Engine, Opener, Searched, Slice};
    use crate::scheduler::fleet::{DeviceRecord, Role};
    use crate::scheduler::limits::Limits;
    use crate::scheduler::state::{Done, Next};
    use crate::telemetry::Metrics;
    use crate::work::{Network, Target, Threshold, Timestamp, WorkRequest};

    struct Fake;

    impl Engine for Fake {
        fn capacity(&self) -> Capacity {
            Capacity::ONE
        }

        fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
            vec![1; thresholds.len()]
        }

        fn submit(&mut self, _: Vec<Slice>) -> Result<(), DeviceError> {
            unreachable!("nothing is searched")
        }

        fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
            unreachable!("nothing is searched")
        }
    }

    fn watchdog() -> Watchdog {
        Watchdog {
            patience: Duration::from_secs(15),
            seen: Vec::new(),
        }
    }

    /// A state with one search and an engine for it.
    fn state() -> State {
        let info = DeviceInfo {
            name: "card".to_owned(),
            backend: Backend::Gpu,
            kernel: "fake".to_owned(),
            threads: 1,
            trials: Vec::new(),
        };
        let device = DeviceRecord::new(info, None, Role::Initial, &Metrics::new());
        let device = Arc::new(device);
        let mut state = State::new(Limits::new(NonZeroUsize::MIN, 0));
        state.fleet.register(&device, Role::Initial);
        assert_eq!(state.enter(&device), Some(0));
        let time = Timestamp::now();
        let target = Target::new([0; 32]);
        let request = WorkRequest::new(Network::Live, time, target, time).unwrap();
        // It is not cancelled, since it is never left.
        std::mem::forget(state.admit(&request, 0, Instant::now()).unwrap());
        state
    }

    fn begin(state: &mut State) {
        let next = state.next(0, &Fake, Instant::now());
        assert!(matches!(next, Ok(Ok(Next::Submit(_)))), "{next:?}");
    }

    fn end(state: &mut State) {
        let done = Done {
            tried: 1,
            took: None,
        };
        state.complete(0, 1, done, &[], Instant::now());
    }

    /// The engines that are lost in the next turn.
    fn turn(watchdog: &mut Watchdog, state: &mut State) -> Vec<usize> {
        let losses = watchdog.look(state, Instant::now());
        losses.iter().map(|loss| loss.engine).collect()
    }

    #[test]
    fn an_engine_without_a_heartbeat_is_lost_after_so_many_turns() {
        let (mut watchdog, mut state) = (watchdog(), state());
        begin(&mut state);
        // The first turn sees the heartbeat.
        for _ in 0..TURNS {
            assert!(turn(&mut watchdog, &mut state).is_empty());
        }
        assert_eq!(turn(&mut watchdog, &mut state), [0]);
        assert!(turn(&mut watchdog, &mut state).is_empty(), "once");
    }

    #[test]
    fn a_heartbeat_begins_the_count_again() {
        let (mut watchdog, mut state) = (watchdog(), state());
        for _ in 0..3 {
            begin(&mut state);
            for _ in 0..TURNS {
                assert!(turn(&mut watchdog, &mut state).is_empty());
            }
            end(&mut state);
        }
    }

    #[test]
    fn an_engine_that_has_nothing_to_do_is_not_blamed() {
        let (mut watchdog, mut state) = (watchdog(), state());
        for _ in 0..3 * TURNS {
            assert!(turn(&mut watchdog, &mut state).is_empty());
        }
    }

    #[test]
    fn a_device_that_does_not_open_is_waited_for_for_so_many_turns() {
        let (mut watchdog, mut state) = (watchdog(), State::new(Limits::new(NonZeroUsize::MIN, 0)));
        let never = Opener::new(|| unreachable!("nothing is opened"));
        state.fleet.equip(Some(never), None);
        let fallback = state.fall_back_if_alone();
        assert!(fallback.is_some());
        for _ in 1..TURNS {
            turn(&mut watchdog, &mut state);
            assert!(state.status().can_serve);
        }
        turn(&mut watchdog, &mut state);
        assert!(!state.status().can_serve);
    }
}
