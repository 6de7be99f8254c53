//! The time series of a rollout (design.md section 6). Handles are made once and kept.

use crate::bucket::VersionIndex;
use crate::config::{Rollout, Version};
use crate::engine::{Cause, Reason};

use super::host::{Host, MetricId, MetricKind};

/// The class of a response's status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeClass {
    /// There was no answer: the client went away.
    None,
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl CodeClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of `status`; what is past 599 counts as a server error.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::None,
            Some(..=199) => Self::Informational,
            Some(200..=299) => Self::Success,
            Some(300..=399) => Self::Redirection,
            Some(400..=499) => Self::ClientError,
            Some(500..) => Self::ServerError,
        }
    }

    /// The value of the label `code_class`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// A metric's name with its tags in the encoding of Istio's proxies.
fn name(metric: &str, tags: &[(&str, &str)]) -> String {
    let mut name = format!("cohort_{metric}");
    for (position, (tag, value)) in tags.iter().enumerate() {
        if position == 0 {
            name.push('.');
        }
        name.push_str(tag);
        name.push_str("=.=");
        name.push_str(value);
        name.push_str(";.;");
    }
    name
}

/// The tags of everything that is kept for each version.
fn tags<'a>(rollout: &'a Rollout, version: &'a Version) -> [(&'static str, &'a str); 2] {
    [("rollout", &rollout.name), ("rollout_version", &version.name)]
}

/// The gauge `cohort_config_invalid`.
pub fn config_invalid(host: &impl Host) -> Option<MetricId> {
    host.define_metric(MetricKind::Gauge, &name("config_invalid", &[]))
}

/// What happens on requests: one handle for each time series of a rollout.
#[derive(Debug)]
pub struct Series {
    versions: Vec<VersionSeries>,
    ignored: [Option<MetricId>; 3],
}

#[derive(Debug)]
struct VersionSeries {
    requests: [Option<MetricId>; 8],
    responses: [Option<MetricId>; 6],
    failures: Option<MetricId>,
    slow: Option<MetricId>,
    duration: Option<MetricId>,
}

/// One counted event of a version.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    Request(Reason),
    Response(CodeClass),
    Failure,
    Slow,
}

/// What `cohort_ignored_total` counts.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Override,
    Pin,
    Inherit,
}

impl Series {
    pub fn new(host: &impl Host, rollout: &Rollout) -> Self {
        let versions = rollout.versions.iter().enumerate().map(|(position, version)| {
            let tags = tags(rollout, version);
            let define = |kind, metric: &str| host.define_metric(kind, &name(metric, &tags));
            let counter = |metric: &str, tag: &str, value: &str| {
                let tags = [tags.as_slice(), &[(tag, value)]].concat();
                host.define_metric(MetricKind::Counter, &name(metric, &tags))
            };
            let latency = rollout.guard.as_ref().and_then(|guard| guard.latency);
            VersionSeries {
                requests: Reason::ALL.map(|reason| {
                    let can_be = possible(rollout, position, reason);
                    can_be.then(|| counter("requests_total", "reason", reason.as_str())).flatten()
                }),
                responses: CodeClass::ALL
                    .map(|class| counter("responses_total", "code_class", class.as_str())),
                failures: define(MetricKind::Counter, "failures_total"),
                slow: latency.and_then(|_| define(MetricKind::Counter, "slow_responses_total")),
                duration: define(MetricKind::Histogram, "request_duration_milliseconds"),
            }
        });
        let versions = versions.collect();
        let ignored = [
            rollout.overrides.is_some().then_some("override"),
            rollout.pin.is_some().then_some("pin"),
            rollout.inherit.is_some().then_some("inherit"),
        ]
        .map(|what| {
            let tags = [("rollout", rollout.name.as_str()), ("what", what?)];
            host.define_metric(MetricKind::Counter, &name("ignored_total", &tags))
        });
        Self { versions, ignored }
    }

    pub fn count(&self, host: &impl Host, version: VersionIndex, what: Count) {
        if let Some(id) = self.versions.get(version).and_then(|series| series.handle(what)) {
            host.increment(id, 1);
        }
    }

    pub fn ignored(&self, host: &impl Host, what: What) {
        if let Some(Some(id)) = self.ignored.get(what as usize) {
            host.increment(*id, 1);
        }
    }

    /// Records how long an answer took, in milliseconds.
    pub fn duration(&self, host: &impl Host, version: VersionIndex, millis: u64) {
        if let Some(id) = self.versions.get(version).and_then(|series| series.duration) {
            host.record(id, millis);
        }
    }

    /// A counter's total over all workers of the proxy.
    pub fn total(&self, host: &impl Host, version: VersionIndex, what: Count) -> u64 {
        let id = self.versions.get(version).and_then(|series| series.handle(what));
        id.and_then(|id| host.total(id)).unwrap_or(0)
    }
}

impl VersionSeries {
    fn handle(&self, what: Count) -> Option<MetricId> {
        match what {
            Count::Request(reason) => self.requests.get(reason.index()).copied().flatten(),
            Count::Response(class) => self.responses.get(class as usize).copied().flatten(),
            Count::Failure => self.failures,
            Count::Slow => self.slow,
        }
    }
}

/// Whether the configuration lets `version` be chosen for `reason`, so that it needs a time series.
fn possible(rollout: &Rollout, version: VersionIndex, reason: Reason) -> bool {
    let held = rollout.guard.is_some() || !rollout.health.is_empty();
    let stable = version == rollout.stable;
    match reason {
        Reason::Disabled => stable && !rollout.enabled,
        _ if !rollout.enabled => false,
        Reason::Override => rollout.overrides.is_some(),
        Reason::Inherited => rollout.inherit.is_some(),
        Reason::Rule => !rollout.rules.is_empty(),
        Reason::Pinned => rollout.pin.is_some(),
        Reason::Hash => !rollout.hash_key.is_empty() || rollout.anonymous_id.is_some(),
        Reason::Default => stable,
        Reason::Fallback => {
            held && (stable
                || rollout.guard.as_ref().is_some_and(|guard| guard.fallback == version))
        }
    }
}

/// What is in force: the gauges of a rollout, and the trips of its guard.
#[derive(Debug)]
pub struct Gauges {
    weights: Vec<Option<MetricId>>,
    held_out: Vec<Option<MetricId>>,
    trips: Vec<[Option<MetricId>; 3]>,
}

impl Gauges {
    pub fn new(host: &impl Host, rollout: &Rollout) -> Self {
        let of_each = |metric: &str| {
            let gauge = |version: &Version| {
                host.define_metric(MetricKind::Gauge, &name(metric, &tags(rollout, version)))
            };
            rollout.versions.iter().map(gauge).collect()
        };
        let trips = rollout.versions.iter().enumerate().map(|(position, version)| {
            Cause::ALL.map(|cause| {
                let watched = match cause {
                    Cause::Health => rollout.health.iter().any(|health| health.version == position),
                    Cause::Failures | Cause::Latency => {
                        rollout.guard.is_some() && position != rollout.stable
                    }
                };
                let tags =
                    [tags(rollout, version).as_slice(), &[("cause", cause.as_str())]].concat();
                let counter =
                    || host.define_metric(MetricKind::Counter, &name("guard_trips_total", &tags));
                watched.then(counter).flatten()
            })
        });
        Self {
            weights: of_each("version_weight"),
            held_out: of_each("version_held_out"),
            trips: trips.collect(),
        }
    }

    /// Sets what is in force for a version: its share in thousandths of a percent, and whether it is
    /// held out.
    pub fn set(&self, host: &impl Host, version: VersionIndex, thousandths: u32, held_out: bool) {
        if let Some(Some(id)) = self.weights.get(version) {
            host.record(*id, u64::from(thousandths));
        }
        if let Some(Some(id)) = self.held_out.get(version) {
            host.record(*id, u64::from(held_out));
        }
    }

    pub fn tripped(&self, host: &impl Host, version: VersionIndex, cause: Cause) {
        if let Some(Some(id)) =
            self.trips.get(version).and_then(|causes| causes.get(cause as usize))
        {
            host.increment(*id, 1);
        }
    }
}
