//! What operators see: logs here, metrics beside.

mod metrics;

use std::io::IsTerminal;

pub use metrics::{Metrics, Outcome};
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: a line of text, in colour on a terminal.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging to standard error, so that standard output is a command's own.
///
/// The filter is `RUST_LOG` where it is set, else `info`. May be called once a process; a second call
/// changes nothing.
pub fn start_logging(format: LogFormat) {
    // warp reports each client that hangs up as an error, which is no news to an operator.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,warp::server=off,wgpu=warn,naga=warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The only failure is a logger that was set before, and then that one stays.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
