//! From an ended span to the collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanProcessor,
};
use prometheus::IntCounter;
use tokio::runtime::Runtime;

use super::client::{Cause, Client};
use super::export::{Export, Protocol};
use super::tls::{self, TlsError};
use crate::telemetry::{Metrics, SpanOutcome};

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// Without the library's text, which repeats the values of variables.
    #[error("the exporter cannot be made from the OTEL_EXPORTER_OTLP_ variables")]
    Exporter(#[from] ExporterBuildError),
    #[error("TLS to the collector cannot be set up: {0}")]
    Tls(#[from] TlsError),
    #[error("the system refuses a thread or a runtime: {0}")]
    System(#[from] std::io::Error),
}

/// Counts of this process's spans.
#[derive(Debug)]
pub(super) struct Spans {
    /// Spans that have ended and that the collector has neither accepted nor failed to accept.
    pending: AtomicU64,
    exported: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
}

impl Spans {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            pending: AtomicU64::new(0),
            exported: metrics.spans(SpanOutcome::Exported),
            failed: metrics.spans(SpanOutcome::Failed),
            dropped: metrics.spans(SpanOutcome::Dropped),
        }
    }

    /// Spans that wait for the collector, or are on their way.
    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Spans that the collector did not accept.
    pub(super) fn failed(&self) -> u64 {
        self.failed.get()
    }
}

/// Makes the exporter and the queue in front of it.
pub(super) fn start(
    export: &Export,
    metrics: &Metrics,
) -> Result<(Bounded, Arc<Spans>), StartError> {
    let spans = Arc::new(Spans::new(metrics));
    // Its thread runs between batches, too, and notices a connection that the collector closes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()?;
    let cause = Cause::default();
    let made = {
        // The gRPC client starts a task when it is made.
        let _inside = runtime.enter();
        exporter(export, &cause)
    };
    let exporter = match made {
        Ok(exporter) => exporter,
        Err(error) => {
            // A runtime panics if it is dropped inside another one.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let delivery = Delivery {
        exporter,
        runtime,
        endpoint: export.endpoint.clone(),
        timeout: export.timeout,
        cause,
        spans: Arc::clone(&spans),
        failing: AtomicBool::new(false),
    };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(export.queue)
        .with_max_export_batch_size(export.batch)
        .with_scheduled_delay(export.delay)
        .build();
    let bounded = Bounded {
        batches: BatchSpanProcessor::new(delivery, config),
        capacity: export.queue as u64,
        spans: Arc::clone(&spans),
        said: AtomicBool::new(false),
    };
    Ok((bounded, spans))
}

fn exporter(export: &Export, cause: &Cause) -> Result<SpanExporter, StartError> {
    Ok(match export.protocol {
        Protocol::Http => {
            let client = Client::new(export.tls.as_ref(), export.timeout, cause.clone())?;
            let mut http = SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_endpoint(&export.url)
                .with_timeout(export.timeout);
            if export.gzip {
                http = http.with_compression(Compression::Gzip);
            }
            http.build()?
        }
        Protocol::Grpc => {
            let mut grpc = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&export.url)
                .with_timeout(export.timeout);
            if export.gzip {
                grpc = grpc.with_compression(Compression::Gzip);
            }
            if let Some(authorities) = &export.tls {
                grpc = grpc.with_tls_config(tls::config(authorities)?);
            }
            grpc.build()?
        }
    })
}

/// Takes spans that have ended, up to a bound. The SDK's own queue has the same bound, but reports what it drops only when
/// the process ends.
#[derive(Debug)]
pub(super) struct Bounded {
    batches: BatchSpanProcessor,
    capacity: u64,
    spans: Arc<Spans>,
    /// Whether the log says already that spans are dropped.
    said: AtomicBool,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.spans.pending.fetch_add(1, Ordering::Relaxed) < self.capacity {
            self.batches.on_end(span);
            return;
        }
        self.spans.pending.fetch_sub(1, Ordering::Relaxed);
        self.spans.dropped.inc();
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                waiting = self.capacity,
                "spans are dropped: the collector is too slow or gone; atto_work_spans_total counts them"
            );
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends one batch at a time, and logs when the collector stops or starts to accept them.
#[derive(Debug)]
struct Delivery {
    exporter: SpanExporter,
    /// The exporter's own, apart from the service's.
    runtime: Runtime,
    endpoint: String,
    /// For a batch, with all retries.
    timeout: Duration,
    cause: Cause,
    spans: Arc<Spans>,
    /// Whether the last batch failed.
    failing: AtomicBool,
}

impl Delivery {
    /// Counts a batch of `count` spans, and logs it if it ended otherwise than the last one.
    fn settle(&self, count: usize, result: &OTelSdkResult) {
        let outcome = match result {
            Ok(()) => &self.spans.exported,
            Err(_) => &self.spans.failed,
        };
        outcome.inc_by(count as u64);
        self.spans
            .pending
            .fetch_sub(count as u64, Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match (
            result,
            self.failing.swap(result.is_err(), Ordering::Relaxed),
        ) {
            (Err(error), false) => {
                tracing::warn!(
                    endpoint,
                    %error,
                    cause = self.cause.take(),
                    "the collector does not accept traces: they are lost until it does; requests are not affected"
                );
            }
            (Ok(()), true) => tracing::info!(endpoint, "the collector accepts traces again"),
            _ => {}
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Delivery {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        // The SDK's thread for batches is in no other runtime, so it may block. The clients do not apply their own
        // timeout while they connect.
        let result = self.runtime.block_on(async {
            let export = self.exporter.export(batch);
            tokio::time::timeout(self.timeout, export)
                .await
                .unwrap_or(Err(OTelSdkError::Timeout(self.timeout)))
        });
        self.settle(count, &result);
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
