//! A machine as this process sees it: its files and the environment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files and the environment of a machine.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    environment: BTreeMap<String, String>,
    may_open: fn(&Path) -> bool,
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
            // Only opening a device node shows whether it may be opened: groups, capabilities and the container's rules
            // all matter.
            may_open: |path| File::options().read(true).write(true).open(path).is_ok(),
        }
    }

    /// The value of an environment variable. `None` if it is not set or empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Whether an environment variable is set, even to nothing.
    pub(super) fn has_variable(&self, name: &str) -> bool {
        self.environment.contains_key(name)
    }

    /// The sorted names in a folder. Empty if there is no such folder.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<_> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The text of a file, trimmed. `None` if it cannot be read.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The bytes of a file. Empty if it cannot be read.
    pub(super) fn bytes(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_default()
    }

    /// The file name of a symbolic link's target.
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
pub(super) mod fake;
