//! Programs whose dispatches have not ended in time.
//!
//! Dropping a program waits for its dispatches, possibly without end, so it is kept here instead. The card is not reopened
//! while it has a hung program here: each attempt could only add another one. (The program of a thread that is stuck in a
//! call of the driver is still that thread's.)

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::program::{Program, TIMEOUT};
use crate::device::error::{DeviceError, catch_panic};

/// Each program with the label of its adapter.
static HUNG: Mutex<Vec<(String, Program)>> = Mutex::new(Vec::new());

fn lock() -> MutexGuard<'static, Vec<(String, Program)>> {
    HUNG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a program of the adapter with this label.
pub(super) fn keep(label: &str, program: Program) {
    lock().push((label.to_owned(), program));
}

/// Drops the programs of the adapter with this label whose dispatches have ended, or whose driver has lost the device.
///
/// # Errors
///
/// [`DeviceError::Hung`] if one is left.
pub(super) fn clear(label: &str) -> Result<(), DeviceError> {
    let mut hung = lock();
    let (these, others) = std::mem::take(&mut *hung)
        .into_iter()
        .partition(|(of, _)| of == label);
    *hung = others;
    drop(hung);
    let mut left = None;
    for (_, program) in Vec::<(String, Program)>::from_iter(these) {
        // If the driver has lost the device, this is an error or a panic.
        if catch_panic(|| Ok(program.is_idle())) == Ok(false) {
            left = Some(DeviceError::Hung(TIMEOUT));
            keep(label, program);
        } else {
            let _ = catch_panic(|| {
                drop(program);
                Ok(())
            });
        }
    }
    left.map_or(Ok(()), Err)
}
