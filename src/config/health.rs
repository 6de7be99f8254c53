//! `$.rollouts[].health`: polling a version's cluster.

use crate::bucket::VersionIndex;
use crate::hash::fingerprint;

use super::text::{is_visible, AUTHORITY, CLUSTER_NAME, REFERENCE};
use super::version::Versions;
use super::Millis;
use crate::document::node::{Node, Problems};
use crate::document::scalar::{count, span};
use crate::document::shape::{shape, Kind, Scalar, Text};

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
pub(super) const HEALTH_BY_VERSION: Kind = Kind::Map(&REFERENCE, &ONE, 0);
const ONE: Kind = Kind::Object(&HEALTH);

shape! {
    /// How a version's cluster is polled.
    HEALTH, HealthKeys: "Health", "an object with cluster" {
        /// The cluster that is asked.
        cluster = "cluster": required Kind::Text(&CLUSTER_NAME),
        /// The path asked for, with a query string if need be.
        path = "path": default Kind::Text(&TARGET) => Scalar::Text("/"),
        /// The host header; absent, the cluster's name.
        host = "host": optional Kind::Text(&AUTHORITY),
        /// How often it is asked.
        interval = "interval": default span(500, 3_600_000) => Scalar::Text("5s"),
        /// How long an answer may take, at most the interval; absent, 1s or the interval if that is shorter.
        timeout = "timeout": optional span(1, 3_600_000),
        /// How many failures in a row make it unhealthy.
        unhealthy_threshold = "unhealthyThreshold": default count(1, 1000) => Scalar::Number(3.0),
        /// How many successes in a row make it healthy again.
        healthy_threshold = "healthyThreshold": default count(1, 1000) => Scalar::Number(2.0),
    }
}

/// A request target.
static TARGET: Text = Text::new(
    "a path that starts with /, without control characters, spaces and #",
    "^/[^#\\u0000-\\u0020\\u007f]*$",
    |text| text.starts_with('/') && is_visible(text) && !text.contains('#'),
);

/// The checks of the map at `node`, in the versions' order.
pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Health> {
    let mut checks: Vec<Health> = Vec::new();
    for entry in node.entries() {
        let version = versions.find(entry.key, entry, problems);
        let health = check_one(entry, version.unwrap_or_default(), problems);
        if let (Some(version), Some(health)) = (version, health) {
            let position = checks.partition_point(|other| other.version <= version);
            checks.insert(position, health);
        }
    }
    checks
}

fn check_one(
    node: &Node<'_>,
    version: VersionIndex,
    problems: &mut Problems<'_>,
) -> Option<Health> {
    let keys = HealthKeys::of(node);
    let interval = keys.interval.number()?;
    let stated_timeout = keys.timeout;
    let timeout = stated_timeout.number().unwrap_or(interval.min(1000));
    if timeout > interval {
        let found = stated_timeout.value.shown();
        problems.add(stated_timeout, &found, "a duration of at most the interval");
    }
    let cluster = keys.cluster.string()?;
    Some(Health {
        version,
        fingerprint: fingerprint(node.value.canonical().as_bytes()),
        path: keys.path.string()?,
        host: keys.host.string().unwrap_or_else(|| cluster.clone()),
        cluster,
        interval,
        timeout,
        unhealthy_threshold: keys.unhealthy_threshold.small()?,
        healthy_threshold: keys.healthy_threshold.small()?,
    })
}
