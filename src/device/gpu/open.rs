//! Opens an adapter with the kernel that is fastest on it.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::discovery::{Adapter, AdapterInfo, adapters};
use super::engine::GpuEngine;
use super::fastest::fastest;
use super::hung;
use super::kernel::Kernel;
use super::progress::{Progress, STEP_LIMIT, Step};
use crate::device::error::{DeviceError, catch_panic};
use crate::device::opened::{Backend, Device, DeviceInfo, Opener, Trial};
use crate::device::self_test;

/// Opens the adapter with the fastest of the kernels that it can run.
///
/// Each kernel is compiled, run once and put through the self-test; then all are measured. Takes about a second on a
/// software adapter. A kernel that fails or takes too long is logged and left out. Does not return if no kernel gets
/// ready: see [`Opening`](super::Opening).
///
/// # Errors
///
/// [`DeviceError`] if no kernel works: the error of the first one.
pub fn open(adapter: &Adapter) -> Result<Device, DeviceError> {
    open_fastest(adapter, &adapter.info().kernels, &Progress::default())
}

/// Opens the adapter with this kernel.
///
/// # Errors
///
/// As [`open`]; also [`DeviceError::Driver`] if the adapter lacks a feature that the kernel needs.
pub fn open_with(adapter: &Adapter, kernel: Kernel) -> Result<Device, DeviceError> {
    open_fastest(adapter, &[kernel], &Progress::default())
}

pub(super) fn open_fastest(
    adapter: &Adapter,
    kernels: &[Kernel],
    progress: &Progress,
) -> Result<Device, DeviceError> {
    let label = &adapter.info().label;
    let started = Instant::now();
    let engines = open_each(adapter, kernels, progress)?;
    let tested = Instant::now();
    progress.begin(Step::Race);
    let Some((kernel, engine, trials)) = fastest(engines) else {
        return Err(DeviceError::Driver(
            "no kernel could be measured on it".to_owned(),
        ));
    };
    let rate = |trial: &Trial| {
        let millions = trial.hashes_per_second as f64 / 1e6;
        format!("{} {millions:.1}", trial.kernel)
    };
    tracing::info!(
        device = label,
        %kernel,
        mhs = trials.iter().map(rate).collect::<Vec<_>>().join(", "),
        compile_and_test_ms = milliseconds(tested - started),
        race_ms = milliseconds(tested.elapsed()),
        "the fastest kernel of the card is chosen"
    );
    Ok(Device {
        info: device_info(adapter.info(), kernel.to_string(), trials),
        engines: vec![Box::new(engine)],
        reopen: Some(opener(adapter)),
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

fn opener(adapter: &Adapter) -> Opener {
    // Without the adapter itself: while it lives, Vulkan does not reload its driver.
    let info = adapter.info().clone();
    Opener::new(move || reopen(&info))
}

/// What the thread of a kernel reports.
enum Report {
    At(Step),
    Done(Box<Result<GpuEngine, DeviceError>>),
}

/// A kernel that is not ready yet.
struct Awaited {
    kernel: Kernel,
    step: Step,
    since: Instant,
    is_late: bool,
}

/// An engine for each kernel that works, after its self-test. All at once: a driver may take a second to compile one.
///
/// Each has a thread of its own, which is left behind if it takes too long for a step while another kernel works. At
/// least one engine is returned; this waits for the first.
fn open_each(
    adapter: &Adapter,
    kernels: &[Kernel],
    progress: &Progress,
) -> Result<Vec<(Kernel, GpuEngine)>, DeviceError> {
    let label = &adapter.info().label;
    let (sender, reports) = mpsc::channel();
    for &kernel in kernels {
        let (adapter, sender) = (adapter.clone(), sender.clone());
        let open = move || {
            let at = |step| drop(sender.send((kernel, Report::At(step))));
            let opened = catch_panic(|| open_kernel(&adapter, kernel, &at));
            drop(adapter);
            // If nothing waits for the engine any more, it is dropped here.
            let _ = catch_panic(|| {
                drop(sender.send((kernel, Report::Done(Box::new(opened)))));
                Ok(())
            });
        };
        let spawned = thread::Builder::new()
            .name(format!("open-{kernel}"))
            .spawn(open);
        spawned.map_err(|error| DeviceError::Driver(format!("no thread to open it: {error}")))?;
    }
    drop(sender);
    let awaited = |&kernel| Awaited {
        kernel,
        step: Step::Open,
        since: Instant::now(),
        is_late: false,
    };
    let mut waiting: Vec<_> = kernels.iter().map(awaited).collect();
    let mut engines = Vec::new();
    let mut first_error = None;
    loop {
        let in_time = waiting.iter().filter(|kernel| !kernel.is_late);
        let deadline = in_time.map(|kernel| kernel.since + STEP_LIMIT).min();
        let report = match deadline {
            Some(deadline) => {
                reports.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            None if engines.is_empty() => reports.recv().map_err(RecvTimeoutError::from),
            None => break,
        };
        match report {
            Ok((kernel, Report::At(step))) => {
                progress.begin(step);
                if let Some(awaited) = waiting.iter_mut().find(|other| other.kernel == kernel) {
                    (awaited.step, awaited.since) = (step, Instant::now());
                    awaited.is_late = false;
                }
            }
            Ok((kernel, Report::Done(opened))) => {
                waiting.retain(|awaited| awaited.kernel != kernel);
                match *opened {
                    Ok(engine) => engines.push((kernel, engine)),
                    Err(error) => {
                        tracing::warn!(device = label, %kernel, %error, "a kernel does not work on this card");
                        first_error.get_or_insert(error);
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let is_overdue =
                    |kernel: &&mut Awaited| !kernel.is_late && kernel.since.elapsed() >= STEP_LIMIT;
                for late in waiting.iter_mut().filter(is_overdue) {
                    late.is_late = true;
                    let Awaited { kernel, step, .. } = late;
                    tracing::warn!(device = label, %kernel, %step, limit = ?STEP_LIMIT, "a kernel is not ready in time");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if engines.is_empty() {
        return Err(first_error
            .unwrap_or_else(|| DeviceError::Driver("the adapter runs no kernel".to_owned())));
    }
    Ok(engines)
}

fn open_kernel(
    adapter: &Adapter,
    kernel: Kernel,
    at: &dyn Fn(Step),
) -> Result<GpuEngine, DeviceError> {
    let mut engine = GpuEngine::new(&adapter.info().label, adapter.handle(), kernel, at)?;
    self_test::run(&mut engine)?;
    Ok(engine)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Opens an adapter that was listed before, through a new instance of its driver.
pub(super) fn reopen(former: &AdapterInfo) -> Result<Device, DeviceError> {
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
        let adapters = adapters().unwrap();
        let adapter = adapters.first().unwrap();
        let label = &adapter.info().label;
        let mut engine = GpuEngine::new(label, adapter.handle(), Kernel::Pair, &|_| ()).unwrap();
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
