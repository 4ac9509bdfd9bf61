//! `work-server list-cards`: lists the cards for a server, which starts this as a process of its own so that a driver that
//! crashes or hangs harms nothing else.

use std::io;
use std::process::ExitCode;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::error::CommandError;
use super::output::print;
use crate::device::gpu;

/// The name of the command.
pub(super) const NAME: &str = "list-cards";

/// Prints the labels of the cards as a JSON array, then waits for the end of standard input: while the drivers are open
/// here, the server need not start the cards a second time.
pub(super) fn run() -> Result<ExitCode, CommandError> {
    // The child ends by itself only if no driver hangs and the server is not killed.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let adapters = gpu::adapters()?;
    let labels: Vec<_> = adapters
        .iter()
        .map(|adapter| &adapter.info().label)
        .collect();
    print(serde_json::to_string(&labels)?)?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(ExitCode::SUCCESS)
}
