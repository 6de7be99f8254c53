//! `$.rollouts[].guard`: when a version is taken out of traffic.

use crate::bucket::VersionIndex;

use super::text::REFERENCE;
use super::version::Versions;
use super::{Millis, Ratio};
use crate::document::node::{Node, Problems};
use crate::document::scalar::{count, span, LONGEST, RATIO, TIMES};
use crate::document::shape::{shape, Kind, Scalar};

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
    GUARD, GuardKeys: "Guard", "an object with maxFailureRatio, or slowerThan and maxSlowRatio" {
        /// The length of the sliding window.
        window = "window": default span(1000, 3_600_000) => Scalar::Text("30s"),
        /// The fewest answers in the window that say anything.
        min_requests = "minRequests": default count(1, 1_000_000_000) => Scalar::Number(50.0),
        /// Trips above this share of failures, if it is also timesWorseThanStable times stable's own.
        max_failure_ratio = "maxFailureRatio": optional RATIO,
        /// How many times stable's own share of failures a version's must be.
        times_worse_than_stable = "timesWorseThanStable": default TIMES => Scalar::Number(2.0),
        /// What a slow answer takes longer than.
        slower_than = "slowerThan": optional span(1, 3_600_000),
        /// Trips above this share of slow answers.
        max_slow_ratio = "maxSlowRatio": optional RATIO,
        /// How long a version stays out before a tenth of its users try it again; absent, until the
        /// rollout's configuration changes.
        retry_after = "retryAfter": optional span(1000, LONGEST),
        /// The version that gets the users of one that is out; absent, stable.
        fallback = "fallback": optional Kind::Text(&REFERENCE),
    }
    also r#"{"anyOf": [{"required": ["maxFailureRatio"]}, {"required": ["maxSlowRatio"]}],
        "dependentRequired": {"slowerThan": ["maxSlowRatio"], "maxSlowRatio": ["slowerThan"]}}"#
}

pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Guard> {
    let keys = GuardKeys::of(node);
    let failures = keys.max_failure_ratio;
    let (slower, slow) = (keys.slower_than, keys.max_slow_ratio);
    if failures.is_absent() && slow.is_absent() && slower.is_absent() {
        problems.add(node, "neither maxFailureRatio nor maxSlowRatio", "one of them or both");
    }
    if slower.is_given() && slow.is_absent() {
        problems.add(node, "slowerThan without maxSlowRatio", "both or neither");
    }
    if slow.is_given() && slower.is_absent() {
        problems.add(node, "maxSlowRatio without slowerThan", "both or neither");
    }
    let fallback = keys.fallback;
    let fallback = match fallback.text() {
        Some(name) => versions.find(name, fallback, problems),
        None => Some(versions.stable),
    };
    Some(Guard {
        window: keys.window.number()?,
        min_requests: keys.min_requests.number()?,
        max_failure_ratio: ratio(failures),
        times_worse_than_stable: keys.times_worse_than_stable.small()?,
        latency: slower
            .number()
            .zip(ratio(slow))
            .map(|(slower_than, max_slow_ratio)| Latency { slower_than, max_slow_ratio }),
        retry_after: keys.retry_after.number(),
        fallback: fallback?,
    })
}

fn ratio(node: &Node<'_>) -> Option<Ratio> {
    Ratio::from_millionths(node.small()?)
}
