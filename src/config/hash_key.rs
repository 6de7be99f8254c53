//! `$.rollouts[].hashKey[]`: where a user's key is read.

use crate::http::HeaderName;

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
