//! Programs whose dispatches do not end.
//!
//! Dropping one would wait for its dispatch, without end if need be. So it is kept here, and the card is not opened
//! anew while one of its is left: each attempt would only leave more behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::program::Program;
use crate::device::{DeviceError, catch_panic};

/// Each with the label of its adapter.
static HUNG: Mutex<Vec<(String, Program)>> = Mutex::new(Vec::new());

fn lock() -> MutexGuard<'static, Vec<(String, Program)>> {
    HUNG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a program of the adapter with this label.
pub(super) fn keep(label: &str, program: Program) {
    lock().push((label.to_owned(), program));
}

/// Drops the programs of the adapter with this label whose dispatches have ended after all, or whose driver has given
/// the device up.
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
        // A driver that has given the device up makes the question an error or a panic.
        if catch_panic(|| Ok(program.is_idle())) == Ok(false) {
            left = Some(DeviceError::Hung(program.timeout));
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
