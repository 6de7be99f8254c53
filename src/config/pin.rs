//! `$.rollouts[].pin` and `$.rollouts[].anonymousId`: what a user's browser remembers for us.

use std::fmt;

use base64ct::{Base64Unpadded, Encoding};

use crate::bucket::VersionIndex;
use crate::http::SetCookie;

use super::cookie::{self, COOKIE};
use super::shared::Firsts;
use super::text::REFERENCE;
use super::version::{again, Versions};
use crate::document::node::{Node, Problems};
use crate::document::shape::{shape, Kind, Text};

/// How a user's version is remembered.
#[derive(Clone)]
pub struct Pin {
    pub cookie: SetCookie,
    /// The versions that a pin keeps a user on; one or more.
    pub versions: Vec<VersionIndex>,
    /// Pins of another generation are worth nothing; empty where none is stated.
    /// Letters, digits, `-` and `_`, at most 64.
    pub generation: String,
    /// The HMAC key, 16 bytes or more.
    pub signing_key: Option<Vec<u8>>,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin")
            .field("cookie", &self.cookie)
            .field("versions", &self.versions)
            .field("generation", &self.generation)
            .field("signed", &self.signing_key.is_some())
            .finish()
    }
}

shape! {
    /// How a user's version is remembered.
    PIN, PinKeys: "Pin", "an object with cookie" {
        /// The cookie that remembers it.
        cookie = "cookie": required Kind::Object(&COOKIE),
        /// The versions that a pin keeps a user on; absent, all but stable, so that a rising weight reaches
        /// users who come back.
        versions = "versions": optional Kind::List(&Kind::Text(&REFERENCE), 1),
        /// Pins of another generation are worth nothing.
        generation = "generation": optional Kind::Text(&GENERATION),
        /// The key that pins are signed with, in base64; 16 bytes or more. The rollout has a hashKey or
        /// an anonymousId.
        signing_key = "signingKey": optional Kind::Text(&SIGNING_KEY),
    }
}

pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Pin> {
    let keys = PinKeys::of(node);
    let kept = check_versions(keys.versions, versions, problems);
    Some(Pin {
        cookie: cookie::check(keys.cookie, problems)?,
        versions: kept,
        generation: keys.generation.string().unwrap_or_default(),
        signing_key: keys.signing_key.text().and_then(signing_key),
    })
}

fn check_versions(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Vec<VersionIndex> {
    if node.is_absent() {
        return versions.weighted().collect();
    }
    let mut names = Firsts::default();
    let mut kept = Vec::new();
    for entry in node.entries() {
        let Some(name) = entry.text() else { continue };
        match versions.find(name, entry, problems) {
            Some(version) if names.note(name, version).is_some() => again(name, entry, problems),
            version => kept.extend(version),
        }
    }
    kept
}

/// What tells pins of before from pins of now.
static GENERATION: Text =
    Text::new("1 to 64 letters, digits, - and _", "^[A-Za-z0-9_-]{1,64}$", |text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=64).contains(&text.len()) && text.bytes().all(good)
    });

/// An HMAC key.
static SIGNING_KEY: Text =
    Text::new("16 bytes or more in base64", "^[A-Za-z0-9+/]{22,}={0,2}$", |text| {
        signing_key(text).is_some()
    })
    .kept_secret(|text| match decode(text) {
        Some(key) if key.len() == 1 => "a key of 1 byte".to_owned(),
        Some(key) => format!("a key of {} bytes", key.len()),
        None => "a string that is not base64".to_owned(),
    });

fn signing_key(text: &str) -> Option<Vec<u8>> {
    decode(text).filter(|key| key.len() >= 16)
}

/// Standard base64, with padding or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    Base64Unpadded::decode_vec(text.trim_end_matches('=')).ok()
}

shape! {
    /// How a visitor without a key gets one.
    ANONYMOUS_ID, AnonymousIdKeys: "AnonymousId", "an object with cookie" {
        /// The cookie that carries the random id.
        cookie = "cookie": required Kind::Object(&COOKIE),
    }
}
