//! The formats of log lines.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// A JSON line: `timestamp`, `severity` and `level`, `message`, `target`, and the event's own fields. A request's `trace_id`
/// and `span_id` stand at the top level, as OpenTelemetry's convention for logs has it
/// (<https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/>).
pub(super) struct JsonLine(pub(super) Format<Json>);

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let Some(members) = line.trim_end().strip_suffix('}') else {
            return writer.write_str(&line);
        };
        let severity = severity(*event.metadata().level());
        write!(writer, "{members},\"severity\":\"{severity}\"")?;
        if let Some(span) = context.lookup_current() {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|fields| fields.fields.strip_prefix('{'));
            if let Some(fields) = fields.and_then(|fields| fields.strip_suffix('}'))
                && !fields.is_empty()
            {
                write!(writer, ",{fields}")?;
            }
        }
        writer.write_str("}\n")
    }
}

/// The level in the words of Google Cloud's logging. A line without them is shown there as an error or without a level.
fn severity(level: Level) -> &'static str {
    match level {
        Level::TRACE | Level::DEBUG => "DEBUG",
        Level::INFO => "INFO",
        Level::WARN => "WARNING",
        Level::ERROR => "ERROR",
    }
}

/// A line of text. Line breaks within it, such as those of a driver's messages, are escaped.
pub(super) struct TextLine(pub(super) Format<Full>);

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        for part in line.split_inclusive(['\n', '\r']) {
            match part.as_bytes().last() {
                Some(b'\n') => write!(writer, "{}\\n", &part[..part.len() - 1])?,
                Some(b'\r') => write!(writer, "{}\\r", &part[..part.len() - 1])?,
                _ => writer.write_str(part)?,
            }
        }
        writer.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    /// What is logged within `log`.
    fn logged(format: super::super::LogFormat, log: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let output = Written(Arc::clone(&written));
        let lines = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || output.clone());
        match format {
            super::super::LogFormat::Text => {
                let lines = lines.map_event_format(|format| TextLine(format.with_ansi(false)));
                tracing::subscriber::with_default(lines.finish(), log);
            }
            super::super::LogFormat::Json => {
                let lines = lines.json().map_event_format(|format| {
                    JsonLine(format.flatten_event(true).with_current_span(false))
                });
                tracing::subscriber::with_default(lines.finish(), log);
            }
        }
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const OF_A_DRIVER: &str = "lost:\n  \"queue\"\r\n\tat vkQueueSubmit\n";

    #[test]
    fn every_member_that_a_collector_needs_is_there() {
        let levels = [
            (Level::TRACE, "DEBUG"),
            (Level::DEBUG, "DEBUG"),
            (Level::INFO, "INFO"),
            (Level::WARN, "WARNING"),
            (Level::ERROR, "ERROR"),
        ];
        let log = logged(super::super::LogFormat::Json, || {
            let span = tracing::info_span!("request", trace_id = "4bf9");
            let _within = span.enter();
            tracing::trace!(reason = OF_A_DRIVER, "lost");
            tracing::debug!(reason = OF_A_DRIVER, "lost");
            tracing::info!(reason = OF_A_DRIVER, "lost");
            tracing::warn!(reason = OF_A_DRIVER, "lost");
            tracing::error!(reason = OF_A_DRIVER, "lost");
        });
        assert_eq!(log.lines().count(), levels.len(), "{log}");
        for (line, (level, severity)) in log.lines().zip(levels) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["level"], level.as_str(), "{line}");
            assert_eq!(line["severity"], severity, "{line}");
            assert_eq!(line["message"], "lost", "{line}");
            assert_eq!(line["reason"], OF_A_DRIVER, "{line}");
            assert_eq!(line["trace_id"], "4bf9", "{line}");
            assert!(line["target"].as_str().unwrap().contains("telemetry"));
            assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        }
    }

    #[test]
    fn a_text_line_is_one_line_whatever_a_driver_says() {
        let log = logged(super::super::LogFormat::Text, || {
            tracing::error!(reason = %OF_A_DRIVER, "{OF_A_DRIVER}");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.ends_with('\n') && !log.contains('\r'), "{log:?}");
        assert!(log.contains("lost:\\n  \"queue\"\\r\\n"), "{log:?}");
    }
}
