//! The time series of a rollout (design.md section 6). Handles are made once and kept.

use crate::bucket::VersionIndex;
use crate::config::Rollout;
use crate::engine::guard::Cause;
use crate::engine::Reason;

use super::gauge::Gauge;
use super::host::{Host, MetricId};
use super::metrics;

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

/// Who gave an answer: the label `source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The version's upstream, or the proxy for want of an answer from it.
    #[default]
    Upstream,
    /// Another filter or the proxy itself, in the version's place.
    Proxy,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Proxy];

    /// The value of the label `source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
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

/// What `cohort_ignored_total` counts, by the label `what`.
#[derive(Clone, Copy, Debug)]
pub enum IgnoredKind {
    Override,
    Pin,
    Inherit,
}

impl Requests {
    pub fn new(host: &impl Host, plugin: &str, rollout: &Rollout) -> Self {
        let versions = rollout.versions.iter().enumerate().map(|(position, version)| {
            let labels = [rollout.name.as_str(), &version.name];
            VersionRequests {
                by_reason: Reason::ALL.map(|reason| {
                    let counter = || {
                        let [rollout, version] = labels;
                        metrics::REQUESTS.define(host, plugin, &[rollout, version, reason.as_str()])
                    };
                    possible(rollout, position, reason).then(counter).flatten()
                }),
                duration: metrics::REQUEST_DURATION.define(host, plugin, &labels),
            }
        });
        let versions = versions.collect();
        let ignored = [
            rollout.overrides.is_some().then_some("override"),
            rollout.pin.is_some().then_some("pin"),
            rollout.inherit.is_some().then_some("inherit"),
        ]
        .map(|what| metrics::IGNORED.define(host, plugin, &[&rollout.name, what?]));
        Self { versions, ignored }
    }

    pub fn count(&self, host: &impl Host, version: VersionIndex, reason: Reason) {
        let version = self.versions.get(version);
        if let Some(Some(id)) = version.and_then(|it| it.by_reason.get(reason.index())) {
            host.increment(*id, 1);
        }
    }

    pub fn ignored(&self, host: &impl Host, kind: IgnoredKind) {
        if let Some(Some(id)) = self.ignored.get(kind as usize) {
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
    /// By source and class, in the order of [`Source::ALL`] and [`CodeClass::ALL`].
    responses: [[Option<MetricId>; 6]; 2],
    failures: Option<MetricId>,
    slow: Option<MetricId>,
}

/// One counted answer of a version.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    Response(CodeClass, Source),
    Failure,
    Slow,
}

impl Answers {
    pub fn new(host: &impl Host, plugin: &str, rollout: &Rollout) -> Self {
        let latency = rollout.guard.as_ref().and_then(|guard| guard.latency);
        let versions = rollout.versions.iter().map(|version| {
            let labels = [rollout.name.as_str(), &version.name];
            let [rollout, version] = labels;
            let responses = |source: Source| {
                CodeClass::ALL.map(|class| {
                    let values = [rollout, version, class.as_str(), source.as_str()];
                    metrics::RESPONSES.define(host, plugin, &values)
                })
            };
            VersionAnswers {
                responses: Source::ALL.map(responses),
                failures: metrics::FAILURES.define(host, plugin, &labels),
                slow: latency.and_then(|_| metrics::SLOW_RESPONSES.define(host, plugin, &labels)),
            }
        });
        Self { versions: versions.collect() }
    }

    pub fn count(&self, host: &impl Host, version: VersionIndex, what: Count) {
        if let Some(id) = self.handle(version, what) {
            host.increment(id, 1);
        }
    }

    fn handle(&self, version: VersionIndex, what: Count) -> Option<MetricId> {
        let version = self.versions.get(version)?;
        match what {
            Count::Response(class, source) => {
                version.responses.get(source as usize)?.get(class as usize).copied().flatten()
            }
            Count::Failure => version.failures,
            Count::Slow => version.slow,
        }
    }
}

/// Whether the configuration lets `version` be chosen for `reason`, so that it needs a time series.
fn possible(rollout: &Rollout, version: VersionIndex, reason: Reason) -> bool {
    let held = rollout.is_watched();
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
    weights: Vec<Option<Gauge>>,
    held_out: Vec<Option<Gauge>>,
    /// How near a trip is, for versions under guard.
    evidence: Vec<Option<Gauge>>,
    trips: Vec<[Option<MetricId>; 4]>,
    /// By position in the rollout's `analysis`.
    checks: Vec<CheckSeries>,
}

#[derive(Debug)]
struct CheckSeries {
    value: Option<Gauge>,
    failing: Option<Gauge>,
    errors: Option<MetricId>,
}

impl Gauges {
    pub fn new(host: &impl Host, plugin: &str, rollout: &Rollout) -> Self {
        let of_each = |metric: &metrics::Metric| {
            let versions = rollout.versions.iter();
            versions
                .map(|it| Gauge::new(host, metric, plugin, &[&rollout.name, &it.name]))
                .collect()
        };
        let guarded = |version| rollout.guard.is_some() && version != rollout.stable;
        let evidence = rollout.versions.iter().enumerate().map(|(position, version)| {
            let values = [rollout.name.as_str(), &version.name];
            guarded(position)
                .then(|| Gauge::new(host, &metrics::GUARD_EVIDENCE, plugin, &values))
                .flatten()
        });
        let trips = rollout.versions.iter().enumerate().map(|(position, version)| {
            Cause::ALL.map(|cause| {
                let watched = match cause {
                    Cause::Health => rollout.health.iter().any(|health| health.version == position),
                    Cause::Analysis => rollout.analysis.iter().any(|it| it.version == position),
                    Cause::Failures | Cause::Latency => guarded(position),
                };
                let values = [rollout.name.as_str(), &version.name, cause.as_str()];
                let counter = || metrics::GUARD_TRIPS.define(host, plugin, &values);
                watched.then(counter).flatten()
            })
        });
        let checks = rollout.analysis.iter().map(|check| {
            let version = rollout.versions.get(check.version).map_or("", |it| &it.name);
            let values = [rollout.name.as_str(), version, &check.name];
            CheckSeries {
                value: Gauge::new(host, &metrics::ANALYSIS_VALUE, plugin, &values),
                failing: Gauge::new(host, &metrics::ANALYSIS_FAILING, plugin, &values),
                errors: metrics::ANALYSIS_ERRORS.define(
                    host,
                    plugin,
                    &[&rollout.name, &check.name],
                ),
            }
        });
        Self {
            checks: checks.collect(),
            weights: of_each(&metrics::VERSION_WEIGHT),
            held_out: of_each(&metrics::VERSION_HELD_OUT),
            evidence: evidence.collect(),
            trips: trips.collect(),
        }
    }

    /// Sets what is in force for a version: its share in thousandths of a percent, and whether it is
    /// held out.
    pub fn set(&self, host: &impl Host, version: VersionIndex, thousandths: u32, held_out: bool) {
        if let Some(Some(gauge)) = self.weights.get(version) {
            gauge.set(host, u64::from(thousandths));
        }
        if let Some(Some(gauge)) = self.held_out.get(version) {
            gauge.set(host, u64::from(held_out));
        }
    }

    /// Sets how near a trip of a version is, from 0 to 1,000.
    pub fn set_evidence(&self, host: &impl Host, version: VersionIndex, thousandths: u32) {
        if let Some(Some(gauge)) = self.evidence.get(version) {
            gauge.set(host, u64::from(thousandths));
        }
    }

    /// Sets what a check last heard, in thousandths, and whether it counts as bad.
    pub fn set_check(&self, host: &impl Host, check: usize, thousandths: u64, failing: bool) {
        let Some(check) = self.checks.get(check) else { return };
        for (gauge, value) in [(&check.value, thousandths), (&check.failing, u64::from(failing))] {
            if let Some(gauge) = gauge {
                gauge.set(host, value);
            }
        }
    }

    /// Sets the gauges of every check to 0.
    pub fn clear_checks(&self, host: &impl Host) {
        for check in 0..self.checks.len() {
            self.set_check(host, check, 0, false);
        }
    }

    /// Counts a question without a usable answer.
    pub fn unusable(&self, host: &impl Host, check: usize) {
        if let Some(id) = self.checks.get(check).and_then(|check| check.errors) {
            host.increment(id, 1);
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
