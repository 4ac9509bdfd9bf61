//! Requests to the ports for clients under the names and labels of Spring Boot 3
//! (`DefaultServerRequestObservationConvention` of Spring 6), so that dashboards made for it still work.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec};

use super::active::{Active, Ticket};
use super::peak::Peak;
use super::series::Series;

/// The requests to the ports for clients. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct HttpRequests {
    times: HistogramVec,
    peaks: GaugeVec,
    active: Active,
    timers: Arc<RwLock<HashMap<Series, Arc<Timer>>>>,
    /// Times of peaks are counted from here.
    origin: Instant,
}

#[derive(Debug)]
struct Timer {
    times: Histogram,
    peak: Peak,
    shown: Gauge,
}

impl HttpRequests {
    pub(super) fn new(times: HistogramVec, peaks: GaugeVec, active: Active) -> Self {
        Self {
            times,
            peaks,
            active,
            timers: Arc::default(),
            origin: Instant::now(),
        }
    }

    /// Begins to measure a request whose head has come.
    pub(super) fn begin(&self, method: &str, uri: &'static str) -> HttpRequest<'_> {
        let series = Series::in_progress(method, uri);
        HttpRequest {
            requests: self,
            series,
            ticket: self.active.begin(series),
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

    fn timer(&self, series: Series) -> Arc<Timer> {
        let timers = self.timers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = timers.get(&series) {
            return Arc::clone(timer);
        }
        drop(timers);
        let mut timers = self.timers.write().unwrap_or_else(PoisonError::into_inner);
        let timer = timers.entry(series).or_insert_with(|| {
            let labels = series.labels();
            let labels = labels.each_ref().map(String::as_str);
            Arc::new(Timer {
                times: self.times.with_label_values(&labels),
                peak: Peak::default(),
                shown: self.peaks.with_label_values(&labels),
            })
        });
        Arc::clone(timer)
    }
}

/// A request to a port for clients. It is counted when this is dropped, as not answered unless [`HttpRequest::answered`] was
/// called.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    requests: &'a HttpRequests,
    series: Series,
    ticket: Ticket,
}

impl HttpRequest<'_> {
    /// Counts the request as answered with this status code and, if it was refused, with the class of its error.
    pub fn answered(mut self, status: u16, error: Option<&'static str>) {
        self.series.end(status, error);
    }
}

impl Drop for HttpRequest<'_> {
    fn drop(&mut self) {
        self.requests.active.end(self.ticket);
        let (began, _) = self.ticket;
        let took = began.elapsed();
        let timer = self.requests.timer(self.series);
        timer.times.observe(took.as_secs_f64());
        let now = self.requests.origin.elapsed();
        timer.peak.observe(took, now);
    }
}
