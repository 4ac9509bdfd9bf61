//! Log lines on standard error.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_lines::CountLines;

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

/// Levels of the libraries that open a card, unless `RUST_LOG` is set: below warnings they log much, and it matters only
/// when a card cannot be opened.
const QUIET_LIBRARIES: &str = "wgpu_core=warn,wgpu_hal=warn,naga=warn";

/// Starts logging to standard error: standard output belongs to the commands.
///
/// The filter is that of `RUST_LOG`. If that is not set, or is wrong, which is logged, it is `level`. A second call in a
/// process changes nothing.
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
        // A write error must not panic in the thread that logs.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    // It fails only if a logger is set already, which then stays.
    let _ = match format {
        LogFormat::Text => lines
            .with_ansi(io::stderr().is_terminal())
            .finish()
            .with(CountLines)
            .try_init(),
        LogFormat::Json => lines
            .json()
            .map_event_format(|format| {
                let format = format.flatten_event(true);
                Flat(format.with_current_span(false).with_span_list(false))
            })
            .finish()
            .with(CountLines)
            .try_init(),
    };
    if let Some(error) = complaint {
        tracing::warn!(error, "RUST_LOG cannot be read and is ignored");
    }
}

/// The time since logging was started, which is the first thing that a command does; `None` if it was not.
pub fn since_start() -> Option<Duration> {
    STARTED.get().map(Instant::elapsed)
}

/// JSON lines with a request's `trace_id` and `span_id` at the top level, as OpenTelemetry's convention for logs has it
/// (<https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/>).
struct Flat(Format<Json>);

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = context.lookup_current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<JsonFields>>();
        let fields = fields.and_then(|fields| fields.fields.strip_prefix('{'));
        match (line.trim_end().strip_suffix('}'), fields) {
            (Some(line), Some(fields)) if fields != "}" => writeln!(writer, "{line},{fields}"),
            _ => writer.write_str(&line),
        }
    }
}
