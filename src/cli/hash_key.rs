//! `work-server hash-key`: makes a line for the file of API keys.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::error::CommandError;
use super::output::print;
use crate::access::{ApiKey, KeyName};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the client, which logs and metrics show: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME", default_value = "client")]
    name: KeyName,

    /// Make a key and write it to standard error, instead of reading one from standard input
    #[arg(long)]
    generate: bool,

    /// Print a JSON object: `name` and `line`; never the key
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    name: String,
    /// For the file of API keys.
    line: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let key = if args.generate {
        let key = ApiKey::generate().map_err(io::Error::from)?;
        // Standard output may be redirected to the file, which must not hold the key.
        writeln!(io::stderr(), "{}", key.reveal())?;
        key
    } else {
        read()?
    };
    let line = format!("{}:{}", args.name, key.hash());
    if args.json {
        let name = args.name.to_string();
        print(serde_json::to_string(&Report { name, line })?)?;
    } else {
        print(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a key, with or without a newline. Never from an argument, which every process of the machine can see.
fn read() -> Result<ApiKey, CommandError> {
    if io::stdin().is_terminal() {
        writeln!(io::stderr(), "The key, then Enter and Ctrl-D:")?;
    }
    let mut text = String::new();
    // Enough to refuse a key that is too long.
    io::stdin()
        .take(2 * ApiKey::LONGEST as u64)
        .read_to_string(&mut text)?;
    let key = text.strip_suffix('\n').unwrap_or(&text);
    Ok(key.strip_suffix('\r').unwrap_or(key).parse()?)
}
