//! Which devices serve: the policy for cards and the processor.

mod cards;
mod child;
mod choice;
mod outcome;

use cards::{Finder, Found};
pub use child::Lister;
pub use choice::{BackendChoice, Choice, ChosenKernel, NoSuchKernel};
pub use outcome::{Lookout, MissingCards, OpenDevices, OpenError};

use super::cpu;
use super::gpu::{self, SoftwareAdapters};
use super::opened::Opener;

/// Opens the devices that `choice` allows, with its kernel or each with its fastest, for a command that ends by itself. Each
/// has passed its self-test.
///
/// - `cpu` opens the processor.
/// - `gpu` opens the chosen cards, software adapters included.
/// - `auto` opens the chosen cards, with the processor as the fallback. If there is no card, the processor serves.
///
/// A card that is not ready in time is among [`OpenDevices::unopened`].
///
/// # Errors
///
/// [`OpenError`] if no device can serve.
pub fn open(choice: &Choice) -> Result<OpenDevices, OpenError> {
    open_with(choice, None)
}

/// Opens devices as [`open`] does, for a service. A driver that crashes while `lister` lists the cards does no harm. Where
/// a card should be and is not, [`OpenDevices::lookout`] looks for it again.
///
/// # Errors
///
/// [`OpenError`] if no device can serve and no card can be expected to appear.
pub fn open_for_service(choice: &Choice, lister: Lister) -> Result<OpenDevices, OpenError> {
    open_with(choice, Some(lister))
}

fn open_with(choice: &Choice, lister: Option<Lister>) -> Result<OpenDevices, OpenError> {
    let Choice {
        kernel, threads, ..
    } = *choice;
    check(choice)?;
    let of_processor = kernel.and_then(ChosenKernel::of_cpu);
    let of_cards = kernel.and_then(ChosenKernel::of_gpu);
    let processor = move || cpu::open(of_processor, threads);
    let is_service = lister.is_some();
    let software = match choice.backend {
        BackendChoice::Cpu => {
            let device = processor().map_err(OpenError::Cpu)?;
            return Ok(OpenDevices::only(device, None));
        }
        BackendChoice::Gpu => SoftwareAdapters::Allowed,
        BackendChoice::Auto => SoftwareAdapters::Refused,
    };
    let mut finder = Finder::new(choice.selection.clone(), software, of_cards, lister);
    let Found {
        mut opened,
        reasons,
        may_appear,
    } = finder.open();
    let is_expected = (opened.missing_cards.as_ref()).is_some_and(|missing| missing.is_expected);
    if is_service && is_expected {
        opened.lookout = Some(Lookout::new(move || finder.look_again()));
    }
    if choice.backend == BackendChoice::Gpu {
        if opened.devices.is_empty() && !(is_service && may_appear) {
            return Err(OpenError::Gpu(reasons.join("; ")));
        }
        cards::log(&reasons, true);
        return Ok(opened);
    }
    cards::log(&reasons, may_appear || is_expected);
    if opened.devices.is_empty() && opened.unopened.is_empty() {
        if is_expected {
            tracing::warn!("no graphics card can be used: falling back to the processor");
        } else {
            tracing::info!("there is no graphics card: the processor searches");
        }
        if opened.lookout.is_none() {
            let device = processor().map_err(OpenError::Cpu)?;
            return Ok(OpenDevices::only(device, opened.missing_cards));
        }
    }
    opened.fallback = Some(Opener::new(processor));
    Ok(opened)
}

/// Refuses a kernel for the kind of device that the backend rules out.
fn check(choice: &Choice) -> Result<(), OpenError> {
    let cpu_kernels = || cpu::Kernel::available().into_iter().map(cpu::Kernel::name);
    let gpu_kernels = || gpu::Kernel::ALL.into_iter().map(gpu::Kernel::name);
    let (of, backend, available): (_, _, Vec<_>) = match (choice.backend, choice.kernel) {
        (BackendChoice::Cpu, Some(ChosenKernel::Gpu(_))) => {
            ("cards", "cpu", cpu_kernels().collect())
        }
        (BackendChoice::Gpu, Some(ChosenKernel::Cpu(_))) => {
            ("processors", "gpu", gpu_kernels().collect())
        }
        _ => return Ok(()),
    };
    Err(OpenError::Kernel {
        kernel: choice.kernel.map_or("", ChosenKernel::name),
        of,
        backend,
        available: available.join(", "),
    })
}
