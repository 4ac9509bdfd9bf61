//! The devices without the cards. The modules are those of `src/device/mod.rs`.

#[macro_use]
#[path = "../../src/device/sigma.rs"]
mod sigma;

#[path = "../../src/device/cpu/mod.rs"]
pub mod cpu;
#[path = "../../src/device/engine.rs"]
mod engine;
#[path = "../../src/device/error.rs"]
mod error;
#[path = "../../src/device/last_step.rs"]
mod last_step;
#[path = "../../src/device/opened.rs"]
mod opened;
#[path = "../../src/device/self_test.rs"]
pub mod self_test;
#[path = "../../src/device/slice.rs"]
mod slice;

pub use engine::{Capacity, Engine, search};
pub use error::{DeviceError, catch_panic};
pub use opened::{Backend, Device, DeviceInfo, Opener, Trial, Unopened};
pub use slice::{NonceRange, Searched, Slice, StopFlag};
