//! What people hear of a version that leaves traffic or comes back: the log, and the counter of trips.

use crate::config::{Guard, Health};
use crate::engine::{Cause, Checkup, Event, Figures, Status};

use super::{Desk, Host};

/// What came of a health check.
#[derive(Clone, Copy, Debug)]
pub enum Heard {
    Status(u16),
    /// No answer in time.
    Nothing,
    /// The proxy would not send it, as to a cluster that it does not have.
    Unsendable,
}

impl Heard {
    pub fn is_good(self) -> bool {
        matches!(self, Self::Status(200..=399))
    }
}

impl<H: Host> Desk<'_, H> {
    pub(super) fn announce(&self, guard: &Guard, event: Event, figures: &Figures) {
        let (rollout, version) = (&self.rollout.name, self.version_name());
        let Figures { version: ours, stable, over } = figures;
        let tenths = (over + 49) / 100;
        match event {
            Event::Tripped(cause) => {
                self.live.gauges(self.host, self.rollout).tripped(self.host, self.version, cause);
                let bad = match cause {
                    Cause::Latency => format!(
                        "{} were slower than {} ms",
                        ours.slow,
                        guard.latency.map_or(0, |l| l.slower_than)
                    ),
                    Cause::Failures | Cause::Health => format!("{} failed", ours.failures),
                };
                let then = match guard.retry_after {
                    Some(retry) => format!("it is tried again in {} s", retry / 1000),
                    None => "it stays out until the rollout's configuration changes".to_owned(),
                };
                log::warn!(
                    "rollout {rollout}: version {version} is held out of traffic ({}): of {} answers in {}.{} s {bad}; \
                     stable: {} of {} failed; its users get {}; {then}",
                    cause.as_str(),
                    ours.answers,
                    tenths / 10,
                    tenths % 10,
                    stable.failures,
                    stable.answers,
                    self.fallback_name(),
                );
            }
            Event::Probing => log::warn!(
                "rollout {rollout}: version {version} is tried again with a tenth of its users"
            ),
            Event::Returned => log::warn!(
                "rollout {rollout}: version {version} is back in traffic: of {} answers {} failed",
                ours.answers,
                ours.failures
            ),
        }
    }

    pub(super) fn announce_health(
        &self,
        health: &Health,
        before: Checkup,
        after: Status,
        heard: Heard,
    ) {
        let (rollout, version) = (&self.rollout.name, self.version_name());
        let Health { cluster, path, timeout, .. } = health;
        let times = before.against + 1;
        let heard = match heard {
            Heard::Status(status) => format!("GET {path} on cluster {cluster} gave {status}"),
            Heard::Nothing => {
                format!("GET {path} on cluster {cluster} gave nothing in {timeout} ms")
            }
            Heard::Unsendable => {
                format!("cluster {cluster} cannot be asked (does the proxy have one of that name?)")
            }
        };
        if after == Status::Unhealthy {
            self.live.gauges(self.host, self.rollout).tripped(
                self.host,
                self.version,
                Cause::Health,
            );
            log::warn!(
                "rollout {rollout}: version {version} is held out of traffic (health): {heard}, {times} \
                 in a row; its users get {}",
                self.fallback_name()
            );
        } else if before.status == Status::Unhealthy {
            log::warn!(
                "rollout {rollout}: version {version} is back in traffic: {heard}, {times} in a row"
            );
        }
    }

    fn fallback_name(&self) -> &str {
        let fallback =
            self.rollout.guard.as_ref().map_or(self.rollout.stable, |guard| guard.fallback);
        self.rollout.versions.get(fallback).map_or("", |version| &version.name)
    }
}
