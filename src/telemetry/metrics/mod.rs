//! Every metric of the service, in the text formats of Prometheus and of `OpenMetrics`. This file is their manual.
//!
//! Every metric has the label `application="atto-work-server"`, as at the reference server. In `OpenMetrics`, the buckets of
//! `atto_work_request_seconds`, `atto_work_wait_seconds` and `atto_work_solve_seconds` have exemplars: the `trace_id` of the
//! latest sampled request.
//!
//! | name | type | labels | meaning |
//! | --- | --- | --- | --- |
//! | `atto_work_requests_total` | counter | `network`, `outcome` | requests for work that have ended, see [`Outcome`]. `network` is `none` for a request that was not understood |
//! | `atto_work_request_seconds` | histogram | `network`, `outcome` | time of the same requests, from the end of the head until the answer was ready or the client had disconnected |
//! | `atto_work_wait_seconds` | histogram | `network` | time from the request until a device searches, of requests that were answered by a search of their own or one that they joined; 0 if a device was searching already |
//! | `atto_work_solve_seconds` | histogram | `network` | time from then until the answer, of the same requests. Includes the slices of other searches |
//! | `atto_work_verifications_total` | counter | `network`, `outcome` | requests to verify work that have ended, likewise. `ok` was answered, whether or not the work is valid |
//! | `atto_work_key_requests_total` | counter | `key`, `outcome` | requests of both kinds by the name of the API key, from its first request on; only where keys are on |
//! | `atto_work_coalesced_total` | counter | | requests that joined a search for the same work |
//! | `atto_work_remembered_total` | counter | | requests that were answered from the cache, without a search |
//! | `atto_work_searches_running` | gauge | | searches that devices work on. With easy searches, which need no slot, it may exceed `ATTO_WORK_QUEUE_SIZE` |
//! | `atto_work_queue_depth` | gauge | | hard searches that wait for a slot |
//! | `atto_work_queue_capacity` | gauge | | searches that may wait |
//! | `atto_work_hash_rate` | gauge | | hashes a second of all engines in service while they search, as measured recently |
//! | `atto_work_expected_wait_seconds` | gauge | | mean time that a hard search that arrives now would wait for a slot; NaN while no rate is known |
//! | `atto_work_expected_solve_seconds` | gauge | `network` | mean time of a search for a current block with all engines in service to itself, from its threshold and `atto_work_hash_rate`; NaN while no rate is known. Of `NANO` it is that of the base difficulty |
//! | `atto_work_hashes_total` | counter | `device` | nonces tested |
//! | `atto_work_batches_total` | counter | `device` | batches completed; on a card, dispatches |
//! | `atto_work_device_busy_seconds_total` | counter | `device` | seconds that the device's engines have worked on completed batches, by a card's own clock if it has one; its rate, divided by `atto_work_device_engines`, is the busy part |
//! | `atto_work_kernel_hashes_per_second` | gauge | `device`, `kernel` | hash rate of one engine with each kernel, as measured when the device was opened; of a processor, with all threads at work |
//! | `atto_work_device_state` | gauge | `device`, `state` | 1 for the state of the device, 0 for other states. `up` serves; `standby` serves when no other does; `unresponsive` has not returned its batches, and is reopened if possible; `down` has failed or could not be opened |
//! | `atto_work_device_hash_rate` | gauge | `device` | hashes a second of the device's engines in service while they search, as measured recently; 0 without such an engine or a measurement |
//! | `atto_work_device_engines` | gauge | `device`, `backend`, `kernel` | engines of the device in service. A reopened device may have another kernel, so sum over `kernel`: 0 is a device out of service |
//! | `atto_work_device_faults_total` | counter | `device` | errors, wrong answers and hangs |
//! | `atto_work_device_rebuilds_total` | counter | `device`, `outcome` | attempts to reopen the device after a failure, see [`Rebuild`] |
//! | `atto_work_connections` | gauge | `listener` | open connections of the `public` and the `management` port, and of the `nano` port if there is one |
//! | `atto_work_connections_closed_total` | counter | `listener`, `reason` | connections that have ended: `closed` as agreed by HTTP, `broken` off by the client, `header_timeout`, `idle_timeout`, `answer_unread`, `reset_flood`, `displaced` to make room for another, `stopped` with the service |
//! | `atto_work_spans_total` | counter | `outcome` | spans of requests, see [`SpanOutcome`]; 0 where tracing is off |
//! | `atto_work_log_lines_lost_total` | counter | | log lines that were dropped, since standard output was not read fast enough or could not be written |
//! | `atto_work_build_info` | gauge | `version`, `commit`, `features` | always 1; the labels describe this binary |
//! | `http_server_requests_seconds` | histogram | `error`, `exception`, `method`, `outcome`, `status`, `uri` | time of all requests to the ports for clients, from the end of the head until the answer was ready, with the labels of Spring Boot 3. `uri` is the route, or `/**`, and `NANO` on Nano's port; `method` is `UNKNOWN` for one that Spring does not know; `status` and `outcome` are `UNKNOWN` if the client disconnected before the answer; `error` and `exception` name the error response: the reference server's class if it has the same error, else the `code`; `none` without one |
//! | `http_server_requests_seconds_max` | gauge | `error`, `exception`, `method`, `outcome`, `status`, `uri` | longest of these requests in the last 80 to 120 s, as Micrometer has it; 0 without any |
//! | `http_server_requests_active_seconds` | summary | `error`, `exception`, `method`, `outcome`, `status`, `uri` | requests in progress: `_count` is how many, `_sum` the sum of their times so far. The labels of what is not known yet are `none` and `UNKNOWN`. Micrometer's form of a long task |
//! | `http_server_requests_active_seconds_max` | gauge | `error`, `exception`, `method`, `outcome`, `status`, `uri` | time so far of the longest of them |
//! | `logback_events_total` | counter | `level` | log lines by level. Spring's name |
//! | `application_started_time_seconds` | gauge | | time from the start until devices were open; NaN until then. Spring's name |
//! | `application_ready_time_seconds` | gauge | | time from the start until requests were accepted; NaN until then. Spring's name |
//! | `process_uptime_seconds` | gauge | | time since the start. Spring's name |
//! | `process_cpu_usage` | gauge | | share of its processors that the process uses, 0 to 1: the average since the last scrape but one second at least. Spring's name, as those of the next five |
//! | `system_cpu_usage` | gauge | | likewise, share of all processors of the machine that is in use |
//! | `system_cpu_count` | gauge | | processors that the process may use |
//! | `system_load_average_1m` | gauge | | load of the machine in the last minute |
//! | `process_files_open_files` | gauge | | the same as `process_open_fds` |
//! | `process_files_max_files` | gauge | | the same as `process_max_fds` |
//! | `process_start_time_seconds` | gauge | | start of the process, in Unix time |
//! | `process_cpu_seconds_total` | counter | | its user and system CPU time |
//! | `process_open_fds` | gauge | | its open file descriptors |
//! | `process_max_fds` | gauge | | file descriptors that it may open |
//! | `process_resident_memory_bytes` | gauge | | its resident memory |
//! | `process_virtual_memory_bytes` | gauge | | its virtual memory |
//! | `process_threads` | gauge | | its threads |
//!
//! Label values come from enums, from the devices of this machine and from the names of its API keys, never from a
//! request's text. Series that can be known at the start exist from then on, at zero: every possible counter, and of the
//! histograms of requests the outcome `ok` of each network. Those of a device exist once there is one, and those of the
//! network `NANO` only if Nano is served.
//!
//! The reference server's other metrics have no counterpart: `jvm_*`, `disk_*`, and `process_cpu_time_ns_total`, which is
//! `process_cpu_seconds_total` here.

mod active;
mod exemplars;
mod families;
mod http;
mod measurements;
mod open_metrics;
mod outcome;
mod peak;
mod series;
mod system;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceId;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntCounter, IntGauge, Registry, TextEncoder};

use crate::device::{Backend, DeviceInfo};
use crate::work::{AnyNetwork, Difficulty, Network, Timestamp};
use exemplars::Exemplars;
use families::Families;
pub use http::HttpRequest;
pub use measurements::Measurement;
pub use outcome::{Outcome, Rebuild, SpanOutcome};

/// The label of all metrics, by which dashboards of the reference server filter (`management.metrics.tags` in its
/// configuration).
const APPLICATION: (&str, &str) = ("application", "atto-work-server");

/// The service's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    exemplars: Exemplars,
    started: Instant,
    /// The difficulty from which the expected time of Nano's searches is computed, if Nano is served.
    nano: Arc<OnceLock<Difficulty>>,
}

impl Metrics {
    /// Metrics in a registry of their own. Children whose labels are known are there, at zero.
    #[expect(clippy::missing_panics_doc, reason = "the label is well formed")]
    pub fn new() -> Self {
        let (name, value) = APPLICATION;
        let labels = [(name.to_owned(), value.to_owned())];
        let registry = Registry::new_custom(None, Some(labels.into()));
        let registry = registry.expect("the label is well formed");
        let metrics = Self {
            families: Families::declare(&registry),
            registry,
            exemplars: Exemplars::default(),
            started: Instant::now(),
            nano: Arc::default(),
        };
        metrics.begin();
        metrics
    }

    /// Creates the children whose labels are known at the start.
    fn begin(&self) {
        for network in Network::ALL {
            self.families.begin_network(network.into());
        }
        self.families.requests.begin(None, &Outcome::OF_OTHERS);
        self.families.verifications.begin(None, &Outcome::OF_OTHERS);
        for outcome in SpanOutcome::ALL {
            self.spans(outcome);
        }
        self.observe_pace(0.0, None);
        self.families.started_time.set(f64::NAN);
        self.families.ready_time.set(f64::NAN);
    }

    /// Nano is served too: creates its children, and from now on expects its searches to be of this difficulty.
    /// Only the first call counts.
    pub fn begin_nano(&self, base: Difficulty) {
        self.nano.get_or_init(|| base);
        self.families.begin_network(AnyNetwork::Nano);
    }

    /// Counts a request for work that has ended, and the time since its head had come. `network` is `None` for a request
    /// that was not understood; `trace` is that of the request, if it is sampled.
    pub fn request_ended(
        &self,
        network: Option<AnyNetwork>,
        outcome: Outcome,
        took: Duration,
        trace: Option<TraceId>,
    ) {
        self.families.requests.child(network, outcome).inc();
        let times = self.families.request_times.child(network, outcome);
        let seconds = took.as_secs_f64();
        times.observe(seconds);
        let key = (
            "atto_work_request_seconds",
            outcome::network_label(network),
            Some(outcome.label()),
        );
        self.exemplars.observe(key, seconds, trace);
    }

    /// Takes in the times for which a request that a search has answered waited, and was searched for.
    pub fn search_ended(
        &self,
        network: AnyNetwork,
        waited: Duration,
        searched: Duration,
        trace: Option<TraceId>,
    ) {
        let times = [
            ("atto_work_wait_seconds", &self.families.waits, waited),
            ("atto_work_solve_seconds", &self.families.solves, searched),
        ];
        for (name, histograms, time) in times {
            let seconds = time.as_secs_f64();
            histograms.child(network).observe(seconds);
            let key = (name, network.as_str(), None);
            self.exemplars.observe(key, seconds, trace);
        }
    }

    /// Counts a request to verify work that has ended; `network` as for [`request_ended`](Self::request_ended).
    pub fn verification_ended(&self, network: Option<AnyNetwork>, outcome: Outcome) {
        self.families.verifications.child(network, outcome).inc();
    }

    /// Begins to measure a request to a port for clients, whose head has come. `uri` is its route.
    pub fn http_request(&self, method: &str, uri: &'static str) -> HttpRequest<'_> {
        self.families.http.begin(method, uri)
    }

    /// Counts a request of the API key with this name that has ended.
    pub fn key_request_ended(&self, key: &str, outcome: Outcome) {
        self.families
            .key_requests
            .with_label_values(&[key, outcome.label()])
            .inc();
    }

    /// Counts a request that joined a search for the same work.
    pub fn request_coalesced(&self) {
        self.families.coalesced.inc();
    }

    /// Counts a request that was answered from the cache.
    pub fn request_cached(&self) {
        self.families.remembered.inc();
    }

    /// Sets the hash rate, and the times that a hard search would wait and that searches would take; NaN while unknown.
    pub fn observe_pace(&self, hash_rate: f64, expected_wait: Option<Duration>) {
        self.families.hash_rate.set(hash_rate);
        let seconds = expected_wait.map_or(f64::NAN, |wait| wait.as_secs_f64());
        self.families.expected_wait.set(seconds);
        let now = Timestamp::now();
        for (network, rule) in AnyNetwork::served(now, self.nano.get().copied()) {
            let seconds = if hash_rate > 0.0 {
                rule.expected_hashes() / hash_rate
            } else {
                f64::NAN
            };
            let expected = self
                .families
                .expected_solve
                .with_label_values(&[network.as_str()]);
            expected.set(seconds);
        }
    }

    /// Sets the state of this device, given for all states, and its hash rate.
    pub fn observe_device(
        &self,
        device: &DeviceInfo,
        states: impl IntoIterator<Item = (&'static str, bool)>,
        hash_rate: f64,
    ) {
        let name = device.name.as_str();
        for (state, is_in) in states {
            let gauge = self
                .families
                .device_states
                .with_label_values(&[name, state]);
            gauge.set(i64::from(is_in));
        }
        self.families
            .device_rates
            .with_label_values(&[name])
            .set(hash_rate);
        // An outcome that has not happened yet shows as zero.
        for outcome in Rebuild::ALL {
            self.families
                .device_rebuilds
                .with_label_values(&[name, outcome.label()]);
        }
    }

    /// Sets the time from the start until devices were open.
    pub fn started(&self, after: Duration) {
        self.families.started_time.set(after.as_secs_f64());
    }

    /// Sets the time from the start until requests were accepted.
    pub fn ready(&self, after: Duration) {
        self.families.ready_time.set(after.as_secs_f64());
    }

    /// Sets the numbers of searches that run, that wait and that may wait.
    pub fn observe_queue(&self, running: usize, waiting: usize, capacity: usize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.families.searches_running.set(gauge(running));
        self.families.queue_depth.set(gauge(waiting));
        self.families.queue_capacity.set(gauge(capacity));
    }

    /// The counter of the nonces that this device has tested.
    pub fn hashes(&self, device: &DeviceInfo) -> IntCounter {
        self.families.hashes.with_label_values(&[&device.name])
    }

    /// The counter of the seconds that this device's engines have worked on completed batches.
    pub fn device_busy(&self, device: &DeviceInfo) -> Counter {
        self.families.device_busy.with_label_values(&[&device.name])
    }

    /// The counter of the batches that this device has completed.
    pub fn batches(&self, device: &DeviceInfo) -> IntCounter {
        self.families.batches.with_label_values(&[&device.name])
    }

    /// Sets the hash rate of each kernel that this device was measured with.
    pub fn set_kernel_rates(&self, device: &DeviceInfo) {
        for trial in &device.trials {
            let rate = i64::try_from(trial.hashes_per_second).unwrap_or(i64::MAX);
            self.families
                .kernel_rates
                .with_label_values(&[&device.name, &trial.kernel])
                .set(rate);
        }
    }

    /// The counter of spans with this outcome.
    pub fn spans(&self, outcome: SpanOutcome) -> IntCounter {
        self.families.spans.with_label_values(&[outcome.label()])
    }

    /// Counts an attempt to reopen this device.
    pub fn rebuild_ended(&self, device: &DeviceInfo, outcome: Rebuild) {
        self.families
            .device_rebuilds
            .with_label_values(&[device.name.as_str(), outcome.label()])
            .inc();
    }

    /// The gauge of this device's engines in service.
    pub fn engines(&self, device: &DeviceInfo) -> IntGauge {
        let backend = match device.backend {
            Backend::Cpu => "cpu",
            Backend::Gpu => "gpu",
        };
        self.families.device_engines.with_label_values(&[
            device.name.as_str(),
            backend,
            &device.kernel,
        ])
    }

    /// The counter of this device's faults.
    pub fn faults(&self, device: &DeviceInfo) -> IntCounter {
        self.families
            .device_faults
            .with_label_values(&[&device.name])
    }

    /// The gauge of this listener's open connections.
    pub fn connections(&self, listener: &'static str) -> IntGauge {
        self.families.connections.with_label_values(&[listener])
    }

    /// The counter of this listener's connections that have ended for this reason.
    pub fn connections_closed(&self, listener: &'static str, reason: &'static str) -> IntCounter {
        self.families
            .connections_closed
            .with_label_values(&[listener, reason])
    }

    /// All metrics, in Prometheus's text format 0.0.4.
    ///
    /// # Errors
    ///
    /// If a metric cannot be encoded.
    pub fn prometheus(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.gather())
    }

    /// All metrics, in the text format of `OpenMetrics` 1.0.
    pub fn open_metrics(&self) -> String {
        open_metrics::encode(&self.gather(), &self.exemplars)
    }

    /// The names of all metrics, in Micrometer's notation.
    pub fn names(&self) -> BTreeSet<String> {
        measurements::names(&self.gather())
    }

    /// The metric with this name in Micrometer's notation, of the series with all of these tags; `None` if there is none.
    pub fn measurement(&self, name: &str, tags: &[(&str, &str)]) -> Option<Measurement> {
        measurements::measurement(&self.gather(), name, tags)
    }

    /// Every family, with the values of now.
    fn gather(&self) -> Vec<MetricFamily> {
        self.families.http.show_peaks();
        self.families.system.observe();
        self.families
            .uptime
            .set(self.started.elapsed().as_secs_f64());
        let mut families = self.registry.gather();
        system::add_aliases(&mut families);
        families
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
