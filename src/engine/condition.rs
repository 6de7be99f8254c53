//! Whether a request is what a condition says.

use crate::config::{Condition, Config, Rollout, Rule};
use crate::http::Network;

use super::Request;

impl Condition {
    /// Whether every part that is stated holds for `request`.
    pub fn holds(&self, request: &Request<'_>) -> bool {
        // Taken apart, so that a part that is not asked for does not compile.
        let Self { host, path, method, headers, cookies, query, address, not } = self;
        host.as_ref().is_none_or(|host| host.holds(request.host()))
            && path.as_ref().is_none_or(|path| path.holds(Some(request.path())))
            && (method.is_empty() || method.iter().any(|m| m.as_bytes() == request.method()))
            && headers.iter().all(|(name, text)| text.holds(request.header(name)))
            && cookies.iter().all(|(name, text)| text.holds(request.cookie(name)))
            && query.iter().all(|(name, text)| text.holds(request.query(name)))
            && address.as_ref().is_none_or(|networks| within(networks, request))
            && not.as_ref().is_none_or(|not| !not.holds(request))
    }
}

impl Rule {
    /// Whether the rule's segment and conditions hold, those that are stated.
    pub fn holds(&self, config: &Config, request: &Request<'_>) -> bool {
        let segment = self.segment.and_then(|segment| config.segments.get(segment));
        segment.is_none_or(|segment| any(&segment.any, request))
            && self.matches.as_ref().is_none_or(|matches| any(matches, request))
    }
}

impl Rollout {
    /// Whether `request` is one that this rollout decides.
    pub fn applies(&self, request: &Request<'_>) -> bool {
        self.matches.as_ref().is_none_or(|matches| any(matches, request))
    }

    /// Whether the peer that sent `request` may bring a decision along.
    pub fn trusts(&self, request: &Request<'_>) -> bool {
        self.inherit.as_ref().is_some_and(|inherit| {
            (!inherit.addresses.is_empty() && within(&inherit.addresses, request))
                || (!inherit.principals.is_empty()
                    && request.principal().is_some_and(|id| inherit.names(id)))
        })
    }
}

/// Whether one of `conditions` holds, which is enough.
pub fn any(conditions: &[Condition], request: &Request<'_>) -> bool {
    conditions.iter().any(|condition| condition.holds(request))
}

/// Whether the client's address is in one of `networks`; a client without an address is in none.
pub fn within(networks: &[Network], request: &Request<'_>) -> bool {
    request
        .address()
        .is_some_and(|address| networks.iter().any(|network| network.contains(address)))
}
