//! A gauge that says what is in force in this process.

use std::cell::Cell;

use super::host::{Host, MetricId};
use super::metrics::Metric;

/// A gauge, and what a parent process adds to it.
///
/// In a hot restart Envoy shows the sum of a gauge and of the parent process' gauge of that name, until the
/// parent is gone. So the gauge is set lower by what is too much.
#[derive(Debug)]
pub struct Gauge {
    id: MetricId,
    /// What was too much when it was last set; `None` before it was.
    more: Cell<Option<u64>>,
}

impl Gauge {
    pub fn new(host: &impl Host, metric: &Metric, plugin: &str, values: &[&str]) -> Option<Self> {
        metric.define(host, plugin, values).map(|id| Self { id, more: Cell::new(None) })
    }

    /// Has the proxy show `value`.
    pub fn set(&self, host: &impl Host, value: u64) {
        let shown = || host.gauge(self.id);
        if self.more.get().is_some() && shown() == Some(value) {
            return;
        }
        host.record(self.id, value);
        let more = shown().map_or(0, |shown| shown.wrapping_sub(value));
        // What another worker set in between is not a parent's: it is not there the next time.
        if self.more.replace(Some(more)) == Some(more) && more != 0 {
            // The proxy adds without a carry too: the sum is `value`, also where the parent's is greater.
            host.record(self.id, value.wrapping_sub(more));
        }
    }
}
