//! Finds adapters, and diagnoses why Vulkan does not offer more of them.
//!
//! [`adapters`] lists what Vulkan offers, and a [`Selection`] picks from it. If a card is not listed, [`Reasons`] are looked
//! for in the files and variables of the machine. [`variables_to_add`] are the variables that the process needs
//! to find NVIDIA's driver in a container.

mod adapter;
mod card;
mod diagnosis;
mod linker;
mod listing;
mod loader;
mod machine;
mod obstacle;
mod reasons;
mod selection;
mod variables;

pub use adapter::{Adapter, AdapterInfo, AdapterKind, adapters};
pub use card::{Card, Vendor};
pub use listing::Listing;
pub use machine::Machine;
pub use obstacle::Obstacle;
pub use reasons::{Nonconformant, Reasons};
pub use selection::{Chosen, Selection, SelectionError, SoftwareAdapters};
pub use variables::{STARTED_AGAIN, variables_to_add};
