//! Metrics as Envoy keeps them for its Wasm plugins.

use std::fmt;

use super::world::{status, Answer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn of(number: u32) -> Option<Self> {
        [Self::Counter, Self::Gauge, Self::Histogram].get(number as usize).copied()
    }
}

#[derive(Clone, Debug)]
struct Metric {
    kind: Kind,
    name: String,
    value: u64,
    /// Of a gauge: what the parent process has, in a hot restart.
    parents: u64,
    /// Of a histogram.
    samples: Vec<u64>,
}

impl Metric {
    /// What the proxy shows of a counter or a gauge (Envoy, source/common/stats/allocator_impl.cc, `GaugeImpl`).
    fn shown(&self) -> u64 {
        self.value.wrapping_add(self.parents)
    }
}

/// One store for all workers of a proxy: the same name is the same metric.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    metrics: Vec<Metric>,
    /// Positions in `metrics`, by id: each definition gives a new id.
    ids: Vec<usize>,
    /// Parts of names that the proxy's stats matcher leaves out: they are always 0.
    pub left_out: Vec<&'static str>,
}

impl Metrics {
    pub fn define(&mut self, kind: Kind, name: &str) -> u32 {
        let same = |metric: &Metric| metric.kind == kind && metric.name == name;
        let position = self.metrics.iter().position(same).unwrap_or_else(|| {
            let metric =
                Metric { kind, name: name.into(), value: 0, parents: 0, samples: Vec::new() };
            self.metrics.push(metric);
            self.metrics.len() - 1
        });
        self.ids.push(position);
        (self.ids.len() - 1) as u32
    }

    pub fn increment(&mut self, id: u32, by: i64) -> Answer<()> {
        let metric = self.metric(id)?;
        match metric.kind {
            Kind::Counter if by > 0 => metric.value += by as u64,
            Kind::Gauge => metric.value = metric.value.wrapping_add_signed(by),
            Kind::Counter | Kind::Histogram => return Err(status::BAD_ARGUMENT),
        }
        self.forget(id);
        Ok(())
    }

    pub fn record(&mut self, id: u32, value: u64) -> Answer<()> {
        let metric = self.metric(id)?;
        match metric.kind {
            Kind::Counter => metric.value += value,
            Kind::Gauge => metric.value = value,
            Kind::Histogram => metric.samples.push(value),
        }
        self.forget(id);
        Ok(())
    }

    pub fn get(&mut self, id: u32) -> Answer<u64> {
        let metric = self.metric(id)?;
        match metric.kind {
            Kind::Counter | Kind::Gauge => Ok(metric.shown()),
            Kind::Histogram => Err(status::BAD_ARGUMENT),
        }
    }

    /// What `POST /reset_counters` does.
    pub fn reset_counters(&mut self) {
        for metric in self.metrics.iter_mut().filter(|metric| metric.kind == Kind::Counter) {
            metric.value = 0;
        }
    }

    /// The value of the counter or gauge that Prometheus reads as `name`, the number of samples of a
    /// histogram; 0 where there is none. Labels that `name` leaves out may only be `plugin` and `source`,
    /// over which the values are summed.
    pub fn value(&self, name: &str) -> u64 {
        let (base, wanted) = labels(name);
        let is_it = |metric: &&Metric| {
            let name = labelled(&metric.name);
            let (known, labels) = labels(&name);
            base == known
                && wanted.iter().all(|label| labels.contains(label))
                && labels
                    .iter()
                    .filter(|label| !wanted.contains(label))
                    .all(|label| label.starts_with("plugin=") || label.starts_with("source="))
        };
        let metrics = self.metrics.iter().filter(is_it);
        metrics.map(|metric| metric.shown() + metric.samples.len() as u64).sum()
    }

    /// What a parent process has in every gauge: in a hot restart the proxy shows the sum.
    pub fn have_parents(&mut self, value: u64) {
        for metric in self.metrics.iter_mut().filter(|metric| metric.kind == Kind::Gauge) {
            metric.parents = value;
        }
    }

    fn metric(&mut self, id: u32) -> Answer<&mut Metric> {
        let position = self.ids.get(id as usize).ok_or(status::NOT_FOUND)?;
        Ok(&mut self.metrics[*position])
    }

    fn forget(&mut self, id: u32) {
        let metric = &mut self.metrics[self.ids[id as usize]];
        if self.left_out.iter().any(|part| metric.name.contains(part)) {
            metric.value = 0;
            metric.samples.clear();
        }
    }
}

/// One line for each time series, sorted.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self
            .metrics
            .iter()
            .map(|metric| match metric.kind {
                Kind::Histogram => {
                    let (count, sum) = (metric.samples.len(), metric.samples.iter().sum::<u64>());
                    format!("{} {count} values, sum {sum}", labelled(&metric.name))
                }
                Kind::Counter | Kind::Gauge => {
                    format!("{} {}", labelled(&metric.name), metric.shown())
                }
            })
            .collect();
        lines.sort();
        lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The name of a time series and its labels, each as `name="value"`.
fn labels(series: &str) -> (&str, Vec<&str>) {
    let Some((base, rest)) = series.split_once('{') else { return (series, Vec::new()) };
    (base, rest.trim_end_matches('}').split(',').collect())
}

/// `cohort_x.a=.=1;.;b=.=2;.;` as `cohort_x{a="1",b="2"}`.
fn labelled(name: &str) -> String {
    let Some((base, tags)) = name.split_once('.') else { return name.to_owned() };
    let tags: Vec<String> = tags
        .split_terminator(";.;")
        .map(|tag| {
            let (name, value) = tag.split_once("=.=").unwrap_or((tag, ""));
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{base}{{{}}}", tags.join(","))
}
