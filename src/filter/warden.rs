//! Runs the guards and health checks of a configuration at every tick.
//!
//! The state machines are the engine's; their records lie in the proxy's shared data, so that all
//! workers act as one: whoever sees a change first writes it, the others read it at their next tick.

use crate::bucket::VersionIndex;
use crate::config::{Guard, Health, Millis, Rollout};
use crate::engine::{Cause, Checkup, Event, Figures, Hold, Latch, Status, Totals};

use super::active::{Active, Live, Watched};
use super::host::{Call, Shared};
use super::series::{CodeClass, Count};
use super::Host;

/// How often a conditional write is tried again when another worker was first.
const TRIES: usize = 4;

/// A health check under way.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    rollout: usize,
    /// The position in the rollout's health checks.
    health: usize,
}

/// Brings what an earlier configuration saw of unchanged rollouts into `active`, which sets the gauges
/// from now on.
pub fn take_over(active: &Active, before: &Active) {
    for live in &before.live {
        live.replaced.set(true);
    }
    for (rollout, live) in active.plan.rollouts().iter().zip(&active.live) {
        let earlier =
            before.plan.rollout_named(&rollout.name).and_then(|position| before.rollout(position));
        let Some((_, earlier)) = earlier.filter(|(r, _)| r.fingerprint == rollout.fingerprint)
        else {
            continue;
        };
        live.watches.borrow_mut().clone_from(&earlier.watches.borrow());
        for (own, earlier) in live.own.iter().zip(&earlier.own) {
            own.set(earlier.get());
        }
    }
}

/// Reads the records as they stand, so that the first request already meets what was tripped before.
/// Without shared data what [`take_over`] brought along stands.
pub fn start(host: &impl Host, identity: &str, active: &Active, now: Millis) {
    for (rollout, live) in active.plan.rollouts().iter().zip(&active.live) {
        // Not inside the loop's head, where it would stay borrowed for the whole loop.
        let watched = live.watches.borrow().len();
        for version in 0..watched {
            let desk = Desk { host, identity, rollout, live, version, now };
            if rollout.guard.is_some() && version != rollout.stable {
                let latch = desk.read(Latch::from_bytes, &desk.latch_key());
                if latch.shared {
                    desk.keep(|watched| watched.latch = latch.value.unwrap_or_default());
                }
            }
            if let Some(health) = rollout.health.iter().find(|health| health.version == version) {
                let checkup = desk.read(Checkup::from_bytes, &desk.checkup_key(health));
                if checkup.shared {
                    desk.keep(|watched| watched.checkup = checkup.value.unwrap_or_default());
                }
            }
        }
        live.settle(host, rollout, now);
    }
}

/// Looks at every version that is watched; the health checks it sent off come back by their tokens.
pub fn tick(host: &impl Host, identity: &str, active: &Active, now: Millis) -> Vec<(u32, Poll)> {
    let mut polls = Vec::new();
    for (position, (rollout, live)) in active.plan.rollouts().iter().zip(&active.live).enumerate() {
        if live.watches.borrow().is_empty() {
            live.settle(host, rollout, now);
            continue;
        }
        if let Some(guard) = &rollout.guard {
            for version in (0..rollout.versions.len()).filter(|version| *version != rollout.stable)
            {
                Desk { host, identity, rollout, live, version, now }.guard(guard);
            }
        }
        for (index, health) in rollout.health.iter().enumerate() {
            let desk = Desk { host, identity, rollout, live, version: health.version, now };
            if desk.takes_poll(health) {
                let call = Call {
                    cluster: &health.cluster,
                    authority: &health.host,
                    path: &health.path,
                    timeout: health.timeout,
                };
                match host.call(call) {
                    Some(token) => polls.push((token, Poll { rollout: position, health: index })),
                    None => desk.answered(health, false),
                }
            }
        }
        live.settle(host, rollout, now);
    }
    polls
}

/// Takes the answer to a health check.
pub fn answered(
    host: &impl Host,
    identity: &str,
    active: &Active,
    poll: Poll,
    good: bool,
    now: Millis,
) {
    let Some((rollout, live)) = active.rollout(poll.rollout) else { return };
    let Some(health) = rollout.health.get(poll.health) else { return };
    Desk { host, identity, rollout, live, version: health.version, now }.answered(health, good);
    live.settle(host, rollout, now);
}

/// A record as it was read.
struct Record<T> {
    value: Option<T>,
    ticket: Option<u32>,
    /// Whether there is shared data at all.
    shared: bool,
}

/// One version under watch, at one moment.
struct Desk<'a, H> {
    host: &'a H,
    identity: &'a str,
    rollout: &'a Rollout,
    live: &'a Live,
    version: VersionIndex,
    now: Millis,
}

impl<H: Host> Desk<'_, H> {
    fn guard(&self, guard: &Guard) {
        let totals = [self.version, self.rollout.stable].map(|version| self.totals(version));
        let [version, stable] = totals;
        self.keep(|watched| watched.watch.observe(guard.window, self.now, version, stable));
        let key = self.latch_key();
        let record = self.read(Latch::from_bytes, &key);
        // A proxy without shared data leaves each worker to itself.
        let own = self.watched(|watched| watched.latch);
        let latch = if record.shared { record.value.unwrap_or_default() } else { own };
        let figures = self.watched(|watched| watched.watch.figures(latch.counts_from()));
        let Some((next, event)) = latch.step(guard, self.now, &figures) else {
            self.keep(|watched| watched.latch = latch);
            return;
        };
        let won = !record.shared || self.host.set_shared(&key, &next.to_bytes(), record.ticket);
        if won {
            self.keep(|watched| watched.latch = next);
            self.announce(guard, event, &figures);
        } else {
            // Another worker was first: what it wrote holds.
            let theirs = self.read(Latch::from_bytes, &key).value.unwrap_or(latch);
            self.keep(|watched| watched.latch = theirs);
        }
    }

    /// Whether this worker is the one to send the poll that is due.
    fn takes_poll(&self, health: &Health) -> bool {
        let key = self.checkup_key(health);
        let record = self.read(Checkup::from_bytes, &key);
        let checkup = match record.value {
            Some(checkup) => checkup,
            None if record.shared => Checkup::default(),
            None => self.watched(|watched| watched.checkup),
        };
        self.keep(|watched| watched.checkup = checkup);
        let Some(next) = checkup.poll(health, self.now) else { return false };
        let won = !record.shared || self.host.set_shared(&key, &next.to_bytes(), record.ticket);
        if won {
            self.keep(|watched| watched.checkup = next);
        }
        won
    }

    fn answered(&self, health: &Health, good: bool) {
        let key = self.checkup_key(health);
        for _ in 0..TRIES {
            let record = self.read(Checkup::from_bytes, &key);
            let checkup = record.value.unwrap_or_else(|| self.watched(|watched| watched.checkup));
            let (next, changed) = checkup.answered(health, good);
            if record.shared && !self.host.set_shared(&key, &next.to_bytes(), record.ticket) {
                continue;
            }
            self.keep(|watched| watched.checkup = next);
            if changed {
                self.announce_health(health, checkup.status, next.status);
            }
            return;
        }
    }

    /// What a version has answered, by all workers together.
    fn totals(&self, version: VersionIndex) -> Totals {
        let series = self.live.series(self.host, self.rollout);
        let total = |what| series.total(self.host, version, what);
        let answers = CodeClass::ALL.into_iter().filter(|class| *class != CodeClass::None);
        let totals = Totals {
            answers: answers.map(|class| total(Count::Response(class))).sum(),
            failures: total(Count::Failure),
            slow: total(Count::Slow),
        };
        let own = self.live.own.get(version).map(std::cell::Cell::get).unwrap_or_default();
        // This worker alone has counted more than the proxy knows of: the proxy keeps no such counter.
        if totals.answers >= own.answers && totals.failures >= own.failures {
            return totals;
        }
        if !self.live.blind.replace(true) {
            log::warn!(
                "rollout {}: the proxy does not keep cohort_responses_total and cohort_failures_total \
                 (its stats matcher leaves them out), so each worker's guard sees only its own requests",
                self.rollout.name
            );
        }
        own
    }

    fn announce(&self, guard: &Guard, event: Event, figures: &Figures) {
        let (rollout, version) = (&self.rollout.name, self.version_name());
        let Figures { version: ours, stable, over } = figures;
        match event {
            Event::Tripped(cause) => {
                self.live.gauges.tripped(self.host, self.version, cause);
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
                    "rollout {rollout}: version {version} is held out of traffic ({}): of {} answers in {:.1} s {bad}; \
                     stable: {} of {} failed; its users get {}; {then}",
                    cause.as_str(),
                    ours.answers,
                    *over as f64 / 1000.0,
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

    fn announce_health(&self, health: &Health, before: Status, after: Status) {
        let (rollout, version) = (&self.rollout.name, self.version_name());
        let Health { cluster, path, .. } = health;
        if after == Status::Unhealthy {
            self.live.gauges.tripped(self.host, self.version, Cause::Health);
            log::warn!(
                "rollout {rollout}: version {version} is held out of traffic (health): cluster {cluster} is \
                 unhealthy at {path}; its users get {}",
                self.fallback_name()
            );
        } else if before == Status::Unhealthy {
            log::warn!("rollout {rollout}: version {version} is back in traffic: cluster {cluster} is healthy");
        }
    }

    fn version_name(&self) -> &str {
        self.rollout.versions.get(self.version).map_or("", |version| &version.name)
    }

    fn fallback_name(&self) -> &str {
        let fallback =
            self.rollout.guard.as_ref().map_or(self.rollout.stable, |guard| guard.fallback);
        self.rollout.versions.get(fallback).map_or("", |version| &version.name)
    }

    /// A changed rollout begins anew; an unchanged one remembers.
    fn latch_key(&self) -> String {
        let Rollout { name, fingerprint, .. } = self.rollout;
        format!("cohort/{}/guard/{name}/{fingerprint:x}/{}", self.identity, self.version_name())
    }

    /// A health check outlives changes to the rest of its rollout, such as a new weight.
    fn checkup_key(&self, health: &Health) -> String {
        let Rollout { name, .. } = self.rollout;
        format!(
            "cohort/{}/health/{name}/{:x}/{}",
            self.identity,
            health.fingerprint,
            self.version_name()
        )
    }

    fn read<T>(&self, from_bytes: impl Fn(&[u8]) -> Option<T>, key: &str) -> Record<T> {
        match self.host.shared(key) {
            Shared::Missing => Record { value: None, ticket: None, shared: true },
            Shared::Value(bytes, ticket) => {
                Record { value: from_bytes(&bytes), ticket: Some(ticket), shared: true }
            }
            Shared::Unavailable => Record { value: None, ticket: None, shared: false },
        }
    }

    fn keep(&self, change: impl FnOnce(&mut Watched)) {
        if let Some(watched) = self.live.watches.borrow_mut().get_mut(self.version) {
            change(watched);
        }
    }

    fn watched<T: Default>(&self, of: impl FnOnce(&Watched) -> T) -> T {
        self.live.watches.borrow().get(self.version).map(of).unwrap_or_default()
    }
}

impl Live {
    /// Puts what the records say in force in this worker.
    fn settle(&self, host: &impl Host, rollout: &Rollout, now: Millis) {
        let mut stopped = None;
        for (watched, hold) in self.watches.borrow().iter().zip(self.holds.borrow_mut().iter_mut())
        {
            *hold = match watched.checkup.hold() {
                Hold::Out => Hold::Out,
                Hold::In | Hold::Probing => watched.latch.hold(),
            };
            stopped = [stopped, watched.latch.first_trip].into_iter().flatten().min();
        }
        self.stopped.set(stopped);
        self.publish(host, rollout, now);
    }
}
