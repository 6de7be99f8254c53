//! `$.rollouts[].health`: polling a version's cluster.

use crate::bucket::VersionIndex;

use super::Millis;

/// How one version's cluster is polled.
#[derive(Clone, Debug)]
pub struct Health {
    pub version: VersionIndex,
    /// Names the content of this health check, as [`super::Rollout::fingerprint`] does a rollout's.
    pub fingerprint: u64,
    /// The Envoy cluster that is asked.
    pub cluster: String,
    /// The path asked for; default `/`.
    pub path: String,
    /// The `host` header; default the cluster's name.
    pub host: String,
    /// Default 5 s, at least 500 ms.
    pub interval: Millis,
    /// Default 1 s, at most the interval.
    pub timeout: Millis,
    /// Failures in a row that make it unhealthy; default 3, at least 1.
    pub unhealthy_threshold: u32,
    /// Successes in a row that make it healthy again; default 2, at least 1.
    pub healthy_threshold: u32,
}
