//! `$.rollouts[].output`: where a decision is written.

use crate::http::HeaderName;

/// Where a decision is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Request header with the version's name; default `x-cohort-<rollout>`.
    pub route_header: HeaderName,
    /// Request header with the version's cluster.
    pub cluster_header: Option<HeaderName>,
    /// Response header with the version's name.
    pub response_header: Option<HeaderName>,
    /// Response header with the reason.
    pub reason_header: Option<HeaderName>,
    /// Whether the baggage member `cohort-<rollout>=<version>` is set.
    pub baggage: bool,
}
