//! Traces of requests, sent to an OpenTelemetry collector.
//!
//! ```text
//! http::trace (a request's spans) -> Traces -> Bounded (counts, drops) -> the SDK's batches, on a thread of their own
//!                                           -> Delivery (OTLP over HTTP or gRPC, on that thread's own runtime)
//! ```
//!
//! Nothing here makes a request wait: a span that has ended is put into a bounded queue or dropped. Everything that
//! talks to the collector happens on one thread, whose runtime is not the service's.
//!
//! Spans are made with OpenTelemetry's own interface and not from `tracing`'s spans, so that no library's span, the
//! exporter's least of all, can get into a trace, and so that a request that is not sampled costs next to nothing.

mod delivery;
mod environment;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use warp::http::HeaderMap;

use super::Metrics;
use delivery::Spans;
use environment::{Environment, Export};

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
                "{} is wrong: {}",
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

    /// Begins a span, if spans are exported and this one is sampled. The span and its children end with the value.
    pub fn begin(&self, span: SpanBuilder, parent: Option<SpanContext>) -> Option<Recording> {
        let exported = self.exported.as_ref()?;
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let span = exported.tracer.build_with_context(span, &parent);
        span.is_recording().then(|| Recording {
            tracer: exported.tracer.clone(),
            context: Context::new().with_span(span),
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
    match name.filter(|name| !name.is_empty()) {
        Some(name) => resource.with_service_name(name),
        None => resource,
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
#[derive(Debug)]
pub struct Recording {
    tracer: SdkTracer,
    context: Context,
}

impl Recording {
    /// The span, to say more about it.
    pub fn span(&self) -> opentelemetry::trace::SpanRef<'_> {
        self.context.span()
    }

    /// Begins a span within this one.
    pub fn child(&self, span: SpanBuilder) -> opentelemetry_sdk::trace::Span {
        self.tracer.build_with_context(span, &self.context)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.context.span().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
