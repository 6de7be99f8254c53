//! `$.rollouts[].guard`: when a version is taken out of traffic.

use crate::bucket::VersionIndex;

use super::text::REFERENCE;
use super::version::Versions;
use super::{Millis, Ratio};
use crate::document::node::{Node, Problems};
use crate::document::scalar::{count as number, span, LONGEST, RATIO, TIMES};
use crate::document::shape::{shape, words, Kind, Scalar};

/// When a version other than stable is taken out of traffic, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// The length of the sliding window; default 30 s, 1 s to 1 h.
    pub window: Millis,
    /// The fewest answers in the window before a trip; `None`: as few as make it sure.
    pub min_requests: Option<u64>,
    /// Trips when failures are surely above this share; 0.05 where neither this nor `latency` is given.
    pub max_failure_ratio: Option<Ratio>,
    /// ... and when the odds of failing (of being slow) are surely more than this many times stable's, in
    /// thousandths; default 2.000, 1 to 1,000.
    pub times_worse_than_stable: u32,
    pub latency: Option<Latency>,
    /// How long it takes on average, at least, until a version is taken out that does no worse than is
    /// allowed; default 365 days, 1 day to ten years.
    pub one_false_trip_in: Millis,
    pub count: Count,
    /// How long a tripped version stays out before it is tried again; `None`: until the configuration
    /// changes. At least 1 s.
    pub retry_after: Option<Millis>,
    /// Who gets the users of a version that is out, here and for health; default stable.
    pub fallback: VersionIndex,
}

/// Whose answers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// Of each user the first in ten seconds, so that no single one takes a version out.
    #[default]
    Users,
    /// Every answer.
    Requests,
}

words! {
    COUNT, count: Count { "users" => Count::Users, "requests" => Count::Requests }
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
    GUARD, GuardKeys: "Guard", "an object, such as {\"maxFailureRatio\": 0.05}" {
        /// The window of minRequests, and the shortest trial of a version that was out.
        window = "window": default span(1000, 3_600_000) => Scalar::Text("30s"),
        /// The fewest answers in the window before a trip; absent, as few as make it sure.
        min_requests = "minRequests": optional number(1, 1_000_000_000),
        /// Trips when failures are surely above this share; 0.05 where neither this nor maxSlowRatio is
        /// given.
        max_failure_ratio = "maxFailureRatio": optional RATIO,
        /// ... and when the odds of failing, or of being slow, are surely more than this many times stable's.
        times_worse_than_stable = "timesWorseThanStable": default TIMES => Scalar::Number(2.0),
        /// What a slow answer takes longer than.
        slower_than = "slowerThan": optional span(1, 3_600_000),
        /// Trips when slow answers are surely above this share.
        max_slow_ratio = "maxSlowRatio": optional RATIO,
        /// How long it takes on average, at least, until a version is taken out by chance that does no worse
        /// than is allowed.
        one_false_trip_in = "oneFalseTripIn": default span(86_400_000, LONGEST) => Scalar::Text("365d"),
        /// users: of each user the first answer in ten seconds counts. requests: every answer does.
        count = "count": default COUNT => Scalar::Text("users"),
        /// How long a version stays out before a tenth of its users try it again; absent, until the
        /// rollout's configuration changes.
        retry_after = "retryAfter": optional span(1000, LONGEST),
        /// The version that gets the users of one that is out; absent, stable.
        fallback = "fallback": optional Kind::Text(&REFERENCE),
    }
    also r#"{"dependentRequired": {"slowerThan": ["maxSlowRatio"], "maxSlowRatio": ["slowerThan"]}}"#
}

pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Guard> {
    let keys = GuardKeys::of(node);
    let failures = keys.max_failure_ratio;
    let (slower, slow) = (keys.slower_than, keys.max_slow_ratio);
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
    let neither = failures.is_absent() && slow.is_absent();
    Some(Guard {
        window: keys.window.number()?,
        min_requests: keys.min_requests.number(),
        max_failure_ratio: if neither { Ratio::from_millionths(USUAL) } else { ratio(failures) },
        times_worse_than_stable: keys.times_worse_than_stable.small()?,
        latency: slower
            .number()
            .zip(ratio(slow))
            .map(|(slower_than, max_slow_ratio)| Latency { slower_than, max_slow_ratio }),
        one_false_trip_in: keys.one_false_trip_in.number()?,
        count: count(keys.count)?,
        retry_after: keys.retry_after.number(),
        fallback: fallback?,
    })
}

/// The share of failures that is allowed where nothing is said, in millionths.
const USUAL: u32 = 50_000;

fn ratio(node: &Node<'_>) -> Option<Ratio> {
    Ratio::from_millionths(node.small()?)
}
