//! `$.rollouts[].hashKey[]`: where a user's key is read.

use crate::http::HeaderName;

use super::place::{Place, Problems};
use super::read::{exactly_one, Field, True};
use super::shape::{read_by_shape, shape};
use super::text::{CookieName, QueryName};

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
    KeySourceShape: "an object with exactly one of header, cookie, query, address" {
        /// A header's name.
        "header" header: optional HeaderName,
        /// A cookie's name.
        "cookie" cookie: optional CookieName,
        /// A query parameter's name.
        "query" query: optional QueryName,
        /// The client address that the proxy trusts, without its port.
        "address" address: optional True,
    }
    also r#"{"minProperties": 1, "maxProperties": 1}"#
}

read_by_shape!(
    KeySource,
    KeySourceShape,
    |shape: KeySourceShape, at: &Place<'_>, problems: &mut Problems| {
        exactly_one(at, &["header", "cookie", "query", "address"], shape.odd, problems);
        match shape {
            KeySourceShape { header: Field::Given(name), .. } => Some(KeySource::Header(name)),
            KeySourceShape { cookie: Field::Given(name), .. } => Some(KeySource::Cookie(name.0)),
            KeySourceShape { query: Field::Given(name), .. } => Some(KeySource::Query(name.0)),
            KeySourceShape { address: Field::Given(True), .. } => Some(KeySource::Address),
            _ => None,
        }
    }
);
