//! The scheduler's threads. Each waits for something, and reports the result to the shared state: one [`worker`] an
//! engine, the [`watchdog`], [`recovery`] with a thread for each device that is being opened, and one that looks for
//! missing cards ([`arrival`]).

pub(super) mod arrival;
pub(super) mod recovery;
pub(super) mod watchdog;
pub(super) mod worker;
