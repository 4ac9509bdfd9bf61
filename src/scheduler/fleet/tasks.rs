//! What is to be done after a transition, by threads that have the time.

use std::sync::Arc;

use super::entries::{DeviceRecord, PendingOpen};
use crate::device::Opener;

/// An engine that has gone out of service, and what is to be done about it.
#[must_use]
#[derive(Debug)]
pub(in crate::scheduler) struct Loss {
    pub(in crate::scheduler) engine: usize,
    pub(in crate::scheduler) device: Arc<DeviceRecord>,
    /// How many engines of all devices are still in service.
    pub(in crate::scheduler) engines_left: usize,
    pub(in crate::scheduler) fallback: Option<Fallback>,
    /// To be done when the engine has been dropped, since a card must be free before it is opened again.
    pub(in crate::scheduler) reopen: Option<Reopen>,
}

/// The fallback is to be opened.
#[must_use]
#[derive(Debug)]
pub(in crate::scheduler) struct Fallback {
    pub(in crate::scheduler) opener: Opener,
    pub(in crate::scheduler) pending: PendingOpen,
}

/// A device is to be reopened until it serves again.
#[must_use]
#[derive(Debug)]
pub(in crate::scheduler) struct Reopen {
    pub(in crate::scheduler) device: Arc<DeviceRecord>,
    pub(in crate::scheduler) opener: Opener,
    /// How many attempts there were since the backoff was reset.
    pub(in crate::scheduler) attempts: u32,
    /// Searches wait for the first attempt.
    pub(in crate::scheduler) pending: Option<PendingOpen>,
}

/// What the recovery thread is asked to do.
#[derive(Debug)]
pub(in crate::scheduler) enum Recovery {
    FallBack(Fallback),
    Reopen(Reopen),
}
