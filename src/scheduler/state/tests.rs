//! Losing engines, reopening devices and falling back, without threads, sockets or waiting.

use std::time::Duration;

use super::*;
use crate::device::{Device, Opener};
use crate::scheduler::devices::{DeviceState, Event};
use crate::scheduler::fakes::{CARD, CORE, Fake, record, request};
use crate::scheduler::fleet::{Reopen, Role};
use crate::work::{Nonce, Target, Threshold};

fn state() -> State {
    State::new(Limits::new(
        std::num::NonZeroUsize::new(4).expect("not zero"),
        8,
    ))
}

fn opener() -> Opener {
    Opener::new(|| -> Result<Device, DeviceError> { unreachable!("the state opens nothing") })
}

/// Puts one engine of a device into service that can be reopened.
fn serve(state: &mut State, name: &str, role: Role) -> (Arc<DeviceRecord>, usize) {
    let device = record(name, Some(opener()), role);
    state.fleet.register(&device, role);
    let engine = state.enter(&device).unwrap();
    (device, engine)
}

/// Admits a request. Returns its search and the receiver of the answer.
fn ask(state: &mut State, number: u8) -> (Arc<Job>, watch::Receiver<Answer>) {
    match state.admit(&request(number), ClientId::Any, None, 0, Instant::now()) {
        Ok(Admission::Waits { job, answer, .. }) => (job, answer),
        other => panic!("{other:?}"),
    }
}

fn submit(state: &mut State, engine: usize, fake: &Fake) -> Batch {
    match state.next(engine, fake, Instant::now()) {
        Ok(Ok(Next::Submit(batch))) => batch,
        other => panic!("{other:?}"),
    }
}

fn complete(state: &mut State, engine: usize, batch: &Batch, answered: &[(&Arc<Job>, Work)]) {
    let done = Done {
        tried: 1000,
        took: None,
    };
    state.complete(engine, batch.slices.len(), done, answered, Instant::now());
}

fn lost() -> DeviceError {
    DeviceError::Lost("fell off the bus".to_owned())
}

fn lose(state: &mut State, engine: usize) -> Option<Loss> {
    state.lose(engine, EngineState::Retired, &lost(), Instant::now())
}

fn pass_over(state: &mut State, engine: usize) -> Option<Loss> {
    let hung = DeviceError::Hung(Duration::from_secs(15));
    state.lose(engine, EngineState::Unresponsive, &hung, Instant::now())
}

fn device_state(state: &State, name: &str) -> DeviceState {
    let statuses = state.fleet.statuses();
    let status = statuses.iter().find(|status| status.info.name == name);
    status.expect("it is known").state
}

fn events(state: &State) -> Vec<Event> {
    let incidents = state.fleet.incidents().all();
    incidents
        .into_iter()
        .map(|incident| incident.event)
        .collect()
}

#[test]
fn searches_wait_for_the_first_attempt_to_reopen_the_only_device() {
    let mut state = state();
    let (device, engine) = serve(&mut state, "card", Role::Initial);
    // It has served for long: its fault is a first one.
    let later = Instant::now() + state.limits.backoff.reset_after;
    let (job, answer) = ask(&mut state, 1);
    submit(&mut state, engine, &CARD);
    let loss = state
        .lose(engine, EngineState::Retired, &lost(), later)
        .unwrap();
    assert_eq!(loss.engines_left, 0);
    assert!(loss.fallback.is_none());
    let Reopen {
        attempts, pending, ..
    } = loss.reopen.unwrap();
    assert_eq!(attempts, 0);
    assert_eq!(device_state(&state, "card"), DeviceState::Down);
    // Others are admitted meanwhile.
    assert!(state.status().can_serve);
    ask(&mut state, 2);
    assert_eq!(*answer.borrow(), None);
    let failovers = job.failovers();
    assert_eq!(failovers.len(), 1);
    assert_eq!(failovers[0].device.name, "card");
    assert_eq!(&*failovers[0].error, "device lost: fell off the bus");

    // The attempt fails.
    state.fleet.not_opened(&device, "still resetting".into());
    state.end_pending(pending.unwrap());
    assert_eq!(*answer.borrow(), Some(Err(SolveError::NoDevice)));
    assert_eq!(
        state
            .admit(&request(3), ClientId::Any, None, 0, later)
            .unwrap_err(),
        SolveError::NoDevice
    );
    assert_eq!(
        events(&state),
        [
            Event::Fault("device lost: fell off the bus".into()),
            Event::NotOpened("still resetting".into())
        ]
    );
}

#[test]
fn a_device_that_soon_fails_again_is_not_waited_for() {
    let mut state = state();
    let (_, engine) = serve(&mut state, "card", Role::Reopened { attempts: 3 });
    let (_, answer) = ask(&mut state, 1);
    let reopen = lose(&mut state, engine).unwrap().reopen.unwrap();
    assert_eq!((reopen.attempts, reopen.pending), (3, None));
    assert_eq!(*answer.borrow(), Some(Err(SolveError::NoDevice)));
}

#[test]
fn the_backoff_resets_when_a_device_has_served_for_long() {
    let mut state = state();
    let (_, engine) = serve(&mut state, "card", Role::Reopened { attempts: 3 });
    let later = Instant::now() + state.limits.backoff.reset_after;
    let loss = state.lose(engine, EngineState::Retired, &lost(), later);
    let reopen = loss.unwrap().reopen.unwrap();
    assert_eq!(reopen.attempts, 0);
    assert!(reopen.pending.is_some());
}

#[test]
fn a_device_that_cannot_be_reopened_leaves_nothing_to_wait_for() {
    let mut state = state();
    let device = record("card", None, Role::Initial);
    state.fleet.register(&device, Role::Initial);
    let engine = state.enter(&device).unwrap();
    let (_, answer) = ask(&mut state, 1);
    let loss = lose(&mut state, engine).unwrap();
    assert!(loss.reopen.is_none() && loss.fallback.is_none());
    assert_eq!(*answer.borrow(), Some(Err(SolveError::NoDevice)));
}

#[test]
fn the_fallback_takes_over_and_stands_by_when_the_card_is_back() {
    let mut state = state();
    state.fleet.equip(Some(opener()), None);
    let (_, card) = serve(&mut state, "card", Role::Reopened { attempts: 1 });
    let (_, answer) = ask(&mut state, 1);
    let Fallback { pending, .. } = lose(&mut state, card).unwrap().fallback.unwrap();
    // It is opened once.
    assert!(state.fall_back_if_alone().is_none());
    let (_, processor) = serve(&mut state, "cpu", Role::Fallback);
    state.end_pending(pending);
    assert_eq!(*answer.borrow(), None);
    assert_eq!(device_state(&state, "cpu"), DeviceState::Up);
    let batch = submit(&mut state, processor, &CORE);

    let (_, card) = serve(&mut state, "card", Role::Reopened { attempts: 2 });
    assert_eq!(device_state(&state, "cpu"), DeviceState::Standby);
    // It completes what it has in flight, and takes nothing more.
    let next = state.next(processor, &CORE, Instant::now());
    assert!(matches!(next, Ok(Ok(Next::Complete(_)))), "{next:?}");
    complete(&mut state, processor, &batch, &[]);
    let next = state.next(processor, &CORE, Instant::now());
    assert!(matches!(next, Ok(Err(Idle::StandsBy))), "{next:?}");

    let loss = lose(&mut state, card).unwrap();
    assert_eq!(loss.engines_left, 1);
    assert!(loss.fallback.is_none(), "it is in service");
    submit(&mut state, processor, &CORE);
    let events = events(&state);
    assert!(
        matches!(
            events[..],
            [
                Event::Back,
                Event::Fault(_),
                Event::FallenBackTo,
                Event::Back,
                Event::Fault(_)
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn an_engine_without_a_thread_does_not_stand_in_the_fallbacks_way() {
    let mut state = state();
    let (_, processor) = serve(&mut state, "cpu", Role::Fallback);
    let (_, answer) = ask(&mut state, 1);
    let (_, card) = serve(&mut state, "card", Role::Reopened { attempts: 1 });
    let next = state.next(processor, &CORE, Instant::now());
    assert!(matches!(next, Ok(Err(Idle::StandsBy))), "{next:?}");
    state.changes = Changes::default();
    state.retire(card);
    assert!(state.changes.service, "it is woken");
    submit(&mut state, processor, &CORE);
    state.retire(processor);
    assert_eq!(*answer.borrow(), Some(Err(SolveError::NoDevice)));
}

#[test]
fn a_fallback_that_cannot_be_opened_is_tried_again() {
    let mut state = state();
    state.fleet.equip(Some(opener()), None);
    let Fallback { opener, pending } = state.fall_back_if_alone().unwrap();
    let (_, answer) = ask(&mut state, 1);
    state.fleet.keep_fallback(opener);
    state.end_pending(pending);
    assert_eq!(*answer.borrow(), Some(Err(SolveError::NoDevice)));
    assert!(state.fall_back_if_alone().is_some());
}

#[test]
fn searches_of_an_engine_that_does_not_come_back_go_to_another() {
    let mut state = state();
    let (_, card) = serve(&mut state, "card", Role::Initial);
    let (_, other) = serve(&mut state, "other", Role::Initial);
    let (job, _answer) = ask(&mut state, 1);
    let late = submit(&mut state, card, &CARD);
    assert!(state.heartbeats().eq([Some(1), None]));
    let loss = pass_over(&mut state, card).unwrap();
    assert_eq!(loss.engines_left, 1);
    assert_eq!(job.failovers().len(), 1);
    // Its device is reopened: nothing else of it is in service.
    assert!(loss.reopen.is_some());
    let batch = submit(&mut state, other, &CARD);
    assert!(Arc::ptr_eq(&batch.slices[0].job, &job));

    // Once it comes back, it has nothing to say any more.
    let next = state.next(card, &CARD, Instant::now());
    assert!(matches!(next, Ok(Ok(Next::Complete(_)))), "{next:?}");
    complete(&mut state, card, &late, &[]);
    let next = state.next(card, &CARD, Instant::now());
    assert!(matches!(next, Ok(Ok(Next::End))), "{next:?}");
    state.fleet.leave(card);
    assert!(lose(&mut state, other).is_some());
}

#[test]
fn an_engine_that_comes_back_late_still_answers_and_serves_again() {
    let mut state = state();
    // It cannot be reopened, so it is waited for.
    let device = record("card", None, Role::Initial);
    state.fleet.register(&device, Role::Initial);
    let card = state.enter(&device).unwrap();
    let (_, other) = serve(&mut state, "other", Role::Initial);
    let (job, _answer) = ask(&mut state, 1);
    let batch = submit(&mut state, card, &CARD);
    assert!(pass_over(&mut state, card).unwrap().reopen.is_none());
    assert_eq!(device_state(&state, "card"), DeviceState::Unresponsive);
    let work = Work::verify(
        Nonce::new(7),
        &Target::new([1; 32]),
        Threshold::new(u64::MAX).into(),
    );
    let answered = [(&job, work.unwrap())];
    complete(&mut state, card, &batch, &answered);
    assert_eq!(state.queue.running(), 0);
    let next = state.next(card, &CARD, Instant::now());
    assert!(matches!(next, Ok(Ok(Next::ProveAgain))), "{next:?}");
    assert!(state.restore(card));
    assert_eq!(device_state(&state, "card"), DeviceState::Up);
    assert_eq!(events(&state).last(), Some(&Event::Back));
    let next = state.next(card, &CARD, Instant::now());
    assert!(matches!(next, Ok(Err(Idle::NoWork))), "{next:?}");
    assert!(lose(&mut state, other).is_some());
}

#[test]
fn an_engine_whose_device_was_reopened_leaves_quietly_and_frees_its_number() {
    let mut state = state();
    let (_, engine) = serve(&mut state, "card", Role::Initial);
    let (_, _answer) = ask(&mut state, 1);
    submit(&mut state, engine, &CARD);
    let loss = pass_over(&mut state, engine).unwrap();
    assert!(loss.reopen.is_some());
    // While the old engine is away, its number is not another's.
    let (_, reopened) = serve(&mut state, "card", Role::Reopened { attempts: 1 });
    assert_ne!(reopened, engine);
    assert!(!state.restore(engine), "it was replaced");
    assert!(lose(&mut state, engine).is_none(), "it was lost before");
    assert_eq!(state.queue.in_flight(engine), 0);
    let faults = state.fleet.statuses()[0].faults;
    assert_eq!(faults, 0, "the new record has none of its own");
    let (_, next) = serve(&mut state, "other", Role::Initial);
    assert_eq!(next, engine);
    submit(&mut state, next, &CARD);
    let beats: Vec<_> = state.heartbeats().collect();
    assert!(beats[engine] > Some(1), "{beats:?}");
}

#[test]
fn a_fault_of_one_engine_is_no_outage_of_its_device() {
    let mut state = state();
    let (device, first) = serve(&mut state, "card", Role::Initial);
    let second = state.enter(&device).unwrap();
    let loss = lose(&mut state, first).unwrap();
    assert_eq!(loss.engines_left, 1);
    assert!(loss.reopen.is_none() && loss.fallback.is_none());
    let status = &state.fleet.statuses()[0];
    assert_eq!((status.state, status.engines), (DeviceState::Up, 1));
    assert_eq!(status.outage, None);
    assert_eq!(
        status.last_error.as_deref(),
        Some("device lost: fell off the bus")
    );
    assert!(lose(&mut state, second).unwrap().reopen.is_some());
    assert!(state.fleet.statuses()[0].outage.is_some());
}

#[test]
fn a_wrong_answer_fails_the_other_searches_of_its_batch_over() {
    let mut state = state();
    let (_, card) = serve(&mut state, "card", Role::Initial);
    let ((right, _one), (wrong, _other)) = (ask(&mut state, 1), ask(&mut state, 2));
    let batch = submit(&mut state, card, &CARD);
    assert_eq!(batch.slices.len(), 2);
    let work = Work::verify(
        Nonce::new(7),
        &Target::new([1; 32]),
        Threshold::new(u64::MAX).into(),
    );
    let work = work.unwrap();
    state.answered(&[(&right, work)], Instant::now());
    right.answer(Ok(work));
    assert!(lose(&mut state, card).is_some());
    assert!(right.failovers().is_empty());
    assert_eq!(wrong.failovers().len(), 1);
    assert_eq!((state.queue.running(), state.queue.in_flight(card)), (1, 0));
}

#[test]
fn nothing_is_opened_while_the_service_ends() {
    let mut state = state();
    state.fleet.equip(Some(opener()), None);
    let (device, engine) = serve(&mut state, "card", Role::Initial);
    let (_, answer) = ask(&mut state, 1);
    let batch = submit(&mut state, engine, &CARD);
    state.close();
    assert_eq!(*answer.borrow(), Some(Err(SolveError::Closed)));
    assert_eq!(
        state
            .admit(&request(2), ClientId::Any, None, 0, Instant::now())
            .unwrap_err(),
        SolveError::Closed
    );
    state.stop();
    assert!(state.enter(&device).is_none());
    // What is in flight is waited for first.
    let next = state.next(engine, &CARD, Instant::now());
    assert!(matches!(next, Ok(Ok(Next::Complete(_)))), "{next:?}");
    complete(&mut state, engine, &batch, &[]);
    let next = state.next(engine, &CARD, Instant::now());
    assert!(matches!(next, Ok(Ok(Next::End))), "{next:?}");
    let loss = lose(&mut state, engine).unwrap();
    assert!(loss.reopen.is_none() && loss.fallback.is_none());
    assert!(state.fall_back_if_alone().is_none());
}

#[test]
fn requests_that_join_are_bounded_as_well() {
    let mut state = state();
    serve(&mut state, "card", Role::Initial);
    let (job, _answer) = ask(&mut state, 1);
    let limit = state.queue.limit();
    let joined = state.admit(&request(1), ClientId::Any, None, limit - 1, Instant::now());
    assert!(
        matches!(&joined, Ok(Admission::Waits { job: joined, has_joined: true, .. })
        if Arc::ptr_eq(joined, &job))
    );
    let refused = state.admit(&request(1), ClientId::Any, None, limit, Instant::now());
    assert!(matches!(refused, Err(SolveError::QueueFull { .. })));
}

#[test]
fn a_search_is_refused_that_would_not_run_while_its_client_waits() {
    let mut state = state();
    let (_, engine) = serve(&mut state, "card", Role::Initial);
    let greedy = || ClientId::at([192, 0, 2, 1].into());
    let modest = ClientId::at([192, 0, 2, 2].into());
    let ask = |state: &mut State, number, client, seconds| {
        let timeout = Some(Duration::from_secs(seconds));
        state.admit(&request(number), client, timeout, 0, Instant::now())
    };
    // Four run and one waits. Nothing is known yet of how long they take.
    let searches = [1, 2, 3, 4, 5].map(|number| ask(&mut state, number, greedy(), 1).unwrap());
    let batch = submit(&mut state, engine, &CORE);
    let expected = request(1).rule().expected_hashes();
    let done = Done {
        tried: 1000,
        took: Some(Duration::from_secs_f64(10.0 * 1000.0 / expected)),
    };
    state.complete(engine, batch.slices.len(), done, &[], Instant::now());

    // Each takes ten seconds, so a sixth runs after twenty.
    let Err(SolveError::QueueFull { room_in }) = ask(&mut state, 6, greedy(), 19) else {
        panic!("it is admitted");
    };
    let room_in = room_in.unwrap().as_secs_f64();
    assert!((room_in - 1.0).abs() < 0.01, "{room_in}");
    assert_eq!(state.queue.waiting(), 1);
    ask(&mut state, 6, greedy(), 21).unwrap();
    // One that others wait for costs nothing, and another client's comes first.
    ask(&mut state, 5, greedy(), 1).unwrap();
    ask(&mut state, 7, modest.clone(), 1).unwrap();
    // So do a few more, which may all get its slots.
    ask(&mut state, 8, modest.clone(), 1).unwrap();
    ask(&mut state, 9, modest, 1).unwrap();
    assert_eq!(state.queue.waiting(), 5);
    drop(searches);
}

#[test]
fn a_search_ends_with_the_last_client_that_leaves() {
    let mut state = state();
    let (_, engine) = serve(&mut state, "card", Role::Initial);
    let (job, first) = ask(&mut state, 1);
    let second = job.join();
    state.leave_search(&job, first);
    assert!(!job.ended().is_set());
    state.leave_search(&job, second);
    assert!(job.ended().is_set());
    let next = state.next(engine, &CARD, Instant::now());
    assert!(matches!(next, Ok(Err(Idle::NoWork))), "{next:?}");
}

#[test]
fn changes_say_which_threads_may_have_something_to_do() {
    let mut state = state();
    let none = Changes::default();
    let work = Changes { work: true, ..none };
    let all = Changes {
        work: true,
        service: true,
    };
    let (_, engine) = serve(&mut state, "card", Role::Initial);
    assert_eq!(state.take_changes(), all);
    let (job, answer) = ask(&mut state, 1);
    assert_eq!(state.take_changes(), work);
    let batch = submit(&mut state, engine, &CORE);
    assert_eq!(state.take_changes(), none);
    // The search goes on.
    complete(&mut state, engine, &batch, &[]);
    assert_eq!(state.take_changes(), work);
    state.leave_search(&job, answer);
    assert_eq!(state.take_changes(), none);
    assert!(pass_over(&mut state, engine).is_some());
    assert_eq!(state.take_changes(), all);
}
