//! `$.rollouts[].inherit`: who may bring a decision along.

use crate::http::Network;

use super::place::{Place, Problems};
use super::read::List;
use super::shape::{read_by_shape, shape};

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
    InheritShape: "an object with addresses" {
        /// The networks of these peers.
        "addresses" addresses: required List<Network, 1>,
        /// Whether the baggage member counts too.
        "baggage" baggage: defaulted bool = false,
    }
}

read_by_shape!(Inherit, InheritShape, |shape: InheritShape, _: &Place<'_>, _: &mut Problems| {
    Some(Inherit { addresses: shape.addresses.given()?.whole()?, baggage: shape.baggage.given()? })
});
