//! Weights from the clock.

use crate::bucket::Split;
use crate::config::{Millis, Rollout};

/// The split of `rollout` at `now`, which everyone with the same configuration and clock agrees on.
///
/// `stopped` is when a version was first tripped out: the ramp stands still from then on.
pub fn split_in_force(rollout: &Rollout, now: Millis, stopped: Option<Millis>) -> &Split {
    let Some(ramp) = &rollout.ramp else { return &rollout.split };
    let now = stopped.map_or(now, |stopped| stopped.min(now));
    now.checked_sub(ramp.start)
        .and_then(|elapsed| ramp.steps.iter().rev().find(|step| step.after <= elapsed))
        .map_or(&rollout.split, |step| &step.split)
}
