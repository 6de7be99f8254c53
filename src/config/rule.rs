//! `$.rollouts[].rules[]`: who gets a version by what they are.

use crate::bucket::{Split, VersionIndex};

use super::Condition;

/// A condition and what follows from it. Both the segment and the conditions hold where both stand.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    /// A position in [`super::Config::segments`].
    pub segment: Option<usize>,
    /// Any of these is enough.
    pub matches: Option<Vec<Condition>>,
    pub choice: Choice,
}

/// What a rule decides.
#[derive(Debug)]
pub enum Choice {
    Version(VersionIndex),
    /// By the rule's own weights, on the user's same bucket. A version that is not named has none.
    Weights(Split),
}
