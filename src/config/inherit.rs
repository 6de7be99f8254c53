//! `$.rollouts[].inherit`: who may bring a decision along.

use crate::http::Network;

use super::text::{networks, NETWORKS};
use crate::document::node::Node;
use crate::document::shape::{shape, Kind, Scalar};

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
    INHERIT, InheritKeys: "Inherit", "an object with addresses" {
        /// The networks of these peers.
        addresses = "addresses": required NETWORKS,
        /// Whether the baggage member counts too.
        baggage = "baggage": default Kind::Flag => Scalar::Flag(false),
    }
}

/// `None` if it is not given, or bad.
pub(super) fn check(node: &Node<'_>) -> Option<Inherit> {
    let keys = InheritKeys::of(node);
    Some(Inherit { addresses: networks(keys.addresses)?, baggage: keys.baggage.flag()? })
}
