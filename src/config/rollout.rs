//! `$.rollouts[]`: one named split of traffic among versions.

use crate::bucket::{Split, VersionIndex};
use crate::hash::Scheme;
use crate::http::SetCookie;

use super::{Condition, Guard, Health, Inherit, KeySource, Output, Overrides, Pin, Ramp, Rule, Version};

/// One named split of traffic among versions.
#[derive(Debug)]
pub struct Rollout {
    pub name: String,
    /// Names the content of this rollout, whatever the order of its keys and the spelling of its
    /// numbers: two rollouts with the same fingerprint are the same.
    pub fingerprint: u64,
    /// `false` is the kill switch: everyone gets stable.
    pub enabled: bool,
    pub mode: Mode,
    /// Any of these is enough; `None` is every request.
    pub matches: Option<Vec<Condition>>,
    /// Two or more.
    pub versions: Vec<Version>,
    /// The position in `versions` of the one without a weight.
    pub stable: VersionIndex,
    /// What `versions` state, before a ramp.
    pub split: Split,
    pub hash_key: Vec<KeySource>,
    /// Defaults to the rollout's name.
    pub salt: String,
    pub scheme: Scheme,
    pub anonymous_id: Option<SetCookie>,
    pub pin: Option<Pin>,
    pub overrides: Option<Overrides>,
    pub inherit: Option<Inherit>,
    pub rules: Vec<Rule>,
    pub ramp: Option<Ramp>,
    pub guard: Option<Guard>,
    /// At most one for each version, in the versions' order.
    pub health: Vec<Health>,
    pub output: Output,
}

/// Whether a decision has effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    /// Decides, counts and logs; changes nothing but a client's own copy of our headers.
    Shadow,
}

impl Rollout {
    /// The version called `name`.
    pub fn version_named(&self, name: &[u8]) -> Option<VersionIndex> {
        self.versions.iter().position(|version| version.name.as_bytes() == name)
    }
}
