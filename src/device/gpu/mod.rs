//! The search on graphics cards, through Vulkan. The only module that knows wgpu.
//!
//! [`discovery`] finds adapters and diagnoses why there are not more of them; [`open()`] makes a
//! [`Device`](super::Device) of one: it compiles the card's kernels (`prepare`), the likeliest first (`order`), and measures
//! which is the fastest (`race`). The rest of this module is the search. The engine runs `shaders/work.wgsl` with that
//! [`Kernel`]. A batch of slices is one dispatch. While it runs, the next one waits in the
//! card's queue, so that the card never waits for the host. An answer also ends the dispatches that are queued for its
//! search, on the card itself.
//!
//! A driver may return an error, hang, lose its device, or panic in its binding. Each becomes a
//! [`DeviceError`](super::DeviceError). After the first one the engine always returns the same error. To retry, list
//! the adapters again and open one of them.
//!
//! Imports point one way: the search ← [`discovery`] (which asks which kernels an adapter can run) ← `open`.

mod clock;
pub mod discovery;
mod engine;
mod hung;
mod kernel;
mod layout;
mod open;
mod opening;
mod order;
mod prepare;
mod program;
mod progress;
mod race;
mod searches;
mod sizing;
mod spirv;
mod spread;

pub use discovery::{
    Adapter, AdapterInfo, AdapterKind, Chosen, Listing, Selection, SelectionError,
    SoftwareAdapters, adapters,
};
pub use kernel::Kernel;
pub use open::{open, open_with};
pub use opening::Opening;
pub use spirv::SpirvError;
