//! Finds adapters, and diagnoses why Vulkan does not offer more of them.
//!
//! [`adapters`] lists what Vulkan offers, and a [`Selection`] picks from it. If a card is not listed, [`diagnose`] looks for
//! the reason in the files and variables of the [`Machine`]. [`variables_to_add`] are the variables that the process needs
//! to find NVIDIA's driver in a container.

mod adapter;
mod card;
mod diagnosis;
mod linker;
mod listing;
mod loader;
mod machine;
mod obstacle;
mod selection;
mod variables;

pub use adapter::{Adapter, AdapterInfo, AdapterKind, adapters, nonconformant};
pub use card::{Card, Vendor};
pub use diagnosis::{Offered, diagnose};
pub use listing::Listing;
pub use machine::Machine;
pub use obstacle::Obstacle;
pub use selection::{Chosen, Selection, SelectionError, SoftwareAdapters};
pub use variables::{STARTED_AGAIN, variables_to_add};
