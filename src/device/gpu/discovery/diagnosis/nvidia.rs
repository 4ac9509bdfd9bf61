//! Why Vulkan offers no card of NVIDIA.

use super::driver::missing_library;
use crate::device::gpu::discovery::card::{Plugged, Vendor};
use crate::device::gpu::discovery::loader::{
    EGL_LIBRARY, GLX_LIBRARY, Manifest, has_library, manifests,
};
use crate::device::gpu::discovery::machine::Machine;
use crate::device::gpu::discovery::obstacle::Obstacle;

/// The device node of NVIDIA's driver for all cards.
pub(super) const NVIDIA_CONTROL: &str = "/dev/nvidiactl";

/// Why Vulkan offers no NVIDIA card. Empty if there is none and the operator does not expect one.
pub(super) fn diagnose(machine: &Machine, cards: &[Plugged]) -> Vec<Obstacle> {
    let version = machine.read("/proc/driver/nvidia/version");
    let cards_of_driver = machine.names("/proc/driver/nvidia/gpus");
    let has_node = machine.names("/dev").iter().any(|name| {
        name.strip_prefix("nvidia")
            .is_some_and(|number| number.parse::<u8>().is_ok())
    });
    let visible = machine
        .variable("NVIDIA_VISIBLE_DEVICES")
        .filter(|visible| !["void", "none"].contains(visible));
    if !has_node {
        let without_driver = cards
            .iter()
            .filter(|plugged| plugged.card.vendor == Vendor::Nvidia && version.is_none())
            .map(|plugged| Obstacle::NoKernelDriver {
                card: plugged.card.clone(),
                driver: plugged.driver.clone(),
            });
        let mut found: Vec<_> = without_driver.collect();
        if version.is_some() && (visible.is_some() || !cards_of_driver.is_empty()) {
            found.push(Obstacle::NvidiaNotGiven);
        } else if let Some(visible) = visible.filter(|_| found.is_empty()) {
            let visible = visible.to_owned();
            found.push(Obstacle::NvidiaRuntimeMissing { visible });
        }
        return found;
    }
    if let Some(visible) = visible.filter(|visible| visible.contains("MIG-")) {
        let seen = format!("NVIDIA_VISIBLE_DEVICES={visible}");
        return vec![Obstacle::Mig { seen }];
    }
    if machine.exists(NVIDIA_CONTROL) && !machine.may_open(NVIDIA_CONTROL) {
        return vec![Obstacle::denied(machine, NVIDIA_CONTROL)];
    }
    let found = driver(machine, visible.is_some()).into_iter();
    let found: Vec<_> = found.chain(mig(machine)).collect();
    if !found.is_empty() {
        return found;
    }
    let version = version.as_deref().and_then(short_version);
    vec![Obstacle::NvidiaSilent { version }]
}

/// What is wrong with the files of NVIDIA's driver.
fn driver(machine: &Machine, in_container: bool) -> Option<Obstacle> {
    let Some(library) = [GLX_LIBRARY, EGL_LIBRARY]
        .into_iter()
        .find(|library| has_library(machine, library))
    else {
        let capabilities = machine.variable("NVIDIA_DRIVER_CAPABILITIES");
        let has_graphics = capabilities.is_some_and(|capabilities| {
            capabilities
                .split(',')
                .any(|capability| ["all", "graphics"].contains(&capability.trim()))
        });
        if !has_graphics && (in_container || capabilities.is_some()) {
            let value = capabilities.map(str::to_owned);
            return Some(Obstacle::NoGraphicsCapability { value });
        }
        let version = machine.read("/proc/driver/nvidia/version");
        return Some(Obstacle::NoNvidiaVulkan {
            version: version.as_deref().and_then(short_version),
        });
    };
    if !manifests(machine).iter().any(Manifest::is_nvidia) {
        return Some(Obstacle::NoNvidiaManifest { library });
    }
    missing_library(machine, Vendor::Nvidia)
}

/// The MIG slices that NVIDIA's kernel driver shows.
fn mig(machine: &Machine) -> Option<Obstacle> {
    const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";
    let folders = machine.names(CAPABILITIES).into_iter();
    let mut folders = folders.map(|card| format!("{CAPABILITIES}/{card}/mig"));
    let has_slice = |folder: &String| {
        machine
            .names(folder)
            .iter()
            .any(|name| name.starts_with("gi"))
    };
    let seen = folders.find(has_slice)?;
    Some(Obstacle::Mig { seen })
}

/// The version number in the text of NVIDIA's kernel driver:
/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024`.
fn short_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        let mut parts = word.split('.');
        parts.clone().count() > 1
            && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut words = text.lines().next()?.split_whitespace();
    words.find(is_version).map(str::to_owned)
}
