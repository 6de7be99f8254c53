//! What a decision is made of, and who may listen while it is made.

use crate::bucket::VersionIndex;
use crate::http::HeaderName;

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

/// Whether a version takes part in traffic; the greater, the less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// What a step looked at and found there. It borrows, so that to make one costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw<'s> {
    /// DISABLED: the rollout's `enabled`.
    Enabled(bool),
    /// OVERRIDE: there are no `overrides`.
    NoOverrides,
    /// OVERRIDE: the request carries none.
    NoOverride,
    /// OVERRIDE: what a source holds, and what came of it.
    Override(Source<'s>, &'s [u8], Override),
    /// INHERITED: there is no `inherit`.
    NoInherit,
    /// INHERITED: the request carries no decision.
    NothingBrought,
    /// INHERITED: what a source says, and what came of it.
    Brought(Source<'s>, &'s [u8], Brought),
    /// RULE: there are no `rules`.
    NoRules,
    /// RULE: the position of a rule that does not hold.
    RuleFails(usize),
    /// RULE: the position of the rule that decides outright.
    RuleDecides(usize),
    /// RULE: the position of the rule whose weights decide, and the bucket; `None` for want of a key.
    RuleDivides(usize, Option<u32>),
    /// PINNED: there is no `pin`.
    NoPinning,
    /// PINNED: there is no cookie of the pin's name.
    NoPin,
    /// PINNED: what a cookie of the pin's name says.
    Pin(PinSeen),
    /// HASH: the key and the bucket that it is in.
    Key(&'s [u8], u32),
    /// HASH: nothing yields a key.
    NoKey,
    /// DEFAULT: stable, for want of a key.
    Stable,
    /// FALLBACK: the version that was chosen is held out.
    HeldOut,
}

/// Where a request can ask for a version, or bring one along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'s> {
    Header(&'s HeaderName),
    Query(&'s str),
    Cookie(&'s str),
    /// The rollout's member of the baggage.
    Baggage,
}

/// What came of a request for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    Taken,
    /// It names no version.
    Unknown,
    /// What `require` states does not hold.
    Unmet(Unmet),
}

/// The part of `require` that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    Addresses,
    NoSecret,
    Secret,
}

/// What came of a decision that was brought along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    Taken,
    /// The peer is not one that `inherit` names.
    Untrusted,
    /// It names no version.
    Unknown,
}

/// What a pin that came with a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinSeen {
    /// It holds.
    Holds,
    /// It holds by the anonymous id that it was signed for, and is signed anew for the user's key.
    HoldsById,
    /// The version has no weight and does not drain.
    NoWeight,
    /// The version is not one that pins keep users on.
    NotKept,
    /// It is of another generation.
    Expired,
    /// It names no version, or is not signed as it must be.
    Worthless,
}

/// One that listens while a decision is made. The filter's is `()`, which costs nothing.
pub trait Witness {
    /// `step` was asked, and ended in `verdict` because of what it `saw`.
    fn step(&mut self, step: Reason, verdict: Verdict, saw: Saw<'_>);
}

impl Witness for () {
    #[inline(always)]
    fn step(&mut self, _: Reason, _: Verdict, _: Saw<'_>) {}
}
