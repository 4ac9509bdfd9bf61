//! A machine that a test builds in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Machine;

#[derive(Debug)]
pub(in super::super) struct FakeMachine(pub(in super::super) Machine);

impl FakeMachine {
    /// A machine without files and environment variables.
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

    /// Adds the manifest of a Vulkan driver.
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

    /// Denies this process every device node.
    pub(in super::super) fn without_permission(mut self) -> Self {
        self.0.may_open = |_| false;
        self
    }
}

impl Drop for FakeMachine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}
