//! `$.rollouts[].inherit`: who may bring a decision along.

use crate::http::Network;

/// Peers whose route header, or baggage member, is taken as the decision.
#[derive(Clone, Debug)]
pub struct Inherit {
    /// One or more.
    pub addresses: Vec<Network>,
    /// Whether the baggage member counts too.
    pub baggage: bool,
}
