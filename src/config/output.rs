//! `$.rollouts[].output`: where a decision is written.

use crate::http::headers::fold;
use crate::http::HeaderName;

use super::place::{Place, Problems};
use super::read::Field;
use super::shape::shape;
use super::text::OwnHeader;

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
    OutputShape: "an object" {
        /// Request header with the version's name; absent, x-cohort- and the rollout's name.
        "routeHeader" route_header: optional OwnHeader,
        /// Request header with the version's cluster, for routes with cluster_header; every version has one.
        "clusterHeader" cluster_header: optional OwnHeader,
        /// Response header with the version's name.
        "responseHeader" response_header: optional OwnHeader,
        /// Response header with the reason.
        "reasonHeader" reason_header: optional OwnHeader,
        /// Whether the baggage member cohort-ROLLOUT=VERSION is set on the request.
        "baggage" baggage: defaulted bool = false,
    }
}

impl OutputShape {
    /// `output` of the rollout called `name`, which may be stated or not.
    pub(super) fn check(
        shape: Field<Self>,
        name: Option<&str>,
        at: &Place<'_>,
        problems: &mut Problems,
    ) -> Option<Output> {
        let named = |field: Field<OwnHeader>| field.given().map(|header| header.0);
        let default = name.and_then(|name| HeaderName::new(&format!("x-cohort-{name}")));
        let Some(shape) = shape.given() else {
            return Some(Output {
                route_header: default?,
                cluster_header: None,
                response_header: None,
                reason_header: None,
                baggage: false,
            });
        };
        let output = Output {
            route_header: named(shape.route_header).or(default)?,
            cluster_header: named(shape.cluster_header),
            response_header: named(shape.response_header),
            reason_header: named(shape.reason_header),
            baggage: shape.baggage.given()?,
        };
        if output.cluster_header.as_ref().is_some_and(|header| same(header, &output.route_header)) {
            another(&at.at("clusterHeader"), "the route header", problems);
        }
        let (response, reason) = (&output.response_header, &output.reason_header);
        if response
            .as_ref()
            .zip(reason.as_ref())
            .is_some_and(|(response, reason)| same(response, reason))
        {
            another(&at.at("reasonHeader"), "the response header", problems);
        }
        Some(output)
    }
}

/// Whether some reader down the line might take one header for the other.
pub(super) fn same(one: &HeaderName, other: &HeaderName) -> bool {
    fold(one.as_str().as_bytes()).eq(fold(other.as_str().as_bytes()))
}

/// Notes that the header at `at` is already `whose`.
pub(super) fn another(at: &Place<'_>, whose: &str, problems: &mut Problems) {
    problems.add(at, format!("{whose} again"), "a header of its own".to_owned());
}
