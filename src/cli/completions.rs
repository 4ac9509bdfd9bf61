//! `work-server completions`: a script with which a shell completes this command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::error::CommandError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script for `command`, the whole command line.
pub(super) fn run(args: &Args, command: &mut Command) -> Result<ExitCode, CommandError> {
    // The generator would panic if it wrote to a closed standard output.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "work-server", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
