//! Opens an adapter with the kernel that is fastest on it.

use std::time::{Duration, Instant};

use super::discovery::{Adapter, AdapterInfo, AdapterKind, adapters};
use super::engine::GpuEngine;
use super::kernel::Kernel;
use super::progress::{Progress, Step};
use super::race::race;
use super::{hung, order, prepare};
use crate::device::error::DeviceError;
use crate::device::opened::{Backend, Device, DeviceInfo, Opener, Trial};
use crate::device::rate::measure;
use crate::device::self_test;

/// Opens the adapter with this kernel, or with the fastest of those that it can run.
///
/// Each kernel is compiled, run once and put through the self-test; then all are measured, and the fastest is put through
/// the self-test again with dispatches as long as they will be. Takes about two seconds on a software adapter. A kernel
/// that fails or takes too long is logged and left out.
///
/// # Errors
///
/// [`DeviceError`] if no kernel works: the error of the first one. [`DeviceError::Kernel`] if the adapter cannot run the
/// chosen one.
pub fn open(adapter: &Adapter, kernel: Option<Kernel>) -> Result<Device, DeviceError> {
    open_in_steps(adapter, kernel, &Progress::default())
}

/// Opens the adapter with this kernel.
///
/// # Errors
///
/// As [`open`].
pub fn open_with(adapter: &Adapter, kernel: Kernel) -> Result<Device, DeviceError> {
    open(adapter, Some(kernel))
}

/// As [`open`], with steps that another thread can follow.
pub(super) fn open_in_steps(
    adapter: &Adapter,
    kernel: Option<Kernel>,
    progress: &Progress,
) -> Result<Device, DeviceError> {
    let AdapterInfo { kind, kernels, .. } = adapter.info();
    let Some(chosen) = kernel else {
        let raced = order::raced(*kind == AdapterKind::Software, kernels);
        return open_fastest(adapter, raced, kernel, progress);
    };
    if !kernels.contains(&chosen) {
        let names: Vec<_> = kernels.iter().map(|kernel| kernel.name()).collect();
        return Err(DeviceError::Kernel {
            chosen: chosen.name(),
            available: names.join(", "),
        });
    }
    open_fastest(adapter, &[chosen], kernel, progress)
}

/// `chosen` is the operator's choice, with which the device is to be reopened.
fn open_fastest(
    adapter: &Adapter,
    kernels: &[Kernel],
    chosen: Option<Kernel>,
    progress: &Progress,
) -> Result<Device, DeviceError> {
    let label = &adapter.info().label;
    let started = Instant::now();
    let mut engines = Vec::new();
    let mut first_error = None;
    for (kernel, opened) in open_each(adapter, kernels, progress) {
        match opened {
            Ok(engine) => engines.push((kernel, engine)),
            Err(error) => {
                tracing::warn!(device = label, %kernel, %error, "a kernel does not work on this card");
                first_error.get_or_insert(error);
            }
        }
    }
    let tested = Instant::now();
    progress.reach(Step::Race);
    // They came in the order in which they were ready.
    let place = |kernel| kernels.iter().position(|other| *other == kernel);
    engines.sort_by_key(|(kernel, _)| place(*kernel));
    let winner = race(engines, |engine, duration| measure(engine, duration));
    let Some((kernel, mut engine, trials)) = winner else {
        return Err(first_error
            .unwrap_or_else(|| DeviceError::Driver("the adapter runs no kernel".to_owned())));
    };
    let raced = Instant::now();
    // Again, with the batches that it will serve: by now the engine knows how much it can do at once.
    if let Err(error) = self_test::run(&mut engine) {
        tracing::warn!(device = label, %kernel, %error, "a kernel does not work on this card at its full speed");
        let mut others = kernels.to_vec();
        others.retain(|other| *other != kernel);
        drop(engine);
        return if others.is_empty() {
            Err(error)
        } else {
            open_fastest(adapter, &others, chosen, progress)
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
        info: device_info(adapter.info(), kernel.to_string(), trials),
        engines: vec![Box::new(engine)],
        reopen: Some(opener(adapter, chosen)),
    })
}

pub(super) fn device_info(info: &AdapterInfo, kernel: String, trials: Vec<Trial>) -> DeviceInfo {
    DeviceInfo {
        name: info.label.clone(),
        backend: Backend::Gpu,
        kernel,
        threads: 1,
        trials,
    }
}

fn opener(adapter: &Adapter, kernel: Option<Kernel>) -> Opener {
    // Without the adapter itself: while it lives, Vulkan does not reload its driver.
    let info = adapter.info().clone();
    Opener::new(move || reopen(&info, kernel))
}

/// An engine for each kernel, after its self-test, in the order in which they were ready.
fn open_each(
    adapter: &Adapter,
    kernels: &[Kernel],
    progress: &Progress,
) -> Vec<(Kernel, Result<GpuEngine, DeviceError>)> {
    let label = adapter.info().label.clone();
    let handle = adapter.handle().clone();
    let progress = progress.clone();
    let open = move |kernel| {
        let mut engine = GpuEngine::new(&label, &handle, kernel, &|step| progress.reach(step))?;
        self_test::run(&mut engine)?;
        Ok(engine)
    };
    prepare::each(
        &adapter.info().label,
        kernels,
        prepare::Limits::here(),
        open,
    )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Opens an adapter that was listed before, through a new instance of its driver.
pub(super) fn reopen(former: &AdapterInfo, kernel: Option<Kernel>) -> Result<Device, DeviceError> {
    hung::clear(&former.label)?;
    let adapters = adapters()?;
    let same = |adapter: &&Adapter| adapter.info().label == former.label;
    let adapter = adapters.iter().find(same).ok_or_else(|| {
        DeviceError::Driver(format!("Vulkan does not list {} any more", former.label))
    })?;
    open(adapter, kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::engine::{Engine, search};
    use crate::device::slice::{NonceRange, Slice, StopFlag};
    use crate::needs::{Need, is_left_out};
    use crate::work::{Rule, Target};

    fn slice(count: u64) -> Slice {
        Slice {
            target: Target::new([0; 32]),
            rule: Rule::HARDEST,
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
        let mut engine = GpuEngine::new(label, adapter.handle(), Kernel::Pair, &|_| ()).unwrap();
        let reopen = opener(adapter, None);
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
        let error = reopen(&info, None).unwrap_err().to_string();
        assert!(
            error.contains("does not list NVIDIA L4 (0000:65:00.0)"),
            "{error}"
        );
    }
}
