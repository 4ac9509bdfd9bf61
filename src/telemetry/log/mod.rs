//! Log lines: those of the service through a bounded queue to standard output, those of other commands to standard
//! error.

mod count;
mod line;
mod panics;
mod queue;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use count::CountLines;
pub(super) use count::log_lines;
use line::{JsonLine, TextLine};
pub use panics::MORE_THREADS;
use queue::Queue;
pub(super) use queue::lost_lines;

/// When logging was started.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people, in colour on a terminal.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl LogFormat {
    /// Text if standard output is a terminal, else JSON.
    pub fn of_standard_output() -> Self {
        if io::stdout().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Levels of the libraries that open a card, unless `RUST_LOG` is set: below warnings they log much, and it matters only
/// when a card cannot be opened.
const QUIET_LIBRARIES: &str = "wgpu_core=warn,wgpu_hal=warn,naga=warn";

/// How long the end of the process waits for a reader of the log.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes the lines that are still queued when it is dropped. Waits for their reader for one second at most.
#[derive(Debug)]
#[must_use = "dropping it waits for the log"]
pub struct LogGuard(Queue);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let _ = self.0.flush(FLUSH);
    }
}

/// Starts logging to standard error, where lines are written at once.
///
/// The filter is that of `RUST_LOG`, or `level` if `RUST_LOG` is not set, empty or wrong. A wrong value is logged. A
/// second call in a process changes nothing.
pub fn log_to_stderr(format: LogFormat, level: LevelFilter) {
    let is_coloured = io::stderr().is_terminal();
    start(format, level, BoxMakeWriter::new(io::stderr), is_coloured);
}

/// Starts logging to standard output through a queue that drops lines when it is full, so that a stalled log reader
/// blocks no thread. Panics are logged too, and a panic of the calling thread ends the process. The filter is that of
/// [`log_to_stderr`].
///
/// # Errors
///
/// If the system refuses the thread that writes.
pub fn log_to_stdout(format: LogFormat, level: LevelFilter) -> io::Result<LogGuard> {
    let queue = Queue::start(io::stdout())?;
    let is_coloured = io::stdout().is_terminal();
    start(
        format,
        level,
        BoxMakeWriter::new(queue.clone()),
        is_coloured,
    );
    panics::log_panics(queue.clone());
    Ok(LogGuard(queue))
}

fn start(format: LogFormat, level: LevelFilter, output: BoxMakeWriter, is_coloured: bool) {
    STARTED.get_or_init(Instant::now);
    let (filter, complaint) = filter(std::env::var("RUST_LOG"), level);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A write error must not panic in the thread that logs.
        .log_internal_errors(false)
        .with_writer(output);
    // It fails only if a logger is set already, which then stays.
    let _ = match format {
        LogFormat::Text => lines
            .with_ansi(is_coloured)
            .map_event_format(|format| TextLine(format.with_ansi(is_coloured)))
            .finish()
            .with(CountLines)
            .try_init(),
        LogFormat::Json => lines
            .json()
            .map_event_format(|format| {
                let format = format.flatten_event(true);
                JsonLine(format.with_current_span(false).with_span_list(false))
            })
            .finish()
            .with(CountLines)
            .try_init(),
    };
    if let Some(error) = complaint {
        tracing::warn!(error, "RUST_LOG cannot be read and is ignored");
    }
}

/// The filter that `RUST_LOG` asks for, or the one of `level` and why `RUST_LOG` cannot be read.
fn filter(
    given: Result<String, std::env::VarError>,
    level: LevelFilter,
) -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new(format!("{level},{QUIET_LIBRARIES}"));
    match given {
        Ok(text) if text.trim().is_empty() => (default(), None),
        Ok(text) => match EnvFilter::try_new(text) {
            Ok(filter) => (filter, None),
            Err(error) => (default(), Some(error.to_string())),
        },
        Err(std::env::VarError::NotPresent) => (default(), None),
        Err(error) => (default(), Some(error.to_string())),
    }
}

/// The time since logging was started, which is the first thing that a command does; `None` if it was not.
pub fn since_start() -> Option<Duration> {
    STARTED.get().map(Instant::elapsed)
}

#[cfg(test)]
mod tests {
    use std::env::VarError;

    use super::*;

    #[test]
    fn an_empty_filter_is_none() {
        let by_default = filter(Err(VarError::NotPresent), LevelFilter::INFO).0;
        for text in ["", " "] {
            let (filter, complaint) = filter(Ok(text.to_owned()), LevelFilter::INFO);
            assert_eq!(filter.to_string(), by_default.to_string());
            assert_eq!(complaint, None);
        }
        assert_eq!(
            filter(Ok("debug".to_owned()), LevelFilter::INFO)
                .0
                .to_string(),
            "debug"
        );
        let (wrong, complaint) = filter(Ok("work=loud".to_owned()), LevelFilter::INFO);
        assert_eq!(wrong.to_string(), by_default.to_string());
        assert!(complaint.is_some());
    }
}
