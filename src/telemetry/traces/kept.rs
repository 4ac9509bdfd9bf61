//! Traces whose spans stay in the process, for tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};

use super::delivery::Spans;
use super::{Exported, Traces};
use crate::telemetry::Metrics;

/// The spans that have ended, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Kept {
    pub(crate) fn all(&self) -> Vec<SpanData> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().expect("nobody panics with it").push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Traces that record every span, and where the spans go when they end.
pub(crate) fn traces() -> (Traces, Kept) {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(kept.clone())
        .build();
    let exported = Exported {
        tracer: provider.tracer("test"),
        provider,
        spans: Arc::new(Spans::new(&Metrics::new())),
    };
    let traces = Traces {
        continues: true,
        exported: Some(exported),
    };
    (traces, kept)
}
