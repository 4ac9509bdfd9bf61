//! Every metric of the service, in Prometheus's text format. This file is their manual.
//!
//! | name | type | labels | meaning |
//! | --- | --- | --- | --- |
//! | `atto_work_requests_total` | counter | `network`, `outcome` | requests for work that have ended; see [`Outcome`]. `network` is `none` where the request was not understood |
//! | `atto_work_verifications_total` | counter | `network`, `outcome` | likewise requests to verify a work; `ok` is one that was answered, whether the work is valid or not |
//! | `atto_work_key_requests_total` | counter | `key`, `outcome` | requests of each API key, by its name, of both kinds; only where keys are on |
//! | `atto_work_coalesced_total` | counter | | requests that joined a search for the same work instead of having their own |
//! | `atto_work_remembered_total` | counter | | requests that were answered with work found before, without a search |
//! | `atto_work_searches_running` | gauge | | searches that devices work on, in turns or together; easy ones may make it more than `QUEUE_SIZE` |
//! | `atto_work_queue_depth` | gauge | | hard searches that wait for a running one to end |
//! | `atto_work_queue_capacity` | gauge | | how many may wait |
//! | `atto_work_hash_rate` | gauge | | hashes a second of all engines in service while they search, as measured lately |
//! | `atto_work_expected_wait_seconds` | gauge | | how long a hard search that came now would wait for a turn, on average |
//! | `atto_work_hashes_total` | counter | `device` | nonces tested |
//! | `atto_work_batches_total` | counter | `device` | batches of slices completed; on a card, dispatches |
//! | `atto_work_kernel_hashes_per_second` | gauge | `device`, `kernel` | what each form of the search was measured at when the device was opened, of one engine |
//! | `atto_work_device_engines` | gauge | `device`, `backend`, `kernel` | engines of the device that may serve. A device that is opened anew may have another kernel, so sum over it: 0 is a device that is out of service |
//! | `atto_work_device_faults_total` | counter | `device` | errors, wrong answers and hangs |
//! | `atto_work_device_rebuilds_total` | counter | `device`, `outcome` | attempts to open the device anew after it had failed; see [`Rebuild`] |
//! | `atto_work_connections` | gauge | `listener` | open connections of the `public` and the `management` port |
//! | `atto_work_connections_closed_total` | counter | `listener`, `reason` | connections that have ended: `closed` as HTTP has it, `broken` off by the client, `header_timeout`, `idle_timeout`, `answer_unread`, `reset_flood`, `displaced` by others, `stopped` with the service |
//! | `atto_work_spans_total` | counter | `outcome` | spans of requests, only where tracing is on; see [`SpanOutcome`] |
//! | `process_*` | | | the process's memory, descriptors, threads and CPU time |
//!
//! Labels come from enums, from the devices of this machine and from the names of its API keys, never from a request's text.

use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::device::{Backend, DeviceInfo};
use crate::work::Network;

/// How a request for work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with work.
    Ok,
    /// Refused as wrong: any 4xx but the next two.
    Invalid,
    /// Refused without an API key, or with one that is not known.
    Unauthorized,
    /// Refused because its API key had as many requests in progress as it may.
    Limited,
    /// The client left before there was an answer.
    Cancelled,
    /// Refused because too many searches were waiting.
    QueueFull,
    /// No device could serve.
    NoDevice,
    /// The service was shutting down.
    Closed,
    /// There was no work in time.
    Deadline,
}

impl Outcome {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::Limited => "limited",
            Self::Cancelled => "cancelled",
            Self::QueueFull => "queue_full",
            Self::NoDevice => "no_device",
            Self::Closed => "closed",
            Self::Deadline => "deadline",
        }
    }
}

/// How an attempt to open a failed device anew ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// It was opened, and serves again.
    Ok,
    /// It could not be opened, or failed its self-test.
    Failed,
}

impl Rebuild {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector has taken it.
    Exported,
    /// The collector has not, and it is gone.
    Failed,
    /// As many as may be were waiting for the collector (`OTEL_BSP_MAX_QUEUE_SIZE`).
    Dropped,
}

impl SpanOutcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// The service's metrics. A clone shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    verifications: IntCounterVec,
    key_requests: IntCounterVec,
    coalesced: IntCounter,
    remembered: IntCounter,
    searches_running: IntGauge,
    queue_depth: IntGauge,
    queue_capacity: IntGauge,
    hash_rate: Gauge,
    expected_wait: Gauge,
    hashes: IntCounterVec,
    batches: IntCounterVec,
    kernel_rates: IntGaugeVec,
    device_engines: IntGaugeVec,
    device_faults: IntCounterVec,
    device_rebuilds: IntCounterVec,
    connections: IntGaugeVec,
    connections_closed: IntCounterVec,
    spans: IntCounterVec,
}

impl Metrics {
    /// Metrics in a registry of their own, all at zero.
    #[expect(
        clippy::missing_panics_doc,
        reason = "names and labels are the literals of this file"
    )]
    pub fn new() -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
                .expect("the name and the labels are well formed")
        };
        let counter =
            |name: &str, help: &str| IntCounter::new(name, help).expect("the name is well formed");
        let real =
            |name: &str, help: &str| Gauge::new(name, help).expect("the name is well formed");
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels)
                .expect("the name and the labels are well formed")
        };
        let gauge =
            |name: &str, help: &str| IntGauge::new(name, help).expect("the name is well formed");
        let metrics = Self {
            registry: Registry::new(),
            requests: counters(
                "atto_work_requests_total",
                "Requests for work that have ended.",
                &["network", "outcome"],
            ),
            verifications: counters(
                "atto_work_verifications_total",
                "Requests to verify a work that have ended.",
                &["network", "outcome"],
            ),
            key_requests: counters(
                "atto_work_key_requests_total",
                "Requests of an API key that have ended.",
                &["key", "outcome"],
            ),
            coalesced: counter(
                "atto_work_coalesced_total",
                "Requests that joined a search for the same work.",
            ),
            remembered: counter(
                "atto_work_remembered_total",
                "Requests that were answered with work found before.",
            ),
            searches_running: gauge(
                "atto_work_searches_running",
                "Searches that devices work on, in turns or together.",
            ),
            queue_depth: gauge(
                "atto_work_queue_depth",
                "Hard searches that wait for a running one to end.",
            ),
            queue_capacity: gauge("atto_work_queue_capacity", "How many searches may wait."),
            hash_rate: real(
                "atto_work_hash_rate",
                "Hashes a second of all engines in service while they search.",
            ),
            expected_wait: real(
                "atto_work_expected_wait_seconds",
                "How long a hard search that came now would wait for a turn.",
            ),
            hashes: counters("atto_work_hashes_total", "Nonces tested.", &["device"]),
            batches: counters(
                "atto_work_batches_total",
                "Batches of slices completed.",
                &["device"],
            ),
            kernel_rates: gauges(
                "atto_work_kernel_hashes_per_second",
                "What a form of the search was measured at, of one engine.",
                &["device", "kernel"],
            ),
            device_engines: gauges(
                "atto_work_device_engines",
                "Engines of the device that may serve.",
                &["device", "backend", "kernel"],
            ),
            device_faults: counters(
                "atto_work_device_faults_total",
                "Errors, wrong answers and hangs.",
                &["device"],
            ),
            device_rebuilds: counters(
                "atto_work_device_rebuilds_total",
                "Attempts to open the device anew.",
                &["device", "outcome"],
            ),
            connections: IntGaugeVec::new(
                Opts::new("atto_work_connections", "Open connections."),
                &["listener"],
            )
            .expect("the name and the labels are well formed"),
            connections_closed: counters(
                "atto_work_connections_closed_total",
                "Connections that have ended.",
                &["listener", "reason"],
            ),
            spans: counters(
                "atto_work_spans_total",
                "Spans of requests, by what became of them.",
                &["outcome"],
            ),
        };
        metrics.register().expect("the names differ");
        metrics
    }

    fn register(&self) -> prometheus::Result<()> {
        let registry = &self.registry;
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.verifications.clone()))?;
        registry.register(Box::new(self.key_requests.clone()))?;
        registry.register(Box::new(self.coalesced.clone()))?;
        registry.register(Box::new(self.remembered.clone()))?;
        registry.register(Box::new(self.searches_running.clone()))?;
        registry.register(Box::new(self.queue_depth.clone()))?;
        registry.register(Box::new(self.queue_capacity.clone()))?;
        registry.register(Box::new(self.hash_rate.clone()))?;
        registry.register(Box::new(self.expected_wait.clone()))?;
        registry.register(Box::new(self.hashes.clone()))?;
        registry.register(Box::new(self.device_engines.clone()))?;
        registry.register(Box::new(self.device_faults.clone()))?;
        registry.register(Box::new(self.batches.clone()))?;
        registry.register(Box::new(self.kernel_rates.clone()))?;
        registry.register(Box::new(self.device_rebuilds.clone()))?;
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.connections_closed.clone()))?;
        registry.register(Box::new(self.spans.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))
    }

    /// Counts a request that has ended. `network` is `None` where the request was not understood.
    pub fn request_ended(&self, network: Option<Network>, outcome: Outcome) {
        let network = network.map_or("none", Network::as_str);
        self.requests
            .with_label_values(&[network, outcome.label()])
            .inc();
    }

    /// Counts a request to verify a work that has ended; `network` as above.
    pub fn verification_ended(&self, network: Option<Network>, outcome: Outcome) {
        let network = network.map_or("none", Network::as_str);
        self.verifications
            .with_label_values(&[network, outcome.label()])
            .inc();
    }

    /// Counts a request of the API key with this name that has ended.
    pub fn key_request_ended(&self, key: &str, outcome: Outcome) {
        self.key_requests
            .with_label_values(&[key, outcome.label()])
            .inc();
    }

    /// Counts a request that joined a search for the same work.
    pub fn request_coalesced(&self) {
        self.coalesced.inc();
    }

    /// Counts a request that was answered with work found before.
    pub fn request_remembered(&self) {
        self.remembered.inc();
    }

    /// Sets how many hashes a second the engines do, and how long a hard search would wait; NaN if that is unknown.
    pub fn observe_pace(&self, hash_rate: f64, expected_wait: Option<Duration>) {
        self.hash_rate.set(hash_rate);
        let seconds = expected_wait.map_or(f64::NAN, |wait| wait.as_secs_f64());
        self.expected_wait.set(seconds);
    }

    /// Sets how many searches run and wait, of how many that may wait.
    pub fn observe_queue(&self, running: usize, waiting: usize, capacity: usize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.searches_running.set(gauge(running));
        self.queue_depth.set(gauge(waiting));
        self.queue_capacity.set(gauge(capacity));
    }

    /// The counter of the nonces that this device has tested.
    pub fn hashes(&self, device: &DeviceInfo) -> IntCounter {
        self.hashes.with_label_values(&[&device.name])
    }

    /// The counter of the batches that this device has completed.
    pub fn batches(&self, device: &DeviceInfo) -> IntCounter {
        self.batches.with_label_values(&[&device.name])
    }

    /// Sets what each form of the search was measured at on this device.
    pub fn set_kernel_rates(&self, device: &DeviceInfo) {
        for trial in &device.trials {
            let rate = i64::try_from(trial.hashes_per_second).unwrap_or(i64::MAX);
            self.kernel_rates
                .with_label_values(&[&device.name, &trial.kernel])
                .set(rate);
        }
    }

    /// Counts an attempt to open this device anew.
    pub fn rebuild_ended(&self, device: &DeviceInfo, outcome: Rebuild) {
        self.device_rebuilds
            .with_label_values(&[device.name.as_str(), outcome.label()])
            .inc();
    }

    /// The gauge of this device's engines that may serve.
    pub fn engines(&self, device: &DeviceInfo) -> IntGauge {
        let backend = match device.backend {
            Backend::Cpu => "cpu",
            Backend::Gpu => "gpu",
        };
        self.device_engines
            .with_label_values(&[device.name.as_str(), backend, &device.kernel])
    }

    /// The counter of this device's faults.
    pub fn faults(&self, device: &DeviceInfo) -> IntCounter {
        self.device_faults.with_label_values(&[&device.name])
    }

    /// The gauge of this listener's open connections.
    pub fn connections(&self, listener: &'static str) -> IntGauge {
        self.connections.with_label_values(&[listener])
    }

    /// Counts a connection that has ended.
    pub fn connection_closed(&self, listener: &'static str, reason: &'static str) {
        self.connections_closed
            .with_label_values(&[listener, reason])
            .inc();
    }

    /// The counter of the spans that this became of.
    pub fn spans(&self, outcome: SpanOutcome) -> IntCounter {
        self.spans.with_label_values(&[outcome.label()])
    }

    /// All metrics, in Prometheus's text format 0.0.4.
    ///
    /// # Errors
    ///
    /// If a metric cannot be encoded.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
