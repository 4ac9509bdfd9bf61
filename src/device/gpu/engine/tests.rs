use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::discovery::adapters;
use super::super::program::TIMEOUT;
use super::*;
use crate::device::engine;
use crate::device::slice::StopFlag;
use crate::work::Target;

/// An engine on the first adapter, under a label of its own: hung programs are kept by label.
fn engine(label: &str) -> GpuEngine {
    let adapters = adapters().unwrap();
    let adapter = adapters
        .first()
        .expect("no Vulkan adapter here: install Mesa's lavapipe (mesa-vulkan-drivers)");
    GpuEngine::new(label, adapter.handle(), Kernel::Pair, &|_| ()).unwrap()
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
        threshold: Threshold::new(0),
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
    let mut engine = engine("lost");
    engine.lose_device();
    let error = search(&mut engine).unwrap_err();
    assert!(matches!(error, DeviceError::Lost(_)), "{error:?}");
    assert_eq!(search(&mut engine), Err(error));
}

#[test]
fn a_dispatch_without_end_is_an_error_and_nobody_waits_for_it() {
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
fn an_engine_with_a_dispatch_without_end_can_be_dropped_and_its_card_waits_for_that() {
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
