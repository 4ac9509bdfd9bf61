//! The families of metrics, as they are declared: name, help and labels.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    CounterVec, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::active::Active;
use super::http::HttpRequests;
use super::outcome::{Outcome, PerNetwork, PerRequest};
use super::series::LABELS;
use super::system::System;
use crate::build_info::{COMMIT, FEATURES, VERSION};
use crate::telemetry::log::{log_lines, lost_lines};
use crate::work::AnyNetwork;

/// The upper bounds of the histograms' buckets in seconds, from an easy search on a card to a hard one on a processor.
/// The time of a search is spread exponentially, so steps of 2 to 2.5 are fine enough.
pub(super) const BUCKETS: [f64; 21] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// Every family of the service.
#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) requests: PerRequest<IntCounterVec>,
    pub(super) request_times: PerRequest<HistogramVec>,
    pub(super) waits: PerNetwork,
    pub(super) solves: PerNetwork,
    pub(super) verifications: PerRequest<IntCounterVec>,
    pub(super) key_requests: IntCounterVec,
    pub(super) coalesced: IntCounter,
    pub(super) remembered: IntCounter,
    pub(super) searches_running: IntGauge,
    pub(super) queue_depth: IntGauge,
    pub(super) queue_capacity: IntGauge,
    pub(super) hash_rate: Gauge,
    pub(super) expected_wait: Gauge,
    pub(super) expected_solve: GaugeVec,
    pub(super) hashes: IntCounterVec,
    pub(super) batches: IntCounterVec,
    pub(super) device_busy: CounterVec,
    pub(super) kernel_rates: IntGaugeVec,
    pub(super) device_states: IntGaugeVec,
    pub(super) device_rates: GaugeVec,
    pub(super) device_engines: IntGaugeVec,
    pub(super) device_faults: IntCounterVec,
    pub(super) device_rebuilds: IntCounterVec,
    pub(super) connections: IntGaugeVec,
    pub(super) connections_closed: IntCounterVec,
    pub(super) spans: IntCounterVec,
    pub(super) http: HttpRequests,
    pub(super) started_time: Gauge,
    pub(super) ready_time: Gauge,
    pub(super) uptime: Gauge,
    pub(super) system: System,
}

impl Families {
    /// Declares all of them in this registry, and what Prometheus's library has of the process.
    pub(super) fn declare(registry: &Registry) -> Self {
        let declare = Declarations(registry);
        declare.build_info();
        declare.process();
        declare.registered(Ok(lost_lines()));
        declare.registered(Ok(log_lines()));
        Self {
            requests: PerRequest::new(declare.counters(
                "atto_work_requests_total",
                "Requests for work that have ended.",
                &["network", "outcome"],
            )),
            request_times: PerRequest::new(declare.histograms(
                "atto_work_request_seconds",
                "Time of requests for work, from the head to the answer.",
                &["network", "outcome"],
            )),
            waits: PerNetwork::new(declare.histograms(
                "atto_work_wait_seconds",
                "Time from the request until a device begins to search for it.",
                &["network"],
            )),
            solves: PerNetwork::new(declare.histograms(
                "atto_work_solve_seconds",
                "Time from when a device begins to search for a request until its answer.",
                &["network"],
            )),
            verifications: PerRequest::new(declare.counters(
                "atto_work_verifications_total",
                "Requests to verify work that have ended.",
                &["network", "outcome"],
            )),
            key_requests: declare.counters(
                "atto_work_key_requests_total",
                "Requests of an API key that have ended.",
                &["key", "outcome"],
            ),
            coalesced: declare.counter(
                "atto_work_coalesced_total",
                "Requests that joined a search for the same work.",
            ),
            remembered: declare.counter(
                "atto_work_remembered_total",
                "Requests that were answered from the cache.",
            ),
            searches_running: declare.count(
                "atto_work_searches_running",
                "Searches that devices work on.",
            ),
            queue_depth: declare.count(
                "atto_work_queue_depth",
                "Hard searches that wait for a slot.",
            ),
            queue_capacity: declare.count("atto_work_queue_capacity", "Searches that may wait."),
            hash_rate: declare.gauge(
                "atto_work_hash_rate",
                "Hash rate of all engines in service while they search, per second.",
            ),
            expected_wait: declare.gauge(
                "atto_work_expected_wait_seconds",
                "Mean time that a hard search that arrives now would wait for a slot.",
            ),
            expected_solve: declare.gauges(
                "atto_work_expected_solve_seconds",
                "Mean time of a search for a current block with all engines to itself.",
                &["network"],
            ),
            hashes: declare.counters("atto_work_hashes_total", "Nonces tested.", &["device"]),
            batches: declare.counters(
                "atto_work_batches_total",
                "Batches completed; on a card, dispatches.",
                &["device"],
            ),
            device_busy: declare.registered(CounterVec::new(
                Opts::new(
                    "atto_work_device_busy_seconds_total",
                    "Time that the device's engines have worked on completed batches.",
                ),
                &["device"],
            )),
            kernel_rates: declare.counts(
                "atto_work_kernel_hashes_per_second",
                "Hash rate of one engine with this kernel, as measured when the device was opened.",
                &["device", "kernel"],
            ),
            device_states: declare.counts(
                "atto_work_device_state",
                "1 for the state of the device, 0 for other states.",
                &["device", "state"],
            ),
            device_rates: declare.gauges(
                "atto_work_device_hash_rate",
                "Hash rate of the device's engines in service while they search, per second.",
                &["device"],
            ),
            device_engines: declare.counts(
                "atto_work_device_engines",
                "Engines of the device in service.",
                &["device", "backend", "kernel"],
            ),
            device_faults: declare.counters(
                "atto_work_device_faults_total",
                "Errors, wrong answers and hangs of the device.",
                &["device"],
            ),
            device_rebuilds: declare.counters(
                "atto_work_device_rebuilds_total",
                "Attempts to reopen the device after a failure.",
                &["device", "outcome"],
            ),
            connections: declare.counts(
                "atto_work_connections",
                "Open connections.",
                &["listener"],
            ),
            connections_closed: declare.counters(
                "atto_work_connections_closed_total",
                "Connections that have ended.",
                &["listener", "reason"],
            ),
            spans: declare.counters(
                "atto_work_spans_total",
                "Spans of requests, by outcome.",
                &["outcome"],
            ),
            http: HttpRequests::new(
                declare.histograms(
                    "http_server_requests_seconds",
                    "Time of requests to the ports for clients.",
                    &LABELS,
                ),
                declare.gauges(
                    "http_server_requests_seconds_max",
                    "Longest request of the last two minutes.",
                    &LABELS,
                ),
                declare.registered(Ok(Active::new())),
            ),
            started_time: declare.gauge(
                "application_started_time_seconds",
                "Time from the start until devices were open.",
            ),
            ready_time: declare.gauge(
                "application_ready_time_seconds",
                "Time from the start until requests were accepted.",
            ),
            uptime: declare.gauge("process_uptime_seconds", "Time since the start."),
            system: System::new(
                declare.gauge(
                    "process_cpu_usage",
                    "Share of its processors that the process uses, 0 to 1.",
                ),
                declare.gauge(
                    "system_cpu_usage",
                    "Share of the machine's processors that is in use, 0 to 1.",
                ),
                declare.count("system_cpu_count", "Processors that the process may use."),
                declare.gauge(
                    "system_load_average_1m",
                    "Load of the machine in the last minute.",
                ),
            ),
        }
    }

    /// Creates the children of this network that are known at the start.
    pub(super) fn begin_network(&self, network: AnyNetwork) {
        let ok = &[Outcome::Ok];
        self.requests.begin(Some(network), &Outcome::OF_UNDERSTOOD);
        self.request_times.begin(Some(network), ok);
        self.verifications.begin(Some(network), ok);
        self.waits.child(network);
        self.solves.child(network);
    }
}

/// Declares families in a registry.
struct Declarations<'a>(&'a Registry);

impl Declarations<'_> {
    fn registered<F: Collector + Clone + 'static>(&self, family: prometheus::Result<F>) -> F {
        let family = family.expect("the name and the labels are well formed");
        let registered = self.0.register(Box::new(family.clone()));
        registered.expect("the names differ");
        family
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge of whole numbers.
    fn count(&self, name: &str, help: &str) -> IntGauge {
        self.registered(IntGauge::new(name, help))
    }

    fn counts(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.registered(Gauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.registered(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// Histograms of times in seconds.
    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.registered(HistogramVec::new(options, labels))
    }

    fn process(&self) {
        let registered = self.0.register(Box::new(ProcessCollector::for_self()));
        registered.expect("the names differ");
    }

    fn build_info(&self) {
        let info = self.counts(
            "atto_work_build_info",
            "Version, commit and features of this binary.",
            &["version", "commit", "features"],
        );
        info.with_label_values(&[VERSION, COMMIT, FEATURES]).set(1);
    }
}
