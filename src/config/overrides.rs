//! `$.rollouts[].overrides`: how a person asks for a version.

use crate::bucket::VersionIndex;
use crate::http::{HeaderName, Network};

use super::text::{
    header, networks, COOKIE_NAME, FILLED, HEADER_NAME, NETWORKS, OWN_HEADER, QUERY_NAME, REFERENCE,
};
use super::version::Versions;
use crate::document::node::{stated, Node, Problems};
use crate::document::shape::{shape, Kind, Text};
use crate::document::value::shortened;

/// Where an override is read, in this order: header, query parameter, cookie; at least one.
#[derive(Clone, Debug)]
pub struct Overrides {
    pub header: Option<HeaderName>,
    pub query: Option<String>,
    pub cookie: Option<String>,
    /// Words that stand for a version, beside the versions' own names.
    pub values: Vec<(String, VersionIndex)>,
    pub require: Require,
}

/// What must hold for an override to count: everything that is stated.
#[derive(Clone, Debug, Default)]
pub struct Require {
    /// The client's address is in one of these; `None` is any client.
    pub addresses: Option<Vec<Network>>,
    pub secret: Option<SecretHeader>,
}

/// A header whose value must have this SHA-256. It never reaches an upstream.
#[derive(Clone, Debug)]
pub struct SecretHeader {
    pub header: HeaderName,
    pub sha256: [u8; 32],
}

shape! {
    /// How a person asks for a version, by its name: one or more of header, query and cookie.
    OVERRIDES, OverridesKeys: "Overrides", "an object with header, query or cookie" {
        /// A header's name.
        header = "header": optional Kind::Text(&HEADER_NAME),
        /// A query parameter's name.
        query = "query": optional Kind::Text(&QUERY_NAME),
        /// A cookie's name.
        cookie = "cookie": optional Kind::Text(&COOKIE_NAME),
        /// Words that stand for a version, beside the versions' own names.
        values = "values": optional Kind::Map(&FILLED, &Kind::Text(&REFERENCE), 0),
        /// What must hold for an override to count.
        require = "require": optional Kind::Object(&REQUIRE),
    }
    also r#"{"anyOf": [{"required": ["header"]}, {"required": ["query"]}, {"required": ["cookie"]}]}"#
}

pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Overrides> {
    let keys = OverridesKeys::of(node);
    let (by_header, query, cookie) = (keys.header, keys.query, keys.cookie);
    if by_header.is_absent() && query.is_absent() && cookie.is_absent() && !node.has_unknown_keys {
        problems.add(node, "none of header, query, cookie", "one of them or more");
    }
    let require = stated(keys.require, |node| Some(check_require(node, problems)));
    Some(Overrides {
        header: header(by_header),
        query: query.string(),
        cookie: cookie.string(),
        values: check_values(keys.values, versions, problems),
        require: require?.unwrap_or_default(),
    })
}

fn check_values(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Vec<(String, VersionIndex)> {
    let mut values = Vec::new();
    for entry in node.entries() {
        let Some(version) = entry.text() else { continue };
        let Some(index) = versions.find(version, entry, problems) else { continue };
        if versions.is_other(entry.key, index) {
            let name = shortened(entry.key);
            problems.add(
                entry,
                &format!("another version for {name}"),
                &format!("{name}, which is a version's own name"),
            );
        }
        values.push((entry.key.to_owned(), index));
    }
    values
}

shape! {
    /// What must hold for an override to count: everything that is stated.
    REQUIRE, RequireKeys: "Require", "an object with addresses, or secretHeader and secretSha256" {
        /// The client's address is in one of these networks.
        addresses = "addresses": optional NETWORKS,
        /// A header that never reaches an upstream.
        secret_header = "secretHeader": optional Kind::Text(&OWN_HEADER),
        /// The SHA-256 of that header's value.
        secret_sha256 = "secretSha256": optional Kind::Text(&SHA256),
    }
    also r#"{"minProperties": 1,
        "dependentRequired": {"secretHeader": ["secretSha256"], "secretSha256": ["secretHeader"]}}"#
}

fn check_require(node: &Node<'_>, problems: &mut Problems<'_>) -> Require {
    let keys = RequireKeys::of(node);
    let addresses = keys.addresses;
    let (name, digest) = (keys.secret_header, keys.secret_sha256);
    let nothing = addresses.is_absent() && name.is_absent() && digest.is_absent();
    let alone = if nothing && !node.has_unknown_keys {
        "an empty object"
    } else if name.is_given() && digest.is_absent() {
        "secretHeader without secretSha256"
    } else if name.is_absent() && digest.is_given() {
        "secretSha256 without secretHeader"
    } else {
        ""
    };
    if !alone.is_empty() {
        problems.add(
            node,
            alone,
            "addresses, secretHeader and secretSha256 together, or all three",
        );
    }
    let secret = header(name).zip(digest.text().and_then(sha256));
    Require {
        addresses: networks(addresses),
        secret: secret.map(|(header, sha256)| SecretHeader { header, sha256 }),
    }
}

/// A SHA-256 in hexadecimal.
static SHA256: Text =
    Text::new("64 hexadecimal digits", "^[0-9A-Fa-f]{64}$", |text| sha256(text).is_some())
        .kept_secret(|text| format!("a string of {} characters", text.chars().count()));

fn sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let mut sha256 = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in sha256.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair.first()?)? << 4 | digit(pair.last()?)?;
    }
    Some(sha256)
}
