//! A device that is open, or that could not be opened: plain data.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::engine::Engine;
use super::error::{DeviceError, catch_panic};

/// A device that is open and has passed its self-test.
pub struct Device {
    /// Its name and how it is driven.
    pub info: DeviceInfo,
    /// Its engines, each for a thread of its own. Never empty.
    pub engines: Vec<Box<dyn Engine>>,
    /// Reopens the device after a failure. `None` if that cannot help.
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

/// A device as logs, metrics and reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// A name that stays the same between starts, such as `cpu` or `NVIDIA L4 (0000:65:00.0)`.
    pub name: String,
    /// How it is reached.
    pub backend: Backend,
    /// The kernel that it runs, such as `avx512` or `u64`.
    pub kernel: String,
    /// How many threads drive it.
    pub threads: usize,
    /// The kernels that were measured when the device was opened, the chosen one among them. On a card these are all
    /// that it can run and that were ready in time; on software some of them; the chosen one alone if an operator chose.
    pub trials: Vec<Trial>,
}

/// A kernel, and its speed on the device before one was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The kernel, as in [`DeviceInfo::kernel`].
    pub kernel: String,
    /// Hashes per second of one engine.
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

/// A card that Vulkan lists and that could not be opened: its driver may still be starting, or another program may hold
/// it.
#[derive(Debug)]
pub struct Unopened {
    /// Its name; the kernel is `none`.
    pub info: DeviceInfo,
    /// Why it could not be opened.
    pub error: DeviceError,
    /// Opens it.
    pub opener: Opener,
}

/// Opens a device, any number of times. Clones open the same device.
#[derive(Clone)]
pub struct Opener(Arc<dyn Fn() -> Result<Device, DeviceError> + Send + Sync>);

impl Opener {
    /// An opener that calls `open`.
    pub fn new(open: impl Fn() -> Result<Device, DeviceError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// Opens the device. A panic becomes an error.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the device cannot be opened.
    pub fn open(&self) -> Result<Device, DeviceError> {
        catch_panic(|| (self.0)())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}
