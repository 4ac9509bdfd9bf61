//! The command line: what can be asked of `work-server`, and what it exits with.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done; for `verify`: the work is valid; for `health`: the server is ready |
//! | 1 | it could not be done, and standard error says why; for `verify`: the work is not valid; for `health`: the server is not ready, or cannot be asked, as standard output says |
//! | 64 | a flag or an environment variable has a value that it may not have |

mod bench;
mod completions;
mod devices;
mod hash_key;
mod health;
mod list_cards;
mod restart;
mod serve;
mod shader;
mod solve;
mod terminal;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::access::{InvalidKey, KeysError};
use crate::build_info;
use crate::config::ServeArgs;
use crate::device::gpu::SpirvError;
use crate::device::{BackendChoice, DeviceError, OpenError};
use crate::scheduler::SolveError;
use crate::service::ServiceError;
use crate::telemetry::{self, LogFormat};

/// A flag or an environment variable has a wrong value (`EX_USAGE` of BSD's sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Computes proof of work for the Atto network
#[derive(Debug, Parser)]
#[command(
    name = "work-server",
    version,
    long_version = build_info::LONG_VERSION,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve `POST /works`; what happens when no command is given
    Serve(Box<ServeArgs>),
    /// List the devices that could be used
    Devices(devices::Args),
    /// Compute one work and print it
    Solve(solve::Args),
    /// Ask a serving process whether it is ready: exit 0 if it is and 1 if not, for container health checks
    Health(health::Args),
    /// Check one work: print its digest and the threshold, exit 0 if it is valid and 1 if not
    Verify(verify::Args),
    /// Measure the search alone, device by device
    Bench(bench::Args),
    /// Hash an API key from standard input into a line for the file of API keys
    HashKey(hash_key::Args),
    /// Write the search shader as it is loaded, or list its forms
    Shader(shader::Args),
    /// List the cards for a server that starts this
    #[command(hide = true)]
    ListCards,
    /// Write a script with which a shell completes this command line, to standard output
    Completions(completions::Args),
}

impl Command {
    /// How a command that may open devices logs, and which of them it may open.
    fn devices(&self) -> Option<(LogFormat, BackendChoice)> {
        match self {
            Self::Serve(args) => Some((args.log_format, args.devices.backend)),
            Self::Devices(_) => Some((LogFormat::Text, BackendChoice::Auto)),
            Self::Solve(args) => Some((LogFormat::Text, args.devices.backend)),
            Self::Health(_)
            | Self::Verify(_)
            | Self::HashKey(_)
            | Self::Shader(_)
            | Self::ListCards
            | Self::Completions(_) => None,
            Self::Bench(args) => Some((LogFormat::Text, args.devices.backend)),
        }
    }

    /// What is logged by default: of a command that ends by itself, only what somebody should look at.
    fn log_level(&self) -> tracing::Level {
        match self {
            Self::Serve(_) => tracing::Level::INFO,
            _ => tracing::Level::WARN,
        }
    }
}

/// Why a command could not do what it should.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "{0}; choose another device with --device or --backend, as `work-server devices` lists them"
    )]
    Device(#[from] DeviceError),
    #[error(
        "{0}; the lines above say why, and `work-server devices` what else there is for --device or --backend"
    )]
    Solve(#[from] SolveError),
    #[error(transparent)]
    Spirv(#[from] SpirvError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("{0}; `work-server hash-key --generate` makes one")]
    Key(#[from] InvalidKey),
    #[error(
        "{} cannot be written: {error}; name a file in a folder that is there and may be written to, or - for standard \
         output",
        path.display()
    )]
    Output { path: PathBuf, error: io::Error },
    /// Values that may not stand together.
    #[error("{0}")]
    Usage(String),
    #[error("the report cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Does what the arguments say; the first is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given: Vec<_> = args.into_iter().collect();
    let args = with_default_command(given.clone());
    let read = Cli::command()
        .try_get_matches_from(&args)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match read {
        Ok(read) => read,
        Err(error) => return refuse(&error, &args),
    };
    if let Some((format, backend)) = cli.command.devices() {
        telemetry::start_logging(format, cli.command.log_level());
        if backend != BackendChoice::Cpu {
            restart::with_missing_variables(&given);
        }
    }
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args, &matches),
        Command::Devices(args) => devices::run(&args),
        Command::Solve(args) => solve::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::HashKey(args) => hash_key::run(&args),
        Command::Shader(args) => shader::run(&args),
        Command::ListCards => list_cards::run(),
        Command::Completions(args) => completions::run(&args),
    };
    done.unwrap_or_else(|error| {
        // Whoever closed the pipe has seen enough.
        if !matches!(&error, CommandError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            complain(format_args!("work-server: {error}"));
        }
        match error {
            CommandError::Usage(_) => ExitCode::from(EXIT_USAGE),
            _ => ExitCode::FAILURE,
        }
    })
}

/// Puts `serve` where no command is: the reference server is started without one.
fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let first = args.get(1).map(|arg| arg.to_string_lossy());
    let is_flag = first.as_ref().is_none_or(|first| first.starts_with('-'));
    let is_about_the_program =
        first.is_some_and(|first| ["-h", "--help", "-V", "--version"].contains(&&*first));
    if is_flag && !is_about_the_program {
        args.insert(args.len().min(1), "serve".into());
    }
    args
}

/// Prints what clap has to say: help that was asked for, or what was wrong.
fn refuse(error: &clap::Error, args: &[OsString]) -> ExitCode {
    // Nothing can be done about a standard error that cannot be written to.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if let Some(variable) = variable_to_blame(error, args) {
        complain(format_args!(
            "\nThe value is that of the environment variable {variable}."
        ));
    }
    ExitCode::from(EXIT_USAGE)
}

/// The environment variable that a wrong value came from, if it was not from a flag.
fn variable_to_blame(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(blamed)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = blamed.split_whitespace().next()?;
    if args
        .iter()
        .any(|arg| arg.to_string_lossy().split('=').next() == Some(flag))
    {
        return None;
    }
    let cli = Cli::command();
    // Commands have flags of one name that are set by different variables.
    let command = cli.find_subcommand(args.get(1)?)?;
    let mut arguments = command.get_arguments();
    let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--"))?;
    argument
        .get_env()
        .map(|variable| variable.to_string_lossy().into_owned())
}

/// Writes a line to standard error. Nothing can be done where that cannot be written to; the exit code still tells.
fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line to standard output.
fn print(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_the_default() {
        let cases: [(&[&str], &str); 4] = [
            (&["work-server"], "serve"),
            (&["work-server", "--backend", "cpu"], "serve"),
            (&["work-server", "--help"], "--help"),
            (&["work-server", "devices", "--json"], "devices"),
        ];
        for (args, command) in cases {
            let args = with_default_command(args.iter().map(OsString::from).collect());
            assert_eq!(args[1], command);
        }
    }
}
