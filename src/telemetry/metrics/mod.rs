//! Every metric of the service, in Prometheus's text format. This file is their manual.
//!
//! | name | type | labels | meaning |
//! | --- | --- | --- | --- |
//! | `atto_work_requests_total` | counter | `network`, `outcome` | requests for work that have ended, see [`Outcome`]. `network` is `none` for a request that was not understood |
//! | `atto_work_request_seconds` | histogram | `network`, `outcome` | time of the same requests, from the end of the head until the answer was ready or the client had left |
//! | `atto_work_wait_seconds` | histogram | `network` | time from the request until a device searches, of requests that were answered by a search of their own or one that they joined; 0 if a device was at it already |
//! | `atto_work_solve_seconds` | histogram | `network` | time from then until the answer, of the same requests. Includes the slices of other searches |
//! | `atto_work_verifications_total` | counter | `network`, `outcome` | requests to verify work that have ended, likewise. `ok` was answered, whether or not the work is valid |
//! | `atto_work_key_requests_total` | counter | `key`, `outcome` | requests of both kinds by the name of the API key, from its first request on; only where keys are on |
//! | `atto_work_coalesced_total` | counter | | requests that joined a search for the same work |
//! | `atto_work_remembered_total` | counter | | requests that were answered from the cache, without a search |
//! | `atto_work_searches_running` | gauge | | searches that devices work on. With easy searches, which need no slot, it may exceed `ATTO_WORK_QUEUE_SIZE` |
//! | `atto_work_queue_depth` | gauge | | hard searches that wait for a slot |
//! | `atto_work_queue_capacity` | gauge | | searches that may wait |
//! | `atto_work_hash_rate` | gauge | | hashes a second of all engines in service while they search, as measured recently |
//! | `atto_work_expected_wait_seconds` | gauge | | mean time that a hard search would wait for a slot now; NaN while no rate is known |
//! | `atto_work_expected_solve_seconds` | gauge | `network` | mean time of a search for a block of now with all engines in service to itself, from its threshold and `atto_work_hash_rate`; NaN while no rate is known |
//! | `atto_work_hashes_total` | counter | `device` | nonces tested |
//! | `atto_work_batches_total` | counter | `device` | batches completed; on a card, dispatches |
//! | `atto_work_kernel_hashes_per_second` | gauge | `device`, `kernel` | hash rate of one engine with each kernel, as measured when the device was opened; of a processor, with all threads at work |
//! | `atto_work_device_state` | gauge | `device`, `state` | 1 for the state of the device, 0 for other states. `up` serves; `standby` serves when no other does; `unresponsive` has not returned its batches, and is reopened if possible; `down` has failed or could not be opened |
//! | `atto_work_device_hash_rate` | gauge | `device` | hashes a second of the device's engines in service while they search, as measured recently; 0 without such an engine or a measurement |
//! | `atto_work_device_engines` | gauge | `device`, `backend`, `kernel` | engines of the device in service. A reopened device may have another kernel, so sum over `kernel`: 0 is a device out of service |
//! | `atto_work_device_faults_total` | counter | `device` | errors, wrong answers and hangs |
//! | `atto_work_device_rebuilds_total` | counter | `device`, `outcome` | attempts to reopen the device after a failure, see [`Rebuild`] |
//! | `atto_work_connections` | gauge | `listener` | open connections of the `public` and the `management` port |
//! | `atto_work_connections_closed_total` | counter | `listener`, `reason` | connections that have ended: `closed` as agreed by HTTP, `broken` off by the client, `header_timeout`, `idle_timeout`, `answer_unread`, `reset_flood`, `displaced` to make room for another, `stopped` with the service |
//! | `atto_work_spans_total` | counter | `outcome` | spans of requests, see [`SpanOutcome`]; 0 where tracing is off |
//! | `atto_work_log_lines_lost_total` | counter | | log lines that were dropped, since standard output was not read fast enough or could not be written |
//! | `atto_work_build_info` | gauge | `version`, `commit`, `features` | always 1; the labels describe this binary |
//! | `http_server_requests_seconds` | histogram | `application`, `error`, `exception`, `method`, `outcome`, `status`, `uri` | time of all requests to the public port, from the end of the head until the answer was ready, with the labels of Spring Boot 3. `uri` is the route, or `/**`; `method` is `UNKNOWN` for one that Spring does not know; `status` and `outcome` are `UNKNOWN` if the client left before the answer; `error` and `exception` are always `none`, and `application` is `atto-work-server` as at the reference server |
//! | `http_server_requests_seconds_max` | gauge | `application`, `error`, `exception`, `method`, `outcome`, `status`, `uri` | longest of these requests in the last 80 to 120 s, as Micrometer has it; 0 without any |
//! | `application_ready_time_seconds` | gauge | | time from the start until requests were accepted; NaN until then. Spring's name |
//! | `process_uptime_seconds` | gauge | | time since the start. Spring's name |
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
//! histograms of requests the outcome `ok` of each network. Those of a device exist once there is one.
//!
//! Spring's other metrics have no counterpart (`jvm_*`, `logback_*`, `system_*`), or have one above under Prometheus's
//! name: `process_open_fds` for `process_files_open_files`, `process_max_fds` for `process_files_max_files`, and the rate
//! of `process_cpu_seconds_total` for `process_cpu_usage`.

mod families;
mod http;
mod outcome;
mod peak;

use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};

use crate::device::{Backend, DeviceInfo};
use crate::work::{Network, Threshold, Timestamp};
use families::Families;
pub use http::HttpRequest;
pub use outcome::{Outcome, Rebuild, SpanOutcome};

/// The service's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    started: Instant,
}

impl Metrics {
    /// Metrics in a registry of their own. Children whose labels are known are there, at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            families: Families::declare(&registry),
            registry,
            started: Instant::now(),
        };
        metrics.begin();
        metrics
    }

    /// Creates the children whose labels are known at the start.
    fn begin(&self) {
        for network in Network::ALL {
            self.families
                .requests
                .begin(Some(network), &Outcome::OF_UNDERSTOOD);
            self.families
                .request_times
                .begin(Some(network), &[Outcome::Ok]);
            self.families
                .verifications
                .begin(Some(network), &[Outcome::Ok]);
        }
        self.families.requests.begin(None, &Outcome::OF_OTHERS);
        self.families.verifications.begin(None, &Outcome::OF_OTHERS);
        for outcome in SpanOutcome::ALL {
            self.spans(outcome);
        }
        self.observe_pace(0.0, None);
        self.families.ready_time.set(f64::NAN);
    }

    /// Counts a request for work that has ended, and the time since its head had come. `network` is `None` for a request
    /// that was not understood.
    pub fn request_ended(&self, network: Option<Network>, outcome: Outcome, took: Duration) {
        self.families.requests.child(network, outcome).inc();
        let times = self.families.request_times.child(network, outcome);
        times.observe(took.as_secs_f64());
    }

    /// Takes in the times for which a request that a search has answered waited, and was searched for.
    pub fn search_ended(&self, network: Network, waited: Duration, searched: Duration) {
        self.families.waits[network as usize].observe(waited.as_secs_f64());
        self.families.solves[network as usize].observe(searched.as_secs_f64());
    }

    /// Counts a request to verify work that has ended; `network` as for [`request_ended`](Self::request_ended).
    pub fn verification_ended(&self, network: Option<Network>, outcome: Outcome) {
        self.families.verifications.child(network, outcome).inc();
    }

    /// Begins to measure a request to the public port, whose head has come. `uri` is its route.
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
        for network in Network::ALL {
            let hashes = Threshold::required(network, now).expected_hashes();
            let seconds = if hash_rate > 0.0 {
                hashes / hash_rate
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
    pub fn render(&self) -> prometheus::Result<String> {
        self.families.http.show_peaks();
        self.families
            .uptime
            .set(self.started.elapsed().as_secs_f64());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
