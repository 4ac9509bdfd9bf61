//! Which devices serve: the choice between cards and the processor.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use serde::Serialize;

use super::cpu::{self, Kernel};
use super::gpu::driver::Machine;
use super::gpu::obstacle::{Obstacle, Offered, obstacles};
use super::gpu::{self, AdapterKind, Selection, SoftwareAdapters};
use super::{Device, DeviceError, DeviceInfo, catch_panic};

/// What may be used, as the operator chose it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Cards, the processor, or whichever there is.
    pub backend: BackendChoice,
    /// Which cards.
    pub selection: Selection,
    /// Which form of the search the processor runs; the fastest if none is chosen.
    pub kernel: Option<Kernel>,
    /// How many threads the processor searches with.
    pub threads: NonZeroUsize,
}

/// Which kind of device may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendChoice {
    /// Graphics cards if there are any, else the processor
    Auto,
    /// Graphics cards only, software Vulkan devices among them if there is no card or one is chosen
    Gpu,
    /// The processor only
    Cpu,
}

/// Devices that may serve.
#[derive(Debug, Default)]
pub struct OpenDevices {
    /// Those that serve at once. [`open`] returns none only if there is a fallback.
    pub devices: Vec<Device>,
    /// Those that are there and cannot be opened now, which is to be tried again.
    pub absent: Vec<Absent>,
    /// What takes over when none of them is left.
    pub fallback: Option<Opener>,
    /// Why other cards do not serve, or none at all. `None` where every card that was asked for is among the devices,
    /// and where none was asked for.
    pub missing: Option<Missing>,
}

/// Why cards do not serve that are no device here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Whether something says that there should be such cards: the operator has named them, or the machine shows signs of
    /// them. A machine without a card is none to worry about.
    pub is_expected: bool,
    /// What is known, a line each, the most telling first. Never empty.
    pub reasons: Vec<String>,
}

/// A card that is there and could not be opened: its driver may still be starting, or another program may hold it.
#[derive(Debug)]
pub struct Absent {
    /// What is known of it.
    pub info: DeviceInfo,
    /// Why it could not be opened.
    pub error: DeviceError,
    /// What opens it.
    pub opener: Opener,
}

/// Opens a device, as often as it is asked to: a card anew after it has failed, or the one that takes over when no
/// other is left. A clone opens the same.
#[derive(Clone)]
pub struct Opener(Arc<dyn Fn() -> Result<Device, DeviceError> + Send + Sync>);

impl Opener {
    /// What opens by calling `open`.
    pub fn new(open: impl Fn() -> Result<Device, DeviceError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// Opens the device. A panic on the way is an error.
    ///
    /// # Errors
    ///
    /// What opening it fails with.
    pub fn open(&self) -> Result<Device, DeviceError> {
        catch_panic(|| (self.0)())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

/// Why no device can serve.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The processor's self-test failed.
    #[error(
        "the processor cannot be used: {0}; choose another of its kernels with --kernel (ATTO_WORK_KERNEL), such as \
         portable"
    )]
    Cpu(DeviceError),
    /// No card can be used, and the processor may not be.
    #[error(
        "no Vulkan device can be used: {0}; see `work-server devices`, or choose the backend cpu"
    )]
    Gpu(String),
}

/// Opens what `choice` allows, each device proven by the self-test.
///
/// # Errors
///
/// [`OpenError`] if that leaves no device.
pub fn open(choice: &Choice) -> Result<OpenDevices, OpenError> {
    let Choice {
        kernel, threads, ..
    } = *choice;
    let processor = move || cpu::open(kernel.unwrap_or_else(Kernel::fastest), threads);
    let only = |device: Device, missing| OpenDevices {
        devices: vec![device],
        missing,
        ..OpenDevices::default()
    };
    let unusable = OpenError::Cpu;
    match choice.backend {
        BackendChoice::Cpu => processor()
            .map(|device| only(device, None))
            .map_err(unusable),
        BackendChoice::Gpu => {
            let (opened, reasons) = cards(&choice.selection, SoftwareAdapters::Allowed);
            if opened.devices.is_empty() {
                return Err(OpenError::Gpu(reasons.join("; ")));
            }
            tell(&reasons);
            Ok(opened)
        }
        BackendChoice::Auto => {
            let (opened, reasons) = cards(&choice.selection, SoftwareAdapters::Refused);
            tell(&reasons);
            if opened.devices.is_empty() && opened.absent.is_empty() {
                tracing::warn!("no graphics card can be used: falling back to the processor");
                return processor()
                    .map(|device| only(device, opened.missing))
                    .map_err(unusable);
            }
            Ok(OpenDevices {
                fallback: Some(Opener::new(processor)),
                ..opened
            })
        }
    }
}

fn tell(reasons: &[String]) {
    for reason in reasons {
        tracing::warn!(reason, "a graphics card cannot be used");
    }
}

/// Opens the chosen cards, without a fallback. One that is not there or cannot be opened keeps no other from serving: a
/// server that starts again after a card has failed serves with the rest.
///
/// Also the reasons why cards are not used, a line each, of which there is at least one if no card is.
fn cards(selection: &Selection, software: SoftwareAdapters) -> (OpenDevices, Vec<String>) {
    let started = Instant::now();
    let (adapters, failure) = match gpu::adapters() {
        Ok(adapters) => (adapters, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    tracing::info!(
        adapters = adapters.len(),
        milliseconds = started.elapsed().as_secs_f64() * 1e3,
        "listed the Vulkan adapters"
    );
    let chosen = selection.choose(&adapters, software);
    let failures = failure.iter().map(ToString::to_string);
    let mut missing = Missing {
        is_expected: !chosen.misses.is_empty(),
        reasons: failures
            .chain(chosen.misses.iter().map(ToString::to_string))
            .collect(),
    };
    let mut reasons = Vec::new();
    // All at once: a driver may take a second to compile for one.
    let results: Vec<_> = thread::scope(|scope| {
        let start = |&adapter: &_| scope.spawn(move || gpu::open(adapter));
        let threads: Vec<_> = chosen.adapters.iter().map(start).collect();
        threads.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut opened = OpenDevices::default();
    for (adapter, result) in chosen.adapters.iter().zip(results) {
        let panicked = |_| Err(DeviceError::Panicked("while it was opened".to_owned()));
        match result.unwrap_or_else(panicked) {
            Ok(device) => opened.devices.push(device),
            Err(error) => {
                reasons.push(format!("{}: {error}", adapter.info().label));
                opened.absent.push(gpu::absent(adapter, error));
            }
        }
    }
    // Where Vulkan offers a card, it is known why that one is not used.
    let infos: Vec<_> = adapters.iter().map(gpu::Adapter::info).collect();
    let is_software = |info: &&gpu::AdapterInfo| info.kind == AdapterKind::Software;
    if infos.iter().all(is_software) {
        let offered: Offered = infos.into_iter().collect();
        let mut obstacles = obstacles(&Machine::here(), &offered);
        if !opened.devices.is_empty() {
            // Software serves, as it may. Whoever named it wants no card; for others it only stands in for one.
            let is_named = *selection != Selection::default();
            obstacles.retain(|obstacle| obstacle.is_of_a_card() && !is_named);
        }
        missing.add(&obstacles);
    }
    reasons.splice(0..0, missing.reasons.iter().cloned());
    opened.missing = (!missing.reasons.is_empty()).then_some(missing);
    (opened, reasons)
}

impl Missing {
    fn add(&mut self, obstacles: &[Obstacle]) {
        self.is_expected |= obstacles.iter().any(Obstacle::is_of_a_card);
        self.reasons
            .extend(obstacles.iter().map(ToString::to_string));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_missed_only_where_something_says_that_there_are_some() {
        let missed = |is_named, obstacles: &[Obstacle]| {
            let mut missing = Missing {
                is_expected: is_named,
                reasons: Vec::new(),
            };
            missing.add(obstacles);
            assert_eq!(missing.reasons.len(), obstacles.len());
            missing.is_expected
        };
        assert!(!missed(false, &[Obstacle::NoCard, Obstacle::OnlySoftware]));
        assert!(missed(true, &[Obstacle::NoCard]));
        assert!(missed(false, &[Obstacle::NoLoader]));
        assert!(missed(
            false,
            &[Obstacle::NvidiaNotGiven, Obstacle::OnlySoftware]
        ));
    }
}
