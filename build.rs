//! Passes the commit, the target, the profile and the features of the build to `src/build_info.rs`.

use std::env;
use std::path::Path;
use std::process::Command;

/// Names the commit where there is no repository, as in the build of a container.
const COMMIT_VARIABLE: &str = "ATTO_WORK_COMMIT";

fn main() {
    // Cargo runs this again only when one of these changes, so an unchanged tree is not rebuilt.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT_VARIABLE}");
    let commit = commit_of_environment().or_else(commit_of_repository);
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

/// The commit that the environment names. An empty value counts as not set.
fn commit_of_environment() -> Option<String> {
    let commit = env::var(COMMIT_VARIABLE).ok()?;
    let commit = commit.trim();
    (!commit.is_empty() && !commit.contains(char::is_whitespace)).then(|| commit.to_owned())
}

/// The commit that is checked out, if this package is the root of a repository. A package that was unpacked inside another
/// repository is not of that one's commit.
fn commit_of_repository() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "--verify", "HEAD"])?;
    // The log of HEAD gets a line with every commit and checkout. The other paths are for repositories without logs. Only
    // paths that exist: for another, Cargo would run this each time.
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

/// The trimmed output of git; `None` if git is missing or fails.
fn git(args: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // A git hook of another repository sets these to that repository.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"] {
        git.env_remove(variable);
    }
    let output = git.args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The kernels for the target, and the enabled Cargo features.
fn features() -> Vec<String> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let kernels: &[&str] = match architecture.as_str() {
        "x86_64" => &[
            "vulkan",
            "avx512",
            "avx512-paired",
            "avx512-mixed",
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
