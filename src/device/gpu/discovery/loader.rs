//! The Vulkan loader's search for drivers.
//!
//! A driver is announced by a *manifest*, a JSON file that names its library. The loader reads the manifests of the default
//! folders, or those that environment variables name.

use serde::Deserialize;

use super::linker;
use super::machine::Machine;

/// The Vulkan loader, through which a program reaches every driver.
pub(super) const LOADER: &str = "libvulkan.so.1";

/// NVIDIA's Vulkan driver, as the usual manifest names it.
pub(super) const GLX_LIBRARY: &str = "libGLX_nvidia.so.0";

/// NVIDIA's Vulkan driver for machines without X11.
pub(super) const EGL_LIBRARY: &str = "libEGL_nvidia.so.0";

/// Libraries that [`GLX_LIBRARY`] needs and a small image may lack:
/// <https://github.com/NVIDIA/nvidia-container-toolkit/issues/16>.
pub(super) const GLX_NEEDS: [&str; 2] = ["libX11.so.6", "libXext.so.6"];

/// A folder of NVIDIA's libraries that the dynamic linker does not search by default. Used by Google Kubernetes Engine:
/// <https://cloud.google.com/kubernetes-engine/docs/how-to/gpus#cuda>.
pub(super) const OTHER_LIBRARIES: &str = "/usr/local/nvidia/lib64";

/// The variables that replace the loader's default folders. The first that is set counts, even if it is empty: then there
/// is no driver.
pub(super) const REPLACING: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// The variable that adds to the loader's default folders, from version 1.3.207 of the loader on.
pub(super) const ADDING: &str = "VK_ADD_DRIVER_FILES";

/// The announcement of a Vulkan driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The manifest's own path.
    pub(super) path: String,
    /// The driver's library: a path, or a name for the dynamic linker to find.
    library: String,
}

impl Manifest {
    /// The name of the driver's library, without a folder.
    pub(super) fn library_name(&self) -> &str {
        self.library.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn is_nvidia(&self) -> bool {
        [GLX_LIBRARY, EGL_LIBRARY]
            .iter()
            .any(|library| self.library_name().starts_with(library))
    }
}

/// Whether a driver's library can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Loadable,
    /// Loadable if the dynamic linker also searches [`OTHER_LIBRARIES`].
    LoadableFromOther,
    /// Missing: the library itself, or one that it needs.
    Missing(String),
}

/// The part of a manifest that is read here. The format:
/// <https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md#driver-manifest-file-format>.
#[derive(Deserialize)]
struct ManifestFile {
    #[serde(rename = "ICD")]
    driver: ManifestDriver,
}

#[derive(Deserialize)]
struct ManifestDriver {
    library_path: String,
}

/// The manifests that the loader reads, by the rules of
/// <https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md#driver-discovery-on-linux>.
pub(super) fn manifests(machine: &Machine) -> Vec<Manifest> {
    let list = |name| machine.variable(name).map(str::to_owned);
    let instead = REPLACING
        .into_iter()
        .find(|name| machine.has_variable(name));
    let places = match instead {
        Some(name) => list(name).unwrap_or_default(),
        None => {
            let home = machine.variable("HOME").unwrap_or("/");
            let or = |name, fallback: &str| list(name).unwrap_or(fallback.to_owned());
            let folders = [
                or("XDG_CONFIG_HOME", &format!("{home}/.config")),
                or("XDG_CONFIG_DIRS", "/etc/xdg"),
                "/usr/local/etc:/etc".to_owned(),
                or("XDG_DATA_HOME", &format!("{home}/.local/share")),
                or("XDG_DATA_DIRS", "/usr/local/share:/usr/share"),
            ];
            let folders = folders.join(":");
            let folders = folders
                .split(':')
                .map(|folder| format!("{}/vulkan/icd.d", folder.trim_end_matches('/')));
            list(ADDING)
                .into_iter()
                .chain(folders)
                .collect::<Vec<_>>()
                .join(":")
        }
    };
    let places = places.split(':').filter(|place| !place.is_empty());
    places
        .flat_map(|place| manifests_at(machine, place))
        .collect::<Vec<_>>()
}

/// The manifests of a folder, or the one manifest if `place` is a file.
pub(super) fn manifests_at(machine: &Machine, place: &str) -> Vec<Manifest> {
    let names = machine.names(place);
    let paths = if names.is_empty() {
        vec![place.to_owned()]
    } else {
        names.iter().map(|name| format!("{place}/{name}")).collect()
    };
    let read = |path: String| {
        let text = machine.read(&path).filter(|_| path.ends_with(".json"))?;
        let file: ManifestFile = serde_json::from_str(&text).ok()?;
        Some(Manifest {
            path,
            library: file.driver.library_path,
        })
    };
    paths.into_iter().filter_map(read).collect()
}

/// Whether the driver's library can be loaded, as far as files show.
pub(super) fn library(machine: &Machine, manifest: &Manifest) -> Library {
    let name = manifest.library_name();
    let needs: &[&str] = if name.starts_with(GLX_LIBRARY) {
        &GLX_NEEDS
    } else {
        &[]
    };
    if let Some(missing) = needs.iter().find(|name| !linker::finds(machine, name)) {
        return Library::Missing((*missing).to_owned());
    }
    let folder = match manifest.library.rsplit_once('/') {
        _ if linker::finds(machine, name) => return Library::Loadable,
        None => OTHER_LIBRARIES.to_owned(),
        Some((folder, _)) if folder.starts_with('/') => folder.to_owned(),
        Some((folder, _)) => {
            let (manifests, _) = manifest.path.rsplit_once('/').unwrap_or_default();
            format!("{manifests}/{folder}")
        }
    };
    if !machine.exists(format!("{folder}/{name}")) {
        Library::Missing(manifest.library.clone())
    } else if folder == OTHER_LIBRARIES {
        // Even if the manifest names its path: it needs other libraries of this folder.
        Library::LoadableFromOther
    } else {
        Library::Loadable
    }
}

/// Whether the dynamic linker finds the library, or would with [`OTHER_LIBRARIES`].
pub(super) fn has_library(machine: &Machine, name: &str) -> bool {
    linker::finds(machine, name) || machine.exists(format!("{OTHER_LIBRARIES}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::super::machine::fake::FakeMachine;
    use super::*;

    #[test]
    fn manifests_are_those_that_the_loader_reads() {
        let machine = FakeMachine::new()
            .manifest("/usr/share/vulkan/icd.d/a.json", "liba.so")
            .manifest("/home/x/.local/share/vulkan/icd.d/b.json", "libb.so")
            .file("/usr/share/vulkan/icd.d/broken.json", "{")
            .manifest("/usr/share/vulkan/icd.d/c.txt", "libc.so")
            .manifest("/d/d.json", "libd.so")
            .variable("HOME", "/home/x");
        let names = |machine: &FakeMachine| {
            let manifests = manifests(&machine.0);
            let names = manifests.iter().map(Manifest::library_name);
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&machine), "libb.so liba.so");
        let machine = machine.variable(ADDING, "/d");
        assert_eq!(names(&machine), "libd.so libb.so liba.so");
        let machine = machine.variable(REPLACING[1], "/usr/share/vulkan/icd.d/a.json:/nowhere");
        assert_eq!(names(&machine), "liba.so");
        let machine = machine.variable(REPLACING[0], "/d/d.json");
        assert_eq!(names(&machine), "libd.so");
        let machine = machine.variable(REPLACING[0], "");
        assert_eq!(names(&machine), "");
        let machine = FakeMachine::new()
            .manifest("/usr/share/vulkan/icd.d/a.json", "liba.so")
            .variable(ADDING, "")
            .variable("XDG_DATA_HOME", "/nowhere")
            .variable("XDG_DATA_DIRS", "/usr/share/");
        assert_eq!(names(&machine), "liba.so");
    }

    #[test]
    fn a_library_is_loadable_by_its_path() {
        let machine = FakeMachine::new()
            .files("/opt/other", &["libtold.so"])
            .files("/usr/share/vulkan/icd.d", &["x.json"])
            .files("/usr/share/vulkan/lib", &["librelative.so"]);
        let library = |path: &str| {
            let manifest = Manifest {
                path: "/usr/share/vulkan/icd.d/x.json".to_owned(),
                library: path.to_owned(),
            };
            library(&machine.0, &manifest)
        };
        assert_eq!(library("/opt/other/libtold.so"), Library::Loadable);
        assert_eq!(library("../lib/librelative.so"), Library::Loadable);
        let gone = "libgone.so".to_owned();
        assert_eq!(library("libgone.so"), Library::Missing(gone));
    }
}
