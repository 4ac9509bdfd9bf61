//! The threads of a measurement.

use std::thread;

use crate::device::DeviceError;

/// Runs each function on a thread of its own.
pub(super) fn at_once<T: Send>(
    functions: impl Iterator<Item = impl FnOnce() -> T + Send>,
) -> Result<Vec<T>, DeviceError> {
    thread::scope(|scope| {
        let threads: Vec<_> = functions.map(|function| scope.spawn(function)).collect();
        let panicked = |_| DeviceError::Panicked("in a thread of the measurement".to_owned());
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(panicked))
            .collect()
    })
}
