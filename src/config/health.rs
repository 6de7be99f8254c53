//! `$.rollouts[].health`: polling a version's cluster.

use crate::bucket::VersionIndex;
use crate::hash::fingerprint;

use super::place::{Place, Problems};
use super::read::{Field, Map};
use super::scalar::{Count, Span};
use super::shape::{shape, text};
use super::text::{is_visible, Authority, ClusterName, Reference};
use super::version::Versions;
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
    /// Default 5 s, 500 ms to 1 h.
    pub interval: Millis,
    /// Default 1 s, or the interval if that is shorter; 1 ms to the interval.
    pub timeout: Millis,
    /// Failures in a row that make it unhealthy; default 3, 1 to 1,000.
    pub unhealthy_threshold: u32,
    /// Successes in a row that make it healthy again; default 2, 1 to 1,000.
    pub healthy_threshold: u32,
}

/// The versions that are polled, by name.
pub(super) type HealthMap = Map<Reference, HealthShape, 0>;

shape! {
    /// How a version's cluster is polled.
    HealthShape: "an object with cluster" {
        /// The cluster that is asked.
        "cluster" cluster: required ClusterName,
        /// The path asked for, with a query string if need be.
        "path" path: defaulted Target = "/",
        /// The host header; absent, the cluster's name.
        "host" host: optional Authority,
        /// How often it is asked.
        "interval" interval: defaulted Span<500, 3_600_000, 1> = "5s",
        /// How long an answer may take, at most the interval; absent, 1s or the interval if that is shorter.
        "timeout" timeout: optional Span<1, 3_600_000, 1>,
        /// How many failures in a row make it unhealthy.
        "unhealthyThreshold" unhealthy_threshold: defaulted Count<1, 1000> = 3,
        /// How many successes in a row make it healthy again.
        "healthyThreshold" healthy_threshold: defaulted Count<1, 1000> = 2,
    }
}

text! {
    /// A request target.
    Target: "a path that starts with /, without control characters, spaces and #",
    "^/[^#\\u0000-\\u0020\\u007f]*$",
    |text| text.starts_with('/') && is_visible(text) && !text.contains('#')
}

/// The checks of `map`, in the versions' order.
pub(super) fn check(
    map: HealthMap,
    at: &Place<'_>,
    versions: &Versions,
    problems: &mut Problems,
) -> Vec<Health> {
    let mut checks: Vec<Health> = Vec::new();
    for (name, shape) in map.0 {
        let entry = at.at(&name.0);
        let version = versions.find(&name.0, &entry, problems);
        let health = shape.and_then(|shape| shape.check(&entry, problems));
        if let (Some(version), Some(health)) = (version, health) {
            let position = checks.partition_point(|other| other.version <= version);
            checks.insert(position, Health { version, ..health });
        }
    }
    checks
}

impl HealthShape {
    fn check(self, at: &Place<'_>, problems: &mut Problems) -> Option<Health> {
        let interval = self.interval.given()?.0;
        let timeout = match self.timeout {
            Field::Given(timeout) => timeout.0,
            _ => interval.min(1000),
        };
        if timeout > interval {
            let at = at.at("timeout");
            problems.add(&at, at.value().shown(), "a duration of at most the interval".to_owned());
        }
        let cluster = self.cluster.given()?.0;
        Some(Health {
            version: 0,
            fingerprint: fingerprint(at.value().canonical().as_bytes()),
            path: self.path.given()?.0,
            host: self.host.given().map_or_else(|| cluster.clone(), |host| host.0),
            cluster,
            interval,
            timeout,
            unhealthy_threshold: self.unhealthy_threshold.given()?.0,
            healthy_threshold: self.healthy_threshold.given()?.0,
        })
    }
}
