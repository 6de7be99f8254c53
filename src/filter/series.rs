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

/// Defines the counter of a metric with one more tag than `tags`.
fn counter(
    host: &impl Host,
    metric: &str,
    tags: &[(&str, &str)],
    more: (&str, &str),
) -> Option<MetricId> {
    host.define_metric(MetricKind::Counter, &name(metric, &[tags, &[more]].concat()))
}

/// What is decided and how long it took: the handles of a rollout's time series that no guard reads.
#[derive(Debug)]
pub struct Requests {
    versions: Vec<VersionRequests>,
    ignored: [Option<MetricId>; 3],
}

#[derive(Debug)]
struct VersionRequests {
    by_reason: [Option<MetricId>; 8],
    duration: Option<MetricId>,
}

/// What `cohort_ignored_total` counts.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Override,
    Pin,
    Inherit,
}

impl Requests {
    pub fn new(host: &impl Host, rollout: &Rollout) -> Self {
        let versions = rollout.versions.iter().enumerate().map(|(position, version)| {
            let tags = tags(rollout, version);
            let duration = name("request_duration_milliseconds", &tags);
            VersionRequests {
                by_reason: Reason::ALL.map(|reason| {
                    let can_be = possible(rollout, position, reason);
                    let counter =
                        || counter(host, "requests_total", &tags, ("reason", reason.as_str()));
                    can_be.then(counter).flatten()
                }),
                duration: host.define_metric(MetricKind::Histogram, &duration),
            }
        });
        let versions = versions.collect();
        let ignored = [
            rollout.overrides.is_some().then_some("override"),
            rollout.pin.is_some().then_some("pin"),
            rollout.inherit.is_some().then_some("inherit"),
        ]
        .map(|what| counter(host, "ignored_total", &[("rollout", &rollout.name)], ("what", what?)));
        Self { versions, ignored }
    }

    pub fn count(&self, host: &impl Host, version: VersionIndex, reason: Reason) {
        let version = self.versions.get(version);
        if let Some(Some(id)) = version.and_then(|it| it.by_reason.get(reason.index())) {
            host.increment(*id, 1);
        }
    }

    pub fn ignored(&self, host: &impl Host, what: What) {
        if let Some(Some(id)) = self.ignored.get(what as usize) {
            host.increment(*id, 1);
        }
    }

    /// Records how long an answer took, in milliseconds.
    pub fn duration(&self, host: &impl Host, version: VersionIndex, millis: u64) {
        if let Some(id) = self.versions.get(version).and_then(|it| it.duration) {
            host.record(id, millis);
        }
    }
}

/// How requests were answered: the handles of a rollout's time series that its guard reads.
#[derive(Debug)]
pub struct Answers {
    versions: Vec<VersionAnswers>,
}

#[derive(Debug)]
struct VersionAnswers {
    by_class: [Option<MetricId>; 6],
    failures: Option<MetricId>,
    slow: Option<MetricId>,
}

/// One counted answer of a version.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    Response(CodeClass),
    Failure,
    Slow,
}

impl Answers {
    pub fn new(host: &impl Host, rollout: &Rollout) -> Self {
        let latency = rollout.guard.as_ref().and_then(|guard| guard.latency);
        let versions = rollout.versions.iter().map(|version| {
            let tags = tags(rollout, version);
            let define = |metric| host.define_metric(MetricKind::Counter, &name(metric, &tags));
            VersionAnswers {
                by_class: CodeClass::ALL.map(|class| {
                    counter(host, "responses_total", &tags, ("code_class", class.as_str()))
                }),
                failures: define("failures_total"),
                slow: latency.and_then(|_| define("slow_responses_total")),
            }
        });
        Self { versions: versions.collect() }
    }

    pub fn count(&self, host: &impl Host, version: VersionIndex, what: Count) {
        if let Some(id) = self.handle(version, what) {
            host.increment(id, 1);
        }
    }

    /// A counter's total over all workers of the proxy.
    pub fn total(&self, host: &impl Host, version: VersionIndex, what: Count) -> u64 {
        self.handle(version, what).and_then(|id| host.total(id)).unwrap_or(0)
    }

    fn handle(&self, version: VersionIndex, what: Count) -> Option<MetricId> {
        let version = self.versions.get(version)?;
        match what {
            Count::Response(class) => version.by_class.get(class as usize).copied().flatten(),
            Count::Failure => version.failures,
            Count::Slow => version.slow,
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
