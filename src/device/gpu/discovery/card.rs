//! The cards on the PCI bus.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;

/// A card on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its PCI address, such as `0000:65:00.0`.
    pub pci: String,
    /// Its vendor.
    pub vendor: Vendor,
    /// The vendor's number for the model.
    pub device_id: u32,
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pci,
            vendor,
            device_id,
        } = self;
        write!(f, "{pci} ({vendor} {device_id:04x})")
    }
}

/// A vendor of cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        })
    }
}

impl Vendor {
    /// The vendor with this PCI id.
    pub(super) fn of(id: u32) -> Option<Self> {
        match id {
            0x10de => Some(Self::Nvidia),
            0x1002 => Some(Self::Amd),
            0x8086 => Some(Self::Intel),
            _ => None,
        }
    }

    /// Whether a library of this name is a Vulkan driver for the vendor's cards.
    pub(super) fn has_driver(self, library: &str) -> bool {
        let names: &[&str] = match self {
            Self::Nvidia => &["nvidia", "nouveau"],
            Self::Amd => &["radeon", "amdvlk"],
            Self::Intel => &["intel"],
        };
        names.iter().any(|name| library.contains(name))
    }
}

/// A card on the PCI bus, as the Linux kernel sees it.
#[derive(Debug)]
pub(super) struct Plugged {
    pub(super) card: Card,
    /// The name of its kernel driver.
    pub(super) driver: Option<String>,
    /// The name of its device node in `/dev/dri`.
    pub(super) node: Option<String>,
}

/// The cards on the PCI bus. A container sees the cards of the whole machine.
pub(super) fn cards(machine: &Machine) -> Vec<Plugged> {
    const BUS: &str = "/sys/bus/pci/devices";
    let card = |pci: String| {
        let number = |file: &str| {
            let text = machine.read(&format!("{BUS}/{pci}/{file}"))?;
            u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        let vendor = Vendor::of(number("vendor")?)?;
        // Display controllers, and AMD's processing accelerators such as the MI300 (https://pci-ids.ucw.cz/read/PD).
        let class = number("class")? >> 16;
        if class != 0x03 && !(class == 0x12 && vendor == Vendor::Amd) {
            return None;
        }
        let driver = machine.link_name(&format!("{BUS}/{pci}/driver"));
        let nodes = machine.names(&format!("{BUS}/{pci}/drm"));
        let node = nodes.into_iter().find(|node| node.starts_with("renderD"));
        let card = Card {
            device_id: number("device")?,
            pci,
            vendor,
        };
        Some(Plugged { card, driver, node })
    };
    machine.names(BUS).into_iter().filter_map(card).collect()
}
