//! The health check's record of one version: who polls, and what came of it.

use crate::config::Health;
use crate::engine::HealthState;

use super::super::rollout::HealthWatch;
use super::{Host, SharedRecord, WatchedVersion, TRIES};

/// What came of a health check.
#[derive(Clone, Copy, Debug)]
pub enum PollResult {
    /// An answer with this HTTP status.
    Status(u16),
    /// No answer in time.
    NoAnswer,
    /// The proxy would not send it, as to a cluster that it does not have.
    NotSent,
}

impl PollResult {
    pub fn is_good(self) -> bool {
        matches!(self, Self::Status(200..=399))
    }
}

impl<H: Host> WatchedVersion<'_, H> {
    /// Reads the state as it stands.
    pub(super) fn begin_health(&self, watch: &HealthWatch) {
        let record = SharedRecord::<HealthState>::read(self.host, &watch.place);
        if record.shared {
            watch.state.set(record.value().unwrap_or_default());
        }
    }

    /// Whether this worker is the one to send the poll that is due.
    pub(super) fn takes_poll(&self, health: &Health, watch: &HealthWatch) -> bool {
        let record = SharedRecord::<HealthState>::read(self.host, &watch.place);
        let state = match record.value() {
            Some(state) => state,
            None if record.shared => HealthState::default(),
            None => watch.state.get(),
        };
        watch.state.set(state);
        if !self.host.sends_calls() {
            return false;
        }
        let Some(next) = state.poll(health, self.clock.now) else { return false };
        let won = !record.shared || record.write(self.host, &next);
        if won {
            watch.state.set(next);
        }
        won
    }

    /// Takes the result of a poll.
    pub(super) fn polled(&self, health: &Health, watch: &HealthWatch, result: PollResult) {
        for _ in 0..TRIES {
            let record = SharedRecord::<HealthState>::read(self.host, &watch.place);
            let state = record.value().unwrap_or_else(|| watch.state.get());
            let (next, changed) = state.answered(health, result.is_good());
            if record.shared && !record.write(self.host, &next) {
                continue;
            }
            watch.state.set(next);
            if changed {
                self.log_health(health, state, next.status, result);
            }
            return;
        }
    }
}
