//! Why a graphics card cannot be used: what is to be seen on the machine, what it means, and what to do next.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::driver::{EGL_LIBRARY, GLX_LIBRARY, Library, Machine, REPLACING};
use super::{AdapterInfo, AdapterKind};

/// The library that a program reaches every Vulkan driver through.
const LOADER: &str = "libvulkan.so.1";

/// The node of NVIDIA's driver for all cards.
const NVIDIA_CONTROL: &str = "/dev/nvidiactl";

/// AMD's cards for computing only, by PCI id. Mesa's driver refuses them (`radv_is_gpu_supported` in its
/// `src/amd/vulkan/winsys/amdgpu/radv_amdgpu_winsys.c`), and wgpu uses nothing that has no queue for graphics.
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

/// Something that keeps a graphics card from being used.
///
/// Its text is one line: what was seen, what it means, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
pub enum Obstacle {
    /// The operator's list of drivers names what is not there.
    #[error(
        "{variable} is {value:?}, and no Vulkan driver's manifest is there: correct it, or unset it for the default \
         folders"
    )]
    NoSuchManifest {
        /// The variable that lists drivers.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// There are cards, but no Vulkan loader.
    #[error(
        "{LOADER} is not installed, which every Vulkan driver is reached through: install libvulkan1"
    )]
    NoLoader,
    /// The kernel has NVIDIA's driver, but the container has no card.
    #[error(
        "the kernel has NVIDIA's driver, but there is no /dev/nvidia0: give the container a card (Docker: --gpus all; \
         Kubernetes: the resource nvidia.com/gpu), or without a container run nvidia-modprobe"
    )]
    NvidiaNotGiven,
    /// NVIDIA's variables are set, but nothing of NVIDIA's is here.
    #[error(
        "NVIDIA_VISIBLE_DEVICES is {visible:?}, but there is neither /dev/nvidia0 nor NVIDIA's kernel driver: the \
         machine has no NVIDIA card, or the container does not run under NVIDIA's runtime (Docker: --gpus all; \
         Kubernetes: runtimeClassName: nvidia)"
    )]
    NvidiaRuntimeMissing {
        /// The cards that were asked for.
        visible: String,
    },
    /// The card has no kernel driver that a Vulkan driver works with.
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
        /// The kernel's driver for it, if it has one.
        driver: Option<String>,
    },
    /// The NVIDIA card is a slice of one.
    #[error(
        "{seen} shows a slice of an NVIDIA card (MIG), and slices have no Vulkan, except for some RTX PRO cards: use a \
         whole card, which NVIDIA's time-slicing can share"
    )]
    Mig {
        /// Where that is to be seen.
        seen: String,
    },
    /// The container was not given the part of NVIDIA's driver with Vulkan.
    #[error(
        "NVIDIA_DRIVER_CAPABILITIES is {}, and Vulkan is a part of graphics: set it to compute,utility,graphics",
        match value {
            Some(value) => format!("{value:?}"),
            None => "not set, which means compute,utility".to_owned(),
        }
    )]
    NoGraphicsCapability {
        /// The capabilities that were asked for.
        value: Option<String>,
    },
    /// NVIDIA's driver is here without its part with Vulkan.
    #[error(
        "NVIDIA's kernel driver{} is here, but neither {GLX_LIBRARY} nor {EGL_LIBRARY}, one of which is its Vulkan \
         driver: install the driver on the machine with its graphics libraries (not the headless or compute-only kind)",
        version_of(version)
    )]
    NoNvidiaVulkan {
        /// The kernel driver's version.
        version: Option<String>,
    },
    /// NVIDIA's Vulkan driver is here, but nothing announces it.
    #[error(
        "{library} is here, but no manifest announces it to the Vulkan loader: update NVIDIA's container toolkit (1.12 \
         or later), or set VK_DRIVER_FILES to a file with {{\"file_format_version\": \"1.0.0\", \"ICD\": \
         {{\"library_path\": \"{EGL_LIBRARY}\", \"api_version\": \"1.3.0\"}}}}"
    )]
    NoNvidiaManifest {
        /// The driver's library.
        library: &'static str,
    },
    /// A driver is announced, but cannot be loaded.
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
    /// All of NVIDIA's driver is here, but it does not work.
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
    /// The card cannot do Vulkan.
    #[error(
        "card {card}: AMD {model} is for computing only and has no Vulkan driver: use a Radeon, or the backend cpu"
    )]
    ComputeOnly {
        /// The card.
        card: Card,
        /// Its series.
        model: &'static str,
    },
    /// A card of the machine has not been given to the container.
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
    /// The process may not use a card.
    #[error(
        "{node} may not be opened by this process{}",
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
    /// The driver for the card is not installed.
    #[error("card {card}: no Vulkan driver for it is installed: install mesa-vulkan-drivers")]
    NoMesa {
        /// The card.
        card: Card,
    },
    /// Everything seems to be here, but the card is not offered.
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
    /// Vulkan has nothing but software.
    #[error(
        "Vulkan offers only software devices, which auto leaves out: the processor searches faster by itself (--backend \
         gpu uses them)"
    )]
    OnlySoftware,
}

impl Obstacle {
    /// Whether it tells of a card, of which there must be a sign then, and not only that there is none to be seen.
    pub const fn is_of_a_card(&self) -> bool {
        !matches!(self, Self::NoCard | Self::OnlySoftware)
    }
}

fn version_of(version: &Option<String>) -> String {
    version
        .as_ref()
        .map(|version| format!(" {version}"))
        .unwrap_or_default()
}

/// A card on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Where it is plugged in, such as `0000:65:00.0`.
    pub pci: String,
    /// Who made it.
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

/// Who makes cards.
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
    fn of(id: u32) -> Option<Self> {
        match id {
            0x10de => Some(Self::Nvidia),
            0x1002 => Some(Self::Amd),
            0x8086 => Some(Self::Intel),
            _ => None,
        }
    }

    /// Whether this is the name of a Vulkan driver's library for the vendor's cards.
    fn has_driver(self, library: &str) -> bool {
        let names: &[&str] = match self {
            Self::Nvidia => &["nvidia", "nouveau"],
            Self::Amd => &["radeon", "amdvlk"],
            Self::Intel => &["intel"],
        };
        names.iter().any(|name| library.contains(name))
    }
}

/// What Vulkan offers, as far as obstacles depend on it.
#[derive(Clone, Debug, Default)]
pub struct Offered {
    cards: BTreeSet<Option<Vendor>>,
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

/// Why cards of this machine are not among those that Vulkan offers, the most telling reason first. Empty if there is
/// nothing to say.
pub fn obstacles(machine: &Machine, offered: &Offered) -> Vec<Obstacle> {
    let cards = cards(machine);
    let lacks = |vendor| !offered.cards.contains(&Some(vendor));
    let mut found = Vec::new();
    if lacks(Vendor::Nvidia) {
        found.extend(nvidia(machine, &cards));
    }
    for card in &cards {
        if card.0.vendor != Vendor::Nvidia {
            found.extend(mesa(machine, card, lacks(card.0.vendor)));
        }
    }
    if !offered.cards.is_empty() {
        return found;
    }
    if found.is_empty() {
        found = unknown(machine);
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
    if !found.iter().all(is_no_card) && !machine.linker_finds(LOADER) {
        found.insert(0, Obstacle::NoLoader);
    }
    let replacing = REPLACING
        .into_iter()
        .find_map(|variable| Some((variable, machine.variable(variable)?.to_owned())));
    if let Some((variable, value)) = replacing
        && machine.manifests().is_empty()
    {
        found.insert(0, Obstacle::NoSuchManifest { variable, value });
    }
    if offered.software {
        found.push(Obstacle::OnlySoftware);
    }
    found
}

/// A card on the PCI bus, with the name of its kernel driver, and that of its node in `/dev/dri`.
type Plugged = (Card, Option<String>, Option<String>);

/// The cards on the PCI bus. Containers see those of the whole machine.
fn cards(machine: &Machine) -> Vec<Plugged> {
    const BUS: &str = "/sys/bus/pci/devices";
    let card = |pci: String| {
        let number = |file: &str| {
            let text = machine.read(&format!("{BUS}/{pci}/{file}"))?;
            u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        let vendor = Vendor::of(number("vendor")?)?;
        // Displays, and for AMD also accelerators, as the MI300 calls itself (https://pci-ids.ucw.cz/read/PD).
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
        Some((card, driver, node))
    };
    machine.names(BUS).into_iter().filter_map(card).collect()
}

/// Why no NVIDIA card is offered, if there is one or the operator expects one.
fn nvidia(machine: &Machine, cards: &[Plugged]) -> Vec<Obstacle> {
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
            .filter(|(card, ..)| card.vendor == Vendor::Nvidia && version.is_none())
            .map(|(card, driver, _)| Obstacle::NoKernelDriver {
                card: card.clone(),
                driver: driver.clone(),
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
        return vec![denied(machine, NVIDIA_CONTROL)];
    }
    let found = nvidia_driver(machine, visible.is_some()).into_iter();
    let found: Vec<_> = found.chain(mig(machine)).collect();
    if !found.is_empty() {
        return found;
    }
    let version = version.as_deref().and_then(short_version);
    vec![Obstacle::NvidiaSilent { version }]
}

/// What is wrong with the part of NVIDIA's driver that is in files.
fn nvidia_driver(machine: &Machine, in_container: bool) -> Option<Obstacle> {
    let Some(library) = [GLX_LIBRARY, EGL_LIBRARY]
        .into_iter()
        .find(|library| machine.has_library(library))
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
    let mut manifests = machine.manifests();
    manifests.retain(super::driver::Manifest::is_nvidia);
    if manifests.is_empty() {
        return Some(Obstacle::NoNvidiaManifest { library });
    }
    missing_library(machine, Vendor::Nvidia)
}

/// A library that keeps every announced driver for the vendor's cards from being loaded.
fn missing_library(machine: &Machine, vendor: Vendor) -> Option<Obstacle> {
    let mut missing = None;
    for manifest in machine.manifests() {
        if !vendor.has_driver(manifest.library_name()) {
            continue;
        }
        let library = match machine.library(&manifest) {
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

/// The slices of cards that NVIDIA's kernel driver knows of.
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

/// The number in what NVIDIA's kernel driver says of itself:
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

/// Why a card that Mesa has a driver for is not offered; `is_lacking` says whether none of its vendor's is.
fn mesa(machine: &Machine, card: &Plugged, is_lacking: bool) -> Option<Obstacle> {
    let (card, driver, node) = card;
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
    let manifests = machine.manifests();
    let mut libraries = manifests.iter().map(|manifest| manifest.library_name());
    if !libraries.any(|library| card.vendor.has_driver(library)) {
        return Some(Obstacle::NoMesa { card });
    }
    if !machine.may_open(&node) {
        return Some(denied(machine, &node));
    }
    missing_library(machine, card.vendor).or_else(|| {
        let card = format!("card {card}");
        Some(Obstacle::NotOffered { card })
    })
}

/// Why what is in `/dev/dri`, of whatever vendor, is not offered.
fn unknown(machine: &Machine) -> Vec<Obstacle> {
    let mut nodes = machine.names("/dev/dri");
    nodes.retain(|node| node.starts_with("renderD"));
    let obstacle = |node: String| {
        let node = format!("/dev/dri/{node}");
        if machine.may_open(&node) {
            Obstacle::NotOffered { card: node }
        } else {
            denied(machine, &node)
        }
    };
    nodes.into_iter().map(obstacle).collect()
}

fn denied(machine: &Machine, node: &str) -> Obstacle {
    Obstacle::NodeDenied {
        node: node.to_owned(),
        group: machine.group(node),
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::Built;
    use super::*;

    const X11: [&str; 2] = ["libX11.so.6", "libXext.so.6"];
    const VERSION: &str = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n\
                           GCC version:  gcc version 12.3.0\n";

    /// A machine with a Vulkan loader.
    fn machine() -> Built {
        Built::new().files("/usr/lib", &[LOADER])
    }

    /// A container on a machine with an NVIDIA card, which it was given.
    fn nvidia_container() -> Built {
        machine()
            .files("/dev", &["nvidia0", "nvidiactl", "nvidia-uvm"])
            .file("/proc/driver/nvidia/version", VERSION)
            .file("/proc/driver/nvidia/gpus/0000:65:00.0/information", "")
            .variable("NVIDIA_VISIBLE_DEVICES", "all")
            .pci("0000:65:00.0", "0x10de", "0x27b8", "0x030200")
            .link("/sys/bus/pci/devices/0000:65:00.0/driver", "../nvidia")
    }

    /// The same with the whole driver.
    fn nvidia_with_driver() -> Built {
        nvidia_container()
            .variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility,graphics")
            .files("/usr/lib64", &[GLX_LIBRARY, EGL_LIBRARY])
            .files("/usr/lib", &X11)
            .manifest("/etc/vulkan/icd.d/nvidia_icd.json", GLX_LIBRARY)
    }

    /// A machine with an AMD card, a Radeon RX 7900 XTX, and Mesa's driver for it.
    fn amd() -> Built {
        amd_without_mesa()
            .files("/usr/lib", &["libvulkan_radeon.so"])
            .manifest(
                "/usr/share/vulkan/icd.d/radeon_icd.json",
                "/usr/lib/libvulkan_radeon.so",
            )
    }

    fn amd_without_mesa() -> Built {
        machine()
            .pci("0000:03:00.0", "0x1002", "0x744c", "0x030000")
            .drm("0000:03:00.0", "renderD128")
            .files("/dev/dri", &["card0", "renderD128"])
    }

    fn radeon() -> Card {
        Card {
            pci: "0000:03:00.0".to_owned(),
            vendor: Vendor::Amd,
            device_id: 0x744c,
        }
    }

    impl Built {
        fn pci(self, pci: &str, vendor: &str, device: &str, class: &str) -> Self {
            let folder = format!("/sys/bus/pci/devices/{pci}");
            self.file(&format!("{folder}/vendor"), &format!("{vendor}\n"))
                .file(&format!("{folder}/device"), &format!("{device}\n"))
                .file(&format!("{folder}/class"), &format!("{class}\n"))
        }

        fn drm(self, pci: &str, node: &str) -> Self {
            let folder = format!("/sys/bus/pci/devices/{pci}");
            self.link(&format!("{folder}/driver"), "../../bus/pci/drivers/amdgpu")
                .files(&format!("{folder}/drm"), &["card0", node])
        }

        /// The obstacles where Vulkan offers nothing.
        fn obstacles(&self) -> Vec<Obstacle> {
            obstacles(&self.0, &Offered::default())
        }

        /// The only obstacle where Vulkan offers nothing.
        fn obstacle(&self) -> Obstacle {
            let found = self.obstacles();
            let [obstacle] = &found[..] else {
                panic!("{found:#?}")
            };
            let text = obstacle.to_string();
            assert!(!text.contains('\n') && !text.contains("  "), "{text:?}");
            obstacle.clone()
        }
    }

    fn offers(vendors: &[Vendor]) -> Offered {
        Offered {
            cards: vendors.iter().copied().map(Some).collect(),
            software: true,
        }
    }

    #[test]
    fn a_machine_with_nothing_has_no_sign_of_a_card() {
        assert_eq!(Built::new().obstacle(), Obstacle::NoCard);
        // A virtual machine's display, a network card, and Intel's part for neural networks.
        let machine = machine()
            .pci("0000:00:01.0", "0x1234", "0x1111", "0x030000")
            .pci("0000:00:02.0", "0x8086", "0x100e", "0x020000")
            .pci("0000:00:0b.0", "0x8086", "0x7d1d", "0x120000");
        assert_eq!(machine.obstacle(), Obstacle::NoCard);
        let software = Offered {
            software: true,
            ..Offered::default()
        };
        assert_eq!(
            obstacles(&machine.0, &software),
            [Obstacle::NoCard, Obstacle::OnlySoftware]
        );
    }

    #[test]
    fn cards_that_are_offered_have_no_obstacle() {
        let fine = nvidia_with_driver();
        assert_eq!(obstacles(&fine.0, &offers(&[Vendor::Nvidia])), []);
        assert_eq!(obstacles(&amd().0, &offers(&[Vendor::Amd])), []);
        // One of another vendor beside it has.
        assert_eq!(obstacles(&amd().0, &offers(&[Vendor::Nvidia])).len(), 1);
    }

    #[test]
    fn an_nvidia_container_needs_graphics() {
        let container = nvidia_container();
        assert_eq!(
            container.obstacle(),
            Obstacle::NoGraphicsCapability { value: None }
        );
        let value = "compute,utility";
        let container = container.variable("NVIDIA_DRIVER_CAPABILITIES", value);
        let value = Some(value.to_owned());
        assert_eq!(
            container.obstacle(),
            Obstacle::NoGraphicsCapability { value }
        );
        let version = Some("550.54.15".to_owned());
        for value in ["all", "compute, graphics"] {
            let container = nvidia_container().variable("NVIDIA_DRIVER_CAPABILITIES", value);
            let version = version.clone();
            assert_eq!(container.obstacle(), Obstacle::NoNvidiaVulkan { version });
        }
        // Outside a container the capabilities say nothing.
        let host = nvidia_container().variable("NVIDIA_VISIBLE_DEVICES", "");
        assert_eq!(host.obstacle(), Obstacle::NoNvidiaVulkan { version });
    }

    #[test]
    fn an_nvidia_driver_needs_a_manifest_and_its_libraries() {
        let driver = || {
            nvidia_container()
                .variable("NVIDIA_DRIVER_CAPABILITIES", "all")
                .files("/usr/lib64", &[GLX_LIBRARY, EGL_LIBRARY])
        };
        assert_eq!(
            driver().obstacle(),
            Obstacle::NoNvidiaManifest {
                library: GLX_LIBRARY
            }
        );
        let manifest = "/etc/vulkan/icd.d/nvidia_icd.json";
        let without_x11 = driver().manifest(manifest, GLX_LIBRARY);
        let missing = |library: &str, missing: &str| Obstacle::LibraryMissing {
            manifest: manifest.to_owned(),
            library: library.to_owned(),
            missing: missing.to_owned(),
        };
        assert_eq!(without_x11.obstacle(), missing(GLX_LIBRARY, X11[0]));
        let egl_only = nvidia_container()
            .files("/usr/lib64", &[EGL_LIBRARY])
            .files("/usr/lib", &X11)
            .manifest(manifest, GLX_LIBRARY);
        assert_eq!(egl_only.obstacle(), missing(GLX_LIBRARY, GLX_LIBRARY));
        let gke = nvidia_container()
            .files("/usr/local/nvidia/lib64", &[EGL_LIBRARY])
            .manifest(manifest, EGL_LIBRARY);
        assert_eq!(gke.obstacle(), missing(EGL_LIBRARY, EGL_LIBRARY));
        let complete = egl_only.manifest("/usr/share/vulkan/icd.d/egl.json", EGL_LIBRARY);
        let version = Some("550.54.15".to_owned());
        assert_eq!(complete.obstacle(), Obstacle::NvidiaSilent { version });
    }

    #[test]
    fn an_nvidia_card_must_be_given_to_the_container() {
        let not_given = machine()
            .file("/proc/driver/nvidia/version", VERSION)
            .file("/proc/driver/nvidia/gpus/0000:65:00.0/information", "");
        assert_eq!(not_given.obstacle(), Obstacle::NvidiaNotGiven);
        let visible = || machine().variable("NVIDIA_VISIBLE_DEVICES", "all");
        let runtime_missing = Obstacle::NvidiaRuntimeMissing {
            visible: "all".to_owned(),
        };
        assert_eq!(visible().obstacle(), runtime_missing);
        let not_wanted = machine().variable("NVIDIA_VISIBLE_DEVICES", "void");
        assert_eq!(not_wanted.obstacle(), Obstacle::NoCard);
        let pci = "0000:65:00.0";
        let no_driver = |driver: Option<&str>| Obstacle::NoKernelDriver {
            card: Card {
                pci: pci.to_owned(),
                vendor: Vendor::Nvidia,
                device_id: 0x27b8,
            },
            driver: driver.map(str::to_owned),
        };
        let without_driver = visible().pci(pci, "0x10de", "0x27b8", "0x030200");
        assert_eq!(without_driver.obstacle(), no_driver(None));
        let nouveau = without_driver.link(
            &format!("/sys/bus/pci/devices/{pci}/driver"),
            "../../../bus/pci/drivers/nouveau",
        );
        assert_eq!(nouveau.obstacle(), no_driver(Some("nouveau")));
        let denied = nvidia_with_driver().without_permission();
        assert!(
            matches!(denied.obstacle(), Obstacle::NodeDenied { node, .. } if node == NVIDIA_CONTROL)
        );
    }

    #[test]
    fn slices_of_nvidia_cards_have_no_vulkan() {
        let visible = "MIG-8a6f2d4e-0c3b-5f9e-9d5e-2b1a7c3d4e5f";
        let slice = nvidia_with_driver().variable("NVIDIA_VISIBLE_DEVICES", visible);
        let seen = format!("NVIDIA_VISIBLE_DEVICES={visible}");
        assert_eq!(slice.obstacle(), Obstacle::Mig { seen });
        let folder = "/proc/driver/nvidia/capabilities/gpu0/mig";
        let slice = nvidia_with_driver().file(&format!("{folder}/gi1/access"), "");
        let seen = folder.to_owned();
        assert_eq!(slice.obstacle(), Obstacle::Mig { seen });
        // A card that could be sliced but is not.
        let whole = nvidia_with_driver().file(&format!("{folder}/config"), "");
        assert!(matches!(whole.obstacle(), Obstacle::NvidiaSilent { .. }));
    }

    #[test]
    fn amds_cards_for_computing_have_no_vulkan() {
        let machine = amd()
            .pci("0000:c1:00.0", "0x1002", "0x74a1", "0x120000")
            .drm("0000:c1:00.0", "renderD129");
        let card = Card {
            pci: "0000:c1:00.0".to_owned(),
            vendor: Vendor::Amd,
            device_id: 0x74a1,
        };
        let compute_only = Obstacle::ComputeOnly {
            card,
            model: "Instinct MI300",
        };
        // Even beside another card of AMD's that is offered.
        assert_eq!(
            obstacles(&machine.0, &offers(&[Vendor::Amd])),
            [compute_only]
        );
        // Another vendor's card may have the same number.
        let other = self::machine().pci("0000:c1:00.0", "0x10de", "0x74a1", "0x030200");
        assert!(matches!(other.obstacle(), Obstacle::NoKernelDriver { .. }));
    }

    #[test]
    fn other_cards_need_a_node_a_driver_and_permission() {
        let card = radeon();
        assert_eq!(amd_without_mesa().obstacle(), Obstacle::NoMesa { card });
        let denied = amd().without_permission();
        let node = "/dev/dri/renderD128".to_owned();
        let group = denied.0.group(&node);
        assert!(group.is_some());
        assert_eq!(denied.obstacle(), Obstacle::NodeDenied { node, group });
        let offers_nothing = amd().obstacle();
        assert!(matches!(offers_nothing, Obstacle::NotOffered { .. }));

        let bare = machine().pci("0000:03:00.0", "0x1002", "0x744c", "0x030000");
        let (card, driver) = (radeon(), None);
        assert_eq!(bare.obstacle(), Obstacle::NoKernelDriver { card, driver });
        let not_given = bare.drm("0000:03:00.0", "renderD129");
        let (card, node) = (radeon(), "/dev/dri/renderD129".to_owned());
        assert_eq!(not_given.obstacle(), Obstacle::NodeNotGiven { card, node });

        let broken = amd_without_mesa().manifest(
            "/usr/share/vulkan/icd.d/radeon_icd.json",
            "/usr/lib/libvulkan_radeon.so",
        );
        assert!(matches!(broken.obstacle(), Obstacle::LibraryMissing { .. }));
    }

    #[test]
    fn a_node_of_an_unknown_card_is_told_of() {
        let hidden_bus = || machine().files("/dev/dri", &["renderD128"]);
        assert!(matches!(
            hidden_bus().obstacle(),
            Obstacle::NotOffered { .. }
        ));
        let denied = hidden_bus().without_permission();
        assert!(matches!(denied.obstacle(), Obstacle::NodeDenied { .. }));
    }

    #[test]
    fn the_loader_and_its_variables_come_first() {
        let without_loader = Built::new()
            .pci("0000:03:00.0", "0x1002", "0x744c", "0x030000")
            .obstacles();
        assert_eq!(without_loader.len(), 2);
        assert_eq!(without_loader[0], Obstacle::NoLoader);
        let misled = amd()
            .variable("VK_ICD_FILENAMES", "/nowhere/icd.json")
            .obstacles();
        let value = "/nowhere/icd.json".to_owned();
        let variable = "VK_ICD_FILENAMES";
        assert_eq!(misled[0], Obstacle::NoSuchManifest { variable, value });
        assert_eq!(misled[1], Obstacle::NoMesa { card: radeon() });
    }

    #[test]
    fn the_way_out_is_in_the_text() {
        let denied = Obstacle::NodeDenied {
            node: "/dev/dri/renderD128".to_owned(),
            group: Some(109),
        };
        assert_eq!(
            denied.to_string(),
            "/dev/dri/renderD128 may not be opened by this process; it belongs to group 109: join it (Docker: \
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
