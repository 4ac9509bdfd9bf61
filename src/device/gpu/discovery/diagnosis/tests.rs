use super::nvidia::NVIDIA_CONTROL;
use super::*;
use crate::device::gpu::discovery::card::Card;
use crate::device::gpu::discovery::loader::{EGL_LIBRARY, GLX_LIBRARY};
use crate::device::gpu::discovery::machine::fake::FakeMachine;

const X11: [&str; 2] = ["libX11.so.6", "libXext.so.6"];
const VERSION: &str = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n\
                       GCC version:  gcc version 12.3.0\n";

/// A machine with a Vulkan loader.
fn machine() -> FakeMachine {
    FakeMachine::new().files("/usr/lib", &[LOADER])
}

/// A container on a machine with an NVIDIA card, which it was given.
fn nvidia_container() -> FakeMachine {
    machine()
        .files("/dev", &["nvidia0", "nvidiactl", "nvidia-uvm"])
        .file("/proc/driver/nvidia/version", VERSION)
        .file("/proc/driver/nvidia/gpus/0000:65:00.0/information", "")
        .variable("NVIDIA_VISIBLE_DEVICES", "all")
        .pci("0000:65:00.0", "0x10de", "0x27b8", "0x030200")
        .link("/sys/bus/pci/devices/0000:65:00.0/driver", "../nvidia")
}

/// The same with the whole driver.
fn nvidia_with_driver() -> FakeMachine {
    nvidia_container()
        .variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility,graphics")
        .files("/usr/lib64", &[GLX_LIBRARY, EGL_LIBRARY])
        .files("/usr/lib", &X11)
        .manifest("/etc/vulkan/icd.d/nvidia_icd.json", GLX_LIBRARY)
}

/// A machine with an AMD card, a Radeon RX 7900 XTX, and Mesa's driver for it.
fn amd() -> FakeMachine {
    amd_without_mesa()
        .files("/usr/lib", &["libvulkan_radeon.so"])
        .manifest(
            "/usr/share/vulkan/icd.d/radeon_icd.json",
            "/usr/lib/libvulkan_radeon.so",
        )
}

fn amd_without_mesa() -> FakeMachine {
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

impl FakeMachine {
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
        diagnose(&self.0, &Offered::default())
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
    assert_eq!(FakeMachine::new().obstacle(), Obstacle::NoCard);
    // A virtual machine's display, a network card, and Intel's neural processing unit.
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
        diagnose(&machine.0, &software),
        [Obstacle::NoCard, Obstacle::OnlySoftware]
    );
}

#[test]
fn cards_that_vulkan_offers_have_no_obstacle() {
    let fine = nvidia_with_driver();
    assert_eq!(diagnose(&fine.0, &offers(&[Vendor::Nvidia])), []);
    assert_eq!(diagnose(&amd().0, &offers(&[Vendor::Amd])), []);
    // A card of another vendor beside it has one.
    assert_eq!(diagnose(&amd().0, &offers(&[Vendor::Nvidia])).len(), 1);
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
    // Outside a container the capabilities do not matter.
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
fn amds_compute_only_cards_have_no_vulkan() {
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
    // Even if Vulkan offers another card of AMD.
    assert_eq!(
        diagnose(&machine.0, &offers(&[Vendor::Amd])),
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
fn a_node_of_an_unknown_card_is_reported() {
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
    let without_loader = FakeMachine::new()
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
fn an_empty_variable_hides_every_driver() {
    for variable in REPLACING {
        let hidden = amd().variable(variable, "").obstacles();
        assert_eq!(hidden[0], Obstacle::NoManifestNamed { variable });
        let text = hidden[0].to_string();
        assert!(
            text.starts_with(&format!("{variable} is set but empty")),
            "{text}"
        );
    }
    // The first variable counts.
    let hidden = amd()
        .variable(REPLACING[0], "")
        .variable(REPLACING[1], "/usr/share/vulkan/icd.d/radeon_icd.json");
    let variable = REPLACING[0];
    assert_eq!(
        hidden.obstacles()[0],
        Obstacle::NoManifestNamed { variable }
    );
}

#[test]
fn wsl2_is_named() {
    let wsl = machine()
        .files("/dev", &["dxg"])
        .files("/usr/lib/wsl/lib", &["libcuda.so.1"])
        .variable("NVIDIA_VISIBLE_DEVICES", "all");
    let obstacle = wsl.obstacle();
    assert_eq!(obstacle, Obstacle::Wsl);
    assert!(obstacle.is_of_a_card() && obstacle.is_silent());
    let text = obstacle.to_string();
    assert!(
        text.starts_with("/dev/dxg shows that this is WSL2"),
        "{text}"
    );
    // Through Mesa's dzn it may be offered.
    assert_eq!(diagnose(&wsl.0, &offers(&[Vendor::Nvidia])), []);
}

#[test]
fn a_complete_driver_that_offers_no_card_is_silent() {
    assert!(amd().obstacle().is_silent());
    assert!(nvidia_with_driver().obstacle().is_silent());
    assert!(!amd_without_mesa().obstacle().is_silent());
    let hidden = Obstacle::NotConformant {
        adapter: "AMD Radeon".to_owned(),
    };
    assert!(hidden.is_of_a_card());
    assert_eq!(
        hidden.to_string(),
        "AMD Radeon is left out, since its Vulkan driver is not conformant: set \
         WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER=1 to use it; the self-test then decides"
    );
}
