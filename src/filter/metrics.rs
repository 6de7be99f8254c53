//! The table of metrics (design.md section 6). The time series, their names and docs/metrics.md come from
//! it.

use super::host::{Host, MetricId, MetricKind};

/// A metric: its name, what kind it is, its labels and what it counts.
#[derive(Debug)]
pub struct Metric {
    /// Without the `cohort_` in front.
    name: &'static str,
    pub kind: MetricKind,
    /// In the order of the name. Every metric has the label `plugin` before these.
    pub labels: &'static [&'static str],
    /// For docs/metrics.md, in Markdown.
    #[cfg(not(target_arch = "wasm32"))]
    pub help: &'static str,
}

/// Declares the metrics, and the list of all of them.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $metric:ident: $kind:ident $name:literal [$($label:literal),*],)+) => {
        $(
            $(#[doc = $help])+
            pub static $metric: Metric = Metric {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                #[cfg(not(target_arch = "wasm32"))]
                help: concat!($($help),+),
            };
        )+

        /// Every metric, in the order of the documentation.
        #[cfg(not(target_arch = "wasm32"))]
        pub static ALL: &[&Metric] = &[$(&$metric),+];
    };
}

metrics! {
    /// requests, by the version they got and why
    REQUESTS: Counter "requests_total" ["rollout", "rollout_version", "reason"],
    /// how they ended: `1xx` (upgrades such as WebSockets) to `5xx`, `none` where there was no answer. The
    /// `source` is `upstream`, or `proxy` where another filter or the proxy itself answered in the
    /// version's place
    RESPONSES: Counter "responses_total" ["rollout", "rollout_version", "code_class", "source"],
    /// what the [guard](guard.md) counts as failed
    FAILURES: Counter "failures_total" ["rollout", "rollout_version"],
    /// answers slower than the guard's `slowerThan`; there only where that is configured
    SLOW_RESPONSES: Counter "slow_responses_total" ["rollout", "rollout_version"],
    /// time from the request's headers to the end of the answer, in milliseconds
    REQUEST_DURATION: Histogram "request_duration_milliseconds" ["rollout", "rollout_version"],
    /// the share in force now, in thousandths of a percent: the ramp's, 0 while held out, a tenth while
    /// probing
    VERSION_WEIGHT: Gauge "version_weight" ["rollout", "rollout_version"],
    /// 1 while guard, health check or analysis keep the version out
    VERSION_HELD_OUT: Gauge "version_held_out" ["rollout", "rollout_version"],
    /// how near the [guard](guard.md) is to taking the version out: 0 where nothing speaks against it, 1000
    /// where it is out or sure to be
    GUARD_EVIDENCE: Gauge "guard_evidence" ["rollout", "rollout_version"],
    /// trips, by `failures`, `latency`, `health` or `analysis`
    GUARD_TRIPS: Counter "guard_trips_total" ["rollout", "rollout_version", "cause"],
    /// what the [check](releases/automated-canary.md) last heard, in thousandths; below 0 reads as 0
    ANALYSIS_VALUE: Gauge "analysis_value" ["rollout", "rollout_version", "check"],
    /// 1 while the check's last answer counts as bad
    ANALYSIS_FAILING: Gauge "analysis_failing" ["rollout", "rollout_version", "check"],
    /// a check's questions without a usable answer; they change nothing
    ANALYSIS_ERRORS: Counter "analysis_errors_total" ["rollout", "check"],
    /// what was asked for and not granted: an `override`, a `pin`, an `inherit`ed decision
    IGNORED: Counter "ignored_total" ["rollout", "what"],
    /// 1 while the plugin runs without a valid configuration
    CONFIG_INVALID: Gauge "config_invalid" [],
    /// configurations that the plugin refused in this process, first ones and updates
    CONFIG_REJECTED: Counter "config_rejected_total" [],
}

impl Metric {
    /// The name on Prometheus.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn full_name(&self) -> String {
        format!("cohort_{}", self.name)
    }

    /// Defines the time series of `plugin` that has these values of the labels, in their order. The name
    /// carries the labels in the encoding of Istio's proxies.
    pub fn define(&self, host: &impl Host, plugin: &str, values: &[&str]) -> Option<MetricId> {
        let mut name = String::with_capacity(128);
        name.push_str("cohort_");
        name.push_str(self.name);
        name.push('.');
        let labels = std::iter::once(&"plugin").chain(self.labels);
        for (label, value) in labels.zip(std::iter::once(&plugin).chain(values)) {
            name.push_str(label);
            name.push_str("=.=");
            name.push_str(value);
            name.push_str(";.;");
        }
        host.define_metric(self.kind, &name)
    }
}
