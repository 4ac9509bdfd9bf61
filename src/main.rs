//! The `work-server` command; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    atto_work_server::cli::run(std::env::args_os())
}
