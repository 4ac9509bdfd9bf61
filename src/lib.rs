//! Proof-of-work server for the Atto network.

pub mod device;
pub mod http;
pub mod management;
pub mod scheduler;
pub mod telemetry;
pub mod work;
