//! `$.rollouts[].output`: where a decision is written.

use crate::http::headers::fold;
use crate::http::HeaderName;

use super::text::{header, OWN_HEADER};
use crate::document::node::{Node, Problems};
use crate::document::shape::{shape, Kind, Scalar};

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

shape! {
    /// Where a decision is written.
    OUTPUT, OutputKeys: "Output", "an object" {
        /// Request header with the version's name; absent, x-cohort- and the rollout's name.
        route_header = "routeHeader": optional Kind::Text(&OWN_HEADER),
        /// Request header with the version's cluster, for routes with cluster_header; every version has one.
        cluster_header = "clusterHeader": optional Kind::Text(&OWN_HEADER),
        /// Response header with the version's name.
        response_header = "responseHeader": optional Kind::Text(&OWN_HEADER),
        /// Response header with the reason.
        reason_header = "reasonHeader": optional Kind::Text(&OWN_HEADER),
        /// Whether the baggage member cohort-ROLLOUT=VERSION is set on the request.
        baggage = "baggage": default Kind::Flag => Scalar::Flag(false),
    }
}

/// `output` of the rollout called `name`, which may be stated or not.
pub(super) fn check(node: &Node<'_>, name: Option<&str>) -> Option<Output> {
    let keys = OutputKeys::of(node);
    let default = name.and_then(|name| HeaderName::new(&format!("x-cohort-{name}")));
    Some(Output {
        route_header: header(keys.route_header).or(default)?,
        cluster_header: header(keys.cluster_header),
        response_header: header(keys.response_header),
        reason_header: header(keys.reason_header),
        baggage: keys.baggage.flag().unwrap_or_default(),
    })
}

/// Whether some reader down the line might take one header for the other.
pub(super) fn same(one: &HeaderName, other: &HeaderName) -> bool {
    fold(one.as_str().as_bytes()).eq(fold(other.as_str().as_bytes()))
}

/// Notes that the header at `node` is already `whose`.
pub(super) fn another(node: &Node<'_>, whose: &str, problems: &mut Problems<'_>) {
    problems.add(node, &format!("{whose} again"), "a header of its own");
}
