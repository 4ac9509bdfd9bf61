//! Why a device failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Why a device cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The device returned an invalid nonce, or missed a valid one.
    #[error("wrong answer: {0}")]
    WrongAnswer(String),
    /// The device did not finish in time.
    #[error("no answer within {0:?}")]
    Hung(Duration),
    /// A step of opening the device takes too long. It may still end.
    #[error("{step} has not ended within {limit:?}")]
    Late {
        /// The step.
        step: String,
        /// How long that may take.
        limit: Duration,
    },
    /// The driver has lost the device.
    #[error("device lost: {0}")]
    Lost(String),
    /// The driver has no memory left.
    #[error("out of memory")]
    OutOfMemory,
    /// The driver failed at something that every driver must be able to do.
    #[error("driver error: {0}")]
    Driver(String),
    /// The device cannot run the kernel that was chosen for it.
    #[error("this device has no kernel {chosen:?}; it has {available}")]
    Kernel {
        /// The name of the chosen kernel.
        chosen: &'static str,
        /// The names of the kernels that it can run.
        available: String,
    },
    /// The shader cannot be made for the device.
    #[error("{0}")]
    Shader(String),
    /// The engine panicked.
    #[error("panic: {0}")]
    Panicked(String),
}

/// Runs `f` and turns a panic in it into an error: a bug in a driver or its binding must not end the service.
///
/// # Errors
///
/// The error of `f`, or [`DeviceError::Panicked`].
pub fn catch_panic<T>(f: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    // Unwind safe: an engine that has panicked is never used again, so the state that the panic left is never read.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(DeviceError::Panicked(
            text.unwrap_or("no message").to_owned(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let formatted = catch_panic::<()>(|| panic!("{} lost", "device"));
        let literal = catch_panic::<()>(|| panic!("device lost"));
        assert_eq!(formatted, Err(DeviceError::Panicked("device lost".into())));
        assert_eq!(literal, formatted);
    }
}
