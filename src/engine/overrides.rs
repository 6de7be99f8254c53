//! Overrides: what a request asks for by name, and whether it may.

use sha2::{Digest, Sha256};

use crate::bucket::VersionIndex;
use crate::config::{Overrides, Require, Rollout};

use super::condition::within;
use super::verdict::Unmet;
use super::Request;

/// The version that an override's value stands for.
pub fn asked_for(rollout: &Rollout, overrides: &Overrides, value: &[u8]) -> Option<VersionIndex> {
    let word = overrides.values.iter().find(|(word, _)| word.as_bytes() == value);
    word.map(|(_, version)| *version).or_else(|| rollout.version_named(value))
}

/// Whether a request may override; else what it lacks.
pub fn meets(require: &Require, request: &Request<'_>) -> Result<(), Unmet> {
    if require.addresses.as_ref().is_some_and(|networks| !within(networks, request)) {
        return Err(Unmet::Addresses);
    }
    let Some(secret) = &require.secret else { return Ok(()) };
    // Nothing is no secret, also where the configuration holds the hash of nothing.
    let Some(given) = request.header(&secret.header).filter(|given| !given.is_empty()) else {
        return Err(Unmet::NoSecret);
    };
    let given = Sha256::digest(given);
    // Without a shortcut, so that the time does not tell how much of the hash was right.
    let differs = given.iter().zip(&secret.sha256).fold(0, |differs, (a, b)| differs | (a ^ b));
    if differs == 0 {
        Ok(())
    } else {
        Err(Unmet::Secret)
    }
}
