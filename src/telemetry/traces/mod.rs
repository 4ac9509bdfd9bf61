//! Traces of requests, sent to an OpenTelemetry collector.
//!
//! ```text
//! http::trace (a request's spans) -> Traces -> Bounded (counts, drops) -> the SDK's batches, on a thread of their own
//!                                           -> Delivery (OTLP over HTTP or gRPC, on a runtime of its own)
//! ```
//!
//! Nothing here makes a request wait: a span that has ended is put into a bounded queue or dropped. Everything that
//! talks to the collector happens on two threads of its own, in a runtime that is not the service's.
//!
//! Spans are made with OpenTelemetry's own interface and not from `tracing`'s spans, so that no library's span, the
//! exporter's least of all, can get into a trace, and so that a request that is not sampled costs next to nothing.

mod delivery;
mod environment;
mod export;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use warp::http::HeaderMap;

use super::Metrics;
use delivery::Spans;
use environment::Environment;
use export::{Export, Sampling};

/// The name of the service in traces, where `OTEL_SERVICE_NAME` gives no other.
const SERVICE_NAME: &str = env!("CARGO_PKG_NAME");

/// The header that names the trace which a caller wants continued (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// The traces of the service's requests. A clone shares them.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Whether a caller's trace is continued.
    continues: bool,
    /// There if spans are exported.
    exported: Option<Exported>,
}

#[derive(Clone, Debug)]
struct Exported {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    spans: Arc<Spans>,
}

impl Traces {
    /// Traces as the standard `OTEL_*` variables want them: none is exported unless they name an endpoint. What they
    /// have wrong is logged, and keeps nobody from serving.
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

    /// What a caller's headers say of the trace that the request belongs to.
    pub fn caller(&self, headers: &HeaderMap) -> Option<SpanContext> {
        if !self.continues || !headers.contains_key(TRACEPARENT) {
            return None;
        }
        let context = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let caller = context.span().span_context().clone();
        caller.is_valid().then_some(caller)
    }

    /// Begins a span now, if spans are exported and this one is sampled. `span` is asked for only if any is exported. It
    /// ends with the value.
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

    /// Sends what has been recorded, for no longer than `limit`; what is lost is logged. Nothing is recorded any more.
    pub async fn stop(&self, limit: Duration) {
        let Some(Exported {
            provider, spans, ..
        }) = self.exported.clone()
        else {
            return;
        };
        let failed = spans.failed();
        // The collector is waited for on a thread, and that thread for no longer, whatever it is doing.
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
            .with_resource(resource())
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

/// What the traces say of this process; the environment has the last word.
fn resource() -> Resource {
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", SERVICE_NAME),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .with_attributes(instance_id().map(|id| KeyValue::new("service.instance.id", id)))
        .with_detector(Box::new(EnvResourceDetector::new()));
    let name = std::env::var("OTEL_SERVICE_NAME").ok();
    match name.as_deref().map(str::trim) {
        Some(name) if !name.is_empty() => resource.with_service_name(name.to_owned()),
        _ => resource,
    }
    .build()
}

/// A random UUID (RFC 9562, version 4), as the semantic conventions advise; none if the system has no random bytes.
fn instance_id() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let digits = hex::encode(bytes);
    let (parts, mut from) = ([8, 4, 4, 4, 12], 0);
    let parts = parts.map(|length| {
        from += length;
        &digits[from - length..from]
    });
    Some(parts.join("-"))
}

/// A span that is sampled and has begun. It ends when this is dropped.
///
/// Its times are read from the clock that nobody can set, and the wall clock only once, when it began: so no part ends
/// after the whole, whatever is done to the wall clock meanwhile.
#[derive(Debug)]
pub struct Recording {
    tracer: SdkTracer,
    context: Context,
    /// Two clocks at the same time.
    began: Instant,
    began_by_the_wall: SystemTime,
}

impl Recording {
    /// The span, to say more about it.
    pub fn span(&self) -> opentelemetry::trace::SpanRef<'_> {
        self.context.span()
    }

    /// What the wall clock would have shown, had nobody set it since this span began. Nothing is before that.
    pub fn time(&self, at: Instant) -> SystemTime {
        self.began_by_the_wall + at.saturating_duration_since(self.began)
    }

    /// Adds an event of now.
    pub fn event(&self, name: &'static str, attributes: Vec<KeyValue>) {
        let now = self.time(Instant::now());
        self.span().add_event_with_timestamp(name, now, attributes);
    }

    /// Begins a span within this one at this time. To be ended at a time of [`Recording::time`], too.
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

/// Traces whose spans stay here, for tests.
#[cfg(test)]
pub(crate) mod kept {
    use std::sync::{Arc, Mutex};

    use super::*;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SpanData, SpanProcessor};

    /// The spans that have ended, the first in front.
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

    /// All that are begun, and where they go when they end.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_by_the_clock_by_which_it_began() {
        let (traces, kept) = kept::traces();
        let begun = traces.begin(|| SpanBuilder::from_name("whole"), None);
        let mut whole = begun.expect("all are recorded");
        // As if somebody had set the wall clock an hour ahead since.
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

    #[test]
    fn an_instance_has_a_random_uuid() {
        let id = instance_id().unwrap();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, instance_id().unwrap());
    }
}
