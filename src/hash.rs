//! Bytes to a number, the same for ever.
//!
//! Everything a user's version depends on is in this file and in [`crate::bucket`]. Both are frozen
//! (design.md section 4): a change here moves users and is a breaking release.

use smallvec::SmallVec;

/// MurmurHash3 x86 32-bit, seed 0, of `parts` joined without a separator.
///
/// ```
/// assert_eq!(cohort::hash::murmur3_32(&[b"abc", b"", b""]), 0xB3DD_93FA);
/// assert_eq!(cohort::hash::murmur3_32(&[b"a", b"", b"bc"]), 0xB3DD_93FA);
/// ```
pub fn murmur3_32(parts: &[&[u8]; 3]) -> u32 {
    // One behind the other they are read in a fraction of the time of a chain of readers.
    let mut joined: SmallVec<[u8; 128]> = SmallVec::new();
    for part in parts {
        joined.extend_from_slice(part);
    }
    // Reading from memory cannot fail, so there is no error to hand on.
    murmur3::murmur3_32(&mut joined.as_slice(), 0).unwrap_or(0)
}

/// 64 bits of MurmurHash3 x64 128-bit, seed 0: names a text by its content.
///
/// Used to tell one configuration from another, never for a decision.
pub fn fingerprint(text: &[u8]) -> u64 {
    let mut text = text;
    murmur3::murmur3_x64_128(&mut text, 0).unwrap_or(0) as u64
}

/// How a salt and a key become a user's bucket (design.md section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `murmur3(salt ":" key)`, 100,000 buckets, weighted versions from both ends.
    Cohort,
    /// Where an Unleash SDK's gradual rollout puts the user: 100 buckets, `salt` is the groupId.
    Unleash,
    /// Where flagd's `fractional` (core v0.15 and later) puts the user: 100 buckets, no separator.
    Flagd,
}

impl Scheme {
    /// The number of buckets, which is 100 percent.
    pub const fn buckets(self) -> u32 {
        match self {
            Self::Cohort => 100_000,
            Self::Unleash | Self::Flagd => 100,
        }
    }

    /// The user's bucket, from 0 to [`Self::buckets`] - 1.
    pub fn bucket(self, salt: &[u8], key: &[u8]) -> u32 {
        match self {
            Self::Cohort => scale(murmur3_32(&[salt, b":", key]), self.buckets()),
            Self::Unleash => murmur3_32(&[salt, b":", key]) % self.buckets(),
            Self::Flagd => scale(murmur3_32(&[salt, b"", key]), self.buckets()),
        }
    }
}

/// A hash projected on `0..buckets` by multiply and shift, without division and without bias to speak of.
const fn scale(hash: u32, buckets: u32) -> u32 {
    ((hash as u64 * buckets as u64) >> 32) as u32
}
