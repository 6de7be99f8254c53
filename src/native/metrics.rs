//! The filter's metrics as Envoy wants them of a dynamic module: by name and labels, defined with the configuration.

use crate::filter::{metrics, MetricKind};

use super::abi::{ConfigHandle, Kind};

/// Panics that a hook has caught. Only this edge has it: in a VM a panic ends the VM.
pub const PANICS: &str = "cohort_panics_total";

/// Name, kind and labels of every metric, by position.
fn all() -> impl Iterator<Item = (String, MetricKind, Vec<&'static str>)> {
    let known = metrics::ALL.iter().map(|metric| {
        let labels = std::iter::once("plugin").chain(metric.labels.iter().copied());
        (metric.full_name(), metric.kind, labels.collect())
    });
    known.chain(std::iter::once((PANICS.to_owned(), MetricKind::Counter, vec!["plugin"])))
}

/// Envoy's numbers for the metrics of one configuration, by their position in the list.
#[derive(Default)]
pub struct Defined(Vec<Option<usize>>);

impl Defined {
    /// Defines every metric for a configuration that is being made.
    pub fn new(config: ConfigHandle) -> Self {
        let define = |(name, kind, labels): (String, MetricKind, Vec<&str>)| {
            let kind = match kind {
                MetricKind::Counter => Kind::Counter,
                MetricKind::Gauge => Kind::Gauge,
                MetricKind::Histogram => Kind::Histogram,
            };
            config.define(kind, &name, &labels)
        };
        Self(all().map(define).collect())
    }

    /// Envoy's number for the metric at `position`.
    pub fn id(&self, position: usize) -> Option<usize> {
        self.0.get(position).copied().flatten()
    }
}

/// The position of a metric and the values of its labels, from the name of a time series in the encoding of Istio's
/// proxies: `cohort_x.a=.=1;.;b=.=2;.;`.
pub fn parse(series: &str, kind: MetricKind) -> Option<(usize, Vec<String>)> {
    let (name, tags) = series.split_once('.').unwrap_or((series, ""));
    let mut metrics = all().enumerate();
    let (position, (_, _, labels)) =
        metrics.find(|(_, (known, of, _))| *known == name && *of == kind)?;
    let tags = tags.split_terminator(";.;").map(|tag| tag.split_once("=.="));
    let tags: Vec<(&str, &str)> = tags.collect::<Option<_>>()?;
    let value = |label| tags.iter().find(|(name, _)| *name == label).map(|(_, value)| *value);
    let values = labels.into_iter().map(|label| value(label).map(str::to_owned));
    Some((position, values.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_series_gives_its_metric_and_the_values_of_its_labels() {
        let name =
            "cohort_failures_total.plugin=.=p;.;rollout=.=checkout;.;rollout_version=.=canary;.;";
        let (position, values) = parse(name, MetricKind::Counter).expect("a metric");
        assert_eq!(all().nth(position).expect("a metric").0, "cohort_failures_total");
        assert_eq!(values, ["p", "checkout", "canary"]);
        assert!(parse(name, MetricKind::Gauge).is_none());
        assert!(parse("cohort_other.plugin=.=p;.;", MetricKind::Counter).is_none());
        assert!(parse("cohort_failures_total.plugin=.=p;.;", MetricKind::Counter).is_none());
        assert!(parse("cohort_config_invalid.plugin=.=p;.;", MetricKind::Gauge).is_some());
    }
}
