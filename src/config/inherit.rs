//! `$.rollouts[].inherit`: who may bring a decision along.

use crate::http::Network;

use super::text::{is_label, networks, NETWORKS};
use crate::document::node::{Node, Problems};
use crate::document::shape::{shape, Kind, Scalar, Text};

/// Peers whose route header, or baggage member, is taken as the decision: those of one of `addresses` or
/// of one of `principals`. There is one or more of either.
#[derive(Clone, Debug)]
pub struct Inherit {
    /// Networks of the client address as the proxy trusts it.
    pub addresses: Vec<Network>,
    /// SPIFFE ids, or how they begin where the last byte is a `/`.
    pub principals: Vec<String>,
    /// Whether the baggage member counts too.
    pub baggage: bool,
}

impl Inherit {
    /// Whether a peer with the SPIFFE id `id` is among the principals.
    ///
    /// ```
    /// use cohort::config::Inherit;
    /// let principals = ["spiffe://a/ns/shop/sa/web", "spiffe://b/ns/"].map(str::to_owned).to_vec();
    /// let inherit = Inherit { addresses: Vec::new(), principals, baggage: false };
    /// assert!(inherit.names(b"spiffe://a/ns/shop/sa/web") && inherit.names(b"spiffe://b/ns/x"));
    /// assert!(!inherit.names(b"spiffe://a/ns/shop/sa/web2") && !inherit.names(b"spiffe://b/nsx"));
    /// ```
    pub fn names(&self, id: &[u8]) -> bool {
        self.principals.iter().map(String::as_bytes).any(|principal| {
            principal == id || (principal.ends_with(b"/") && id.starts_with(principal))
        })
    }
}

shape! {
    /// Peers whose route header is taken as the decision: any of addresses and principals.
    INHERIT, InheritKeys: "Inherit", "an object with addresses, principals or both" {
        /// Networks of the client address as the proxy trusts it.
        addresses = "addresses": optional NETWORKS,
        /// SPIFFE ids of the peer's own certificate, whole or up to a slash.
        principals = "principals": optional Kind::List(&Kind::Text(&PRINCIPAL), 1),
        /// Whether the baggage member counts too.
        baggage = "baggage": default Kind::Flag => Scalar::Flag(false),
    }
    also r#"{"anyOf": [{"required": ["addresses"]}, {"required": ["principals"]}]}"#
}

/// `None` if it is not given, or bad.
pub(super) fn check(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Inherit> {
    let InheritKeys { addresses, principals, baggage } = InheritKeys::of(node);
    if addresses.is_absent() && principals.is_absent() && !node.has_unknown_keys {
        problems.add(node, "neither addresses nor principals", "one of them or both");
    }
    Some(Inherit {
        addresses: networks(addresses).unwrap_or_default(),
        principals: principals.entries().iter().filter_map(Node::string).collect(),
        baggage: baggage.flag()?,
    })
}

/// A SPIFFE id (SPIFFE-ID, section 2), or how one begins up to a slash.
static PRINCIPAL: Text = Text::new(
    "a SPIFFE id such as spiffe://cluster.local/ns/shop/sa/web, or how it begins up to a /",
    "^spiffe://[-._a-z0-9]+(/[-._A-Za-z0-9]+)*/?$",
    is_principal,
);

fn is_principal(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else { return false };
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_segment = |segment: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !segment.is_empty() && segment.bytes().all(good) && segment != "." && segment != ".."
    };
    let below = path.strip_suffix('/').unwrap_or(path);
    let is_domain = domain.split(['.', '_']).all(is_label);
    is_domain && (path.is_empty() || below.split('/').all(is_segment))
}

#[cfg(test)]
mod tests {
    use super::is_principal;

    #[test]
    fn a_principal_is_a_spiffe_id_or_how_one_begins() {
        for good in [
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "spiffe://cluster.local/ns/shop/",
            "spiffe://cluster.local/ns/shop/sa/web",
            "spiffe://td_1/a.b-c_D",
        ] {
            assert!(is_principal(good), "{good}");
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe:///ns",
            "spiffe://A/ns",
            "spiffe://a//",
            "spiffe://a/b//c",
            "spiffe://a/../b",
            "spiffe://a/*",
            "SPIFFE://a/b",
            "cluster.local/ns/shop/sa/web",
            "*",
            "spiffe://a/b c",
            "spiffe://a?b",
        ] {
            assert!(!is_principal(bad), "{bad}");
        }
    }
}
