//! `$.rollouts[].hashKey[]`: where a user's key is read.

use crate::http::HeaderName;

use super::text::{header, COOKIE_NAME, HEADER_NAME, QUERY_NAME};
use crate::document::node::{Node, Problems};
use crate::document::read::exactly_one;
use crate::document::shape::{shape, Kind};

/// One place to read a user's key; an empty value is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The first line of a header.
    Header(HeaderName),
    /// The first cookie of that exact name.
    Cookie(String),
    /// The first query parameter of that exact name, as it stands.
    Query(String),
    /// The client address that the proxy trusts, without its port.
    Address,
}

shape! {
    /// One place to read a user's key: exactly one of header, cookie, query and address.
    KEY_SOURCE, KeySourceKeys: "KeySource", "an object with exactly one of header, cookie, query, address" {
        /// A header's name.
        header = "header": optional Kind::Text(&HEADER_NAME),
        /// A cookie's name.
        cookie = "cookie": optional Kind::Text(&COOKIE_NAME),
        /// A query parameter's name.
        query = "query": optional Kind::Text(&QUERY_NAME),
        /// The client address that the proxy trusts, without its port.
        address = "address": optional Kind::True,
    }
    also r#"{"minProperties": 1, "maxProperties": 1}"#
}

pub(super) fn check(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<KeySource> {
    let keys = KeySourceKeys::of(node);
    exactly_one(node, &[keys.header, keys.cookie, keys.query, keys.address], problems);
    if let Some(name) = header(keys.header) {
        return Some(KeySource::Header(name));
    }
    if let Some(name) = keys.cookie.string() {
        return Some(KeySource::Cookie(name));
    }
    if let Some(name) = keys.query.string() {
        return Some(KeySource::Query(name));
    }
    keys.address.flag().map(|_| KeySource::Address)
}
