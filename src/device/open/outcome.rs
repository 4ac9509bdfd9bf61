//! What could be opened, and why the rest could not: plain data.

use std::fmt;

use serde::Serialize;

use crate::device::error::DeviceError;
use crate::device::opened::{Device, Opener, Unopened};

/// The devices that may serve.
#[derive(Debug, Default)]
pub struct OpenDevices {
    /// Devices that serve at once. After [`open`](super::open), empty only if there is a fallback; after
    /// [`open_for_service`](super::open_for_service), also if a card may appear.
    pub devices: Vec<Device>,
    /// Cards that could not be opened. They are to be retried.
    pub unopened: Vec<Unopened>,
    /// Opens the device that serves while no other does.
    pub fallback: Option<Opener>,
    /// Why other cards do not serve. `None` if every card that was asked for is in `devices` or `unopened`.
    pub missing_cards: Option<MissingCards>,
    /// Looks for those cards again, while [`MissingCards::is_expected`].
    pub lookout: Option<Lookout>,
}

impl OpenDevices {
    /// One device that serves, without a fallback.
    pub(super) fn only(device: Device, missing_cards: Option<MissingCards>) -> Self {
        Self {
            devices: vec![device],
            missing_cards,
            ..Self::default()
        }
    }
}

/// Looks for cards that are missing. Looking may take a minute: drivers are slow, and may not return.
pub struct Lookout(Box<dyn FnMut() -> Option<OpenDevices> + Send>);

impl Lookout {
    /// A lookout that calls `look`.
    pub fn new(look: impl FnMut() -> Option<OpenDevices> + Send + 'static) -> Self {
        Self(Box::new(look))
    }

    /// Looks once. Returns the cards that were found, with the reasons why others are still missing; `None` if nothing
    /// has changed.
    pub fn look(&mut self) -> Option<OpenDevices> {
        (self.0)()
    }
}

impl fmt::Debug for Lookout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookout")
    }
}

/// Why cards that Vulkan does not list are not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingCards {
    /// Whether there should be such cards: the operator has named them, the machine shows signs of them, or Vulkan
    /// cannot list any. Otherwise the machine just has no card.
    pub is_expected: bool,
    /// The reasons, a line each, the most telling first. Never empty.
    pub reasons: Vec<String>,
}

/// Why no device can serve.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The chosen kernel is for devices that must not be used.
    #[error(
        "the kernel {kernel} is one of {of}, which the backend {backend} does not use; choose another kernel with --kernel \
         (ATTO_WORK_KERNEL): it may be {available}"
    )]
    Kernel {
        /// Its name.
        kernel: &'static str,
        /// The kind of device that it is for.
        of: &'static str,
        /// The chosen backend.
        backend: &'static str,
        /// The kernels of the backend.
        available: String,
    },
    /// The processor's self-test failed.
    #[error(
        "the processor cannot be used: {0}; choose another of its kernels with --kernel (ATTO_WORK_KERNEL), such as \
         portable"
    )]
    Cpu(DeviceError),
    /// No card can be used, and the processor must not be.
    #[error(
        "no Vulkan device can be used: {0}; see `work-server devices`, or choose the backend cpu"
    )]
    Gpu(String),
}
