//! The requests in progress, under the names that Spring Boot has for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType, Summary};

use super::series::{LABELS, Series};

const NAME: &str = "http_server_requests_active_seconds";
const HELP: &str =
    "Requests to the ports for clients that are in progress, and the sum of their times so far.";
const MAX_NAME: &str = "http_server_requests_active_seconds_max";
const MAX_HELP: &str = "Time so far of the longest request in progress.";

/// The requests in progress. A clone shares them.
///
/// As Micrometer has it for its long tasks, `_count` and `_sum` of the summary go down again when a request ends.
#[derive(Clone, Debug)]
pub(super) struct Active {
    state: Arc<Mutex<State>>,
    descriptions: [Desc; 2],
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<Ticket, Series>,
    /// All series that ever had a request in progress. They stay, at zero.
    seen: BTreeSet<Series>,
    last: u64,
}

/// A request in progress: when it began, and a number that tells it from others of that moment.
pub(super) type Ticket = (Instant, u64);

impl Active {
    pub(super) fn new() -> Self {
        let describe = |name: &str, help: &str| {
            let labels = LABELS.map(str::to_owned).to_vec();
            Desc::new(name.to_owned(), help.to_owned(), labels, [].into())
        };
        let described = [(NAME, HELP), (MAX_NAME, MAX_HELP)]
            .map(|(name, help)| describe(name, help).expect("the name and labels are well formed"));
        Self {
            state: Arc::default(),
            descriptions: described,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins now.
    pub(super) fn begin(&self, series: Series) -> Ticket {
        let mut state = self.state();
        state.last += 1;
        let ticket = (Instant::now(), state.last);
        state.seen.insert(series);
        state.running.insert(ticket, series);
        ticket
    }

    /// The request has ended.
    pub(super) fn end(&self, ticket: Ticket) {
        self.state().running.remove(&ticket);
    }
}

impl Collector for Active {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.state();
        let mut sums: BTreeMap<Series, (Summary, f64)> = state
            .seen
            .iter()
            .map(|series| (*series, Default::default()))
            .collect();
        // The longest is the first of its series.
        for ((began, _), series) in &state.running {
            let (summary, longest) = sums.entry(*series).or_default();
            let seconds = began.elapsed().as_secs_f64();
            summary.set_sample_count(summary.sample_count() + 1);
            summary.set_sample_sum(summary.sample_sum() + seconds);
            *longest = longest.max(seconds);
        }
        drop(state);
        let mut summaries = family(NAME, HELP, MetricType::SUMMARY);
        let mut longests = family(MAX_NAME, MAX_HELP, MetricType::GAUGE);
        for (series, (summary, longest)) in sums {
            let mut metric = Metric::from_label(labels(series));
            metric.set_summary(summary);
            summaries.mut_metric().push(metric);
            let mut gauge = Gauge::default();
            gauge.set_value(longest);
            let mut metric = Metric::from_label(labels(series));
            metric.set_gauge(gauge);
            longests.mut_metric().push(metric);
        }
        vec![summaries, longests]
    }
}

fn family(name: &str, help: &str, kind: MetricType) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family
}

fn labels(series: Series) -> Vec<LabelPair> {
    let pairs = LABELS.into_iter().zip(series.labels());
    pairs
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        })
        .collect()
}
