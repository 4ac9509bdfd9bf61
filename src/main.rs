//! The `work-server` command.

fn main() {}
