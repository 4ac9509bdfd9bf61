//! Which devices serve: the policy for cards and the processor.

mod cards;
mod choice;
mod outcome;

pub use choice::{BackendChoice, Choice};
pub use outcome::{MissingCards, OpenDevices, OpenError};

use super::cpu;
use super::gpu::SoftwareAdapters;
use super::opened::Opener;

/// Opens the devices that `choice` allows. Each has passed its self-test.
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
    let processor = move || cpu::open(kernel, threads);
    match choice.backend {
        BackendChoice::Cpu => {
            let device = processor().map_err(OpenError::Cpu)?;
            Ok(OpenDevices::only(device, None))
        }
        BackendChoice::Gpu => {
            let (opened, reasons) = cards::open(&choice.selection, SoftwareAdapters::Allowed);
            if opened.devices.is_empty() {
                return Err(OpenError::Gpu(reasons.join("; ")));
            }
            log(&reasons);
            Ok(opened)
        }
        BackendChoice::Auto => {
            let (opened, reasons) = cards::open(&choice.selection, SoftwareAdapters::Refused);
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

fn log(reasons: &[String]) {
    for reason in reasons {
        tracing::warn!(reason, "a graphics card cannot be used");
    }
}
