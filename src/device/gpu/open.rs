//! Opens an adapter with the kernel that is fastest on it.

use std::thread;
use std::time::{Duration, Instant};

use super::discovery::{Adapter, AdapterInfo, adapters};
use super::engine::GpuEngine;
use super::fastest::fastest;
use super::hung;
use super::kernel::Kernel;
use crate::device::error::DeviceError;
use crate::device::opened::{Backend, Device, DeviceInfo, Opener, Trial, Unopened};
use crate::device::self_test;

/// Opens the adapter with the fastest of the kernels that it can run.
///
/// Each kernel is compiled, run once and put through the self-test; then all are measured, and the fastest is put through
/// the self-test again with dispatches as long as they will be. Takes about a second on a software adapter. A kernel that
/// fails is logged and left out.
///
/// # Errors
///
/// [`DeviceError`] if no kernel works: the error of the first one.
pub fn open(adapter: &Adapter) -> Result<Device, DeviceError> {
    open_fastest(adapter, &adapter.info().kernels)
}

/// Opens the adapter with this kernel.
///
/// # Errors
///
/// As [`open`]; also [`DeviceError::Driver`] if the adapter lacks a feature that the kernel needs.
pub fn open_with(adapter: &Adapter, kernel: Kernel) -> Result<Device, DeviceError> {
    open_fastest(adapter, &[kernel])
}

fn open_fastest(adapter: &Adapter, kernels: &[Kernel]) -> Result<Device, DeviceError> {
    let label = &adapter.info().label;
    let started = Instant::now();
    let mut engines = Vec::new();
    let mut first_error = None;
    for (kernel, opened) in open_each(adapter, kernels) {
        match opened {
            Ok(engine) => engines.push((kernel, engine)),
            Err(error) => {
                tracing::warn!(device = label, %kernel, %error, "a kernel does not work on this card");
                first_error.get_or_insert(error);
            }
        }
    }
    let tested = Instant::now();
    let Some((kernel, mut engine, trials)) = fastest(engines) else {
        return Err(first_error
            .unwrap_or_else(|| DeviceError::Driver("the adapter runs no kernel".to_owned())));
    };
    let raced = Instant::now();
    // Again, since by now the engine knows how much it can do at once, and that is what it will serve with.
    if let Err(error) = self_test::run(&mut engine) {
        tracing::warn!(device = label, %kernel, %error, "a kernel does not work on this card at its full speed");
        let mut others = kernels.to_vec();
        others.retain(|other| *other != kernel);
        drop(engine);
        return if others.is_empty() {
            Err(error)
        } else {
            open_fastest(adapter, &others)
        };
    }
    let rate = |trial: &Trial| {
        let millions = trial.hashes_per_second as f64 / 1e6;
        format!("{} {millions:.1}", trial.kernel)
    };
    tracing::info!(
        device = label,
        %kernel,
        mhs = trials.iter().map(rate).collect::<Vec<_>>().join(", "),
        compile_and_test_ms = milliseconds(tested - started),
        race_ms = milliseconds(raced - tested),
        proof_ms = milliseconds(raced.elapsed()),
        "the fastest kernel of the card is chosen"
    );
    Ok(Device {
        info: device_info(adapter, kernel.to_string(), trials),
        engines: vec![Box::new(engine)],
        reopen: Some(opener(adapter)),
    })
}

/// Describes an adapter that could not be opened, for this reason, and how to retry.
pub fn unopened(adapter: &Adapter, error: DeviceError) -> Unopened {
    Unopened {
        error,
        info: device_info(adapter, "none".to_owned(), Vec::new()),
        opener: opener(adapter),
    }
}

fn device_info(adapter: &Adapter, kernel: String, trials: Vec<Trial>) -> DeviceInfo {
    DeviceInfo {
        name: adapter.info().label.clone(),
        backend: Backend::Gpu,
        kernel,
        threads: 1,
        trials,
    }
}

fn opener(adapter: &Adapter) -> Opener {
    // Without the adapter itself: while it lives, Vulkan does not reload its driver.
    let info = adapter.info().clone();
    Opener::new(move || reopen(&info))
}

/// An engine for each kernel, after its self-test. All at once: a driver may take a second to compile one.
fn open_each(
    adapter: &Adapter,
    kernels: &[Kernel],
) -> Vec<(Kernel, Result<GpuEngine, DeviceError>)> {
    let open = |kernel| {
        let mut engine = GpuEngine::new(&adapter.info().label, adapter.handle(), kernel)?;
        self_test::run(&mut engine)?;
        Ok(engine)
    };
    thread::scope(|scope| {
        let start = |&kernel: &Kernel| (kernel, scope.spawn(move || open(kernel)));
        let threads: Vec<_> = kernels.iter().map(start).collect();
        let finish = |(kernel, thread): (Kernel, thread::ScopedJoinHandle<'_, _>)| {
            let panicked = |_| Err(DeviceError::Panicked("while it was opened".to_owned()));
            (kernel, thread.join().unwrap_or_else(panicked))
        };
        threads.into_iter().map(finish).collect()
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Opens an adapter that was listed before, through a new instance of its driver.
fn reopen(former: &AdapterInfo) -> Result<Device, DeviceError> {
    hung::clear(&former.label)?;
    let adapters = adapters()?;
    let same = |adapter: &&Adapter| adapter.info().label == former.label;
    let adapter = adapters.iter().find(same).ok_or_else(|| {
        DeviceError::Driver(format!("Vulkan does not list {} any more", former.label))
    })?;
    open(adapter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::engine::{Engine, search};
    use crate::device::slice::{NonceRange, Slice, StopFlag};
    use crate::needs::{Need, is_left_out};
    use crate::work::{Target, Threshold};

    fn slice(count: u64) -> Slice {
        Slice {
            target: Target::new([0; 32]),
            threshold: Threshold::new(0),
            nonces: NonceRange { start: 0, count },
            stop: StopFlag::default(),
        }
    }

    #[test]
    fn a_lost_device_can_be_opened_again_through_a_new_driver() {
        if is_left_out(Need::Vulkan) {
            return;
        }
        let adapters = adapters().unwrap();
        let adapter = adapters.first().unwrap();
        let label = &adapter.info().label;
        let mut engine = GpuEngine::new(label, adapter.handle(), Kernel::Pair).unwrap();
        let reopen = opener(adapter);
        drop(adapters);
        for _ in 0..engine.capacity().batches {
            engine.submit(vec![slice(1 << 16)]).unwrap();
        }
        engine.lose_device();
        // The first dispatch may have ended before.
        let error = engine.complete().and_then(|_| engine.complete());
        let error = error.and_then(|_| search(&mut engine, slice(1)));
        let error = error.unwrap_err();
        assert!(matches!(error, DeviceError::Lost(_)), "{error:?}");
        drop(engine);
        let mut device = reopen.open().unwrap();
        self_test::run(&mut *device.engines[0]).unwrap();
    }

    #[test]
    fn a_card_that_is_gone_for_good_is_an_error_that_says_so() {
        if is_left_out(Need::Vulkan) {
            return;
        }
        let adapters = adapters().unwrap();
        let mut info = adapters.first().unwrap().info().clone();
        info.label = "NVIDIA L4 (0000:65:00.0)".to_owned();
        let error = reopen(&info).unwrap_err().to_string();
        assert!(
            error.contains("does not list NVIDIA L4 (0000:65:00.0)"),
            "{error}"
        );
    }
}
