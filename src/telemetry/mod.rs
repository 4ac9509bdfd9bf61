//! What operators see: logs, metrics, the history for the status page, and traces.

mod history;
mod log;
mod metrics;
mod traces;

pub use history::{
    Columns, EndedRequest, History, PercentileColumns, Percentiles, Sample, Snapshot, Window,
};
pub use log::{LogFormat, LogGuard, MORE_THREADS, log_to_stderr, log_to_stdout, since_start};
pub use metrics::{HttpRequest, Measurement, Metrics, Outcome, Rebuild, SpanOutcome};
#[cfg(test)]
pub(crate) use traces::kept;
pub use traces::{Recording, Traces};

/// Where the service reports its requests. Clones report to the same.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// For Prometheus.
    pub metrics: Metrics,
    /// For the status page.
    pub history: History,
    /// For a collector of traces, if there is one.
    pub traces: Traces,
}
