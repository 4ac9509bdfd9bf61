//! What some tests need beside Rust and a C compiler. A test whose need is not met is left out: it says so at once, and
//! `tests/what_was_left_out.rs` once more at the end of `cargo test`. Where `ATTO_WORK_TEST_ALL` is set, as `tests/run` and CI
//! set it, it fails instead.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::{env, fs, io, thread};

use atto_work_server::device::gpu::{Adapter, adapters};

/// If this variable is set, a test that would be left out fails.
const TEST_ALL: &str = "ATTO_WORK_TEST_ALL";

/// What a test may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A Vulkan device, be it software.
    Vulkan,
    /// Minutes: too long for `cargo test`.
    Minutes,
    /// Mesa's lavapipe, which can be had twice.
    Lavapipe,
    /// Lavapipe, and what compiles a Vulkan layer.
    FaultLayer,
    /// Node.js, and the packages of the JavaScript client.
    JavaScriptClient,
    /// Node.js, a browser, and the packages that drive it.
    Browser,
    /// Network namespaces, and `ip` to set them up.
    Namespaces,
}

impl Need {
    /// What is missing, if something is.
    pub(crate) fn missing(self) -> Option<&'static str> {
        /// The names of the Vulkan devices.
        static DEVICES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let found = adapters().unwrap_or_default();
            let name = |adapter: &Adapter| adapter.info().name.clone();
            found.iter().map(name).collect()
        });
        match self {
            Self::Minutes => (!all_is_wanted()).then_some("minutes; `tests/run` has them"),
            Self::Vulkan => DEVICES.is_empty().then_some("no Vulkan device"),
            Self::Lavapipe => {
                let is_there = DEVICES.iter().any(|name| name.starts_with("llvmpipe"));
                (!is_there || lavapipe_manifest().is_none()).then_some("no lavapipe")
            }
            Self::FaultLayer => Self::Lavapipe.missing().or_else(|| {
                let has_headers = Path::new("/usr/include/vulkan/vk_layer.h").exists();
                if !has_headers {
                    Some("no headers of Vulkan")
                } else {
                    (!can_start("cc")).then_some("no C compiler")
                }
            }),
            Self::JavaScriptClient => node_packages("tests/client"),
            Self::Browser => node_packages("tests/status_page").or_else(|| {
                let names = ["chromium", "chromium-browser", "google-chrome"];
                let is_there =
                    env::var_os("CHROMIUM").is_some() || names.into_iter().any(can_start);
                (!is_there).then_some("no Chromium")
            }),
            Self::Namespaces => enter_namespace()
                .is_none()
                .then_some("no network namespaces"),
        }
    }
}

/// Whether this test, or the part of it that follows, is left out because `need` is not met. Fails where nothing may be left
/// out.
#[must_use]
pub(crate) fn is_left_out(need: Need) -> bool {
    let Some(missing) = need.missing() else {
        return false;
    };
    assert!(
        !all_is_wanted(),
        "{missing}: run `tests/run`, which installs what is missing"
    );
    let thread = thread::current();
    let name = thread.name().unwrap_or("a test");
    // Not by `eprintln`, which is shown for failed tests only; and as one write, so that lines of other tests do not mix in.
    let line = format!("LEFT OUT: {name}: {missing}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    true
}

/// Whether nothing may be left out.
pub(crate) fn all_is_wanted() -> bool {
    env::var_os(TEST_ALL).is_some_and(|value| !value.is_empty())
}

/// The command that runs another in a network namespace of its own.
pub(crate) fn enter_namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [
        &["unshare", "--net"],
        &["unshare", "--map-root-user", "--net"],
    ];
    ways.into_iter().find(|way| {
        let mut command = Command::new(way[0]);
        let command = command
            .args(&way[1..])
            .args(["ip", "link", "set", "lo", "up"]);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// What tells the Vulkan loader of lavapipe.
pub(crate) fn lavapipe_manifest() -> Option<PathBuf> {
    let folder = fs::read_dir("/usr/share/vulkan/icd.d").ok()?;
    let mut files = folder.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|path| path.to_string_lossy().contains("lvp_icd"))
}

fn node_packages(folder: &str) -> Option<&'static str> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if !can_start("node") {
        Some("no Node.js")
    } else if !folder.join("node_modules").is_dir() {
        Some("no packages of Node.js")
    } else {
        None
    }
}

fn can_start(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
