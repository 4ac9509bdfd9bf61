//! `work-server shader`: the kernels of a card, as the real binary lists and writes them.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

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
        (0, "u64\nbitcast\ncarry\npair\n")
    );
    let list = run(&["--list", "--json"]);
    let report: serde_json::Value = serde_json::from_str(stdout(&list)).unwrap();
    assert_eq!(
        report,
        json!({"forms": [
            {"name": "u64", "format": "wgsl"},
            {"name": "bitcast", "format": "spirv"},
            {"name": "carry", "format": "wgsl"},
            {"name": "pair", "format": "wgsl"},
        ]})
    );
}

#[test]
fn a_kernel_is_written_as_it_is_loaded() {
    for kernel in ["u64", "carry", "pair"] {
        let text = written(&["--form", kernel]);
        assert_eq!(text, written(&["--form", kernel, "--format", "wgsl"]));
        let text = String::from_utf8(text).unwrap();
        naga::front::wgsl::parse_str(&text).unwrap();
        // The prelude and the search.
        assert!(text.contains("fn rotate_63(") && text.contains("fn search("));
    }
    let module = written(&["--form", "bitcast"]);
    assert_eq!(module, written(&["--form", "bitcast", "--format", "spirv"]));
    words(&module);
}

#[test]
fn no_two_kernels_are_the_same_in_spirv() {
    let modules = ["u64", "bitcast", "carry", "pair"]
        .map(|kernel| words(&written(&["--form", kernel, "--format", "spirv"])));
    for (index, module) in modules.iter().enumerate() {
        assert!(!modules[..index].contains(module), "{index}");
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
    for kernel in ["u64", "bitcast", "carry", "pair"] {
        assert!(stderr(&unknown).contains(kernel), "{unknown:?}");
    }
}
