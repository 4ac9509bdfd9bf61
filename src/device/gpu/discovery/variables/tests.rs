use super::super::loader::{EGL_LIBRARY, GLX_LIBRARY, GLX_NEEDS};
use super::super::machine::fake::FakeMachine;
use super::*;

impl FakeMachine {
    fn added(&self) -> Vec<(&'static str, String)> {
        variables_to_add(&self.0)
    }

    /// Asserts that these variables are added, and that they suffice: once they are set, nothing is added.
    fn assert_adds(self, expected: &[(&'static str, &str)]) {
        let mut added = self.added();
        let marker = added.pop();
        assert_eq!(marker, Some((STARTED_AGAIN, "1".to_owned())));
        let as_text: Vec<_> = added
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        assert_eq!(as_text, expected);
        // Even without the marker.
        let mut again = self;
        for (name, value) in added {
            again = again.variable(name, &value);
        }
        assert_eq!(again.added(), []);
    }
}

const LIBRARIES: &str = "/usr/lib64";
const X11: [&str; 2] = GLX_NEEDS;
const OURS: &str = "/usr/share/atto-work-server/vulkan/icd.d/nvidia_egl.json";
const GKE: &str = "/usr/local/nvidia/vulkan/icd.d/nvidia_icd.json";
const DEFAULT: &str = "/etc/vulkan/icd.d/nvidia_icd.json";

/// An image with our manifest, and a loader.
fn image() -> FakeMachine {
    FakeMachine::new().manifest(OURS, EGL_LIBRARY)
}

#[test]
fn a_driver_that_the_loader_finds_needs_nothing() {
    let machine = image()
        .manifest(DEFAULT, GLX_LIBRARY)
        .files(LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY])
        .files("/usr/lib", &X11);
    assert_eq!(machine.added(), []);
    assert_eq!(
        FakeMachine::new().added(),
        [],
        "nor does a machine without a driver"
    );
    assert_eq!(image().added(), [], "nor an image without a card");
}

#[test]
fn without_a_manifest_the_images_own_is_named() {
    image()
        .files(LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY])
        .assert_adds(&[(ADDING, OURS)]);
}

#[test]
fn without_x11_the_images_own_is_named() {
    image()
        .manifest(DEFAULT, GLX_LIBRARY)
        .files(LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY])
        .assert_adds(&[(ADDING, OURS)]);
}

#[test]
fn the_layout_of_gke_is_found() {
    let gke = || image().files(OTHER_LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY]);
    let with_x11 = || gke().files("/usr/lib", &X11);
    with_x11()
        .manifest(GKE, GLX_LIBRARY)
        .assert_adds(&[(ADDING, GKE), ("LD_LIBRARY_PATH", OTHER_LIBRARIES)]);
    // Its path suffices to find the library, but not to find the libraries that it needs.
    with_x11()
        .manifest(GKE, &format!("{OTHER_LIBRARIES}/{GLX_LIBRARY}"))
        .assert_adds(&[(ADDING, GKE), ("LD_LIBRARY_PATH", OTHER_LIBRARIES)]);
    // Newer nodes mount the manifest in a default folder.
    with_x11()
        .manifest(GKE, GLX_LIBRARY)
        .manifest(DEFAULT, GLX_LIBRARY)
        .variable("LD_LIBRARY_PATH", "/opt/lib")
        .assert_adds(&[("LD_LIBRARY_PATH", &format!("/opt/lib:{OTHER_LIBRARIES}"))]);
    gke()
        .manifest(GKE, GLX_LIBRARY)
        .assert_adds(&[(ADDING, OURS), ("LD_LIBRARY_PATH", OTHER_LIBRARIES)]);
}

#[test]
fn a_driver_with_the_layout_of_its_package_is_found() {
    let manifest = "/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json";
    image()
        .files(OTHER_LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY])
        .files("/usr/lib", &X11)
        .manifest(manifest, GLX_LIBRARY)
        .assert_adds(&[(ADDING, manifest), ("LD_LIBRARY_PATH", OTHER_LIBRARIES)]);
}

#[test]
fn variables_that_the_operator_sets_stay() {
    for name in [ADDING, REPLACING[0], REPLACING[1], STARTED_AGAIN] {
        let machine = image().files(LIBRARIES, &[EGL_LIBRARY]);
        assert_ne!(machine.added(), []);
        assert_eq!(machine.variable(name, "").added(), [], "{name}");
    }
}

#[test]
fn a_driver_that_the_operator_names_gets_its_libraries() {
    for name in [ADDING, REPLACING[0], REPLACING[1]] {
        image()
            .files(OTHER_LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY])
            .files("/usr/lib", &X11)
            .manifest(GKE, GLX_LIBRARY)
            .variable(name, GKE)
            .assert_adds(&[("LD_LIBRARY_PATH", OTHER_LIBRARIES)]);
    }
}
