//! `$.rollouts[].guard`: when a version is taken out of traffic.

use crate::bucket::VersionIndex;

use super::place::{Place, Problems};
use super::read::Field;
use super::scalar::{Count, Span, Times, LONGEST};
use super::shape::shape;
use super::text::Reference;
use super::version::Versions;
use super::{Millis, Ratio};

/// When a version other than stable is taken out of traffic, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// The length of the sliding window; default 30 s, 1 s to 1 h.
    pub window: Millis,
    /// The fewest answers in the window that say anything; default 50, at least 1.
    pub min_requests: u64,
    /// Trips above this share of failures; at least one of this and `latency` is given.
    pub max_failure_ratio: Option<Ratio>,
    /// ... if it is also above this many times stable's own, in thousandths; default 2.000, 1 to 1,000.
    pub times_worse_than_stable: u32,
    pub latency: Option<Latency>,
    /// How long a tripped version stays out before it is tried again; `None`: until the configuration
    /// changes. At least 1 s.
    pub retry_after: Option<Millis>,
    /// Who gets the users of a version that is out, here and for health; default stable.
    pub fallback: VersionIndex,
}

/// Trips when more than `max_slow_ratio` of the answers took longer than `slower_than`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// 1 ms to 1 h.
    pub slower_than: Millis,
    pub max_slow_ratio: Ratio,
}

shape! {
    /// When a version other than stable is taken out of traffic, and for how long.
    GuardShape: "an object with maxFailureRatio, or slowerThan and maxSlowRatio" {
        /// The length of the sliding window.
        "window" window: defaulted Span<1000, 3_600_000, 1> = "30s",
        /// The fewest answers in the window that say anything.
        "minRequests" min_requests: defaulted Count<1, 1_000_000_000> = 50,
        /// Trips above this share of failures, if it is also timesWorseThanStable times stable's own.
        "maxFailureRatio" max_failure_ratio: optional Ratio,
        /// How many times stable's own share of failures a version's must be.
        "timesWorseThanStable" times_worse_than_stable: defaulted Times = 2,
        /// What a slow answer takes longer than.
        "slowerThan" slower_than: optional Span<1, 3_600_000, 1>,
        /// Trips above this share of slow answers.
        "maxSlowRatio" max_slow_ratio: optional Ratio,
        /// How long a version stays out before a tenth of its users try it again; absent, until the
        /// rollout's configuration changes.
        "retryAfter" retry_after: optional Span<1000, LONGEST, 1>,
        /// The version that gets the users of one that is out; absent, stable.
        "fallback" fallback: optional Reference,
    }
    also r#"{"anyOf": [{"required": ["maxFailureRatio"]}, {"required": ["maxSlowRatio"]}],
        "dependentRequired": {"slowerThan": ["maxSlowRatio"], "maxSlowRatio": ["slowerThan"]}}"#
}

impl GuardShape {
    pub(super) fn check(
        self,
        at: &Place<'_>,
        versions: &Versions,
        problems: &mut Problems,
    ) -> Option<Guard> {
        let (slower_than, max_slow_ratio) = (&self.slower_than, &self.max_slow_ratio);
        if self.max_failure_ratio.is_absent()
            && max_slow_ratio.is_absent()
            && slower_than.is_absent()
        {
            let found = "neither maxFailureRatio nor maxSlowRatio".to_owned();
            problems.add(at, found, "one of them or both".to_owned());
        }
        match (slower_than, max_slow_ratio) {
            (Field::Given(_), Field::Absent) => {
                one_alone(at, "slowerThan without maxSlowRatio", problems)
            }
            (Field::Absent, Field::Given(_)) => {
                one_alone(at, "maxSlowRatio without slowerThan", problems)
            }
            _ => {}
        }
        let fallback = match self.fallback {
            Field::Given(name) => versions.find(&name.0, &at.at("fallback"), problems),
            _ => Some(versions.stable),
        };
        let latency = self.slower_than.given().zip(self.max_slow_ratio.given());
        Some(Guard {
            window: self.window.given()?.0,
            min_requests: u64::from(self.min_requests.given()?.0),
            max_failure_ratio: self.max_failure_ratio.given(),
            times_worse_than_stable: self.times_worse_than_stable.given()?.0,
            latency: latency
                .map(|(slower, max_slow_ratio)| Latency { slower_than: slower.0, max_slow_ratio }),
            retry_after: self.retry_after.given().map(|length| length.0),
            fallback: fallback?,
        })
    }
}

fn one_alone(at: &Place<'_>, found: &str, problems: &mut Problems) {
    problems.add(at, found.to_owned(), "both or neither".to_owned());
}
