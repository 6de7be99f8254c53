//! What people hear of a version that leaves traffic or comes back: the log, and the counter of trips.

use crate::config::{Check, Guard, Health, Millis};
use crate::engine::guard::{Cause, Event, Figures};
use crate::engine::{Answer, CheckEvent, CheckState, HealthState, HealthStatus};

use super::health::PollResult;
use super::{Host, WatchedVersion};

const DAY: Millis = 86_400_000;

impl<H: Host> WatchedVersion<'_, H> {
    pub(super) fn log_guard(&self, guard: &Guard, event: Event, figures: &Figures) {
        let (rollout, version) = (&self.config().name, self.name());
        let Figures { answered, over } = figures;
        let ours = answered.version;
        let tenths = (over + 49) / 100;
        match event {
            Event::Tripped(cause) => {
                self.rollout.gauges(self.host).tripped(self.host, self.version, cause);
                let slower = guard.latency.map_or(0, |latency| latency.slower_than);
                let (bad, theirs, what) = match cause {
                    Cause::Latency => {
                        (ours.slow, answered.stable.slow, format!("were slower than {slower} ms"))
                    }
                    Cause::Failures | Cause::Health | Cause::Analysis => {
                        (ours.failures, answered.stable.failures, "failed".to_owned())
                    }
                };
                let then = self.then();
                log::warn!(
                    "rollout {rollout}: version {version} is held out of traffic ({}): of {} answers in {}.{} s {bad} {what}; \
                     stable: {theirs} of {}; by chance less than once in {} d; its users get {}; {then}",
                    cause.as_str(),
                    ours.answers,
                    tenths / 10,
                    tenths % 10,
                    answered.stable.answers,
                    guard.one_false_trip_in / DAY,
                    self.fallback_name(),
                );
            }
            Event::Probing => log::warn!(
                "rollout {rollout}: version {version} is tried again with a tenth of its users"
            ),
            Event::Returned => log::warn!(
                "rollout {rollout}: version {version} is back in traffic: of {} answers in {}.{} s {} failed",
                ours.answers,
                tenths / 10,
                tenths % 10,
                ours.failures
            ),
        }
    }

    pub(super) fn log_health(
        &self,
        health: &Health,
        before: HealthState,
        after: HealthStatus,
        result: PollResult,
    ) {
        let (rollout, version) = (&self.config().name, self.name());
        let Health { cluster, path, timeout, .. } = health;
        let times = before.against + 1;
        let heard = match result {
            PollResult::Status(status) => format!("GET {path} on cluster {cluster} gave {status}"),
            PollResult::NoAnswer => {
                format!("GET {path} on cluster {cluster} gave nothing in {timeout} ms")
            }
            PollResult::NotSent => {
                format!("cluster {cluster} cannot be asked (does the proxy have one of that name?)")
            }
        };
        if after == HealthStatus::Unhealthy {
            // A version that nothing was known of has not fallen: its cluster may be still to come.
            if before.status == HealthStatus::Healthy {
                self.rollout.gauges(self.host).tripped(self.host, self.version, Cause::Health);
            }
            log::warn!(
                "rollout {rollout}: version {version} is held out of traffic (health): {heard}, {times} \
                 in a row; its users get {}",
                self.fallback_name()
            );
        } else if before.status == HealthStatus::Unhealthy {
            log::warn!(
                "rollout {rollout}: version {version} is back in traffic: {heard}, {times} in a row"
            );
        }
    }

    /// What comes after a trip.
    fn then(&self) -> String {
        match self.retry_after() {
            Some(retry) => format!("it is tried again in {} s", retry / 1000),
            None => "it stays out until the rollout's configuration changes".to_owned(),
        }
    }

    /// What came of the question of the check at `position`: the state before and after it.
    pub(super) fn log_check(
        &self,
        position: usize,
        check: &Check,
        (before, after): (CheckState, CheckState),
        answer: Answer,
        event: Option<CheckEvent>,
    ) {
        let (rollout, version, name) = (&self.config().name, self.name(), &check.name);
        let told = answer.told();
        if after.unusable {
            self.rollout.gauges(self.host).unusable(self.host, position);
        }
        if after.unusable && !before.unusable {
            log::warn!(
                "rollout {rollout}: check {name} has no usable answer from cluster {} ({told}); \
                 it changes nothing, and is counted until there is one",
                check.cluster
            );
        }
        match event {
            Some(CheckEvent::Tripped) => {
                self.rollout.gauges(self.host).tripped(self.host, self.version, Cause::Analysis);
                log::warn!(
                    "rollout {rollout}: version {version} is held out of traffic (analysis): \
                     check {name} gave {told}, {}, {} in a row; its users get {}; {}",
                    check.limit(answer),
                    after.bad,
                    self.fallback_name(),
                    self.then()
                );
            }
            Some(CheckEvent::Returned) => log::warn!(
                "rollout {rollout}: version {version} is back in traffic: check {name} gave {told}"
            ),
            Some(CheckEvent::Probing) | None => {}
        }
    }

    pub(super) fn log_check_probing(&self, check: &Check) {
        log::warn!(
            "rollout {}: version {} is tried again with a tenth of its users (check {})",
            self.config().name,
            self.name(),
            check.name
        );
    }

    fn fallback_name(&self) -> &str {
        let rollout = self.config();
        let fallback = rollout.guard.as_ref().map_or(rollout.stable, |guard| guard.fallback);
        self.rollout.version_name(fallback)
    }
}
