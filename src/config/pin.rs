//! `$.rollouts[].pin` and `$.rollouts[].anonymousId`: what a user's browser remembers for us.

use std::fmt;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::DecodePaddingMode;
use base64::{alphabet, Engine};

use crate::http::SetCookie;

use super::place::{Place, Problems};
use super::read::Text;
use super::shape::{read_by_shape, shape, text};

/// How a user's version is remembered.
#[derive(Clone)]
pub struct Pin {
    pub cookie: SetCookie,
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
            .field("generation", &self.generation)
            .field("signed", &self.signing_key.is_some())
            .finish()
    }
}

shape! {
    /// How a user's version is remembered.
    PinShape: "an object with cookie" {
        /// The cookie that remembers it.
        "cookie" cookie: required SetCookie,
        /// Pins of another generation are worth nothing.
        "generation" generation: optional Generation,
        /// The key that pins are signed with, in base64; 16 bytes or more. The rollout has a hashKey or
        /// an anonymousId.
        "signingKey" signing_key: optional SigningKey,
    }
}

read_by_shape!(Pin, PinShape, |shape: PinShape, _: &Place<'_>, _: &mut Problems| {
    Some(Pin {
        cookie: shape.cookie.given()?,
        generation: shape.generation.given().map_or_else(String::new, |generation| generation.0),
        signing_key: shape.signing_key.given().map(|key| key.0),
    })
});

text! {
    /// What tells pins of before from pins of now.
    Generation: "1 to 64 letters, digits, - and _", "^[A-Za-z0-9_-]{1,64}$",
    |text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=64).contains(&text.len()) && text.bytes().all(good)
    }
}

/// The bytes of an HMAC key.
pub(super) struct SigningKey(Vec<u8>);

/// Standard base64, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Text for SigningKey {
    const ALLOWED: &'static str = "16 bytes or more in base64";
    const PATTERN: &'static str = "^[A-Za-z0-9+/]{22,}={0,2}$";
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let key = BASE64.decode(text).ok()?;
        (key.len() >= 16).then_some(Self(key))
    }

    fn found(text: &str) -> String {
        match BASE64.decode(text) {
            Ok(key) if key.len() == 1 => "a key of 1 byte".to_owned(),
            Ok(key) => format!("a key of {} bytes", key.len()),
            Err(_) => "a string that is not base64".to_owned(),
        }
    }
}

shape! {
    /// How a visitor without a key gets one.
    AnonymousIdShape: "an object with cookie" {
        /// The cookie that carries the random id.
        "cookie" cookie: required SetCookie,
    }
}
