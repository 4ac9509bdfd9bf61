//! `work-server shader`: the kernels of a card, as the real binary lists and writes them.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use crate::support::work_server;
use serde_json::json;

fn run(args: &[&str]) -> Output {
    work_server(&[&["shader"], args].concat())
        .output()
        .expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

/// What is written to standard output.
fn written(args: &[&str]) -> Vec<u8> {
    let output = run(&[args, &["--output", "-"]].concat());
    assert_eq!((code(&output), stderr(&output)), (0, ""), "{args:?}");
    output.stdout
}

/// The words of a SPIR-V module.
fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    let words: Vec<_> = words.iter().copied().map(u32::from_le_bytes).collect();
    assert_eq!(words[..2], [0x0723_0203, 0x0001_0000], "magic and version");
    words
}

/// A file that is not there yet.
fn temporary_file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn the_kernels_are_listed() {
    let list = run(&["--list"]);
    assert_eq!(
        (code(&list), stdout(&list)),
        (0, "u64\nbitcast\npair64\ndot24\ndot24_16h\ninsert\npair\n")
    );
    let list = run(&["--list", "--json"]);
    let report: serde_json::Value = serde_json::from_str(stdout(&list)).unwrap();
    assert_eq!(
        report,
        json!({"forms": [
            {"name": "u64", "format": "wgsl"},
            {"name": "bitcast", "format": "spirv"},
            {"name": "pair64", "format": "wgsl"},
            {"name": "dot24", "format": "wgsl"},
            {"name": "dot24_16h", "format": "wgsl"},
            {"name": "insert", "format": "wgsl"},
            {"name": "pair", "format": "wgsl"},
        ]})
    );
}

const KERNELS: [&str; 7] = [
    "u64",
    "bitcast",
    "pair64",
    "dot24",
    "dot24_16h",
    "insert",
    "pair",
];

#[test]
fn a_kernel_is_written_as_it_is_loaded_or_as_text() {
    for kernel in KERNELS {
        let module = written(&["--form", kernel]);
        assert_eq!(module, written(&["--form", kernel, "--format", "spirv"]));
        words(&module);
        if kernel == "bitcast" {
            continue;
        }
        let text = written(&["--form", kernel, "--format", "wgsl"]);
        let text = String::from_utf8(text).unwrap();
        naga::front::wgsl::parse_str(&text).unwrap();
        // The prelude and the search.
        assert!(text.contains("fn rotate_63(") && text.contains("fn search("));
    }
}

#[test]
fn no_two_kernels_are_the_same_in_spirv() {
    let modules = KERNELS.map(|kernel| words(&written(&["--form", kernel, "--format", "spirv"])));
    for (index, module) in modules.iter().enumerate() {
        assert!(!modules[..index].contains(module), "{index}");
    }
}

/// Khronos's validator finds nothing wrong with any kernel as it is loaded. Left out where the validator (Debian's package
/// spirv-tools) is not installed, unless `ATTO_WORK_TEST_ALL` is set.
#[test]
fn every_kernel_is_valid_for_vulkan() {
    if let Err(error) = Command::new("spirv-val").arg("--version").output() {
        let must_run = env::var_os("ATTO_WORK_TEST_ALL").is_some_and(|value| !value.is_empty());
        assert!(!must_run, "spirv-val does not start: {error}");
        return eprintln!("LEFT OUT: every_kernel_is_valid_for_vulkan: no spirv-val");
    }
    for kernel in KERNELS {
        let path = temporary_file(&format!("{kernel}.spv"));
        fs::write(&path, written(&["--form", kernel])).unwrap();
        let validator = Command::new("spirv-val")
            .args(["--target-env", "vulkan1.0"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(code(&validator), 0, "{kernel}: {}", stderr(&validator));
        let none: [u8; 0] = [];
        assert_eq!(validator.stdout, none, "{kernel}");
    }
}

#[test]
fn a_kernel_is_written_to_a_file() {
    let path = temporary_file("shader.spv");
    let output = run(&["--form", "bitcast", "--output", path.to_str().unwrap()]);
    assert_eq!(
        (code(&output), stdout(&output), stderr(&output)),
        (0, "", "")
    );
    assert_eq!(fs::read(&path).unwrap(), written(&["--form", "bitcast"]));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let path = temporary_file("no such folder").join("shader.wgsl");
    let output = run(&["--form", "pair", "--output", path.to_str().unwrap()]);
    assert_eq!(code(&output), 1, "{output:?}");
    let told = stderr(&output);
    assert!(
        told.contains("no such folder/shader.wgsl cannot be written"),
        "{told}"
    );
}

#[test]
fn wgsl_of_a_kernel_that_has_none_is_an_error_with_the_reason() {
    let path = temporary_file("bitcast.wgsl");
    let output = run(&[
        "--form",
        "bitcast",
        "--format",
        "wgsl",
        "--output",
        path.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 64, "{output:?}");
    let told = stderr(&output);
    assert!(
        told.contains("only as SPIR-V") && told.contains("leave --format out"),
        "{told}"
    );
    assert!(!path.exists());
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for args in [
        &[][..],
        &["--form", "u64"],
        &["--output", "-"],
        &["--json", "--form", "u64", "--output", "-"],
        &["--list", "--form", "u64", "--output", "-"],
        &["--form", "u32", "--output", "-"],
        &["--form", "u64", "--format", "glsl", "--output", "-"],
    ] {
        assert_eq!(code(&run(args)), 64, "{args:?}");
    }
    let unknown = run(&["--form", "u32", "--output", "-"]);
    for kernel in KERNELS {
        assert!(stderr(&unknown).contains(kernel), "{unknown:?}");
    }
}
