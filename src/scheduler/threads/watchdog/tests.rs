//! When engines and devices are given up.

use std::num::NonZeroUsize;

use super::*;
use crate::device::Opener;
use crate::scheduler::ClientId;
use crate::scheduler::fakes::{CORE, record, request};
use crate::scheduler::fleet::Role;
use crate::scheduler::limits::Limits;
use crate::scheduler::state::{Done, Next};

fn watchdog() -> Watchdog {
    Watchdog {
        patience: Duration::from_secs(15),
        seen: Vec::new(),
        is_late: false,
    }
}

/// A state with one search and an engine for it.
fn state() -> State {
    let device = record("card", None, Role::Initial);
    let mut state = State::new(Limits::new(NonZeroUsize::MIN, 0));
    state.fleet.register(&device, Role::Initial);
    assert_eq!(state.enter(&device), Some(0));
    // It is not cancelled, since it is never left.
    std::mem::forget(
        state
            .admit(&request(1), ClientId::Any, None, 0, Instant::now())
            .unwrap(),
    );
    state
}

fn begin(state: &mut State) {
    let next = state.next(0, &CORE, Instant::now());
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
fn an_engine_without_a_heartbeat_is_lost_after_a_number_of_turns() {
    let (mut watchdog, mut state) = (watchdog(), state());
    begin(&mut state);
    // The first turn sees the heartbeat.
    for number in 0..TURNS {
        assert!(turn(&mut watchdog, &mut state).is_empty());
        assert_eq!(watchdog.is_late, number > 0);
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
        assert!(!watchdog.is_late);
    }
}

#[test]
fn a_device_that_does_not_open_is_waited_for_for_a_number_of_turns() {
    let (mut watchdog, mut state) = (watchdog(), State::new(Limits::new(NonZeroUsize::MIN, 0)));
    let never = Opener::new(|| unreachable!("nothing is opened"));
    state.fleet.equip(Some(never), None);
    let fallback = state.fall_back_if_alone();
    assert!(fallback.is_some());
    for _ in 1..TURNS {
        turn(&mut watchdog, &mut state);
        assert!(state.status().can_serve && watchdog.is_late);
    }
    turn(&mut watchdog, &mut state);
    assert!(!state.status().can_serve);
}
