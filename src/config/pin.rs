//! `$.rollouts[].pin`: the cookie that remembers the version a user was given.

use std::fmt;

use crate::http::SetCookie;

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
