//! The text format of `OpenMetrics` 1.0, which Prometheus asks for by default. The library has only Prometheus's own.

use std::fmt::{self, Display, Write};

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};

/// The suffixes of names that are units.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Writes all families, and the exemplars of their histograms' buckets.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut text = String::new();
    for family in families {
        // A `String` takes all that is written to it.
        let _ = write_family(&mut text, family, exemplars);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily, exemplars: &Exemplars) -> fmt::Result {
    let (kind, name) = match family.get_field_type() {
        // A counter's family has the name of its samples without their suffix.
        MetricType::COUNTER => (
            "counter",
            family
                .name()
                .strip_suffix("_total")
                .unwrap_or(family.name()),
        ),
        MetricType::GAUGE => ("gauge", family.name()),
        MetricType::HISTOGRAM => ("histogram", family.name()),
        MetricType::SUMMARY => ("summary", family.name()),
        MetricType::UNTYPED => ("unknown", family.name()),
    };
    writeln!(text, "# TYPE {name} {kind}")?;
    if let Some((_, unit)) = name
        .rsplit_once('_')
        .filter(|(_, last)| UNITS.contains(last))
    {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    writeln!(text, "# HELP {name} {}", escaped(family.help()))?;
    for metric in family.get_metric() {
        let mut sample = |suffix: &str, value: f64| {
            writeln!(text, "{name}{suffix}{} {value}", Labels(metric, None))
        };
        match family.get_field_type() {
            MetricType::COUNTER => sample("_total", metric.get_counter().get_value())?,
            MetricType::GAUGE => sample("", metric.get_gauge().get_value())?,
            MetricType::SUMMARY => {
                let summary = metric.get_summary();
                sample("_count", summary.sample_count() as f64)?;
                sample("_sum", summary.sample_sum())?;
            }
            MetricType::HISTOGRAM => write_histogram(text, name, metric, exemplars)?,
            MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    metric: &Metric,
    exemplars: &Exemplars,
) -> fmt::Result {
    let histogram = metric.get_histogram();
    let bounded = histogram.get_bucket().iter();
    let bounded = bounded.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let bounded = bounded.filter(|(bound, _)| bound.is_finite());
    let all = (f64::INFINITY, histogram.get_sample_count());
    let network = label(metric, "network").unwrap_or_default();
    let mut exemplars = exemplars
        .of(name, network, label(metric, "outcome"))
        .into_iter();
    for (bound, count) in bounded.chain([all]) {
        let labels = Labels(metric, Some(bound));
        write!(text, "{name}_bucket{labels} {count}")?;
        if let Some(Some(Exemplar { trace, seconds, at })) = exemplars.next() {
            let at = at.as_secs_f64();
            write!(text, " # {{trace_id=\"{trace}\"}} {seconds} {at:.3}")?;
        }
        text.push('\n');
    }
    let labels = Labels(metric, None);
    writeln!(
        text,
        "{name}_count{labels} {}",
        histogram.get_sample_count()
    )?;
    writeln!(text, "{name}_sum{labels} {}", histogram.get_sample_sum())
}

/// The value of a label.
fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    let mut labels = metric.get_label().iter();
    Some(labels.find(|label| label.name() == name)?.value())
}

/// The labels of a sample, with the bound of its bucket.
struct Labels<'a>(&'a Metric, Option<f64>);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.0.get_label().iter();
        let mut labels: Vec<_> = labels
            .map(|label| format!("{}=\"{}\"", label.name(), escaped(label.value())))
            .collect();
        // With a point: `1.0` and not `1`.
        labels.extend(self.1.map(|bound| match bound {
            f64::INFINITY => "le=\"+Inf\"".to_owned(),
            bound => format!("le=\"{bound:?}\""),
        }));
        match labels.is_empty() {
            true => Ok(()),
            false => write!(f, "{{{}}}", labels.join(",")),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}
