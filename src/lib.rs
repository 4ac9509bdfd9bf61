//! Proof-of-work server for the Atto network.

pub mod device;
pub mod work;
