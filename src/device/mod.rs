//! What searches: the trait that every device implements, and what is known of a device.
//!
//! A *device* is a processor or a graphics card. It brings one or more *engines*, each of which is owned by
//! one thread and searches one slice of nonces at a time: a card has one, a processor one for each core
//! that it may use. An engine is a plain blocking object; queueing, cancelling and checking what it finds
//! are the scheduler's.

// The macro of the schedule comes before the kernels that use it.
#[macro_use]
mod sigma;

pub mod cpu;
pub mod gpu;
mod open;
pub mod rate;
pub mod self_test;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

pub use open::{Absent, BackendChoice, Choice, Missing, OpenDevices, OpenError, Opener, open};

use crate::work::{Nonce, Target, Threshold};

/// A device that is open, has passed its self-test, and may serve.
pub struct Device {
    /// What it is.
    pub info: DeviceInfo,
    /// What searches on it, one engine a thread. Never empty.
    pub engines: Vec<Box<dyn Engine>>,
    /// What opens it anew after it has failed, if that can help.
    pub reopen: Option<Opener>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("info", &self.info)
            .field("engines", &self.engines.len())
            .finish()
    }
}

/// What a device is called in logs, metrics and reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// A name that stays the same between starts, such as `cpu` or `NVIDIA L4 (0000:65:00.0)`.
    pub name: String,
    /// How it is reached.
    pub backend: Backend,
    /// Which form of the search it runs, such as `avx512` or `u64`.
    pub kernel: String,
    /// How many threads drive it.
    pub threads: usize,
    /// What forms of the search were measured at when it was opened, the one that serves among them: on a card all that
    /// it could run.
    pub trials: Vec<Trial>,
}

/// A form of the search, and how fast it ran on the device before one was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// Which form, as in [`DeviceInfo::kernel`].
    pub kernel: String,
    /// Nonces a second, of one engine.
    pub hashes_per_second: u64,
}

/// How a device is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// SIMD on the processor's cores.
    Cpu,
    /// The compute shader, through Vulkan.
    Gpu,
}

/// One thread's worth of a device.
///
/// Batches of slices go in by [`submit`](Engine::submit) and come back by [`complete`](Engine::complete), in the
/// same order. An error is the engine's last word: nothing is then known of the batches in flight, and it must
/// not be used again.
pub trait Engine: Send {
    /// How much the engine takes on at once.
    fn capacity(&self) -> Capacity {
        Capacity::ONE
    }

    /// How many nonces each search should get in a batch of searches under these thresholds, of which there are
    /// at most [`Capacity::searches`]: together some tens of milliseconds of work at most. Each is at least one.
    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64>;

    /// Takes on a batch of slices, each of another search. There are at least one and at most
    /// [`Capacity::searches`] of them, and at most [`Capacity::batches`] batches are in flight.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the device cannot be relied on.
    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError>;

    /// Waits for the batch that was submitted first of those in flight, of which there must be one. Says what each of
    /// its slices came to, in their order.
    ///
    /// If [`Searched::found`] is `None`, the slice's flag was never set and no other slice of its search has
    /// found, every nonce of the slice was tested and none is valid. What is found lies in a slice of the search that
    /// is or was in flight, and is not yet verified.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the device cannot be relied on.
    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError>;

    /// How long the device has been at work on the batches that are complete, by its own clock. `None` where it has no
    /// clock, or one that cannot be right.
    fn time_on_device(&self) -> Option<Duration> {
        None
    }
}

/// How much an engine takes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// How many batches may be in flight. More than one keeps a card busy while the host reads an answer.
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

/// A piece of a search, small enough to wait for.
#[derive(Clone, Debug)]
pub struct Slice {
    /// What the work is for.
    pub target: Target,
    /// The bound that the digest must meet.
    pub threshold: Threshold,
    /// Which nonces to test.
    pub nonces: NonceRange,
    /// Set when nobody waits for the answer any more: the slice may then end early with nothing. Slices of one
    /// search have the same flag, and those of different searches never.
    pub stop: StopFlag,
}

/// A flag that is set once. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Sets the flag. Whether it was not set before.
    pub fn set(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether they are the same flag.
impl PartialEq for StopFlag {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StopFlag {}

/// The nonces `start`, `start + 1`, … `start + count − 1`, wrapping at 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceRange {
    /// The first nonce.
    pub start: u64,
    /// How many there are.
    pub count: u64,
}

impl NonceRange {
    /// Whether `nonce` is one of the range.
    pub const fn contains(&self, nonce: Nonce) -> bool {
        nonce.get().wrapping_sub(self.start) < self.count
    }
}

/// What a slice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched {
    /// How many nonces were tested, for the hash rate: all of the slice where nothing was found and nobody
    /// said to stop, else an estimate.
    pub tried: u64,
    /// A nonce that the device holds valid.
    pub found: Option<Nonce>,
}

/// Why a device cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The device gave a nonce that is not valid, or missed one that is.
    #[error("wrong answer: {0}")]
    WrongAnswer(String),
    /// The device did not finish in time.
    #[error("no answer within {0:?}")]
    Hung(Duration),
    /// The driver has given the device up.
    #[error("device lost: {0}")]
    Lost(String),
    /// The driver has no memory left.
    #[error("out of memory")]
    OutOfMemory,
    /// The driver refused something that it must be able to do.
    #[error("driver error: {0}")]
    Driver(String),
    /// The shader cannot be made for the device.
    #[error("{0}")]
    Shader(String),
    /// The engine panicked.
    #[error("panic: {0}")]
    Panicked(String),
}

/// Runs `f`, and makes a panic in it an error: a bug in a driver or its binding must not end the service.
///
/// # Errors
///
/// What `f` fails with, or [`DeviceError::Panicked`].
pub fn catch_panic<T>(f: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    // Unwind safe: an engine that has panicked never searches again, so what it left half done is not seen.
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

    #[test]
    fn a_range_wraps() {
        let range = NonceRange {
            start: u64::MAX,
            count: 2,
        };
        assert!(
            [u64::MAX, 0]
                .iter()
                .all(|&nonce| range.contains(Nonce::new(nonce)))
        );
        assert!(
            [u64::MAX - 1, 1]
                .iter()
                .all(|&nonce| !range.contains(Nonce::new(nonce)))
        );
    }
}
