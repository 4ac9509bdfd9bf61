//! The environment variables without which the Vulkan loader does not find NVIDIA's driver.
//!
//! Containers have NVIDIA's driver in folders that the loader and the dynamic linker do not search by default. The
//! variables must be set when the process starts: the dynamic linker reads `LD_LIBRARY_PATH` only then, and a process
//! with threads must not change its environment. So the command line restarts the process with them, in the same
//! process id.

use super::loader::{
    self, ADDING, Library, Manifest, OTHER_LIBRARIES, REPLACING, manifests, manifests_at,
};
use super::machine::Machine;

/// Folders with manifests of NVIDIA's driver that the loader does not read by default, the preferred one first.
const OTHER_MANIFESTS: [&str; 3] = [
    // Google Kubernetes Engine mounts the host's driver at /usr/local/nvidia. Newer nodes also mount its manifests at
    // /etc/vulkan/icd.d: https://github.com/GoogleCloudPlatform/container-engine-accelerators/pull/114
    "/usr/local/nvidia/vulkan/icd.d",
    // Where a driver is mounted or unpacked with the layout of its package.
    "/usr/local/nvidia/share/vulkan/icd.d",
    // The images' own manifest, which names libEGL_nvidia.so.0. This is the same driver as libGLX_nvidia.so.0, which the
    // usual manifest names, but it does not need X11: https://github.com/NVIDIA/nvidia-container-toolkit/issues/191
    "/usr/share/atto-work-server/vulkan/icd.d",
];

/// Set in the restarted process, so that it never restarts again, even if it lost the other variables: a program with
/// privileges of its own loses `LD_LIBRARY_PATH`, for example.
pub const STARTED_AGAIN: &str = "ATTO_WORK_STARTED_AGAIN";

/// The environment variables to add, with their values, so that the Vulkan loader finds NVIDIA's driver.
///
/// Empty if the loader finds one by itself, if there is none, or if they were added before. The loader's variables stay if
/// the operator has set one of them; the folder of the driver's libraries is added all the same.
pub fn variables_to_add(machine: &Machine) -> Vec<(&'static str, String)> {
    let is_set = |name: &str| machine.has_variable(name);
    if is_set(STARTED_AGAIN) {
        return Vec::new();
    }
    let is_by_hand = is_set(ADDING) || REPLACING.into_iter().any(is_set);
    let by_default = manifests(machine).into_iter().filter(Manifest::is_nvidia);
    let elsewhere = OTHER_MANIFESTS
        .into_iter()
        .filter(|_| !is_by_hand)
        .flat_map(|folder| manifests_at(machine, folder))
        .filter(Manifest::is_nvidia);
    // At most one is used: two manifests of one driver would list each card twice.
    let candidates = by_default
        .map(|manifest| (manifest, false))
        .chain(elsewhere.map(|manifest| (manifest, true)));
    let usable: Vec<_> = candidates
        .map(|(manifest, is_other)| (loader::library(machine, &manifest), manifest, is_other))
        .filter(|(library, ..)| !matches!(library, Library::Missing(_)))
        .collect();
    // Best is a manifest that the loader finds, with a library that the linker finds.
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
        let before = machine.variable("LD_LIBRARY_PATH");
        let folders: Vec<_> = before.into_iter().chain([OTHER_LIBRARIES]).collect();
        variables.push(("LD_LIBRARY_PATH", folders.join(":")));
    }
    if !variables.is_empty() {
        variables.push((STARTED_AGAIN, "1".to_owned()));
    }
    variables
}

#[cfg(test)]
mod tests;
