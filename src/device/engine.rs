//! The trait that every device implements.

use std::time::Duration;

use super::error::DeviceError;
use super::slice::{Searched, Slice};
use crate::work::Rule;

/// The part of a device that one thread drives.
///
/// [`submit`](Engine::submit) puts a batch of slices in flight, and [`complete`](Engine::complete) returns the results,
/// in the same order. After an error the engine must not be used again, and the batches in flight have no result.
pub trait Engine: Send {
    /// How much the engine takes at once.
    fn capacity(&self) -> Capacity {
        Capacity::ONE
    }

    /// How many nonces the slice of each search should have, in a batch of searches under these rules. Each length is at
    /// least 1, and all of them together keep the device busy for some tens of milliseconds at most.
    ///
    /// There must be at most [`Capacity::searches`] rules.
    fn lengths(&self, rules: &[Rule]) -> Vec<u64>;

    /// Puts a batch of slices in flight, each of a different search. There must be 1 to [`Capacity::searches`] of them,
    /// and at most [`Capacity::batches`] batches may be in flight.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the device cannot be relied on.
    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError>;

    /// Waits for the oldest batch in flight, of which there must be one. Returns the results of its slices in their
    /// order.
    ///
    /// If [`Searched::found`] is `None`, every nonce of the slice was tested and none is valid, unless the slice's flag
    /// was set or another slice of its search has an answer. A nonce that was found is not verified yet. It lies in a
    /// slice of the search that is or was in flight.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the device cannot be relied on.
    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError>;

    /// How long the device has worked on completed batches, by its own clock. `None` if it has no clock or one that
    /// cannot be right.
    fn time_on_device(&self) -> Option<Duration> {
        None
    }
}

/// How much an engine takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// How many batches may be in flight. More than one keeps a card busy while the host reads a result.
    pub batches: usize,
    /// How many searches may share a batch.
    pub searches: usize,
}

impl Capacity {
    /// One slice at a time.
    pub const ONE: Self = Self {
        batches: 1,
        searches: 1,
    };
}

/// Tests one slice and waits for it, on an engine that has nothing in flight.
///
/// # Errors
///
/// As [`Engine::submit`] and [`Engine::complete`].
pub fn search(engine: &mut dyn Engine, slice: Slice) -> Result<Searched, DeviceError> {
    engine.submit(vec![slice])?;
    let searched = engine.complete()?;
    searched.first().copied().ok_or_else(|| {
        DeviceError::WrongAnswer("a batch of one slice came back with no answer".to_owned())
    })
}
