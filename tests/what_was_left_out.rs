//! Lists at the end of `cargo test` the tests that were left out because their needs were not met. Not a test: Cargo runs
//! the programs of `tests/` in the order of their names, and this one last.

#[path = "support/needs.rs"]
#[allow(dead_code, reason = "nothing is left out here")]
mod needs;

use std::process::ExitCode;

use needs::Need;

/// What may be missing, and what is tested with it.
const SUBJECTS: [(Need, &str); 7] = [
    (
        Need::Minutes,
        "every fault of a driver, and a thousand hostile connections",
    ),
    (Need::Vulkan, "the search on a card"),
    (Need::Lavapipe, "the server on two cards"),
    (Need::FaultLayer, "the server on a driver with faults"),
    (Need::JavaScriptClient, "the published JavaScript client"),
    (Need::Browser, "the status page in a browser"),
    (Need::Namespaces, "the server with IPv6 or IPv4 alone"),
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let missing: Vec<_> = SUBJECTS
        .iter()
        .filter_map(|(need, subject)| Some((need.missing()?, subject)))
        .collect();
    if missing.is_empty() {
        println!("\nNothing was left out.\n");
        return ExitCode::SUCCESS;
    }
    println!("\nLEFT OUT, for want of what it needs:");
    for (what, subject) in missing {
        println!("    {subject}: {what}");
    }
    println!("`tests/run` installs what is missing, and runs everything.\n");
    ExitCode::from(u8::from(needs::all_is_wanted()))
}
