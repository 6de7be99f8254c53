//! `$.rollouts[].ramp`: weights from the clock.

use crate::bucket::Split;

use super::Millis;

/// Weights that follow the clock.
#[derive(Debug)]
pub struct Ramp {
    /// Milliseconds since the Unix epoch.
    pub start: Millis,
    /// One or more, `after` strictly rising.
    pub steps: Vec<Step>,
}

/// The weights from `after` on, counted from the ramp's start.
#[derive(Debug)]
pub struct Step {
    pub after: Millis,
    /// A version that is not named has no weight.
    pub split: Split,
}
