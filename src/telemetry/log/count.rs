//! The number of log lines by level.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, Opts};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// There is one for the process, as there is one log.
static LINES: LazyLock<Lines> = LazyLock::new(Lines::new);

struct Lines {
    family: IntCounterVec,
    by_level: [(Level, IntCounter); 5],
}

impl Lines {
    fn new() -> Self {
        let options = Opts::new("logback_events_total", "Log lines, by level.");
        let family = IntCounterVec::new(options, &["level"]).expect("the names are well formed");
        let counter = |level: Level| {
            let label = level.as_str().to_lowercase();
            (level, family.with_label_values(&[&label]))
        };
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        Self {
            by_level: levels.map(counter),
            family,
        }
    }
}

/// The counters, under Spring's name.
pub(in crate::telemetry) fn log_lines() -> IntCounterVec {
    LINES.family.clone()
}

/// Counts the log lines that the filter lets through.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountLines;

impl<S: Subscriber> Layer<S> for CountLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = event.metadata().level();
        let mut counters = LINES.by_level.iter();
        if let Some((_, counter)) = counters.find(|(of, _)| of == level) {
            counter.inc();
        }
    }
}
