//! Traces of requests, sent to an OpenTelemetry collector.
//!
//! ```text
//! http::trace (a request's spans) -> Traces -> Bounded (counts, drops) -> the SDK's batches, on their own thread
//!                                           -> Delivery (OTLP over HTTP or gRPC, on its own runtime)
//! ```
//!
//! No request waits for the collector: a span that has ended goes into a bounded queue, or is dropped. Two threads and
//! a runtime of their own talk to the collector.
//!
//! Spans are made with OpenTelemetry's own interface and not from `tracing`'s spans. So no library's span gets into a
//! trace, least of all the exporter's, and a request that is not sampled costs next to nothing.

mod client;
mod delivery;
mod environment;
mod export;
#[cfg(test)]
pub(crate) mod kept;
mod resource;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use warp::http::HeaderMap;

use super::Metrics;
use delivery::Spans;
use environment::Environment;
use export::{Export, Sampling};
use resource::{SERVICE_NAME, resource};

/// The header with the caller's trace (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// The traces of the service's requests. Clones share them.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Whether a caller's trace is continued.
    continues: bool,
    /// `None` if no spans are exported.
    exported: Option<Exported>,
}

#[derive(Clone, Debug)]
struct Exported {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    spans: Arc<Spans>,
}

impl Traces {
    /// Traces as the standard `OTEL_*` variables configure them: exported only if they name an endpoint. A wrong variable
    /// is logged and does not stop the service.
    pub fn start(metrics: &Metrics) -> Self {
        let Environment {
            continues,
            export,
            complaints,
        } = environment::read(|name| std::env::var(name).ok());
        for complaint in complaints {
            tracing::warn!(
                variable = complaint.variable,
                "{}: {}",
                complaint.variable,
                complaint.reason
            );
        }
        let exported = match export {
            Ok(export) => export.and_then(|export| Exported::start(&export, metrics)),
            Err(complaint) => {
                tracing::error!(
                    variable = complaint.variable,
                    "no traces are exported: {} {}",
                    complaint.variable,
                    complaint.reason
                );
                None
            }
        };
        Self {
            continues,
            exported,
        }
    }

    /// The caller's span, from the headers of a request; `None` if there is none or callers are not followed.
    pub fn caller(&self, headers: &HeaderMap) -> Option<SpanContext> {
        if !self.continues || !headers.contains_key(TRACEPARENT) {
            return None;
        }
        let context = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let caller = context.span().span_context().clone();
        caller.is_valid().then_some(caller)
    }

    /// Begins a span now, if spans are exported and this one is sampled. `span` is called only if spans are exported. The
    /// span ends when the value is dropped.
    pub fn begin(
        &self,
        span: impl FnOnce() -> SpanBuilder,
        parent: Option<SpanContext>,
    ) -> Option<Recording> {
        let exported = self.exported.as_ref()?;
        let (began, began_by_the_wall) = (Instant::now(), SystemTime::now());
        let span = span().with_start_time(began_by_the_wall);
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let span = exported.tracer.build_with_context(span, &parent);
        span.is_recording().then(|| Recording {
            tracer: exported.tracer.clone(),
            context: Context::new().with_span(span),
            began,
            began_by_the_wall,
        })
    }

    /// Sends the recorded spans within `limit` and logs how many are lost. Nothing is recorded afterwards.
    pub async fn stop(&self, limit: Duration) {
        let Some(Exported {
            provider, spans, ..
        }) = self.exported.clone()
        else {
            return;
        };
        let failed = spans.failed();
        // The SDK may ignore its limit while it connects, so this waits for its thread no longer than that.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        let _ = tokio::time::timeout(limit, flushed).await;
        let lost = spans.pending() + (spans.failed() - failed);
        if lost > 0 {
            tracing::warn!(
                spans = lost,
                "the collector has not taken the last traces in time: they are lost"
            );
        }
    }
}

impl Exported {
    fn start(export: &Export, metrics: &Metrics) -> Option<Self> {
        let (processor, spans) = match delivery::start(export, metrics) {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(%error, "no traces are exported");
                return None;
            }
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(&export.attributes))
            .with_sampler(sampler(export.sampling))
            .with_span_processor(processor)
            .build();
        let scope = InstrumentationScope::builder(SERVICE_NAME)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        tracing::info!(endpoint = export.endpoint, protocol = %export.protocol, "traces are exported");
        Some(Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            spans,
        })
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let by_itself = Sampler::TraceIdRatioBased(sampling.share);
    if sampling.follows_caller {
        Sampler::ParentBased(Box::new(by_itself))
    } else {
        by_itself
    }
}

/// A sampled span that has begun. It ends when this is dropped.
///
/// Its times follow the monotonic clock. The wall clock is read once, when it begins, so no part ends after the whole even
/// if the wall clock is set meanwhile.
#[derive(Debug)]
pub struct Recording {
    tracer: SdkTracer,
    context: Context,
    /// The same moment on both clocks.
    began: Instant,
    began_by_the_wall: SystemTime,
}

impl Recording {
    /// The span, to add to it.
    pub fn span(&self) -> opentelemetry::trace::SpanRef<'_> {
        self.context.span()
    }

    /// The wall clock's time at a moment, as if it had not been set since this span began. A moment before that counts as
    /// its beginning.
    pub fn time(&self, at: Instant) -> SystemTime {
        self.began_by_the_wall + at.saturating_duration_since(self.began)
    }

    /// Adds an event at the present time.
    pub fn event(&self, name: &'static str, attributes: Vec<KeyValue>) {
        let now = self.time(Instant::now());
        self.span().add_event_with_timestamp(name, now, attributes);
    }

    /// Begins a span within this one at this time. It must end at a time of [`Recording::time`], too.
    pub fn child(&self, span: SpanBuilder, at: Instant) -> opentelemetry_sdk::trace::Span {
        let span = span.with_start_time(self.time(at));
        self.tracer.build_with_context(span, &self.context)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.span().end_with_timestamp(self.time(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_by_the_clock_by_which_it_began() {
        let (traces, kept) = kept::traces();
        let begun = traces.begin(|| SpanBuilder::from_name("whole"), None);
        let mut whole = begun.expect("all are recorded");
        // As if the wall clock had been set an hour ahead since.
        let hour = Duration::from_secs(3600);
        whole.began_by_the_wall -= hour;
        whole.event("event", Vec::new());
        let mut part = whole.child(SpanBuilder::from_name("part"), Instant::now());
        part.end_with_timestamp(whole.time(Instant::now()));
        drop(whole);
        let [part, whole] = &kept.all()[..] else {
            panic!("two spans: {kept:?}");
        };
        let ahead = SystemTime::now() - hour / 2;
        let event = whole.events.events[0].timestamp;
        assert!(part.end_time <= whole.end_time && event <= whole.end_time);
        assert!(part.start_time < ahead && event < ahead && whole.end_time < ahead);
    }
}
