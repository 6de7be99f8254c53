//! What a worker keeps of a record between two ticks; the record itself lies in the proxy's shared data.

use crate::config::{Guard, Millis};

use super::super::Hold;
use super::record::{is_of_another_clock, is_trial_due, Moment, Phase};

/// What a worker keeps of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub phase: Phase,
    pub round: u32,
    /// When the version tripped first, since the Unix epoch.
    pub first_trip: Option<Millis>,
    /// How near a trip is, from 0 to 1,000.
    pub nearness: u32,
    /// Whether nothing came in the block that is under way.
    pub(super) is_quiet: bool,
    pub(super) block_began: Millis,
}

impl Summary {
    /// Whether the version takes part in traffic.
    pub fn hold(&self) -> Hold {
        self.phase.hold()
    }

    /// What requests, gauges and the ramp go by.
    pub fn told(&self) -> (Phase, Option<Millis>, u32) {
        (self.phase, self.first_trip, self.nearness)
    }

    /// Whether a look at this moment would change nothing: nobody has heard anything since the last one, and
    /// nothing is due.
    pub fn rests(&self, guard: &Guard, moment: &Moment) -> bool {
        let now = moment.now;
        let is_due = match self.phase {
            Phase::In => now.saturating_sub(self.block_began) >= guard.window,
            Phase::Out => is_trial_due(guard, moment),
            Phase::Probing => true,
        };
        self.is_quiet && !is_due && !is_of_another_clock(self.block_began, now)
    }
}
