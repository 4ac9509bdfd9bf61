//! What keeps the Vulkan driver for a card from being loaded.

use crate::device::gpu::discovery::card::Vendor;
use crate::device::gpu::discovery::loader::{Library, library, manifests};
use crate::device::gpu::discovery::machine::Machine;
use crate::device::gpu::discovery::obstacle::Obstacle;

/// A missing library that keeps every announced driver for the vendor's cards from being loaded. `None` if one driver can
/// be loaded, or none is announced.
pub(super) fn missing_library(machine: &Machine, vendor: Vendor) -> Option<Obstacle> {
    let mut missing = None;
    for manifest in manifests(machine) {
        if !vendor.has_driver(manifest.library_name()) {
            continue;
        }
        let library = match library(machine, &manifest) {
            Library::Loadable => return None,
            Library::LoadableFromOther => manifest.library_name().to_owned(),
            Library::Missing(library) => library,
        };
        missing.get_or_insert(Obstacle::LibraryMissing {
            library: manifest.library_name().to_owned(),
            manifest: manifest.path,
            missing: library,
        });
    }
    missing
}
