//! `$.rollouts[].guard`: when a version is taken out of traffic.

use crate::bucket::VersionIndex;

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
    /// ... if it is also above this many times stable's own, in thousandths; default 2.000, at least 1.
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
    pub slower_than: Millis,
    pub max_slow_ratio: Ratio,
}
