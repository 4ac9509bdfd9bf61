//! Every metric of the service, in Prometheus's text format. This file is their manual.
//!
//! | name | type | labels | meaning |
//! | --- | --- | --- | --- |
//! | `atto_work_requests_total` | counter | `network`, `outcome` | requests for work that have ended; see [`Outcome`]. `network` is `none` where the request was not understood. Requests whose client left are `cancelled` |
//! | `atto_work_request_seconds` | histogram | `network`, `outcome` | the time of the same requests, from when the head of each had come until its answer was ready or its client had left |
//! | `atto_work_wait_seconds` | histogram | `network` | of requests that were answered with what a search of their own or one that they joined has found: from the request until a device began to search; zero if one was at it already |
//! | `atto_work_solve_seconds` | histogram | `network` | of the same requests: from then until the answer, the turns of other searches included |
//! | `atto_work_verifications_total` | counter | `network`, `outcome` | requests to verify a work that have ended, likewise; `ok` is one that was answered, whether the work is valid or not |
//! | `atto_work_key_requests_total` | counter | `key`, `outcome` | requests of each API key, by its name, of both kinds, from its first one on; only where keys are on |
//! | `atto_work_coalesced_total` | counter | | requests that joined a search for the same work instead of having their own |
//! | `atto_work_remembered_total` | counter | | requests that were answered with work found before, without a search |
//! | `atto_work_searches_running` | gauge | | searches that devices work on, in turns or together; easy ones may make it more than `QUEUE_SIZE` |
//! | `atto_work_queue_depth` | gauge | | hard searches that wait for a running one to end |
//! | `atto_work_queue_capacity` | gauge | | how many may wait |
//! | `atto_work_hash_rate` | gauge | | hashes a second of all engines in service while they search, as measured lately |
//! | `atto_work_expected_wait_seconds` | gauge | | how long a hard search that came now would wait for a turn, on average; NaN as long as no rate is known |
//! | `atto_work_expected_solve_seconds` | gauge | `network` | how long a work for a block of now takes on average with all engines in service to itself, by its threshold and `atto_work_hash_rate`; NaN as long as no rate is known |
//! | `atto_work_hashes_total` | counter | `device` | nonces tested |
//! | `atto_work_batches_total` | counter | `device` | batches of slices completed; on a card, dispatches |
//! | `atto_work_kernel_hashes_per_second` | gauge | `device`, `kernel` | what each form of the search was measured at when the device was opened, of one engine; of a processor the form that serves alone |
//! | `atto_work_device_state` | gauge | `device`, `state` | 1 for the state that the device is in and 0 for the others: `up` serves, `standby` would if no other did, `unresponsive` has not come back from its batches, and is opened anew meanwhile if it can be, `down` has failed or could not be opened |
//! | `atto_work_device_hash_rate` | gauge | `device` | hashes a second of the device's engines that may serve while they search, as measured lately; 0 if it has none, or nothing is known of them |
//! | `atto_work_device_engines` | gauge | `device`, `backend`, `kernel` | engines of the device that may serve. A device that is opened anew may have another kernel, so sum over it: 0 is a device that is out of service |
//! | `atto_work_device_faults_total` | counter | `device` | errors, wrong answers and hangs |
//! | `atto_work_device_rebuilds_total` | counter | `device`, `outcome` | attempts to open the device anew after it had failed; see [`Rebuild`] |
//! | `atto_work_connections` | gauge | `listener` | open connections of the `public` and the `management` port |
//! | `atto_work_connections_closed_total` | counter | `listener`, `reason` | connections that have ended: `closed` as HTTP has it, `broken` off by the client, `header_timeout`, `idle_timeout`, `answer_unread`, `reset_flood`, `displaced` by others, `stopped` with the service |
//! | `atto_work_spans_total` | counter | `outcome` | spans of requests, all at zero where tracing is off; see [`SpanOutcome`] |
//! | `atto_work_build_info` | gauge | `version`, `commit`, `features` | always 1: what this binary is |
//! | `http_server_requests_seconds` | histogram | `application`, `error`, `exception`, `method`, `outcome`, `status`, `uri` | requests of every kind to the public port, from when the head of each had come until its answer was ready, as Spring Boot 3 labels them. `uri` is the route, `/**` where there is none; `method` is `UNKNOWN` for one that Spring does not know; `status` and `outcome` are `UNKNOWN` where the client left before there was an answer; `error` and `exception` are always `none`, and `application` is `atto-work-server` as at the reference server |
//! | `http_server_requests_seconds_max` | gauge | `application`, `error`, `exception`, `method`, `outcome`, `status`, `uri` | the longest of these of the last two minutes, 80 s at least, as Micrometer has it; 0 if there was none |
//! | `application_ready_time_seconds` | gauge | | how long the start took until requests were taken; NaN until then. Spring's name |
//! | `process_uptime_seconds` | gauge | | for how long the service has run. Spring's name |
//! | `process_start_time_seconds` | gauge | | when the process was started, in Unix time |
//! | `process_cpu_seconds_total` | counter | | its processor time, of user and system |
//! | `process_open_fds` | gauge | | its open file descriptors |
//! | `process_max_fds` | gauge | | how many it may have |
//! | `process_resident_memory_bytes` | gauge | | its memory that is resident |
//! | `process_virtual_memory_bytes` | gauge | | its virtual memory |
//! | `process_threads` | gauge | | its threads |
//!
//! Labels come from enums, from the devices of this machine and from the names of its API keys, never from a request's
//! text. What can be known at the start is there from then on, at zero: of the histograms of requests the outcome `ok` of
//! each network, of the counters all that can be, and of devices all as soon as there is one.
//!
//! Spring's other metrics have no counterpart (`jvm_*`, `logback_*`, `system_*`) or have one above under the name that
//! Prometheus gives it: `process_open_fds` for `process_files_open_files`, `process_max_fds` for
//! `process_files_max_files`, and the rate of `process_cpu_seconds_total` for `process_cpu_usage`.

mod http;
mod outcome;
mod peak;

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::build_info::{COMMIT, FEATURES, VERSION};
use crate::device::{Backend, DeviceInfo};
use crate::work::{Network, Threshold, Timestamp};
pub use http::HttpRequest;
use http::HttpRequests;
use outcome::PerRequest;
pub use outcome::{Outcome, Rebuild, SpanOutcome};

/// The upper bounds of the histograms' buckets in seconds, from an easy work on a card to a hard one on a processor. The
/// time of a search is spread exponentially, so steps of 2 to 2.5 tell enough.
const BUCKETS: [f64; 21] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// The service's metrics. A clone shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: PerRequest<IntCounterVec>,
    request_times: PerRequest<HistogramVec>,
    /// By network.
    waits: [Histogram; NETWORKS],
    solves: [Histogram; NETWORKS],
    verifications: PerRequest<IntCounterVec>,
    key_requests: IntCounterVec,
    coalesced: IntCounter,
    remembered: IntCounter,
    searches_running: IntGauge,
    queue_depth: IntGauge,
    queue_capacity: IntGauge,
    hash_rate: Gauge,
    expected_wait: Gauge,
    expected_solve: GaugeVec,
    hashes: IntCounterVec,
    batches: IntCounterVec,
    kernel_rates: IntGaugeVec,
    device_states: IntGaugeVec,
    device_rates: GaugeVec,
    device_engines: IntGaugeVec,
    device_faults: IntCounterVec,
    device_rebuilds: IntCounterVec,
    connections: IntGaugeVec,
    connections_closed: IntCounterVec,
    spans: IntCounterVec,
    http: HttpRequests,
    ready_time: Gauge,
    uptime: Gauge,
    started: Instant,
}

const NETWORKS: usize = Network::ALL.len();

impl Metrics {
    /// Metrics in a registry of their own. What is known of the labels is there, at zero.
    pub fn new() -> Self {
        let declare = Declarations(Registry::new());
        let per_network = |family: HistogramVec| {
            Network::ALL.map(|network| family.with_label_values(&[network.as_str()]))
        };
        declare.build_info();
        declare.process();
        let metrics = Self {
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
            waits: per_network(declare.histograms(
                "atto_work_wait_seconds",
                "Time from a request until a device began to search.",
                &["network"],
            )),
            solves: per_network(declare.histograms(
                "atto_work_solve_seconds",
                "Time from when a device began to search until the answer.",
                &["network"],
            )),
            verifications: PerRequest::new(declare.counters(
                "atto_work_verifications_total",
                "Requests to verify a work that have ended.",
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
                "Requests that were answered with work found before.",
            ),
            searches_running: declare.count(
                "atto_work_searches_running",
                "Searches that devices work on, in turns or together.",
            ),
            queue_depth: declare.count(
                "atto_work_queue_depth",
                "Hard searches that wait for a running one to end.",
            ),
            queue_capacity: declare
                .count("atto_work_queue_capacity", "How many searches may wait."),
            hash_rate: declare.gauge(
                "atto_work_hash_rate",
                "Hashes a second of all engines in service while they search.",
            ),
            expected_wait: declare.gauge(
                "atto_work_expected_wait_seconds",
                "How long a hard search that came now would wait for a turn.",
            ),
            expected_solve: declare.gauges(
                "atto_work_expected_solve_seconds",
                "Mean time of a work for a block of now with all engines to itself.",
                &["network"],
            ),
            hashes: declare.counters("atto_work_hashes_total", "Nonces tested.", &["device"]),
            batches: declare.counters(
                "atto_work_batches_total",
                "Batches of slices completed.",
                &["device"],
            ),
            kernel_rates: declare.counts(
                "atto_work_kernel_hashes_per_second",
                "What a form of the search was measured at, of one engine.",
                &["device", "kernel"],
            ),
            device_states: declare.counts(
                "atto_work_device_state",
                "1 for the state that the device is in, 0 for the others.",
                &["device", "state"],
            ),
            device_rates: declare.gauges(
                "atto_work_device_hash_rate",
                "Hashes a second of the device's engines while they search.",
                &["device"],
            ),
            device_engines: declare.counts(
                "atto_work_device_engines",
                "Engines of the device that may serve.",
                &["device", "backend", "kernel"],
            ),
            device_faults: declare.counters(
                "atto_work_device_faults_total",
                "Errors, wrong answers and hangs.",
                &["device"],
            ),
            device_rebuilds: declare.counters(
                "atto_work_device_rebuilds_total",
                "Attempts to open the device anew.",
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
                "Spans of requests, by what became of them.",
                &["outcome"],
            ),
            http: HttpRequests::new(
                declare.histograms(
                    "http_server_requests_seconds",
                    "Time of requests to the public port.",
                    &http::LABELS,
                ),
                declare.gauges(
                    "http_server_requests_seconds_max",
                    "The longest request of the last two minutes.",
                    &http::LABELS,
                ),
            ),
            ready_time: declare.gauge(
                "application_ready_time_seconds",
                "How long the start took until requests were taken.",
            ),
            uptime: declare.gauge(
                "process_uptime_seconds",
                "For how long the service has run.",
            ),
            started: Instant::now(),
            registry: declare.0,
        };
        metrics.begin();
        metrics
    }

    /// Has there what can be known of the labels at the start.
    fn begin(&self) {
        for network in Network::ALL {
            self.requests.begin(Some(network), &Outcome::OF_UNDERSTOOD);
            self.request_times.begin(Some(network), &[Outcome::Ok]);
            self.verifications.begin(Some(network), &[Outcome::Ok]);
        }
        self.requests.begin(None, &Outcome::OF_OTHERS);
        self.verifications.begin(None, &Outcome::OF_OTHERS);
        for outcome in SpanOutcome::ALL {
            self.spans(outcome);
        }
        self.observe_pace(0.0, None);
        self.ready_time.set(f64::NAN);
    }

    /// Counts a request for work that has ended, this long after its head had come. `network` is `None` where the
    /// request was not understood.
    pub fn request_ended(&self, network: Option<Network>, outcome: Outcome, took: Duration) {
        self.requests.child(network, outcome).inc();
        let times = self.request_times.child(network, outcome);
        times.observe(took.as_secs_f64());
    }

    /// Takes in how long a request that is answered by a search has waited for it to begin, and then to end.
    pub fn search_ended(&self, network: Network, waited: Duration, searched: Duration) {
        self.waits[network as usize].observe(waited.as_secs_f64());
        self.solves[network as usize].observe(searched.as_secs_f64());
    }

    /// Counts a request to verify a work that has ended; `network` as above.
    pub fn verification_ended(&self, network: Option<Network>, outcome: Outcome) {
        self.verifications.child(network, outcome).inc();
    }

    /// A request to the public port whose head has come, by its method and by the route that it takes.
    pub fn http_request(&self, method: &str, uri: &'static str) -> HttpRequest<'_> {
        self.http.begin(method, uri)
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
    pub fn request_cached(&self) {
        self.remembered.inc();
    }

    /// Sets how many hashes a second the engines do, how long a hard search would wait and how long works would take;
    /// NaN if that is unknown.
    pub fn observe_pace(&self, hash_rate: f64, expected_wait: Option<Duration>) {
        self.hash_rate.set(hash_rate);
        let seconds = expected_wait.map_or(f64::NAN, |wait| wait.as_secs_f64());
        self.expected_wait.set(seconds);
        let now = Timestamp::now();
        for network in Network::ALL {
            let hashes = Threshold::required(network, now).expected_hashes();
            let seconds = if hash_rate > 0.0 {
                hashes / hash_rate
            } else {
                f64::NAN
            };
            let expected = self.expected_solve.with_label_values(&[network.as_str()]);
            expected.set(seconds);
        }
    }

    /// Sets which of all states this device is in, and how many hashes a second it does.
    pub fn observe_device(
        &self,
        device: &DeviceInfo,
        states: impl IntoIterator<Item = (&'static str, bool)>,
        hash_rate: f64,
    ) {
        let name = device.name.as_str();
        for (state, is_in) in states {
            let gauge = self.device_states.with_label_values(&[name, state]);
            gauge.set(i64::from(is_in));
        }
        self.device_rates.with_label_values(&[name]).set(hash_rate);
        // Whatever has not happened yet is to be seen as zero.
        for outcome in Rebuild::ALL {
            self.device_rebuilds
                .with_label_values(&[name, outcome.label()]);
        }
    }

    /// Requests are taken, this long after the start.
    pub fn ready(&self, after: Duration) {
        self.ready_time.set(after.as_secs_f64());
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

    /// The counter of spans that this has become of.
    pub fn spans(&self, outcome: SpanOutcome) -> IntCounter {
        self.spans.with_label_values(&[outcome.label()])
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

    /// The counter of this listener's connections that have ended for this reason.
    pub fn connections_closed(&self, listener: &'static str, reason: &'static str) -> IntCounter {
        self.connections_closed
            .with_label_values(&[listener, reason])
    }

    /// All metrics, in Prometheus's text format 0.0.4.
    ///
    /// # Errors
    ///
    /// If a metric cannot be encoded.
    pub fn render(&self) -> prometheus::Result<String> {
        self.http.show_peaks();
        self.uptime.set(self.started.elapsed().as_secs_f64());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Where families are declared.
struct Declarations(Registry);

impl Declarations {
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

    /// Of times in seconds.
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
            "What this binary is.",
            &["version", "commit", "features"],
        );
        info.with_label_values(&[VERSION, COMMIT, FEATURES]).set(1);
    }
}
