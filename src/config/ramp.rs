//! `$.rollouts[].ramp`: weights from the clock.

use crate::bucket::Split;

use super::place::{Place, Problems};
use super::read::List;
use super::scalar::{Instant, Span, LONGEST};
use super::shape::shape;
use super::version::{Versions, Weights};
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
    RampShape: "an object with start and steps" {
        /// When the ramp starts.
        "start" start: required Instant,
        /// The steps, each after the one before.
        "steps" steps: required List<StepShape, 1>,
    }
}

shape! {
    /// Weights from a point in time on.
    StepShape: "an object with after and weights" {
        /// How long after the ramp's start.
        "after" after: required Span<0, LONGEST, 1>,
        /// The weights from then on; a version that is not named has none.
        "weights" weights: required Weights,
    }
}

impl RampShape {
    pub(super) fn check(
        self,
        at: &Place<'_>,
        versions: &Versions,
        problems: &mut Problems,
    ) -> Option<Ramp> {
        let steps_at = at.at("steps");
        let mut latest: Option<Millis> = None;
        let mut steps = Vec::new();
        for (index, step) in self.steps.given()?.0.into_iter().enumerate() {
            let Some(step) = step else { continue };
            let step_at = steps_at.nth(index);
            let split = step
                .weights
                .given()
                .and_then(|weights| versions.split(weights, &step_at.at("weights"), problems));
            let Some(after) = step.after.given().map(|after| after.0) else { continue };
            if latest.is_some_and(|latest| latest >= after) {
                let at = step_at.at("after");
                let found = at.value().shown();
                problems.add(
                    &at,
                    found,
                    "a longer duration than that of the step before".to_owned(),
                );
            }
            latest = latest.max(Some(after));
            steps.extend(split.map(|split| Step { after, split }));
        }
        Some(Ramp { start: self.start.given()?.0, steps })
    }
}
