//! Why Vulkan does not offer a card of AMD or Intel, whose drivers are Mesa's.

use super::driver::missing_library;
use crate::device::gpu::discovery::card::{Plugged, Vendor};
use crate::device::gpu::discovery::loader::manifests;
use crate::device::gpu::discovery::machine::Machine;
use crate::device::gpu::discovery::obstacle::Obstacle;

/// AMD's compute-only cards, by PCI id. Mesa's driver rejects them (`radv_is_gpu_supported` in its
/// `src/amd/vulkan/winsys/amdgpu/radv_amdgpu_winsys.c`), and wgpu needs a queue for graphics.
///
/// The ids are those of Linux's `drivers/gpu/drm/amd/amdgpu/amdgpu_drv.c` (Arcturus and Aldebaran) and of
/// <https://pci-ids.ucw.cz/read/PC/1002> (Aqua Vanjaram).
const CDNA: [(&str, &[u32]); 3] = [
    ("Instinct MI100", &[0x7388, 0x738c, 0x738e, 0x7390]),
    ("Instinct MI200", &[0x7408, 0x740c, 0x740f, 0x7410]),
    (
        "Instinct MI300",
        &[
            0x74a0, 0x74a1, 0x74a2, 0x74a5, 0x74a9, 0x74b5, 0x74b9, 0x74bd,
        ],
    ),
];

/// Why Vulkan does not offer a card that Mesa has a driver for. `is_lacking` is true if Vulkan offers no card of its
/// vendor.
pub(super) fn diagnose(machine: &Machine, plugged: &Plugged, is_lacking: bool) -> Option<Obstacle> {
    let Plugged { card, driver, node } = plugged;
    let card = card.clone();
    let series = CDNA
        .iter()
        .find(|(_, ids)| card.vendor == Vendor::Amd && ids.contains(&card.device_id));
    if let Some(&(model, _)) = series {
        return Some(Obstacle::ComputeOnly { card, model });
    }
    if !is_lacking {
        return None;
    }
    let Some(node) = node else {
        let driver = driver.clone();
        return Some(Obstacle::NoKernelDriver { card, driver });
    };
    let node = format!("/dev/dri/{node}");
    if !machine.exists(&node) {
        return Some(Obstacle::NodeNotGiven { card, node });
    }
    let manifests = manifests(machine);
    let mut libraries = manifests.iter().map(|manifest| manifest.library_name());
    if !libraries.any(|library| card.vendor.has_driver(library)) {
        return Some(Obstacle::NoMesa { card });
    }
    if !machine.may_open(&node) {
        return Some(Obstacle::denied(machine, &node));
    }
    missing_library(machine, card.vendor).or_else(|| {
        let card = format!("card {card}");
        Some(Obstacle::NotOffered { card })
    })
}
