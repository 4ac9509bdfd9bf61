//! Which devices serve: the policy for cards and the processor.

mod cards;
mod choice;
mod outcome;

pub use choice::{BackendChoice, Choice, ChosenKernel, NoSuchKernel};
pub use outcome::{MissingCards, OpenDevices, OpenError};

use super::cpu;
use super::gpu::{self, SoftwareAdapters};
use super::opened::Opener;

/// Opens the devices that `choice` allows, with its kernel or each with its fastest. Each has passed its self-test.
///
/// - `cpu` opens the processor.
/// - `gpu` opens the chosen cards, software adapters included.
/// - `auto` opens the chosen cards, with the processor as the fallback. If there is no card, the processor serves.
///
/// # Errors
///
/// [`OpenError`] if no device can serve.
pub fn open(choice: &Choice) -> Result<OpenDevices, OpenError> {
    let Choice {
        kernel, threads, ..
    } = *choice;
    check(choice)?;
    let of_processor = kernel.and_then(ChosenKernel::of_cpu);
    let of_cards = kernel.and_then(ChosenKernel::of_gpu);
    let processor = move || cpu::open(of_processor, threads);
    match choice.backend {
        BackendChoice::Cpu => {
            let device = processor().map_err(OpenError::Cpu)?;
            Ok(OpenDevices::only(device, None))
        }
        BackendChoice::Gpu => {
            let (opened, reasons) =
                cards::open(&choice.selection, SoftwareAdapters::Allowed, of_cards);
            if opened.devices.is_empty() {
                return Err(OpenError::Gpu(reasons.join("; ")));
            }
            log(&reasons);
            Ok(opened)
        }
        BackendChoice::Auto => {
            let (opened, reasons) =
                cards::open(&choice.selection, SoftwareAdapters::Refused, of_cards);
            log(&reasons);
            if opened.devices.is_empty() && opened.unopened.is_empty() {
                tracing::warn!("no graphics card can be used: falling back to the processor");
                let device = processor().map_err(OpenError::Cpu)?;
                return Ok(OpenDevices::only(device, opened.missing_cards));
            }
            Ok(OpenDevices {
                fallback: Some(Opener::new(processor)),
                ..opened
            })
        }
    }
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

fn log(reasons: &[String]) {
    for reason in reasons {
        tracing::warn!(reason, "a graphics card cannot be used");
    }
}
