//! `$.rollouts[].overrides`: how a person asks for a version.

use crate::bucket::VersionIndex;
use crate::http::{HeaderName, Network};

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
