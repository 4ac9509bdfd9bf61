//! Devices that search: the trait that each implements, the kinds of device, and which of them serve.
//!
//! A *device* is the processor or a graphics card. It has one or more *engines*. Each engine is driven by one thread: a
//! card has one engine, the processor has one for each core that it may use. An engine is a plain blocking object. The
//! scheduler does the queueing and cancelling, and verifies each nonce that an engine finds.

// Before the kernels, which use its macro.
#[macro_use]
mod sigma;

pub mod cpu;
mod engine;
mod error;
pub mod gpu;
mod last_step;
mod open;
mod opened;
pub mod rate;
pub mod self_test;
mod slice;
mod stopwatch;

pub use engine::{Capacity, Engine, search};
pub use error::{DeviceError, catch_panic};
pub use open::{
    BackendChoice, Choice, ChosenKernel, Lister, Lookout, MissingCards, NoSuchKernel, OpenDevices,
    OpenError, open, open_for_service,
};
pub use opened::{Backend, Device, DeviceInfo, Opener, Trial, Unopened};
pub use slice::{NonceRange, Searched, Slice, StopFlag};
pub use stopwatch::Stopwatch;
