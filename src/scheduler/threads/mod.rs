//! The scheduler's threads. Each waits for something, and tells the shared state what came of it: one [`worker`] an
//! engine, the [`watchdog`], and [`recovery`] with a thread for each device that is being opened.

pub(super) mod recovery;
pub(super) mod watchdog;
pub(super) mod worker;
