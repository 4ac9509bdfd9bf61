//! Where the Vulkan loader finds drivers on this machine, and what it must be told to find NVIDIA's.
//!
//! A driver is announced by a *manifest*, a JSON file that names its library. The loader reads the manifests of the
//! default folders, but containers have NVIDIA's in places that it does not know.
//! [`Machine::variables_to_add`] says which environment variables make up for that. They must be there when the process
//! starts: the dynamic linker reads `LD_LIBRARY_PATH` only then, and a process with threads must not change its
//! environment. So the command line starts the process again, in the same process id, with these variables.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Folders with manifests of NVIDIA's driver that the loader does not read by itself, in the order of preference.
const OTHER_MANIFESTS: [&str; 2] = [
    // Google Kubernetes Engine mounts the driver of the host at /usr/local/nvidia; newer nodes mount its manifests at
    // /etc/vulkan/icd.d as well: https://github.com/GoogleCloudPlatform/container-engine-accelerators/pull/114
    "/usr/local/nvidia/vulkan/icd.d",
    // An image's own manifest, which names libEGL_nvidia.so.0. That is the same driver as libGLX_nvidia.so.0, which the
    // usual manifest names, but needs no X11: https://github.com/NVIDIA/nvidia-container-toolkit/issues/191
    "/usr/share/atto-work-server/vulkan/icd.d",
];

/// The folder with libraries of NVIDIA's driver that the dynamic linker does not search by itself. Google Kubernetes
/// Engine: <https://cloud.google.com/kubernetes-engine/docs/how-to/gpus#cuda>.
const OTHER_LIBRARIES: &str = "/usr/local/nvidia/lib64";

/// NVIDIA's Vulkan driver, as the usual manifest names it.
pub(super) const GLX_LIBRARY: &str = "libGLX_nvidia.so.0";

/// NVIDIA's Vulkan driver, for machines without X11.
pub(super) const EGL_LIBRARY: &str = "libEGL_nvidia.so.0";

/// What [`GLX_LIBRARY`] is linked with that a small image may lack:
/// <https://github.com/NVIDIA/nvidia-container-toolkit/issues/16>.
const GLX_NEEDS: [&str; 2] = ["libX11.so.6", "libXext.so.6"];

/// The variables that replace the loader's default folders; the first that is set counts.
pub(super) const REPLACING: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// The variable that adds to the loader's default folders, from version 1.3.207 of the loader on.
const ADDING: &str = "VK_ADD_DRIVER_FILES";

/// Says that the process has been started again. Whatever became of the other variables, such as `LD_LIBRARY_PATH`,
/// which a program with privileges of its own loses: there is no third start.
const STARTED_AGAIN: &str = "ATTO_WORK_STARTED_AGAIN";

/// A machine as this process sees it: its files and the environment.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    environment: BTreeMap<String, String>,
    may_open: fn(&Path) -> bool,
}

/// What announces a Vulkan driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Where it is.
    pub(super) path: String,
    /// What it names as the driver's library: a path, or a name for the dynamic linker to find.
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
    /// If the dynamic linker also searches [`OTHER_LIBRARIES`].
    LoadableFromOther,
    /// This one is not here: the library itself, or one that it needs.
    Missing(String),
}

/// The part of a manifest that is read here; the format:
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

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self {
            root: PathBuf::from("/"),
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            // To open a device node is the only sure way to know: groups, capabilities and the container's rules all
            // have a say.
            may_open: |path| File::options().read(true).write(true).open(path).is_ok(),
        }
    }

    /// The environment variables that must be added so that the Vulkan loader finds NVIDIA's driver, with their
    /// values. Empty if it finds one by itself, if there is none, if the operator has set where drivers are, or if
    /// they have been added already.
    pub fn variables_to_add(&self) -> Vec<(&'static str, String)> {
        let is_set = |name: &str| self.environment.contains_key(name);
        if is_set(STARTED_AGAIN) || is_set(ADDING) || REPLACING.into_iter().any(is_set) {
            return Vec::new();
        }
        let by_default = self.manifests().into_iter().filter(Manifest::is_nvidia);
        let elsewhere = OTHER_MANIFESTS
            .into_iter()
            .flat_map(|folder| self.manifests_at(folder))
            .filter(Manifest::is_nvidia);
        // At most one: two manifests of one driver would list each card twice.
        let candidates = by_default
            .map(|manifest| (manifest, false))
            .chain(elsewhere.map(|manifest| (manifest, true)));
        let usable: Vec<_> = candidates
            .map(|(manifest, is_other)| (self.library(&manifest), manifest, is_other))
            .filter(|(library, ..)| !matches!(library, Library::Missing(_)))
            .collect();
        // What the loader finds by itself comes first, wherever its library is.
        let Some((library, manifest, is_other)) = usable
            .iter()
            .find(|(library, _, is_other)| !is_other && *library == Library::Loadable)
            .or(usable.first())
        else {
            return Vec::new();
        };
        let mut variables = Vec::new();
        if *is_other {
            variables.push((ADDING, manifest.path.clone()));
        }
        if *library == Library::LoadableFromOther {
            let before = self.variable("LD_LIBRARY_PATH");
            let folders: Vec<_> = before.into_iter().chain([OTHER_LIBRARIES]).collect();
            variables.push(("LD_LIBRARY_PATH", folders.join(":")));
        }
        if !variables.is_empty() {
            variables.push((STARTED_AGAIN, "1".to_owned()));
        }
        variables
    }

    /// The manifests that the loader reads, after the rules of
    /// <https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md#driver-discovery-on-linux>.
    pub(super) fn manifests(&self) -> Vec<Manifest> {
        let list = |name| self.variable(name).map(str::to_owned);
        let places = match REPLACING.into_iter().find_map(list) {
            Some(instead) => instead,
            None => {
                let home = self.variable("HOME").unwrap_or("/");
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
            .flat_map(|place| self.manifests_at(place))
            .collect::<Vec<_>>()
    }

    /// The manifests of a folder, or the one that is the file of this name.
    fn manifests_at(&self, place: &str) -> Vec<Manifest> {
        let names = self.names(place);
        let paths = if names.is_empty() {
            vec![place.to_owned()]
        } else {
            names.iter().map(|name| format!("{place}/{name}")).collect()
        };
        let read = |path: String| {
            let text = self.read(&path).filter(|_| path.ends_with(".json"))?;
            let file: ManifestFile = serde_json::from_str(&text).ok()?;
            Some(Manifest {
                path,
                library: file.driver.library_path,
            })
        };
        paths.into_iter().filter_map(read).collect()
    }

    /// Whether the driver's library can be loaded, as far as that is to be seen without loading it.
    pub(super) fn library(&self, manifest: &Manifest) -> Library {
        let name = manifest.library_name();
        let needs: &[&str] = if name.starts_with(GLX_LIBRARY) {
            &GLX_NEEDS
        } else {
            &[]
        };
        if let Some(missing) = needs.iter().find(|name| !self.linker_finds(name)) {
            return Library::Missing((*missing).to_owned());
        }
        let folder = match manifest.library.rsplit_once('/') {
            _ if self.linker_finds(name) => return Library::Loadable,
            None => OTHER_LIBRARIES.to_owned(),
            Some((folder, _)) if folder.starts_with('/') => folder.to_owned(),
            Some((folder, _)) => {
                let (manifests, _) = manifest.path.rsplit_once('/').unwrap_or_default();
                format!("{manifests}/{folder}")
            }
        };
        if !self.exists(format!("{folder}/{name}")) {
            Library::Missing(manifest.library.clone())
        } else if folder == OTHER_LIBRARIES {
            // Even named by its path: it needs its neighbours there.
            Library::LoadableFromOther
        } else {
            Library::Loadable
        }
    }

    /// Whether the library is anywhere where it may be used from.
    pub(super) fn has_library(&self, name: &str) -> bool {
        self.linker_finds(name) || self.exists(format!("{OTHER_LIBRARIES}/{name}"))
    }

    /// Whether the dynamic linker finds the library, after the rules of
    /// <https://man7.org/linux/man-pages/man8/ld.so.8.html>, and Debian's folders for each architecture.
    pub(super) fn linker_finds(&self, name: &str) -> bool {
        let told = self.variable("LD_LIBRARY_PATH").unwrap_or_default();
        let architecture = std::env::consts::ARCH;
        let system = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(str::to_owned);
        let of_debian = ["/lib", "/usr/lib"].map(|lib| format!("{lib}/{architecture}-linux-gnu"));
        let mut folders = told
            .split([':', ';'])
            .filter(|folder| !folder.is_empty())
            .map(str::to_owned)
            .chain(system)
            .chain(of_debian);
        folders.any(|folder| self.exists(format!("{folder}/{name}"))) || self.is_cached(name)
    }

    /// Whether the dynamic linker's cache, which holds paths that end with a zero byte among other things, has a
    /// library of this name that is still there.
    fn is_cached(&self, name: &str) -> bool {
        let cache = fs::read(self.path("/etc/ld.so.cache")).unwrap_or_default();
        cache
            .split(|&byte| byte == 0)
            .filter_map(|text| std::str::from_utf8(text).ok())
            .filter(|text| text.starts_with('/'))
            .any(|path| path.rsplit('/').next() == Some(name) && self.exists(path))
    }

    /// An environment variable that is set, and not to nothing.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// The names in a folder, in their order; none if there is no such folder.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<_> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The text of a file, without the space around it, if it can be read.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The last part of where a symbolic link leads.
    pub(super) fn link_name(&self, path: &str) -> Option<String> {
        let link = fs::read_link(self.path(path)).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    pub(super) fn exists(&self, path: impl AsRef<str>) -> bool {
        self.path(path.as_ref()).exists()
    }

    /// Whether this process may read and write a device node.
    pub(super) fn may_open(&self, path: &str) -> bool {
        (self.may_open)(&self.path(path))
    }

    /// The number of the group that owns a file.
    pub(super) fn group(&self, path: &str) -> Option<u32> {
        Some(fs::metadata(self.path(path)).ok()?.gid())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

#[cfg(test)]
pub(super) use tests::Built;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A machine that a test builds in a folder of its own.
    #[derive(Debug)]
    pub(in super::super) struct Built(pub(in super::super) Machine);

    impl Built {
        /// A machine with nothing.
        pub(in super::super) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "atto-work-machine-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(&root).unwrap();
            Self(Machine {
                root,
                environment: BTreeMap::new(),
                may_open: |_| true,
            })
        }

        /// Adds a file.
        pub(in super::super) fn file(self, path: &str, text: &str) -> Self {
            let at = self.0.path(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
            self
        }

        /// Adds empty files to a folder.
        pub(in super::super) fn files(self, folder: &str, names: &[&str]) -> Self {
            names.iter().fold(self, |machine, name| {
                machine.file(&format!("{folder}/{name}"), "")
            })
        }

        /// Adds a symbolic link.
        pub(in super::super) fn link(self, path: &str, to: &str) -> Self {
            let at = self.0.path(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, at).unwrap();
            self
        }

        /// Adds a manifest.
        pub(in super::super) fn manifest(self, path: &str, library: &str) -> Self {
            let text = format!(
                r#"{{"file_format_version": "1.0.0", "ICD": {{"library_path": "{library}", "api_version": "1.3.242"}}}}"#
            );
            self.file(path, &text)
        }

        /// Sets an environment variable.
        pub(in super::super) fn variable(mut self, name: &str, value: &str) -> Self {
            self.0.environment.insert(name.to_owned(), value.to_owned());
            self
        }

        /// Lets this process open no device node.
        pub(in super::super) fn without_permission(mut self) -> Self {
            self.0.may_open = |_| false;
            self
        }

        fn added(&self) -> Vec<(&'static str, String)> {
            self.0.variables_to_add()
        }

        /// Asserts that these variables are added, and that they are enough: with them, none is missing.
        fn assert_adds(self, expected: &[(&'static str, &str)]) {
            let mut added = self.added();
            let marker = added.pop();
            assert_eq!(marker, Some((STARTED_AGAIN, "1".to_owned())));
            let as_text: Vec<_> = added
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            assert_eq!(as_text, expected);
            // Even were the mark lost.
            let mut again = self;
            for (name, value) in added {
                again = again.variable(name, &value);
            }
            assert_eq!(again.added(), []);
        }
    }

    impl Drop for Built {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.root);
        }
    }

    const LIBRARIES: &str = "/usr/lib64";
    const X11: [&str; 2] = GLX_NEEDS;
    const OURS: &str = "/usr/share/atto-work-server/vulkan/icd.d/nvidia_egl.json";
    const GKE: &str = "/usr/local/nvidia/vulkan/icd.d/nvidia_icd.json";
    const DEFAULT: &str = "/etc/vulkan/icd.d/nvidia_icd.json";

    /// An image with our manifest, and a loader.
    fn image() -> Built {
        Built::new().manifest(OURS, EGL_LIBRARY)
    }

    #[test]
    fn a_driver_that_the_loader_finds_needs_nothing() {
        let machine = image()
            .manifest(DEFAULT, GLX_LIBRARY)
            .files(LIBRARIES, &[GLX_LIBRARY, EGL_LIBRARY])
            .files("/usr/lib", &X11);
        assert_eq!(machine.added(), []);
        assert_eq!(
            Built::new().added(),
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
        // By its path it is found, but its neighbours are not.
        with_x11()
            .manifest(GKE, &format!("{OTHER_LIBRARIES}/{GLX_LIBRARY}"))
            .assert_adds(&[(ADDING, GKE), ("LD_LIBRARY_PATH", OTHER_LIBRARIES)]);
        // Newer nodes mount the manifest where the loader looks.
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
    fn what_the_operator_sets_stays() {
        for name in [ADDING, REPLACING[0], REPLACING[1], STARTED_AGAIN] {
            let machine = image().files(LIBRARIES, &[EGL_LIBRARY]);
            assert_ne!(machine.added(), []);
            assert_eq!(machine.variable(name, "").added(), [], "{name}");
        }
    }

    #[test]
    fn manifests_are_those_that_the_loader_reads() {
        let machine = Built::new()
            .manifest("/usr/share/vulkan/icd.d/a.json", "liba.so")
            .manifest("/home/x/.local/share/vulkan/icd.d/b.json", "libb.so")
            .file("/usr/share/vulkan/icd.d/broken.json", "{")
            .manifest("/usr/share/vulkan/icd.d/c.txt", "libc.so")
            .manifest("/d/d.json", "libd.so")
            .variable("HOME", "/home/x");
        let names = |machine: &Built| {
            let manifests = machine.0.manifests();
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
        let machine = machine
            .variable(REPLACING[0], "")
            .variable(REPLACING[1], "")
            .variable(ADDING, "")
            .variable("XDG_DATA_HOME", "/nowhere")
            .variable("XDG_DATA_DIRS", "/usr/share/");
        assert_eq!(names(&machine), "liba.so");
    }

    #[test]
    fn libraries_are_where_the_dynamic_linker_looks() {
        let machine = Built::new()
            .files("/opt/nvidia", &["libcached.so"])
            .files("/opt/other", &["libtold.so"])
            .files("/usr/share/vulkan/icd.d", &["x.json"])
            .files("/usr/share/vulkan/lib", &["librelative.so"])
            .file(
                "/etc/ld.so.cache",
                "glibc-ld.so.cache1.1\0\u{3}/opt\0libcached.so\0/opt/nvidia/libcached.so\0/opt/nvidia/libgone.so\0",
            );
        assert!(machine.0.linker_finds("libcached.so"));
        assert!(!machine.0.linker_finds("libgone.so"));
        assert!(!machine.0.linker_finds("libtold.so"));
        let library = |path: &str| {
            machine.0.library(&Manifest {
                path: "/usr/share/vulkan/icd.d/x.json".to_owned(),
                library: path.to_owned(),
            })
        };
        assert_eq!(library("/opt/other/libtold.so"), Library::Loadable);
        assert_eq!(library("../lib/librelative.so"), Library::Loadable);
        assert_eq!(
            library("libgone.so"),
            Library::Missing("libgone.so".to_owned())
        );
        let machine = machine.variable("LD_LIBRARY_PATH", "/nowhere:/opt/other");
        assert!(machine.0.linker_finds("libtold.so"));
    }
}
