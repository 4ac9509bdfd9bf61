//! What a wallet does, end to end: the published JavaScript client asks the real binary for works.

use std::{path::Path, process::Command};

#[test]
fn cpu_serves_the_javascript_client() {
    check("cpu");
}

#[test]
fn gpu_serves_the_javascript_client() {
    check("gpu");
}

fn check(backend: &str) {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client");
    assert!(
        client.join("node_modules").is_dir(),
        "the JavaScript client is not installed: run `tests/run`, which sets it up"
    );

    let server = crate::support::Server::start(&[
        "serve",
        "--backend",
        backend,
        "--address",
        "127.0.0.1:0",
        "--management-address",
        "127.0.0.1:0",
    ]);

    // The script has a time-out of its own, so this cannot wait for ever.
    let output = Command::new("node")
        .arg(client.join("works.mjs"))
        .args([server.url().as_str(), "8"])
        .output()
        .expect("node can't be started: run `tests/run`, which installs it");
    assert!(
        output.status.success(),
        "works.mjs ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
