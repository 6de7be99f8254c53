//! What a decision is made of, and who may listen while it is made.

use crate::bucket::VersionIndex;

/// Why a version was chosen (design.md section 3), in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Disabled,
    Override,
    Inherited,
    Rule,
    Pinned,
    Hash,
    Default,
    Fallback,
}

impl Reason {
    /// Every reason, in the order of the steps; [`Reason::index`] is a position in it.
    pub const ALL: [Self; 8] = [
        Self::Disabled,
        Self::Override,
        Self::Inherited,
        Self::Rule,
        Self::Pinned,
        Self::Hash,
        Self::Default,
        Self::Fallback,
    ];

    /// The name in metrics, headers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Override => "OVERRIDE",
            Self::Inherited => "INHERITED",
            Self::Rule => "RULE",
            Self::Pinned => "PINNED",
            Self::Hash => "HASH",
            Self::Default => "DEFAULT",
            Self::Fallback => "FALLBACK",
        }
    }

    /// The position in [`Reason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Whether a version takes part in traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    In,
    /// A tenth of its users get it, the others the fallback.
    Probing,
    /// Its users get the fallback.
    Out,
}

/// What the client or a peer asked for and did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    pub overrides: bool,
    pub pin: bool,
    pub inherit: bool,
}

/// The version a request gets, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub version: VersionIndex,
    pub reason: Reason,
    /// The position of the rule that decided, also where the fallback then took its place.
    pub rule: Option<usize>,
    /// The user's bucket, where it was looked at.
    pub bucket: Option<u32>,
    /// What tells the user from others, where the guard counts users and there is a key.
    pub user: Option<u32>,
    /// The value of the pin to hand out.
    pub pin: Option<String>,
    pub ignored: Ignored,
}

/// How one step of a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Decided(VersionIndex),
    /// The step does not apply; the next one is asked.
    Passed,
}

/// One that listens while a decision is made. The filter's is `()`, which costs nothing.
pub trait Witness {
    /// `step` was asked and ended in `verdict`; `saw` says in words what it looked at and why.
    fn step(&mut self, step: Reason, verdict: Verdict, saw: impl FnOnce() -> String);
}

impl Witness for () {
    #[inline(always)]
    fn step(&mut self, _: Reason, _: Verdict, _: impl FnOnce() -> String) {}
}
