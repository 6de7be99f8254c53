//! `$.rollouts[].hashKey[]`: where a user's key is read.

use crate::http::pattern::Capture;
use crate::http::HeaderName;

use super::text::{header, ANY, COOKIE_NAME, KEY_HEADER, QUERY_NAME};
use crate::document::node::{Node, Problems};
use crate::document::read::exactly_one;
use crate::document::shape::{shape, Kind};

/// One place to read a user's key; an empty value is none. Where a [`Capture`] stands beside, what its
/// group matches is the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The first line of a header.
    Header(HeaderName, Option<Capture>),
    /// The first cookie of that exact name.
    Cookie(String, Option<Capture>),
    /// The first query parameter of that exact name, as it stands.
    Query(String, Option<Capture>),
    /// The client address that the proxy trusts, without its port.
    Address,
    /// The request's host, in lower case and without its port.
    Host,
    /// The values of all of these with a zero byte between them; none where one of them yields none.
    All(Vec<KeySource>),
}

shape! {
    /// One place to read a user's key: exactly one of header, cookie, query, address, host and all.
    KEY_SOURCE, KeySourceKeys: "KeySource", "an object with exactly one of header, cookie, query, address, host, all" {
        /// A header's name.
        header = "header": optional Kind::Text(&KEY_HEADER),
        /// A cookie's name.
        cookie = "cookie": optional Kind::Text(&COOKIE_NAME),
        /// A query parameter's name.
        query = "query": optional Kind::Text(&QUERY_NAME),
        /// The client address that the proxy trusts, without its port.
        address = "address": optional Kind::True,
        /// The request's host, in lower case and without its port.
        host = "host": optional Kind::True,
        /// Several places that each yield a value: these with a zero byte between them.
        all = "all": optional Kind::List(&Kind::Object(&KEY_SOURCE), 1),
        /// A regular expression with one group: the value is what the group matches in that of the header,
        /// the cookie or the query parameter.
        capture = "capture": optional Kind::Text(&ANY),
    }
    also r#"{"oneOf": [{"required": ["header"]}, {"required": ["cookie"]}, {"required": ["query"]},
        {"required": ["address"]}, {"required": ["host"]}, {"required": ["all"]}],
        "anyOf": [{"required": ["header"]}, {"required": ["cookie"]}, {"required": ["query"]}, {"maxProperties": 1}]}"#
}

/// One place or more.
pub(super) const KEY_SOURCES: Kind = Kind::List(&ONE, 1);
const ONE: Kind = Kind::Object(&KEY_SOURCE);

/// [`KEY_SOURCES`], where each could be read.
pub(super) fn check_all(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Vec<KeySource>> {
    let mut sources = Vec::with_capacity(node.entries().len());
    for entry in node.entries().iter().filter(|entry| entry.is_given()) {
        sources.extend(check(entry, problems));
    }
    (sources.len() == node.entries().len()).then_some(sources)
}

fn check(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<KeySource> {
    let KeySourceKeys { header: name, cookie, query, address, host, all, capture } =
        KeySourceKeys::of(node);
    exactly_one(node, &[name, cookie, query, address, host, all], problems);
    let compiled = check_capture(capture, problems);
    if let Some(name) = header(name) {
        return Some(KeySource::Header(name, compiled));
    }
    if let Some(name) = cookie.string() {
        return Some(KeySource::Cookie(name, compiled));
    }
    if let Some(name) = query.string() {
        return Some(KeySource::Query(name, compiled));
    }
    if let Some(other) = [address, host, all].into_iter().find(|node| node.is_given()) {
        if !capture.is_absent() {
            let found = format!("a capture beside {}", other.key);
            problems.add(capture, &found, "a capture beside header, cookie or query");
        }
    }
    if all.is_given() {
        return check_all(all, problems).map(KeySource::All);
    }
    let address = address.flag().map(|_| KeySource::Address);
    address.or(host.flag().map(|_| KeySource::Host))
}

fn check_capture(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Capture> {
    match Capture::compile(node.text()?) {
        Ok(capture) => Some(capture),
        Err(found) => {
            let allowed =
                "a regular expression of at most 1000 characters with exactly one group, without \
                           look-around and back-references";
            problems.add(node, &found, allowed);
            None
        }
    }
}
