//! The adapters that Vulkan lists.

use serde::Serialize;

use crate::device::error::{DeviceError, catch_panic};
use crate::device::gpu::kernel::{Abilities, Kernel};
use crate::device::gpu::order;

/// The environment variable that allows drivers which are not conformant. It is wgpu's.
pub(super) const NONCONFORMANT: &str = "WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER";

/// A card, or software that acts as one. [`gpu::open`](crate::device::gpu::open()) opens it.
#[derive(Clone, Debug)]
pub struct Adapter {
    info: AdapterInfo,
    handle: wgpu::Adapter,
}

impl Adapter {
    /// Its description.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    pub(in crate::device::gpu) fn handle(&self) -> &wgpu::Adapter {
        &self.handle
    }
}

/// The description of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterInfo {
    /// Its index in the list of [`adapters`].
    pub index: usize,
    /// The name of the device: [`AdapterInfo::name`] with the PCI id, if there is one. Unique among the adapters.
    pub label: String,
    /// The driver's name for it, such as `NVIDIA L4`.
    pub name: String,
    /// Whether it is a card of its own, a part of the processor, or software.
    pub kind: AdapterKind,
    /// Its PCI id, such as `0000:65:00.0`, if the driver reports one.
    pub pci: Option<String>,
    /// The PCI id of its vendor, or Vulkan's own id for vendors without one.
    pub vendor_id: u32,
    /// The vendor's number for the model.
    pub device_id: u32,
    /// The driver's name and version.
    pub driver: String,
    /// The kernels that it can run, the one expected to be fastest first.
    #[serde(rename = "forms")]
    pub kernels: Vec<Kernel>,
}

/// The kind of an adapter, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// A part of the processor.
    Integrated,
    /// A share of a card, from a hypervisor.
    Virtual,
    /// None of the other kinds, according to the driver.
    Other,
    /// A program that runs shaders on the processor, such as Mesa's lavapipe. It works, but the processor's own kernels
    /// are faster.
    Software,
}

impl From<wgpu::DeviceType> for AdapterKind {
    fn from(kind: wgpu::DeviceType) -> Self {
        match kind {
            wgpu::DeviceType::DiscreteGpu => Self::Discrete,
            wgpu::DeviceType::IntegratedGpu => Self::Integrated,
            wgpu::DeviceType::VirtualGpu => Self::Virtual,
            wgpu::DeviceType::Other => Self::Other,
            wgpu::DeviceType::Cpu => Self::Software,
        }
    }
}

/// Lists the adapters, in an order that stays the same between starts: by [`AdapterKind`], then by PCI id, then by name.
/// Empty if there is no Vulkan driver. Those whose drivers are not conformant are left out, unless the variable
/// `WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER` is 1.
///
/// # Errors
///
/// [`DeviceError::Panicked`] if a driver panics.
pub fn adapters() -> Result<Vec<Adapter>, DeviceError> {
    let is_allowed = std::env::var_os(NONCONFORMANT).is_some_and(|value| value == "1");
    list(is_allowed)
}

/// The names of the adapters that [`adapters`] left out of `listed` because their drivers are not conformant.
pub(super) fn nonconformant(listed: &[AdapterInfo]) -> Vec<String> {
    let is_listed = |info: &AdapterInfo| {
        let key = |info: &AdapterInfo| (info.name.clone(), info.pci.clone(), info.driver.clone());
        listed.iter().any(|other| key(other) == key(info))
    };
    let every = list(true).unwrap_or_default();
    let hidden = every.iter().map(Adapter::info);
    let hidden = hidden.filter(|info| !is_listed(info));
    hidden.map(|info| info.label.clone()).collect()
}

fn list(with_nonconformant: bool) -> Result<Vec<Adapter>, DeviceError> {
    let flags = if with_nonconformant {
        wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER
    } else {
        wgpu::InstanceFlags::empty()
    };
    let mut adapters = catch_panic(|| {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN,
            // The default asks for validation layers, which need not be installed.
            flags,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let handles = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        Ok(handles.into_iter().map(describe).collect::<Vec<_>>())
    })?;
    adapters.sort_by(|a, b| {
        let key = |adapter: &Adapter| {
            let AdapterInfo {
                kind, pci, name, ..
            } = adapter.info.clone();
            (kind, pci, name)
        };
        key(a).cmp(&key(b))
    });
    label(adapters.iter_mut().map(|adapter| &mut adapter.info));
    Ok(adapters)
}

fn describe(handle: wgpu::Adapter) -> Adapter {
    let info = handle.get_info();
    let abilities = Abilities::of(&handle);
    let is_software = info.device_type == wgpu::DeviceType::Cpu;
    let kernels = order::of(is_software, info.vendor)
        .into_iter()
        .filter(|&kernel| abilities.suffice_for(kernel))
        .collect();
    Adapter {
        info: AdapterInfo {
            index: 0,
            label: String::new(),
            name: info.name,
            kind: info.device_type.into(),
            pci: Some(info.device_pci_bus_id).filter(|id| !id.is_empty()),
            vendor_id: info.vendor,
            device_id: info.device,
            driver: format!("{} {}", info.driver, info.driver_info),
            kernels,
        },
        handle,
    }
}

/// Sets the indices and labels of adapters that are in their final order.
fn label<'a>(infos: impl Iterator<Item = &'a mut AdapterInfo>) {
    let mut infos: Vec<_> = infos.collect();
    let labels: Vec<_> = infos
        .iter()
        .map(|info| match &info.pci {
            Some(pci) => format!("{} ({pci})", info.name),
            None => info.name.clone(),
        })
        .collect();
    for (index, (info, label)) in infos.iter_mut().zip(&labels).enumerate() {
        info.index = index;
        info.label = if labels.iter().filter(|other| *other == label).count() > 1 {
            format!("{label} #{index}")
        } else {
            label.clone()
        };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The adapters of a machine with two equal cards, a part of the processor and two software renderers.
    pub(in super::super) fn example() -> Vec<AdapterInfo> {
        let info = |name: &str, kind, pci: Option<&str>| AdapterInfo {
            index: 0,
            label: String::new(),
            name: name.to_owned(),
            kind,
            pci: pci.map(str::to_owned),
            vendor_id: 0,
            device_id: 0,
            driver: String::new(),
            kernels: vec![Kernel::U64, Kernel::Pair],
        };
        let mut infos = vec![
            info("NVIDIA L4", AdapterKind::Discrete, Some("0000:65:00.0")),
            info("NVIDIA L4", AdapterKind::Discrete, Some("0000:b3:00.0")),
            info("AMD Radeon", AdapterKind::Integrated, None),
            info("llvmpipe", AdapterKind::Software, None),
            info("llvmpipe", AdapterKind::Software, None),
        ];
        label(infos.iter_mut());
        infos
    }

    #[test]
    fn no_two_labels_are_the_same() {
        let labels: Vec<_> = example().into_iter().map(|info| info.label).collect();
        assert_eq!(
            labels,
            [
                "NVIDIA L4 (0000:65:00.0)",
                "NVIDIA L4 (0000:b3:00.0)",
                "AMD Radeon",
                "llvmpipe #3",
                "llvmpipe #4",
            ]
        );
    }

    #[test]
    fn cards_come_before_software() {
        let kinds = [
            wgpu::DeviceType::DiscreteGpu,
            wgpu::DeviceType::IntegratedGpu,
            wgpu::DeviceType::VirtualGpu,
            wgpu::DeviceType::Other,
            wgpu::DeviceType::Cpu,
        ];
        assert!(kinds.map(AdapterKind::from).is_sorted());
    }
}
