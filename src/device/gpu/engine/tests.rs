use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::discovery::adapters;
use super::super::program::TIMEOUT;
use super::*;
use crate::device::engine;
use crate::device::slice::StopFlag;
use crate::needs::{Need, is_left_out};
use crate::work::Target;

/// An engine on the first adapter, under a label of its own: hung programs are kept by label.
fn engine(label: &str) -> GpuEngine {
    let adapters = adapters().unwrap();
    GpuEngine::new(label, adapters[0].handle(), Kernel::Pair, &|_| ()).unwrap()
}

impl GpuEngine {
    /// Makes the driver lose the device.
    pub(in super::super) fn lose_device(&self) {
        self.program.as_ref().unwrap().device.destroy();
    }
}

fn slice() -> Slice {
    Slice {
        target: Target::new([0; 32]),
        rule: Rule::HARDEST,
        nonces: NonceRange { start: 0, count: 1 },
        stop: StopFlag::default(),
    }
}

fn search(engine: &mut GpuEngine) -> Result<Searched, DeviceError> {
    engine::search(engine, slice())
}

/// Makes the engine's dispatches seem endless, until the flag is cleared.
fn stall(engine: &GpuEngine) -> Arc<AtomicBool> {
    let is_stalled = Arc::clone(&engine.program.as_ref().unwrap().is_stalled);
    is_stalled.store(true, Ordering::Relaxed);
    is_stalled
}

/// Waits until no program is kept under the label. Real dispatches end soon.
fn wait_for_end(label: &str) {
    while hung::clear(label).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_lost_device_is_an_error_from_then_on() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let mut engine = engine("lost");
    engine.lose_device();
    let error = search(&mut engine).unwrap_err();
    assert!(matches!(error, DeviceError::Lost(_)), "{error:?}");
    assert_eq!(search(&mut engine), Err(error));
}

#[test]
fn a_hung_dispatch_is_an_error_and_is_not_waited_for() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let mut engine = engine("hung");
    let is_stalled = stall(&engine);
    let hung = Err(DeviceError::Hung(TIMEOUT));
    assert_eq!(search(&mut engine), hung);
    assert_eq!(search(&mut engine), hung);
    drop(engine);
    is_stalled.store(false, Ordering::Relaxed);
    wait_for_end("hung");
}

#[test]
fn an_engine_with_a_hung_dispatch_can_be_dropped_and_its_card_waits_for_the_dispatch() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let mut engine = engine("dropped");
    engine.submit(vec![slice()]).unwrap();
    let is_stalled = stall(&engine);
    drop(engine);
    let hung = Err(DeviceError::Hung(TIMEOUT));
    assert_eq!(hung::clear("dropped"), hung);
    assert_eq!(hung::clear("another card"), Ok(()));
    is_stalled.store(false, Ordering::Relaxed);
    wait_for_end("dropped");
}

#[test]
fn workgroups_that_a_driver_drops_are_a_wrong_answer() {
    let mut engine = engine("drops");
    let slice = Slice {
        nonces: NonceRange {
            start: 0,
            count: 100_000,
        },
        ..slice()
    };
    assert!(engine::search(&mut engine, slice.clone()).is_ok());
    let search = engine.searches.enter(&slice.stop).unwrap();
    engine.in_flight.push_back(vec![(search, slice.nonces)]);
    let (dispatch, workgroups) = Dispatch::new(&[GpuSlice::new(&slice, search)], &engine.grid);
    engine
        .attempt(|program| program.submit(&dispatch, workgroups - 1))
        .unwrap();
    let error = engine.complete().unwrap_err();
    assert!(matches!(error, DeviceError::WrongAnswer(_)), "{error:?}");
    // An engine that has failed once is not used again.
    assert_eq!(engine::search(&mut engine, slice), Err(error));
}

#[test]
fn a_search_that_stops_is_not_blamed_for_nonces_that_were_not_tested() {
    let mut engine = engine("stops");
    let [before, within] = [slice(), slice()];
    before.stop.set();
    engine.submit(vec![before, within.clone()]).unwrap();
    within.stop.set();
    let tried: Vec<_> = engine
        .complete()
        .unwrap()
        .iter()
        .map(|it| it.tried)
        .collect();
    assert_eq!(tried, [0, 1]);
}

#[test]
fn the_width_of_a_device_is_learned() {
    let engine = engine("wide");
    assert!((1..=WIDEST).contains(&engine.grid.width), "{engine:?}");
}
