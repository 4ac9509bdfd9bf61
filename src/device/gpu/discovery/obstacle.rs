//! The reasons why a graphics card cannot be used: plain data, with their texts.

use serde::Serialize;

use super::adapter::NONCONFORMANT;
use super::card::Card;
use super::loader::{EGL_LIBRARY, GLX_LIBRARY, LOADER};
use super::machine::Machine;

/// The node through which WSL2 offers cards.
pub(super) const WSL: &str = "/dev/dxg";

/// A reason why a graphics card cannot be used.
///
/// Its text is one line: what was seen, what it means, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
pub enum Obstacle {
    /// The operator's variable names manifests that do not exist.
    #[error(
        "{variable} is {value:?}, but no Vulkan driver's manifest is there: correct it, or unset it for the default \
         folders"
    )]
    NoSuchManifest {
        /// The variable that lists drivers.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The operator's variable names no manifests at all.
    #[error(
        "{variable} is set but empty, which hides every Vulkan driver: unset it for the default folders"
    )]
    NoManifestNamed {
        /// The variable that lists drivers.
        variable: &'static str,
    },
    /// The adapter is there, but its driver is not conformant.
    #[error(
        "{adapter} is left out, since its Vulkan driver is not conformant: set {NONCONFORMANT}=1 to use it; the self-test \
         then decides"
    )]
    NotConformant {
        /// The label of the adapter.
        adapter: String,
    },
    /// WSL2 offers its cards otherwise.
    #[error(
        "{WSL} shows that this is WSL2, where cards have no Vulkan driver of their own: Mesa's driver dzn offers them \
         through Direct3D, if it is installed and {NONCONFORMANT}=1 is set; or use Linux without WSL2, or the backend cpu"
    )]
    Wsl,
    /// There are cards, but no Vulkan loader.
    #[error("the Vulkan loader, {LOADER}, is not installed: install libvulkan1")]
    NoLoader,
    /// The Linux kernel has NVIDIA's driver, but the container has no card.
    #[error(
        "the kernel has NVIDIA's driver, but there is no /dev/nvidia0: give the container a card (Docker: --gpus all; \
         Kubernetes: the resource nvidia.com/gpu), or without a container run nvidia-modprobe"
    )]
    NvidiaNotGiven,
    /// NVIDIA's variables are set, but there is neither a card nor a driver of NVIDIA.
    #[error(
        "NVIDIA_VISIBLE_DEVICES is {visible:?}, but there is neither /dev/nvidia0 nor NVIDIA's kernel driver: the \
         machine has no NVIDIA card, or the container does not run under NVIDIA's runtime (Docker: --gpus all; \
         Kubernetes: runtimeClassName: nvidia)"
    )]
    NvidiaRuntimeMissing {
        /// The value of the variable.
        visible: String,
    },
    /// No Vulkan driver works with the card's kernel driver, or it has none.
    #[error(
        "card {card}: {}, which no Vulkan driver works with: install the vendor's kernel driver on the machine",
        match driver {
            Some(driver) => format!("its kernel driver is {driver}"),
            None => "it has no kernel driver".to_owned(),
        }
    )]
    NoKernelDriver {
        /// The card.
        card: Card,
        /// Its kernel driver, if it has one.
        driver: Option<String>,
    },
    /// The NVIDIA card is a MIG slice.
    #[error(
        "{seen} shows a slice of an NVIDIA card (MIG), and slices have no Vulkan, except for some RTX PRO cards: use a \
         whole card, which NVIDIA's time-slicing can share"
    )]
    Mig {
        /// Where this was seen.
        seen: String,
    },
    /// The container has NVIDIA's driver without its graphics part, which includes Vulkan.
    #[error(
        "NVIDIA_DRIVER_CAPABILITIES is {}, without graphics, which Vulkan needs: set it to compute,utility,graphics",
        match value {
            Some(value) => format!("{value:?}"),
            None => "not set, which means compute,utility".to_owned(),
        }
    )]
    NoGraphicsCapability {
        /// The value of the variable, if it is set.
        value: Option<String>,
    },
    /// The machine has NVIDIA's kernel driver without its Vulkan driver.
    #[error(
        "NVIDIA's kernel driver{} is here, but its Vulkan driver ({GLX_LIBRARY} or {EGL_LIBRARY}) is not: install the \
         driver on the machine with its graphics libraries (not the headless or compute-only kind)",
        version_of(version)
    )]
    NoNvidiaVulkan {
        /// The kernel driver's version.
        version: Option<String>,
    },
    /// No manifest announces NVIDIA's Vulkan driver.
    #[error(
        "{library} is here, but no manifest announces it to the Vulkan loader: update NVIDIA's container toolkit (1.12 \
         or later), or set VK_DRIVER_FILES to a file with {{\"file_format_version\": \"1.0.0\", \"ICD\": \
         {{\"library_path\": \"{EGL_LIBRARY}\", \"api_version\": \"1.3.0\"}}}}"
    )]
    NoNvidiaManifest {
        /// The driver's library.
        library: &'static str,
    },
    /// A manifest announces a driver that cannot be loaded.
    #[error(
        "{manifest} announces {library}, but {missing} is not found: install the package that has it, or name its \
         folder in LD_LIBRARY_PATH"
    )]
    LibraryMissing {
        /// The manifest.
        manifest: String,
        /// The driver's library that it names.
        library: String,
        /// The library that is not found.
        missing: String,
    },
    /// NVIDIA's driver is complete but offers no card.
    #[error(
        "NVIDIA's Vulkan driver{} is here, but offers no card: without a display it may need a manifest that names \
         {EGL_LIBRARY} (VK_DRIVER_FILES), the node /dev/nvidia-modeset, or an image as new as the machine's system; \
         VK_LOADER_DEBUG=all tells more",
        version_of(version)
    )]
    NvidiaSilent {
        /// The kernel driver's version.
        version: Option<String>,
    },
    /// The card has no Vulkan driver at all.
    #[error(
        "card {card}: AMD {model} is for computing only and has no Vulkan driver: use a Radeon, or the backend cpu"
    )]
    ComputeOnly {
        /// The card.
        card: Card,
        /// Its series.
        model: &'static str,
    },
    /// The container does not have the card's device node.
    #[error(
        "card {card}: there is no {node} here: give it to the container (Docker: --device /dev/dri; Kubernetes: the \
         vendor's device plugin)"
    )]
    NodeNotGiven {
        /// The card.
        card: Card,
        /// The node that it is used through.
        node: String,
    },
    /// The process may not open a card's device node.
    #[error(
        "this process may not open {node}{}",
        match group {
            Some(group) => format!(
                "; it belongs to group {group}: join it (Docker: --group-add {group}; Kubernetes: \
                 securityContext.supplementalGroups: [{group}])"
            ),
            None => String::new(),
        }
    )]
    NodeDenied {
        /// The node that a card is used through.
        node: String,
        /// The number of the group that owns it.
        group: Option<u32>,
    },
    /// The card's Vulkan driver is not installed.
    #[error("card {card}: no Vulkan driver for it is installed: install mesa-vulkan-drivers")]
    NoMesa {
        /// The card.
        card: Card,
    },
    /// The card's driver is complete but does not offer the card.
    #[error(
        "{card}: no installed Vulkan driver offers it: a driver may be older than the card, or be switched off by \
         VK_LOADER_DRIVERS_DISABLE; VK_LOADER_DEBUG=all tells more"
    )]
    NotOffered {
        /// The card, or the node that it is used through.
        card: String,
    },
    /// Nothing on this machine looks like a card.
    #[error(
        "there is no sign of a graphics card: no NVIDIA, AMD or Intel card on the PCI bus, no /dev/nvidia0, nothing \
         in /dev/dri"
    )]
    NoCard,
    /// Vulkan only offers software adapters.
    #[error(
        "Vulkan offers only software devices, which auto leaves out: the processor searches faster by itself (--backend \
         gpu uses them)"
    )]
    OnlySoftware,
}

impl Obstacle {
    /// This process may not open the device node.
    pub(super) fn denied(machine: &Machine, node: &str) -> Self {
        Self::NodeDenied {
            node: node.to_owned(),
            group: machine.group(node),
        }
    }

    /// Whether a driver is complete and does not offer its card. It may have been left out as not conformant.
    pub const fn is_silent(&self) -> bool {
        matches!(
            self,
            Self::NvidiaSilent { .. } | Self::NotOffered { .. } | Self::Wsl
        )
    }

    /// Whether it concerns a card that the machine shows signs of, rather than the absence of any.
    pub const fn is_of_a_card(&self) -> bool {
        !matches!(self, Self::NoCard | Self::OnlySoftware)
    }
}

/// ` 550.54.15`, with its space, or nothing.
fn version_of(version: &Option<String>) -> String {
    version
        .as_ref()
        .map(|version| format!(" {version}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_to_do() {
        let denied = Obstacle::NodeDenied {
            node: "/dev/dri/renderD128".to_owned(),
            group: Some(109),
        };
        assert_eq!(
            denied.to_string(),
            "this process may not open /dev/dri/renderD128; it belongs to group 109: join it (Docker: \
             --group-add 109; Kubernetes: securityContext.supplementalGroups: [109])"
        );
        let no_manifest = Obstacle::NoNvidiaManifest {
            library: EGL_LIBRARY,
        };
        let text = no_manifest.to_string();
        let (start, end) = (text.find('{').unwrap(), text.rfind('}').unwrap());
        let manifest: serde_json::Value = serde_json::from_str(&text[start..=end]).unwrap();
        assert_eq!(manifest["ICD"]["library_path"], EGL_LIBRARY);
    }
}
