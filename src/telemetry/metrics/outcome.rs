//! Outcomes as labels, and the families that count by them.

use std::sync::{Arc, OnceLock};

use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{Histogram, HistogramVec};

use crate::work::AnyNetwork;

/// How a request for work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with work.
    Ok,
    /// Refused as wrong: any 4xx but those of the next two.
    Invalid,
    /// Refused because its API key is missing or unknown.
    Unauthorized,
    /// Refused because its API key had too many requests in progress.
    Limited,
    /// The client disconnected before there was an answer, or ended the request with `work_cancel`.
    Cancelled,
    /// Refused because too many searches were waiting.
    QueueFull,
    /// No device could serve.
    NoDevice,
    /// The service was shutting down.
    Closed,
    /// No work was found before the deadline.
    Deadline,
    /// Refused because as many requests were in progress as allowed.
    Overloaded,
    /// Refused because the server's clock is wrong, so that no timestamp can be checked.
    ClockWrong,
}

impl Outcome {
    /// Every outcome, in order.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Invalid,
        Self::Unauthorized,
        Self::Limited,
        Self::Cancelled,
        Self::QueueFull,
        Self::NoDevice,
        Self::Closed,
        Self::Deadline,
        Self::Overloaded,
        Self::ClockWrong,
    ];

    const COUNT: usize = Self::ALL.len();

    /// The outcomes of a request that was understood.
    pub(super) const OF_UNDERSTOOD: [Self; 6] = [
        Self::Ok,
        Self::Cancelled,
        Self::QueueFull,
        Self::NoDevice,
        Self::Closed,
        Self::Deadline,
    ];

    /// The outcomes of a request that was not understood, or not yet.
    pub(super) const OF_OTHERS: [Self; 7] = [
        Self::Invalid,
        Self::Unauthorized,
        Self::Limited,
        Self::Cancelled,
        Self::Closed,
        Self::Overloaded,
        Self::ClockWrong,
    ];

    /// Its label.
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
            Self::Overloaded => "overloaded",
            Self::ClockWrong => "clock_wrong",
        }
    }
}

/// How an attempt to reopen a failed device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// The device serves again.
    Ok,
    /// The device could not be opened, or failed its self-test.
    Failed,
}

impl Rebuild {
    pub(super) const ALL: [Self; 2] = [Self::Ok, Self::Failed];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// How a span ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector accepted its batch. The exporter does not report the spans of an accepted batch that a collector
    /// rejects (OTLP's partial success), so they count here.
    Exported,
    /// The collector did not accept its batch, and it is lost.
    Failed,
    /// The queue to the collector was full (`OTEL_BSP_MAX_QUEUE_SIZE`), and it is lost.
    Dropped,
}

impl SpanOutcome {
    pub(super) const ALL: [Self; 3] = [Self::Exported, Self::Failed, Self::Dropped];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// The label of a network, `None` for requests that were not understood.
pub(super) fn network_label(network: Option<AnyNetwork>) -> &'static str {
    network.map_or("none", AnyNetwork::as_str)
}

/// A family of metrics with labels.
pub(super) trait Family {
    /// A metric with a value for each label.
    type Child;

    /// The metric with these values, in the order of the labels.
    fn labelled(&self, values: &[&str]) -> Self::Child;
}

impl<B: MetricVecBuilder> Family for MetricVec<B> {
    type Child = B::M;

    fn labelled(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }
}

/// A family with the labels `network` and `outcome`. Each child is looked up once, since that takes a lock and hashes the
/// labels.
#[derive(Clone, Debug)]
pub(super) struct PerRequest<F: Family> {
    family: F,
    children: Arc<Children<F::Child>>,
}

/// By network, with the last row for requests that were not understood, and by outcome.
type Children<M> = [[OnceLock<M>; Outcome::COUNT]; AnyNetwork::ALL.len() + 1];

impl<F: Family> PerRequest<F> {
    pub(super) fn new(family: F) -> Self {
        let children = Arc::default();
        Self { family, children }
    }

    /// The child of this network, `None` for requests that were not understood, and this outcome. Created if it is new.
    pub(super) fn child(&self, network: Option<AnyNetwork>, outcome: Outcome) -> &F::Child {
        let row = network.map_or(AnyNetwork::ALL.len(), AnyNetwork::index);
        self.children[row][outcome as usize].get_or_init(|| {
            self.family
                .labelled(&[network_label(network), outcome.label()])
        })
    }

    /// Creates these children.
    pub(super) fn begin(&self, network: Option<AnyNetwork>, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.child(network, *outcome);
        }
    }
}

/// A histogram for each network. Each child is looked up once, and does not exist before.
#[derive(Clone, Debug)]
pub(super) struct PerNetwork {
    family: HistogramVec,
    children: Arc<[OnceLock<Histogram>; AnyNetwork::ALL.len()]>,
}

impl PerNetwork {
    pub(super) fn new(family: HistogramVec) -> Self {
        let children = Arc::default();
        Self { family, children }
    }

    /// The child of this network. Created if it is new.
    pub(super) fn child(&self, network: AnyNetwork) -> &Histogram {
        self.children[network.index()]
            .get_or_init(|| self.family.with_label_values(&[network.as_str()]))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts};

    use super::*;

    #[test]
    fn each_network_and_outcome_has_a_child_of_its_own() {
        let labels = ["network", "outcome"];
        let family = IntCounterVec::new(Opts::new("requests_total", "Requests."), &labels).unwrap();
        let requests = PerRequest::new(family.clone());
        let mut networks: Vec<_> = AnyNetwork::ALL.into_iter().map(Some).collect();
        networks.push(None);
        let outcomes = [&Outcome::OF_UNDERSTOOD[..], &Outcome::OF_OTHERS].concat();
        for network in &networks {
            for outcome in &outcomes {
                requests.child(*network, *outcome).inc();
            }
        }
        for network in ["LIVE", "BETA", "DEV", "LOCAL", "NANO", "none"] {
            for outcome in &outcomes {
                // Two are in both lists.
                let twice = matches!(outcome, Outcome::Cancelled | Outcome::Closed);
                let counted = family.with_label_values(&[network, outcome.label()]).get();
                assert_eq!(counted, if twice { 2 } else { 1 }, "{network} {outcome:?}");
            }
        }
        assert_eq!(Outcome::COUNT, outcomes.len() - 2);
    }
}
