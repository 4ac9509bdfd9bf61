//! Why Vulkan does not offer a card, from the files and variables of the machine.

mod driver;
mod mesa;
mod nvidia;

use std::collections::BTreeSet;

use super::adapter::{AdapterInfo, AdapterKind};
use super::card::{Vendor, cards};
use super::linker;
use super::loader::{LOADER, REPLACING, manifests};
use super::machine::Machine;
use super::obstacle::{Obstacle, WSL};

/// What Vulkan offers, as far as a diagnosis depends on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Offered {
    /// The vendors of the cards. `None` stands for every other vendor.
    cards: BTreeSet<Option<Vendor>>,
    /// Whether there is a software adapter.
    software: bool,
}

impl<'a> FromIterator<&'a AdapterInfo> for Offered {
    fn from_iter<T: IntoIterator<Item = &'a AdapterInfo>>(infos: T) -> Self {
        let mut offered = Self::default();
        for info in infos {
            match info.kind {
                AdapterKind::Software => offered.software = true,
                _ => drop(offered.cards.insert(Vendor::of(info.vendor_id))),
            }
        }
        offered
    }
}

/// Why Vulkan does not offer cards of this machine, the most telling reason first. Empty if it offers all of them.
pub(super) fn diagnose(machine: &Machine, offered: &Offered) -> Vec<Obstacle> {
    let cards = cards(machine);
    let lacks = |vendor| !offered.cards.contains(&Some(vendor));
    let mut found = Vec::new();
    if lacks(Vendor::Nvidia) {
        found.extend(nvidia::diagnose(machine, &cards));
    }
    for plugged in &cards {
        let vendor = plugged.card.vendor;
        if vendor != Vendor::Nvidia {
            found.extend(mesa::diagnose(machine, plugged, lacks(vendor)));
        }
    }
    if !offered.cards.is_empty() {
        return found;
    }
    if machine.exists(WSL) {
        // Its NVIDIA libraries are for CUDA, and the bus shows no card.
        found = vec![Obstacle::Wsl];
    }
    if found.is_empty() {
        found = of_nodes(machine);
    }
    if found.is_empty() {
        found.push(Obstacle::NoCard);
    }
    let is_no_card = |obstacle: &Obstacle| {
        matches!(
            obstacle,
            Obstacle::NoCard | Obstacle::NvidiaRuntimeMissing { .. }
        )
    };
    if !found.iter().all(is_no_card) && !linker::finds(machine, LOADER) {
        found.insert(0, Obstacle::NoLoader);
    }
    let replacing = REPLACING
        .into_iter()
        .find(|variable| machine.has_variable(variable));
    if let Some(variable) = replacing
        && manifests(machine).is_empty()
    {
        let obstacle = match machine.variable(variable) {
            Some(value) => Obstacle::NoSuchManifest {
                variable,
                value: value.to_owned(),
            },
            None => Obstacle::NoManifestNamed { variable },
        };
        found.insert(0, obstacle);
    }
    if offered.software {
        found.push(Obstacle::OnlySoftware);
    }
    found
}

/// Why Vulkan does not offer the device nodes in `/dev/dri`, for a machine whose PCI bus shows no card.
fn of_nodes(machine: &Machine) -> Vec<Obstacle> {
    let mut nodes = machine.names("/dev/dri");
    nodes.retain(|node| node.starts_with("renderD"));
    let obstacle = |node: String| {
        let node = format!("/dev/dri/{node}");
        if machine.may_open(&node) {
            Obstacle::NotOffered { card: node }
        } else {
            Obstacle::denied(machine, &node)
        }
    };
    nodes.into_iter().map(obstacle).collect()
}

#[cfg(test)]
mod tests;
