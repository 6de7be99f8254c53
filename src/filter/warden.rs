//! Runs the guards and health checks of a configuration at every tick.
//!
//! The state machines are the engine's; their records lie in the proxy's shared data, so that all
//! workers act as one: whoever sees a change first writes it, the others read it at their next tick.

mod notice;
mod totals;

use std::rc::Rc;

use crate::bucket::VersionIndex;
use crate::config::{Guard, Health, Millis, Rollout};
use crate::engine::{Checkup, Hold, Latch};

use super::active::{Active, Live, Watched};
use super::host::{Call, Shared};
use super::Host;

use notice::Heard;

/// How often a conditional write is tried again when another worker was first.
const TRIES: usize = 4;

/// A health check under way.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    rollout: usize,
    /// The position in the rollout's health checks.
    health: usize,
}

/// Ends what was remembered of the rollouts that are not in `active` as they were `before`, so that one
/// which comes back some day begins anew.
pub fn take_over(host: &impl Host, active: &Active, before: &Active, now: Millis) {
    before.replaced.set(Some(now));
    for (rollout, earlier) in before.rollouts() {
        let later = active.named(&rollout.name);
        if later.is_some_and(|(_, live)| Rc::ptr_eq(live, earlier)) {
            continue;
        }
        earlier.replaced.set(true);
        if let Some((later, live)) = later.filter(|_| earlier.counts()) {
            // What began before may fail under the new configuration.
            live.begin_counting(host, later, now);
        }
        for desk in earlier.desks(host, rollout, now).filter(Desk::is_guarded) {
            desk.end();
        }
        for (version, known) in rollout.versions.iter().enumerate() {
            let stays = later.is_some_and(|(l, _)| l.versions.iter().any(|v| v.name == known.name));
            if !stays {
                earlier.gauges(host, rollout).set(host, version, 0, false);
            }
        }
    }
}

/// Reads the records as they stand, so that the first request already meets what was tripped before.
/// Without shared data what was remembered of unchanged rollouts stands.
pub fn start(host: &impl Host, active: &Active, now: Millis) {
    for (rollout, live) in active.rollouts() {
        for desk in live.desks(host, rollout, now) {
            if desk.is_guarded() {
                desk.begin();
            }
            if rollout.health.iter().any(|health| health.version == desk.version) {
                let checkup = desk.read(Checkup::from_bytes, &desk.watched.checkup_key);
                if checkup.shared {
                    desk.watched.checkup.set(checkup.value.unwrap_or_default());
                }
            }
        }
        live.settle(host, rollout, now);
    }
    active.tell(host, now);
}

/// Looks at every version that is watched; the health checks it sent off come back by their tokens.
pub fn tick(host: &impl Host, active: &Active, now: Millis) -> Vec<(u32, Poll)> {
    let mut polls = Vec::new();
    active.tell(host, now);
    for (position, (rollout, live)) in active.rollouts().enumerate() {
        if live.watches.is_empty() && rollout.ramp.is_none() {
            continue;
        }
        if let Some(guard) = &rollout.guard {
            if live.counts() {
                live.observe(host, rollout, now);
            }
            for desk in live.desks(host, rollout, now).filter(Desk::is_guarded) {
                desk.guard(guard);
            }
        }
        for (index, health) in rollout.health.iter().enumerate() {
            let Some(desk) = live.desk(host, rollout, health.version, now) else { continue };
            if desk.takes_poll(health) {
                let call = Call {
                    cluster: &health.cluster,
                    authority: &health.host,
                    path: &health.path,
                    timeout: health.timeout,
                };
                match host.call(call) {
                    Some(token) => polls.push((token, Poll { rollout: position, health: index })),
                    None => desk.answered(health, Heard::Unsendable),
                }
            }
        }
        live.settle(host, rollout, now);
    }
    polls
}

/// Takes the answer to a health check: its HTTP status, or `None` where none came in time.
pub fn answered(host: &impl Host, active: &Active, poll: Poll, status: Option<u16>, now: Millis) {
    let Some((rollout, live)) = active.rollout(poll.rollout) else { return };
    let Some(health) = rollout.health.get(poll.health) else { return };
    let Some(desk) = live.desk(host, rollout, health.version, now) else { return };
    desk.answered(health, status.map_or(Heard::Nothing, Heard::Status));
    live.settle(host, rollout, now);
}

/// A record as it was read.
struct Record<T> {
    value: Option<T>,
    ticket: Option<u32>,
    /// Whether there is shared data at all.
    shared: bool,
}

impl<T> Record<T> {
    /// Whether the record is one that was ended ([`Desk::end`]).
    fn is_ended(&self) -> bool {
        self.value.is_none() && self.ticket.is_some()
    }
}

/// One version under watch, at one moment.
struct Desk<'a, H> {
    host: &'a H,
    rollout: &'a Rollout,
    live: &'a Live,
    watched: &'a Watched,
    version: VersionIndex,
    now: Millis,
}

impl<H: Host> Desk<'_, H> {
    /// Whether a guard watches the version.
    fn is_guarded(&self) -> bool {
        self.rollout.guard.is_some() && self.version != self.rollout.stable
    }

    /// Reads the latch as it stands, where one that was ended begins anew.
    fn begin(&self) {
        let key = &self.watched.latch_key;
        let record = self.read(Latch::from_bytes, key);
        if record.is_ended() {
            // Should somebody else have been first, the next tick reads what they wrote.
            self.host.set_shared(key, &Latch::default().to_bytes(), record.ticket);
        }
        if record.shared {
            self.watched.latch.set(record.value.unwrap_or_default());
        }
    }

    /// Ends the latch of a rollout that is no longer in force as it was.
    fn end(&self) {
        let key = &self.watched.latch_key;
        let record = self.read(Latch::from_bytes, key);
        if record.value.is_some() {
            self.host.set_shared(key, &[], record.ticket);
        }
    }

    fn guard(&self, guard: &Guard) {
        let key = &self.watched.latch_key;
        let record = self.read(Latch::from_bytes, key);
        // A proxy without shared data leaves each worker to itself, and so does a record that other
        // workers have ended already, whose newer configuration is about to come here too.
        let alone = !record.shared || record.is_ended();
        let own = self.watched.latch.get();
        let latch = if alone { own } else { record.value.unwrap_or_default() };
        let figures = self.watched.watch.borrow().figures(latch.counts_from());
        let Some((next, event)) = latch.step(guard, self.now, &figures) else {
            self.watched.latch.set(latch);
            return;
        };
        let won = alone || self.host.set_shared(key, &next.to_bytes(), record.ticket);
        if won {
            self.watched.latch.set(next);
            self.announce(guard, event, &figures);
        } else {
            // Another worker was first: what it wrote holds.
            self.watched.latch.set(self.read(Latch::from_bytes, key).value.unwrap_or(latch));
        }
    }

    /// Whether this worker is the one to send the poll that is due.
    fn takes_poll(&self, health: &Health) -> bool {
        let key = &self.watched.checkup_key;
        let record = self.read(Checkup::from_bytes, key);
        let checkup = match record.value {
            Some(checkup) => checkup,
            None if record.shared => Checkup::default(),
            None => self.watched.checkup.get(),
        };
        self.watched.checkup.set(checkup);
        let Some(next) = checkup.poll(health, self.now) else { return false };
        let won = !record.shared || self.host.set_shared(key, &next.to_bytes(), record.ticket);
        if won {
            self.watched.checkup.set(next);
        }
        won
    }

    fn answered(&self, health: &Health, heard: Heard) {
        let key = &self.watched.checkup_key;
        for _ in 0..TRIES {
            let record = self.read(Checkup::from_bytes, key);
            let checkup = record.value.unwrap_or_else(|| self.watched.checkup.get());
            let (next, changed) = checkup.answered(health, heard.is_good());
            if record.shared && !self.host.set_shared(key, &next.to_bytes(), record.ticket) {
                continue;
            }
            self.watched.checkup.set(next);
            if changed {
                self.announce_health(health, checkup, next.status, heard);
            }
            return;
        }
    }

    fn version_name(&self) -> &str {
        self.rollout.versions.get(self.version).map_or("", |version| &version.name)
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
}

impl Live {
    fn desk<'a, H>(
        &'a self,
        host: &'a H,
        rollout: &'a Rollout,
        version: VersionIndex,
        now: Millis,
    ) -> Option<Desk<'a, H>> {
        let watched = self.watches.get(version)?;
        Some(Desk { host, rollout, live: self, watched, version, now })
    }

    /// One for each version that is watched.
    fn desks<'a, H>(
        &'a self,
        host: &'a H,
        rollout: &'a Rollout,
        now: Millis,
    ) -> impl Iterator<Item = Desk<'a, H>> {
        (0..self.watches.len()).filter_map(move |version| self.desk(host, rollout, version, now))
    }

    /// Puts what the records say in force in this worker.
    fn settle(&self, host: &impl Host, rollout: &Rollout, now: Millis) {
        let mut stopped = None;
        for (watched, hold) in self.watches.iter().zip(self.holds.borrow_mut().iter_mut()) {
            let latch = watched.latch.get();
            *hold = match watched.checkup.get().hold() {
                Hold::Out => Hold::Out,
                Hold::In | Hold::Probing => latch.hold(),
            };
            stopped = [stopped, latch.first_trip].into_iter().flatten().min();
        }
        self.stopped.set(stopped);
        self.publish(host, rollout, now);
    }
}
