//! `$.rollouts[].overrides`: how a person asks for a version.

use crate::bucket::VersionIndex;
use crate::http::{HeaderName, Network};

use super::place::{Place, Problems};
use super::read::{Field, List, Map, Text};
use super::shape::{read_by_shape, shape};
use super::text::{CookieName, Filled, OwnHeader, QueryName, Reference};
use super::value::shortened;
use super::version::Versions;

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
    OverridesShape: "an object with header, query or cookie" {
        /// A header's name.
        "header" header: optional HeaderName,
        /// A query parameter's name.
        "query" query: optional QueryName,
        /// A cookie's name.
        "cookie" cookie: optional CookieName,
        /// Words that stand for a version, beside the versions' own names.
        "values" values: optional Map<Filled, Reference, 0>,
        /// What must hold for an override to count.
        "require" require: optional Require,
    }
    also r#"{"anyOf": [{"required": ["header"]}, {"required": ["query"]}, {"required": ["cookie"]}]}"#
}

impl OverridesShape {
    pub(super) fn check(
        self,
        at: &Place<'_>,
        versions: &Versions,
        problems: &mut Problems,
    ) -> Option<Overrides> {
        if self.header.is_absent() && self.query.is_absent() && self.cookie.is_absent() && !self.odd
        {
            let found = "none of header, query, cookie".to_owned();
            problems.add(at, found, "one of them or more".to_owned());
        }
        let mut values = Vec::new();
        let values_at = at.at("values");
        for (word, version) in self.values.given().map_or_else(Vec::new, |map| map.0) {
            let Some(version) = version else { continue };
            let word_at = values_at.at(&word.0);
            if let Some(index) = versions.find(&version.0, &word_at, problems) {
                if versions.is_other(&word.0, index) {
                    let name = shortened(&word.0);
                    let allowed = format!("{name}, which is a version's own name");
                    problems.add(&word_at, format!("another version for {name}"), allowed);
                }
                values.push((word.0, index));
            }
        }
        Some(Overrides {
            header: self.header.given(),
            query: self.query.given().map(|name| name.0),
            cookie: self.cookie.given().map(|name| name.0),
            values,
            require: self.require.given().unwrap_or_default(),
        })
    }
}

shape! {
    /// What must hold for an override to count: everything that is stated.
    RequireShape: "an object with addresses, or secretHeader and secretSha256" {
        /// The client's address is in one of these networks.
        "addresses" addresses: optional List<Network, 1>,
        /// A header that never reaches an upstream.
        "secretHeader" secret_header: optional OwnHeader,
        /// The SHA-256 of that header's value.
        "secretSha256" secret_sha256: optional Sha256,
    }
    also r#"{"minProperties": 1,
        "dependentRequired": {"secretHeader": ["secretSha256"], "secretSha256": ["secretHeader"]}}"#
}

read_by_shape!(
    Require,
    RequireShape,
    |shape: RequireShape, at: &Place<'_>, problems: &mut Problems| {
        let alone = match (&shape.secret_header, &shape.secret_sha256) {
            (Field::Absent, Field::Absent) if shape.addresses.is_absent() && !shape.odd => {
                "an empty object"
            }
            (Field::Given(_), Field::Absent) => "secretHeader without secretSha256",
            (Field::Absent, Field::Given(_)) => "secretSha256 without secretHeader",
            _ => "",
        };
        if !alone.is_empty() {
            let allowed = "addresses, secretHeader and secretSha256 together, or all three";
            problems.add(at, alone.to_owned(), allowed.to_owned());
        }
        let secret = shape.secret_header.given().zip(shape.secret_sha256.given());
        Some(Require {
            addresses: shape.addresses.given().and_then(List::whole),
            secret: secret
                .map(|(header, sha256)| SecretHeader { header: header.0, sha256: sha256.0 }),
        })
    }
);

/// A SHA-256 in hexadecimal.
pub(super) struct Sha256([u8; 32]);

impl Text for Sha256 {
    const ALLOWED: &'static str = "64 hexadecimal digits";
    const PATTERN: &'static str = "^[0-9A-Fa-f]{64}$";
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        let mut sha256 = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in sha256.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = digit(pair.first()?)? << 4 | digit(pair.last()?)?;
        }
        Some(Self(sha256))
    }

    fn found(text: &str) -> String {
        format!("a string of {} characters", text.chars().count())
    }
}
