//! `$.rollouts[].ramp`: weights from the clock.

use crate::bucket::Split;

use super::version::{Versions, WEIGHTS};
use super::Millis;
use crate::document::node::{Node, Problems};
use crate::document::scalar::{parse_instant, span, INSTANT, LONGEST};
use crate::document::shape::{shape, Kind};

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

shape! {
    /// Weights that follow the clock: before start those of versions, from then on those of the last
    /// step reached.
    RAMP, RampKeys: "Ramp", "an object with start and steps" {
        /// When the ramp starts.
        start = "start": required Kind::Text(&INSTANT),
        /// The steps, each after the one before.
        steps = "steps": required Kind::List(&Kind::Object(&STEP), 1),
    }
}

shape! {
    /// Weights from a point in time on.
    STEP, StepKeys: "Step", "an object with after and weights" {
        /// How long after the ramp's start.
        after = "after": required span(0, LONGEST),
        /// The weights from then on; a version that is not named has none.
        weights = "weights": required WEIGHTS,
    }
}

pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Ramp> {
    let keys = RampKeys::of(node);
    let mut latest: Option<Millis> = None;
    let mut steps = Vec::new();
    for step in keys.steps.entries() {
        let split = versions.split(StepKeys::of(step).weights, problems);
        let after_at = StepKeys::of(step).after;
        let Some(after) = after_at.number() else { continue };
        if latest.is_some_and(|latest| latest >= after) {
            let found = after_at.value.shown();
            problems.add(after_at, &found, "a longer duration than that of the step before");
        }
        latest = latest.max(Some(after));
        if let Some(split) = split {
            steps.push(Step { after, split });
        }
    }
    Some(Ramp { start: parse_instant(keys.start.text()?)?, steps })
}
