//! `$.rollouts[].inherit`: who may bring a decision along.

use crate::http::Network;

use super::node::Node;
use super::shape::{shape, Kind, Scalar};
use super::text::{networks, NETWORKS};

/// Peers whose route header, or baggage member, is taken as the decision.
#[derive(Clone, Debug)]
pub struct Inherit {
    /// One or more.
    pub addresses: Vec<Network>,
    /// Whether the baggage member counts too.
    pub baggage: bool,
}

shape! {
    /// Peers whose route header is taken as the decision.
    INHERIT: "Inherit", "an object with addresses" {
        /// The networks of these peers.
        "addresses": required NETWORKS,
        /// Whether the baggage member counts too.
        "baggage": default Kind::Flag => Scalar::Flag(false),
    }
}

/// `None` if it is not given, or bad.
pub(super) fn check(node: &Node<'_>) -> Option<Inherit> {
    Some(Inherit {
        addresses: networks(node.get("addresses"))?,
        baggage: node.get("baggage").flag()?,
    })
}
