//! Requests to the public port under the names and labels of Spring Boot 3
//! (`DefaultServerRequestObservationConvention` of Spring 6), so that dashboards made for it still work.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec};

use super::peak::Peak;

/// Spring's labels.
pub(super) const LABELS: [&str; 7] = [
    "application",
    "error",
    "exception",
    "method",
    "outcome",
    "status",
    "uri",
];

/// The tag of all the reference server's metrics (`management.metrics.tags` in its configuration), which dashboards filter
/// by.
const APPLICATION: &str = "atto-work-server";

/// The label of a method that is not in [`METHODS`], and of the status of a request that was not answered.
const UNKNOWN: &str = "UNKNOWN";

/// The methods that Spring knows (`HttpMethod`).
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

/// The requests to the public port. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct HttpRequests {
    times: HistogramVec,
    peaks: GaugeVec,
    timers: Arc<RwLock<HashMap<Key, Arc<Timer>>>>,
    /// Times of peaks are counted from here.
    origin: Instant,
}

/// The labels that vary. None is text of a request, so there are few combinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    method: &'static str,
    uri: &'static str,
    /// `None` if it was not answered.
    status: Option<u16>,
}

#[derive(Debug)]
struct Timer {
    times: Histogram,
    peak: Peak,
    shown: Gauge,
}

impl HttpRequests {
    pub(super) fn new(times: HistogramVec, peaks: GaugeVec) -> Self {
        Self {
            times,
            peaks,
            timers: Arc::default(),
            origin: Instant::now(),
        }
    }

    /// Begins to measure a request whose head has come.
    pub(super) fn begin(&self, method: &str, uri: &'static str) -> HttpRequest<'_> {
        HttpRequest {
            requests: self,
            key: Key {
                method: method_label(method),
                uri,
                status: None,
            },
            started: Instant::now(),
        }
    }

    /// Sets the gauges of the longest recent requests.
    pub(super) fn show_peaks(&self) {
        let now = self.origin.elapsed();
        let timers = self.timers.read().unwrap_or_else(PoisonError::into_inner);
        for timer in timers.values() {
            timer.shown.set(timer.peak.seconds(now));
        }
    }

    fn timer(&self, key: Key) -> Arc<Timer> {
        let timers = self.timers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = timers.get(&key) {
            return Arc::clone(timer);
        }
        drop(timers);
        let mut timers = self.timers.write().unwrap_or_else(PoisonError::into_inner);
        let timer = timers.entry(key).or_insert_with(|| {
            let status = key.status.map(|status| status.to_string());
            let status = status.as_deref().unwrap_or(UNKNOWN);
            // Every error is answered, so there is never an exception to name.
            let labels = [
                APPLICATION,
                "none",
                "none",
                key.method,
                outcome(key.status),
                status,
                key.uri,
            ];
            Arc::new(Timer {
                times: self.times.with_label_values(&labels),
                peak: Peak::default(),
                shown: self.peaks.with_label_values(&labels),
            })
        });
        Arc::clone(timer)
    }
}

/// A request to the public port. It is counted when this is dropped, as not answered unless [`HttpRequest::answered`] was
/// called.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    requests: &'a HttpRequests,
    key: Key,
    started: Instant,
}

impl HttpRequest<'_> {
    /// Counts the request as answered with this status code.
    pub fn answered(mut self, status: u16) {
        self.key.status = Some(status);
    }
}

impl Drop for HttpRequest<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let timer = self.requests.timer(self.key);
        timer.times.observe(took.as_secs_f64());
        let now = self.requests.origin.elapsed();
        timer.peak.observe(took, now);
    }
}

/// The label of a method.
fn method_label(method: &str) -> &'static str {
    let mut known = METHODS.into_iter();
    known.find(|known| *known == method).unwrap_or(UNKNOWN)
}

/// The label of a status code's class.
fn outcome(status: Option<u16>) -> &'static str {
    match status {
        Some(100..200) => "INFORMATIONAL",
        Some(200..300) => "SUCCESS",
        Some(300..400) => "REDIRECTION",
        Some(400..500) => "CLIENT_ERROR",
        Some(500..600) => "SERVER_ERROR",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_classes_are_those_that_spring_knows() {
        assert_eq!(method_label("PATCH"), "PATCH");
        for method in ["CONNECT", "get", "BREW", ""] {
            assert_eq!(method_label(method), "UNKNOWN", "{method}");
        }
        let cases = [
            (Some(100), "INFORMATIONAL"),
            (Some(204), "SUCCESS"),
            (Some(307), "REDIRECTION"),
            (Some(404), "CLIENT_ERROR"),
            (Some(503), "SERVER_ERROR"),
            (Some(600), "UNKNOWN"),
            (None, "UNKNOWN"),
        ];
        for (status, expected) in cases {
            assert_eq!(outcome(status), expected, "{status:?}");
        }
    }
}
