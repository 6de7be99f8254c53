//! Pin values: `VERSION`, `VERSION.GENERATION` or `VERSION.GENERATION.MAC`.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::bucket::VersionIndex;
use crate::config::{Pin, Rollout};

/// What a pin that came with a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A version of this rollout and generation, signed where there is a key.
    Version(VersionIndex),
    /// Of another generation: once good, no longer.
    Expired,
    /// Unknown version, wrong shape or wrong signature.
    Worthless,
}

/// The value of a pin to `version` for the user of `key`.
pub fn seal(rollout: &Rollout, pin: &Pin, version: VersionIndex, key: &[u8]) -> Option<String> {
    let name = &rollout.versions.get(version)?.name;
    let generation = &pin.generation;
    Some(match &pin.signing_key {
        None if generation.is_empty() => name.clone(),
        None => format!("{name}.{generation}"),
        Some(secret) => {
            let mac = mac(secret, rollout, name, generation, key)?.finalize().into_bytes();
            format!("{name}.{generation}.{}", Base64UrlUnpadded::encode_string(&mac))
        }
    })
}

/// Reads a pin that came with a request of the user of `key`.
pub fn open(rollout: &Rollout, pin: &Pin, value: &[u8], key: Option<&[u8]>) -> Opened {
    let mut parts = value.splitn(3, |&byte| byte == b'.');
    let name = parts.next().unwrap_or_default();
    let generation = parts.next().unwrap_or_default();
    let signature = parts.next();
    let Some(version) = rollout.version_named(name) else { return Opened::Worthless };
    if let Some(secret) = &pin.signing_key {
        let signed = signature.zip(key).and_then(|(signature, key)| {
            let given = Base64UrlUnpadded::decode_vec(std::str::from_utf8(signature).ok()?).ok()?;
            let name = &rollout.versions.get(version)?.name;
            let generation = std::str::from_utf8(generation).ok()?;
            // Constant time in the length of the signature.
            mac(secret, rollout, name, generation, key)?.verify_slice(&given).ok()
        });
        if signed.is_none() {
            return Opened::Worthless;
        }
    } else if signature.is_some() {
        return Opened::Worthless;
    }
    if generation == pin.generation.as_bytes() {
        Opened::Version(version)
    } else {
        Opened::Expired
    }
}

/// The HMAC over everything that a pin speaks for. Each part goes in behind its length, so that no two
/// different lists of parts are the same bytes.
fn mac(
    secret: &[u8],
    rollout: &Rollout,
    version: &str,
    generation: &str,
    key: &[u8],
) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    for part in [rollout.name.as_bytes(), version.as_bytes(), generation.as_bytes(), key] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Some(mac)
}
