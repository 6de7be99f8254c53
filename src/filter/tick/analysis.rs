//! The checks against a metrics server: who asks, and what came of it.

use crate::config::{Check, Millis};
use crate::engine::{Answer, CheckState};

use super::super::rollout::CheckWatch;
use super::{get, Host, SharedRecord, WatchedVersion, TRIES};

/// Sends the question of `check`.
pub(super) fn ask(host: &impl Host, check: &Check) -> Option<u32> {
    let Check { cluster, host: authority, timeout, request_headers, .. } = check;
    let target = check.target();
    get(host, cluster, authority, &target, *timeout, "cohort-analysis", request_headers)
}

impl<H: Host> WatchedVersion<'_, H> {
    /// Reads the state as it stands, where one that was ended begins anew.
    pub(super) fn begin_check(&self, watch: &CheckWatch) {
        let read = SharedRecord::<CheckState>::begin(self.host, &watch.place);
        if read.shared {
            self.know(watch, read.value().unwrap_or_default());
        }
    }

    /// Looks whether the version is to be tried again, and whether this worker is the one to ask the question
    /// that is due; then the answer is the round of the state.
    #[inline(never)]
    pub(super) fn takes_question(&self, check: &Check, watch: &CheckWatch) -> Option<u32> {
        let now = self.clock.now;
        let known = self.exchange(watch, &mut |state, known_for| {
            state.retry(check, self.retry_after(), known_for, now)
        });
        if known.is_some() {
            self.log_check_probing(check);
            return None;
        }
        if !self.host.sends_calls() {
            return None;
        }
        let (_, after) = self.exchange(watch, &mut |state, _| state.ask(check, now))?;
        Some(after.round)
    }

    /// Takes the answer to a question of the check at `position`, which was asked in `round`.
    #[inline(never)]
    pub(super) fn asked(&self, position: usize, round: u32, answer: Answer) {
        let config = self.config().analysis.get(position);
        let Some((check, watch)) = config.zip(self.rollout.state.checks().get(position)) else {
            return;
        };
        let wall = self.clock.wall;
        for _ in 0..TRIES {
            let mut event = None;
            let change = self.exchange(watch, &mut |state, _| {
                let (after, what) = state.heard(check, round, answer, wall);
                event = what;
                Some(after)
            });
            if let Some((before, after)) = change {
                self.log_check(position, check, (before, after), answer, event);
                return;
            }
        }
    }

    /// Has `change` make a new state of the one that is known, and writes it where nobody else has written
    /// meanwhile. `None` where it did not come to that.
    #[inline(never)]
    fn exchange(
        &self,
        watch: &CheckWatch,
        change: &mut dyn FnMut(CheckState, Millis) -> Option<CheckState>,
    ) -> Option<(CheckState, CheckState)> {
        let read = SharedRecord::<CheckState>::read(self.host, &watch.place);
        // A proxy without shared data leaves each worker to itself, and so does a state that other workers
        // have ended already, whose newer configuration is about to come here too.
        let shared = read.shared && !read.is_ended();
        let state = match read.value() {
            Some(state) => state,
            None if shared => CheckState::default(),
            None => watch.state.get(),
        };
        self.know(watch, state);
        let known_for = watch.known.known_for(state.round, self.clock.now);
        let after = change(state, known_for)?;
        if shared && !read.write(self.host, &after) {
            return None;
        }
        self.know(watch, after);
        Some((state, after))
    }

    fn know(&self, watch: &CheckWatch, state: CheckState) {
        watch.known.known_for(state.round, self.clock.now);
        watch.state.set(state);
    }

    pub(super) fn retry_after(&self) -> Option<Millis> {
        self.config().guard.as_ref()?.retry_after
    }
}
