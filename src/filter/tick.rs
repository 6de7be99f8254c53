//! Runs the guards, health checks and checks against a metrics server of a configuration at every tick.
//!
//! The state machines are the engine's. Their records lie in the proxy's shared data, so that all workers
//! act as one: whoever sees a change first writes it, and the others read it at their next tick.

mod analysis;
mod guard;
mod health;
mod log;
mod shared;

use std::rc::Rc;

use crate::bucket::VersionIndex;
use crate::config::{Check, Health, Millis, Rollout};
use crate::engine::guard::Record;
use crate::engine::{Answer, CheckState, Unusable, LONGEST_ANSWER};
use crate::http::HeaderName;

use super::heard::{places, GuardWatch};
use super::host::Call;
use super::loaded::LoadedConfig;
use super::rollout::{CheckWatch, HealthWatch, LoadedRollout};
use super::Host;

use health::PollResult;
pub use shared::Place;
use shared::{SharedRecord, TRIES};

/// A moment, on both of the proxy's clocks.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Milliseconds on the clock that never steps: how long things take and have to wait.
    now: Millis,
    /// Milliseconds since the Unix epoch: what a ramp goes by.
    wall: Millis,
}

impl Clock {
    fn at(host: &impl Host, wall: Millis) -> Self {
        Self { now: host.monotonic() / 1_000_000, wall }
    }
}

/// A call under way.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    rollout: usize,
    what: Polled,
}

#[derive(Clone, Copy, Debug)]
enum Polled {
    /// The health check at this position of the rollout's.
    Health(usize),
    /// The check against a metrics server at this position of the rollout's, asked in this round of its state.
    Check(usize, u32),
}

/// Has what began under `before` and ends from now on heard under `loaded` too.
pub fn go_on_hearing(loaded: &LoadedConfig, before: &LoadedConfig) {
    for earlier in before.rollouts().filter(|earlier| !loaded.shares(*earlier)) {
        if let Some(later) = loaded.named(&earlier.config.name) {
            let places = places(earlier.config, later.config);
            earlier.state.successor.replace(Some((Rc::clone(later.state), places)));
        }
    }
}

/// Ends what was remembered of the rollouts that are not in `loaded` as they were `before`, so that one
/// which comes back some day begins anew.
pub fn take_over(host: &impl Host, loaded: &LoadedConfig, before: &LoadedConfig) {
    for earlier in before.rollouts().filter(|earlier| !loaded.shares(*earlier)) {
        for (_, watch) in earlier.guarded() {
            SharedRecord::<Record>::end(host, &watch.place);
        }
        for watch in earlier.state.checks() {
            SharedRecord::<CheckState>::end(host, &watch.place);
        }
        let Some(later) = loaded.named(&earlier.config.name) else {
            earlier.withdraw(host);
            continue;
        };
        for (version, known) in earlier.config.versions.iter().enumerate() {
            if !later.config.versions.iter().any(|version| version.name == known.name) {
                earlier.gauges(host).set(host, version, 0, false);
            }
        }
        // What the later one asks begins anew, and with it its gauges.
        earlier.gauges(host).clear_checks(host);
    }
}

/// Reads the records as they stand, so that the first request already meets what was tripped before.
/// Without shared data what was remembered of unchanged rollouts stands.
pub fn start(host: &impl Host, loaded: &LoadedConfig, now: Millis) {
    let clock = Clock::at(host, now);
    for rollout in loaded.rollouts() {
        for (version, watch) in rollout.guarded() {
            if let Some(guard) = &rollout.config.guard {
                WatchedVersion::new(host, rollout, version, clock).begin_guard(guard, watch);
            }
        }
        for (version, health) in rollout.polled() {
            WatchedVersion::new(host, rollout, version, clock).begin_health(health);
        }
        for (check, watch) in rollout.checks() {
            WatchedVersion::new(host, rollout, check.version, clock).begin_check(watch);
        }
        rollout.settle(host, clock.wall);
    }
}

/// Looks at every version that is watched. The calls that it sends come back by their tokens.
pub fn tick(host: &impl Host, loaded: &LoadedConfig, now: Millis) -> Vec<(u32, Poll)> {
    let clock = Clock::at(host, now);
    let mut polls = Vec::new();
    for (position, rollout) in loaded.rollouts().enumerate() {
        if !rollout.state.is_watched() && rollout.config.ramp.is_none() {
            continue;
        }
        let Rollout { ramp, health, analysis, .. } = rollout.config;
        let mut may_have_changed = ramp.is_some() || !health.is_empty() || !analysis.is_empty();
        if let Some(guard) = &rollout.config.guard {
            for (version, watch) in rollout.guarded() {
                let version = WatchedVersion::new(host, rollout, version, clock);
                may_have_changed |= version.tick_guard(guard, watch);
            }
        }
        for (index, health) in health.iter().enumerate() {
            let Some(watch) = rollout.health_watch(health.version) else { continue };
            let version = WatchedVersion::new(host, rollout, health.version, clock);
            if !version.takes_poll(health, watch) {
                continue;
            }
            let Health { cluster, host: authority, path, timeout, .. } = health;
            match get(host, cluster, authority, path, *timeout, "cohort-health-check", &[]) {
                Some(token) => {
                    polls.push((token, Poll { rollout: position, what: Polled::Health(index) }));
                }
                None => version.polled(health, watch, PollResult::NotSent),
            }
        }
        for (index, (check, watch)) in rollout.checks().enumerate() {
            let version = WatchedVersion::new(host, rollout, check.version, clock);
            let Some(round) = version.takes_question(check, watch) else { continue };
            match analysis::ask(host, check) {
                Some(token) => {
                    let what = Polled::Check(index, round);
                    polls.push((token, Poll { rollout: position, what }));
                }
                None => version.asked(index, round, Answer::Unusable(Unusable::NotSent)),
            }
        }
        if may_have_changed {
            rollout.settle(host, clock.wall);
        }
    }
    polls
}

/// Sends a GET to a cluster.
#[inline(never)]
fn get(
    host: &impl Host,
    cluster: &str,
    authority: &str,
    path: &str,
    timeout: Millis,
    agent: &str,
    more: &[(HeaderName, String)],
) -> Option<u32> {
    let mut headers = vec![(":method", "GET"), (":path", path), (":authority", authority)];
    if !more.iter().any(|(name, _)| name.as_str() == "user-agent") {
        headers.push(("user-agent", agent));
    }
    headers.extend(more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    host.call(Call { cluster, headers: &headers, timeout })
}

/// Takes the answer to a call: its HTTP status, or `None` where none came in time.
pub fn answered(
    host: &impl Host,
    loaded: &LoadedConfig,
    poll: Poll,
    status: Option<u16>,
    now: Millis,
) {
    let clock = Clock::at(host, now);
    let Some(rollout) = loaded.rollout(poll.rollout) else { return };
    match poll.what {
        Polled::Health(position) => {
            let Some(health) = rollout.config.health.get(position) else { return };
            let Some(watch) = rollout.health_watch(health.version) else { return };
            let result = status.map_or(PollResult::NoAnswer, PollResult::Status);
            WatchedVersion::new(host, rollout, health.version, clock).polled(health, watch, result);
        }
        Polled::Check(position, round) => {
            let Some(check) = rollout.config.analysis.get(position) else { return };
            let body = host.call_body(LONGEST_ANSWER);
            let answer = Answer::of(status, body.as_deref());
            let version = WatchedVersion::new(host, rollout, check.version, clock);
            version.asked(position, round, answer);
        }
    }
    rollout.settle(host, clock.wall);
}

/// A version that is watched, at one moment.
struct WatchedVersion<'a, H> {
    host: &'a H,
    rollout: LoadedRollout<'a>,
    version: VersionIndex,
    clock: Clock,
}

impl<'a, H: Host> WatchedVersion<'a, H> {
    fn new(host: &'a H, rollout: LoadedRollout<'a>, version: VersionIndex, clock: Clock) -> Self {
        Self { host, rollout, version, clock }
    }

    fn config(&self) -> &'a Rollout {
        self.rollout.config
    }

    fn name(&self) -> &'a str {
        self.rollout.version_name(self.version)
    }
}

impl<'a> LoadedRollout<'a> {
    /// The versions that a guard watches.
    fn guarded(self) -> impl Iterator<Item = (VersionIndex, &'a GuardWatch)> {
        let versions = self.state.versions().iter().enumerate();
        versions.filter_map(|(version, state)| Some((version, state.guard.as_ref()?)))
    }

    /// The versions whose clusters are polled.
    fn polled(self) -> impl Iterator<Item = (VersionIndex, &'a HealthWatch)> {
        let versions = self.state.versions().iter().enumerate();
        versions.filter_map(|(version, state)| Some((version, state.health.as_ref()?)))
    }

    /// The checks against a metrics server.
    fn checks(self) -> impl Iterator<Item = (&'a Check, &'a CheckWatch)> {
        self.config.analysis.iter().zip(self.state.checks())
    }

    fn health_watch(self, version: VersionIndex) -> Option<&'a HealthWatch> {
        self.state.versions().get(version)?.health.as_ref()
    }

    /// Puts what the records say in force in this worker.
    fn settle(&self, host: &impl Host, now: Millis) {
        let mut first_trip = None;
        for (index, version) in self.state.versions().iter().enumerate() {
            let guarded = version.guard.as_ref().map(|watch| watch.summary.get());
            let healthy = version.health.as_ref().map(|watch| watch.state.get().hold());
            let mut hold = guarded.map(|known| known.hold()).max(healthy).unwrap_or_default();
            let mut trip = |at: Option<Millis>| {
                first_trip = [first_trip, at].into_iter().flatten().min();
            };
            trip(guarded.and_then(|known| known.first_trip));
            for (_, watch) in self.checks().filter(|(check, _)| check.version == index) {
                let state = watch.state.get();
                hold = hold.max(state.hold);
                trip(state.first_trip);
            }
            version.hold.set(hold);
        }
        self.state.ramp_ended.set(first_trip);
        self.publish(host, now);
    }
}
