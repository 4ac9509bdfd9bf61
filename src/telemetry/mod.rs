//! What operators see: logs here, metrics beside.

mod history;
mod metrics;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use history::{
    Columns, EndedRequest, History, PercentileColumns, Percentiles, Sample, Snapshot, Window,
};
pub use metrics::{HttpRequest, Metrics, Outcome, Rebuild};
use tracing_subscriber::EnvFilter;

/// When logging was started.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: a line of text, in colour on a terminal.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What is logged beside the level where `RUST_LOG` does not say otherwise. The libraries that open a card have much to
/// say that is of interest only when one cannot be opened.
const QUIET_LIBRARIES: &str = "wgpu_core=warn,wgpu_hal=warn,naga=warn";

/// Starts logging to standard error, so that standard output is a command's own.
///
/// The filter is that of `RUST_LOG`, or `level` if that is not set or cannot be read, which is then said. May be called
/// once a process; a second call changes nothing.
pub fn start_logging(format: LogFormat, level: tracing::Level) {
    STARTED.get_or_init(Instant::now);
    let given = EnvFilter::try_from_default_env();
    let complaint = given
        .as_ref()
        .err()
        .filter(|_| std::env::var_os("RUST_LOG").is_some())
        .map(ToString::to_string);
    let filter = given.unwrap_or_else(|_| EnvFilter::new(format!("{level},{QUIET_LIBRARIES}")));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A standard error that cannot be written to must not end the thread that has something to say.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // The only failure is a logger that was set before, and then that one stays.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Some(error) = complaint {
        tracing::warn!(error, "RUST_LOG cannot be read and is ignored");
    }
}

/// How long ago logging was started, which is the first thing that a command does; none if it was not.
pub fn since_start() -> Option<Duration> {
    STARTED.get().map(Instant::elapsed)
}
