//! `$.rollouts[].ramp`: weights from the clock.

use crate::bucket::Split;

use super::node::{Node, Problems};
use super::scalar::{parse_instant, span, INSTANT, LONGEST};
use super::shape::{shape, Kind};
use super::version::{Versions, WEIGHTS};
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

shape! {
    /// Weights that follow the clock: before start those of versions, from then on those of the last
    /// step reached.
    RAMP: "Ramp", "an object with start and steps" {
        /// When the ramp starts.
        "start": required Kind::Text(&INSTANT),
        /// The steps, each after the one before.
        "steps": required Kind::List(&Kind::Object(&STEP), 1),
    }
}

shape! {
    /// Weights from a point in time on.
    STEP: "Step", "an object with after and weights" {
        /// How long after the ramp's start.
        "after": required span(0, LONGEST),
        /// The weights from then on; a version that is not named has none.
        "weights": required WEIGHTS,
    }
}

pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Ramp> {
    let mut latest: Option<Millis> = None;
    let mut steps = Vec::new();
    for step in node.get("steps").entries() {
        let split = versions.split(step.get("weights"), problems);
        let after_at = step.get("after");
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
    Some(Ramp { start: parse_instant(node.get("start").text()?)?, steps })
}
