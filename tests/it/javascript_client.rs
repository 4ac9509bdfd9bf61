//! What a wallet does, end to end: the published JavaScript client asks the real binary for works.

use std::{path::Path, process::Command};

use crate::support::needs::{Need, is_left_out};

#[test]
fn cpu_serves_the_javascript_client() {
    check("cpu");
}

#[test]
fn gpu_serves_the_javascript_client() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    check("gpu");
}

fn check(backend: &str) {
    if is_left_out(Need::JavaScriptClient) {
        return;
    }
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client");
    let server = crate::support::Server::start(&[
        "serve",
        "--backend",
        backend,
        "--address",
        "127.0.0.1:0",
        "--management-address",
        "127.0.0.1:0",
    ]);

    // The script has a time-out of its own, so this ends.
    let output = Command::new("node")
        .arg(client.join("works.mjs"))
        .args([server.url().as_str(), "8"])
        .output()
        .expect("node starts");
    assert!(
        output.status.success(),
        "works.mjs ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
