//! Tells the crate which commit it is built from, for what, and with which parts: `src/build_info.rs` passes it on.

use std::env;
use std::path::Path;
use std::process::Command;

/// The commit, where there is no repository to ask: a container's build has none, and says it by this.
const COMMIT_VARIABLE: &str = "ATTO_WORK_COMMIT";

fn main() {
    // Cargo runs this again only when one of these changes, so that a build with nothing new stays one.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT_VARIABLE}");
    let commit = told_commit().or_else(commit_of_repository);
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=ATTO_WORK_BUILD_COMMIT={commit}");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    println!(
        "cargo::rustc-env=ATTO_WORK_BUILD_TARGET={}",
        variable("TARGET")
    );
    println!(
        "cargo::rustc-env=ATTO_WORK_BUILD_PROFILE={}",
        variable("PROFILE")
    );
    println!(
        "cargo::rustc-env=ATTO_WORK_BUILD_FEATURES={}",
        features().join(",")
    );
}

/// What whoever builds says; an empty value says nothing.
fn told_commit() -> Option<String> {
    let told = env::var(COMMIT_VARIABLE).ok()?;
    let told = told.trim();
    (!told.is_empty() && !told.contains(char::is_whitespace)).then(|| told.to_owned())
}

/// The commit that is checked out. Only of a repository whose root is this package: where the package lies unpacked in
/// another, that one's commits say nothing about it.
fn commit_of_repository() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "--verify", "HEAD"])?;
    // The log of HEAD has a new line whenever another commit is checked out or made; the others stand in where a
    // repository keeps no logs. A path that does not exist would make Cargo run this each time.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]);
    let places = ["logs/HEAD".to_owned(), "HEAD".to_owned()];
    for place in places.into_iter().chain(branch) {
        let path = git(&["rev-parse", "--git-path", &place]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    Some(commit)
}

/// What git prints, without the end of its line; nothing where there is no git or it refuses.
fn git(args: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // A hook of another repository, which may run this, has these name that one.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"] {
        git.env_remove(variable);
    }
    let output = git.args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The searches that the binary has for its target, and the Cargo features that are on.
fn features() -> Vec<String> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let kernels: &[&str] = match architecture.as_str() {
        "x86_64" => &[
            "vulkan",
            "avx512",
            "avx2-mixed",
            "avx2-single",
            "avx2",
            "portable",
        ],
        "aarch64" => &["vulkan", "neon-sha3", "neon", "portable"],
        _ => &["vulkan", "portable"],
    };
    let named = |(name, _): (String, String)| {
        let name = name.strip_prefix("CARGO_FEATURE_")?;
        Some(name.to_lowercase().replace('_', "-"))
    };
    let mut chosen: Vec<_> = env::vars().filter_map(named).collect();
    chosen.retain(|name| name != "default");
    chosen.sort();
    kernels
        .iter()
        .map(|&name| name.to_owned())
        .chain(chosen)
        .collect()
}
