//! The command line of `work-server` and its exit codes.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | success; `verify`: the work is valid; `health`: the server is ready |
//! | 1 | failure, explained on standard error, of `serve` in its log; `verify`: the work is not valid; `health`: the server is not ready or cannot be asked, explained on standard output |
//! | 64 | a flag or an environment variable has a wrong value |

mod bench;
mod block;
mod completions;
mod devices;
mod error;
mod hash_key;
mod health;
mod list_cards;
mod output;
mod restart;
mod serve;
mod shader;
mod solve;
mod terminal;
mod verify;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::build_info;
use crate::config::{Environment, ForeignDefault, ServeArgs, WrongVariable};
use crate::device::BackendChoice;
use crate::service::ServiceError;
use crate::telemetry::{LogFormat, log_to_stderr, log_to_stdout};
use error::CommandError;
use output::complain;
use restart::Restart;

/// A flag or an environment variable has a wrong value (`EX_USAGE` of BSD's sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Computes proof of work for Atto, Nano and Banano
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
    /// Serve `POST /works`; the default command
    Serve(Box<ServeArgs>),
    /// List the usable devices
    Devices(devices::Args),
    /// Compute one work and print it
    Solve(solve::Args),
    /// Check whether a running server is ready, for container health checks: exit 0 if it is and 1 if not
    Health(health::Args),
    /// Check one work: print its digest and the threshold or difficulty, exit 0 if it is valid and 1 if not
    Verify(verify::Args),
    /// Measure the search alone, device by device
    Bench(bench::Args),
    /// Hash an API key from standard input into a line for the file of API keys
    HashKey(hash_key::Args),
    /// Write the search shader of a kernel, or list the kernels
    Shader(shader::Args),
    /// List the cards for a server that starts this
    #[command(hide = true)]
    ListCards,
    /// Write a script with which a shell completes this command line, to standard output
    Completions(completions::Args),
}

impl Command {
    /// The backend of a command that opens devices; `None` for the others.
    fn backend(&self) -> Option<BackendChoice> {
        match self {
            Self::Serve(args) => Some(args.devices.backend),
            Self::Devices(_) => Some(BackendChoice::Auto),
            Self::Solve(args) => Some(args.devices.backend),
            Self::Health(_)
            | Self::Verify(_)
            | Self::HashKey(_)
            | Self::Shader(_)
            | Self::ListCards
            | Self::Completions(_) => None,
            Self::Bench(args) => Some(args.devices.backend),
        }
    }
}

/// Runs the command that the arguments name. The first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given: Vec<_> = args.into_iter().collect();
    let args = with_default_command(given.clone());
    let environment = Environment::of_process();
    let surroundings = match Surroundings::read(environment, &args) {
        Ok(surroundings) => surroundings,
        Err(error) => {
            let error = Cli::command().error(ErrorKind::ValueValidation, error);
            return refuse(&error, &args);
        }
    };
    let read = surroundings
        .command_line()
        .try_get_matches_from(&args)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match read {
        Ok(read) => read,
        Err(error) => return refuse(&error, &args),
    };
    execute(cli.command, &matches, &given, &surroundings).unwrap_or_else(|error| {
        // The reader closed the pipe, which is not a failure.
        if !matches!(&error, CommandError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            complain(format_args!("work-server: {error}"));
        }
        match error {
            CommandError::Usage(_) => ExitCode::from(EXIT_USAGE),
            _ => ExitCode::FAILURE,
        }
    })
}

/// The inputs of the process besides its arguments.
#[derive(Debug)]
struct Surroundings {
    environment: Environment,
    defaults: Vec<ForeignDefault>,
}

impl Surroundings {
    /// Other programs' variables matter to the service and to its health check only.
    fn read(environment: Environment, args: &[OsString]) -> Result<Self, WrongVariable> {
        let heeds = args
            .get(1)
            .is_some_and(|command| ["serve", "health"].contains(&&*command.to_string_lossy()));
        let defaults = if heeds {
            environment.foreign_defaults()?
        } else {
            Vec::new()
        };
        Ok(Self {
            environment,
            defaults,
        })
    }

    fn command_line(&self) -> clap::Command {
        self.environment
            .with_defaults(Cli::command(), &self.defaults)
    }

    /// Logs which variables of other programs are used, and which are ignored. `matches` are those of `serve`.
    fn log(&self, matches: &ArgMatches) {
        for used in ServeArgs::used(matches, &self.defaults) {
            let ForeignDefault {
                variable,
                given,
                setting,
                default,
            } = used;
            tracing::info!("{variable}={given} is used as {setting}={default}");
        }
        if let Some(level) = self.environment.log_level()
            && !self.environment.has("RUST_LOG")
        {
            tracing::info!("LOGGING_LEVEL_ROOT is used as RUST_LOG={level}");
        }
        for complaint in self.environment.complaints(&settings()) {
            tracing::warn!("{complaint}");
        }
    }
}

/// The variables of all settings, of all commands.
fn settings() -> BTreeSet<String> {
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let variables = arguments.filter_map(|argument| argument.get_env()?.to_str());
    variables.map(str::to_owned).collect()
}

/// Runs this command. `matches` is what it was read from, and `given` the arguments of the process.
fn execute(
    command: Command,
    matches: &ArgMatches,
    given: &[OsString],
    surroundings: &Surroundings,
) -> Result<ExitCode, CommandError> {
    let is_quiet = !matches!(command, Command::Serve(_));
    let restart = command.backend().map(|backend| match backend {
        BackendChoice::Cpu => Restart::NotNeeded,
        _ => restart::with_missing_variables(given, is_quiet),
    });
    // Dropped last, since it waits for the last lines.
    let _log = match (&command, &restart) {
        (Command::Serve(args), _) => {
            let format = args.log_format();
            let level = surroundings.environment.log_level();
            let log = log_to_stdout(format, level.unwrap_or(LevelFilter::INFO));
            Some(log.map_err(ServiceError::from)?)
        }
        // Other commands log warnings and errors only.
        (_, Some(_)) => {
            log_to_stderr(LogFormat::Text, LevelFilter::WARN);
            None
        }
        (_, None) => None,
    };
    restart.inspect(Restart::log);
    match command {
        Command::Serve(args) => {
            let matches = matches.subcommand_matches("serve");
            let matches = matches.expect("the flags were read from them");
            surroundings.log(matches);
            serve::run(&args, args.configuration(matches))
        }
        Command::Devices(args) => devices::run(&args),
        Command::Solve(args) => solve::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::HashKey(args) => hash_key::run(&args),
        Command::Shader(args) => shader::run(&args),
        Command::ListCards => list_cards::run(),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Inserts `serve` if there is no command: the reference server is started without one.
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

/// Prints clap's message: help that was asked for, or an error.
fn refuse(error: &clap::Error, args: &[OsString]) -> ExitCode {
    // If it cannot be printed, the exit code still tells.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if let Some(variable) = variable_to_blame(error, args) {
        complain(format_args!(
            "\nThe value comes from the environment variable {variable}."
        ));
    }
    ExitCode::from(EXIT_USAGE)
}

/// The environment variable that a wrong value came from; `None` if it came from a flag.
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
    // Flags of one name may have different variables in different commands.
    let command = cli.find_subcommand(args.get(1)?)?;
    let mut arguments = command.get_arguments();
    let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--"))?;
    argument
        .get_env()
        .map(|variable| variable.to_string_lossy().into_owned())
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
