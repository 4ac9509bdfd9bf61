//! The invariants that the crate's documentation states, checked in its text.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file, with its path below `src`.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files.len() > 20, "{files:?}");
    files
}

/// The code lines of `text`: without comments and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
}

/// Fails if a file below one of `places` has a code line with one of `words`.
fn assert_absent(places: &[&str], words: &[&str], except: &[&str]) {
    let mut looked_at = 0;
    for (name, text) in sources() {
        if !places.iter().any(|place| name.starts_with(place))
            || except.iter().any(|place| name.starts_with(place))
        {
            continue;
        }
        looked_at += 1;
        for line in code(&text) {
            for word in words {
                assert!(!line.contains(word), "{name} has {word:?}: {line}");
            }
        }
    }
    assert!(looked_at > 0, "there is nothing at {places:?}");
}

#[test]
fn modules_depend_downwards_only() {
    let layers = [
        (
            "work/",
            &[
                "crate::device",
                "crate::scheduler",
                "crate::telemetry",
                "crate::http",
            ][..],
        ),
        (
            "device/",
            &[
                "crate::scheduler",
                "crate::telemetry",
                "crate::http",
                "crate::config",
            ],
        ),
        (
            "telemetry/",
            &["crate::scheduler", "crate::http", "crate::config"],
        ),
        (
            "scheduler/",
            &["crate::http", "crate::management", "crate::config"],
        ),
        (
            "connections/",
            &["crate::http", "crate::management", "crate::config"],
        ),
        ("http/", &["crate::management", "crate::config"]),
        ("management/", &["crate::config"]),
    ];
    for (place, above) in layers {
        assert_absent(&[place], above, &[]);
        assert_absent(&[place], &["crate::service", "crate::cli"], &[]);
    }
}

#[test]
fn devices_know_neither_the_runtime_nor_the_web() {
    assert_absent(&["work/", "device/"], &["tokio::", "warp::"], &[]);
}

#[test]
fn only_the_gpu_module_knows_wgpu() {
    assert_absent(&[""], &["wgpu::", "naga::"], &["device/gpu/"]);
}
