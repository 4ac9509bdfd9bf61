//! Listing the adapters with a time limit.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::adapter::{Adapter, adapters};
use crate::device::error::DeviceError;
use crate::device::stopwatch::Stopwatch;

/// A listing of the adapters, on a thread that is left behind if a driver does not return.
///
/// Until it has ended, another one in the same process would not end either: drivers and the Vulkan loader hold locks.
#[derive(Debug)]
pub struct Listing(Receiver<Result<Vec<Adapter>, DeviceError>>);

impl Listing {
    /// Begins to list.
    ///
    /// # Errors
    ///
    /// If there is no thread for it.
    pub fn begin() -> io::Result<Self> {
        let (sender, listed) = mpsc::channel();
        let list = move || drop(sender.send(adapters()));
        thread::Builder::new()
            .name("listing".to_owned())
            .spawn(list)?;
        Ok(Self(listed))
    }

    /// Waits up to `limit` for the end. `None` if it has not ended by then.
    pub fn wait(&self, limit: Duration) -> Option<Result<Vec<Adapter>, DeviceError>> {
        match Stopwatch::begin().receive(limit, &self.0) {
            Ok(listed) => Some(listed),
            Err(RecvTimeoutError::Timeout) => None,
            // The result was taken before.
            Err(RecvTimeoutError::Disconnected) => Some(Err(DeviceError::Panicked(
                "while the adapters were listed".to_owned(),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_has_not_ended_can_be_waited_for_again() {
        let (sender, listed) = mpsc::channel();
        let listing = Listing(listed);
        assert!(listing.wait(Duration::ZERO).is_none());
        sender.send(Ok(Vec::new())).unwrap();
        assert_eq!(listing.wait(Duration::ZERO).unwrap().unwrap().len(), 0);
    }
}
