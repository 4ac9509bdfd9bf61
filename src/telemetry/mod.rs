//! What operators see: logs here, metrics and traces beside.

mod history;
mod metrics;
mod traces;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use history::{
    Columns, EndedRequest, History, PercentileColumns, Percentiles, Sample, Snapshot, Window,
};
pub use metrics::{HttpRequest, Metrics, Outcome, Rebuild, SpanOutcome};
#[cfg(test)]
pub(crate) use traces::kept;
pub use traces::{Recording, Traces};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// When logging was started.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// What the service tells of its requests, and to whom. A clone tells the same.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// To Prometheus.
    pub metrics: Metrics,
    /// To the status page.
    pub history: History,
    /// To a collector of traces, if there is one.
    pub traces: Traces,
}

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
        LogFormat::Json => lines
            .json()
            .map_event_format(|format| {
                let format = format.flatten_event(true);
                Flat(format.with_current_span(false).with_span_list(false))
            })
            .try_init(),
    };
    if let Some(error) = complaint {
        tracing::warn!(error, "RUST_LOG cannot be read and is ignored");
    }
}

/// How long ago logging was started, which is the first thing that a command does; none if it was not.
pub fn since_start() -> Option<Duration> {
    STARTED.get().map(Instant::elapsed)
}

/// JSON lines that have a request's `trace_id` and `span_id` among their own fields, where OpenTelemetry's convention
/// for logs has them (<https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/>).
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
    ) -> std::fmt::Result {
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
