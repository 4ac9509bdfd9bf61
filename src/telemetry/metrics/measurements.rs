//! Single metrics as Spring Boot Actuator shows them at `/metrics/{name}`, under Micrometer's names.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::Serialize;

/// A metric, summed over the series that have the tags that were asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    name: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_unit: Option<&'static str>,
    measurements: Vec<Statistic>,
    /// The tags by which the sum can be narrowed.
    available_tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
struct Statistic {
    statistic: &'static str,
    /// `null` for what is not a number.
    value: f64,
}

#[derive(Debug, Serialize)]
struct Tag {
    tag: String,
    values: BTreeSet<String>,
}

/// The names of all metrics.
pub(super) fn names(families: &[MetricFamily]) -> BTreeSet<String> {
    families
        .iter()
        .map(|family| Name::of(family).dotted)
        .collect()
}

/// The metric with this name, of the series that have all of these tags; `None` if there is none.
pub(super) fn measurement(
    families: &[MetricFamily],
    name: &str,
    tags: &[(&str, &str)],
) -> Option<Measurement> {
    let mut statistics = BTreeMap::new();
    let mut values = BTreeMap::<String, BTreeSet<String>>::new();
    let (mut description, mut base_unit) = (String::new(), None);
    for family in families {
        let of_family = Name::of(family);
        if of_family.dotted != name {
            continue;
        }
        let metrics = family.get_metric().iter();
        for metric in metrics.filter(|metric| tags.iter().all(|tag| has(metric, *tag))) {
            for (statistic, value) in samples(family, metric, of_family.is_max) {
                let so_far = statistics.entry(statistic).or_insert(0.0_f64);
                *so_far = match statistic {
                    "MAX" => so_far.max(value),
                    _ => *so_far + value,
                };
            }
            for label in metric.get_label() {
                let values = values.entry(label.name().to_owned()).or_default();
                values.insert(label.value().to_owned());
            }
        }
        if !of_family.is_max {
            description = family.help().to_owned();
            base_unit = of_family.unit;
        }
    }
    if statistics.is_empty() {
        return None;
    }
    let is_asked = |name: &str| tags.iter().any(|(tag, _)| *tag == name);
    Some(Measurement {
        name: name.to_owned(),
        description,
        base_unit,
        measurements: statistics
            .into_iter()
            .map(|(statistic, value)| Statistic { statistic, value })
            .collect(),
        available_tags: values
            .into_iter()
            .filter(|(tag, _)| !is_asked(tag))
            .map(|(tag, values)| Tag { tag, values })
            .collect(),
    })
}

fn has(metric: &Metric, (name, value): (&str, &str)) -> bool {
    let mut labels = metric.get_label().iter();
    labels.any(|label| label.name() == name && label.value() == value)
}

/// What Micrometer measures of a metric of this kind.
fn samples(family: &MetricFamily, metric: &Metric, is_max: bool) -> Vec<(&'static str, f64)> {
    let float = |count: u64| count as f64;
    match family.get_field_type() {
        MetricType::COUNTER => vec![("COUNT", metric.get_counter().get_value())],
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            vec![
                ("COUNT", float(histogram.get_sample_count())),
                ("TOTAL_TIME", histogram.get_sample_sum()),
            ]
        }
        // Those in progress.
        MetricType::SUMMARY => {
            let summary = metric.get_summary();
            vec![
                ("ACTIVE_TASKS", float(summary.sample_count())),
                ("DURATION", summary.sample_sum()),
            ]
        }
        _ if is_max => vec![("MAX", metric.get_gauge().get_value())],
        _ => vec![("VALUE", metric.get_gauge().get_value())],
    }
}

/// A family's name in Micrometer's notation, from which its Prometheus registry makes the other one.
struct Name {
    dotted: String,
    unit: Option<&'static str>,
    /// Whether it is the longest of a timer.
    is_max: bool,
}

impl Name {
    fn of(family: &MetricFamily) -> Self {
        let name = family.name();
        let (name, is_max) = match name.strip_suffix("_seconds_max") {
            Some(name) => (name, true),
            None => (name.strip_suffix("_total").unwrap_or(name), false),
        };
        let units = ["seconds", "bytes", "files"];
        let unit = units.into_iter().find_map(|unit| {
            let name = name.strip_suffix(unit)?.strip_suffix('_')?;
            Some((name, unit))
        });
        Self {
            dotted: unit.map_or(name, |(name, _)| name).replace('_', "."),
            unit: unit.map(|(_, unit)| unit),
            is_max,
        }
    }
}
