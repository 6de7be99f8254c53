//! Runs the guards and health checks of a configuration at every tick.
//!
//! The state machines are the engine's; their records lie in the proxy's shared data, so that all
//! workers act as one: whoever sees a change first writes it, the others read it at their next tick.

mod notice;
mod totals;

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

/// Brings what an earlier configuration saw of unchanged rollouts into `active`, and ends what was
/// remembered of the others, so that one which comes back some day begins anew.
pub fn take_over(host: &impl Host, identity: &str, active: &Active, before: &Active, now: Millis) {
    before.replaced.set(Some(now));
    for (rollout, earlier) in before.plan.rollouts().iter().zip(&before.live) {
        earlier.replaced.set(true);
        let later =
            active.plan.rollout_named(&rollout.name).and_then(|position| active.rollout(position));
        let unchanged = later.filter(|(later, _)| later.fingerprint == rollout.fingerprint);
        if let Some((_, live)) = unchanged {
            live.watches.borrow_mut().clone_from(&earlier.watches.borrow());
            for (own, earlier) in live.own.iter().zip(&earlier.own) {
                own.set(earlier.get());
            }
            live.blind.set(earlier.blind.get());
        }
        if let Some((later, live)) = later.filter(|_| earlier.counts()) {
            // What began before may fail under the new configuration.
            live.count(host, later, now);
        }
        if unchanged.is_some() {
            continue;
        }
        for (version, known) in rollout.versions.iter().enumerate() {
            Desk { host, identity, rollout, live: earlier, version, now }.end();
            let stays = later.is_some_and(|(l, _)| l.versions.iter().any(|v| v.name == known.name));
            if !stays {
                earlier.gauges(host, rollout).set(host, version, 0, false);
            }
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
                desk.begin();
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
    active.tell(host, now);
}

/// Looks at every version that is watched; the health checks it sent off come back by their tokens.
pub fn tick(host: &impl Host, identity: &str, active: &Active, now: Millis) -> Vec<(u32, Poll)> {
    let mut polls = Vec::new();
    active.tell(host, now);
    for (position, (rollout, live)) in active.plan.rollouts().iter().zip(&active.live).enumerate() {
        if live.watches.borrow().is_empty() && rollout.ramp.is_none() {
            continue;
        }
        if let Some(guard) = &rollout.guard {
            if live.counts() {
                live.observe(host, rollout, now);
            }
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
                    None => desk.answered(health, Heard::Unsendable),
                }
            }
        }
        live.settle(host, rollout, now);
    }
    polls
}

/// Takes the answer to a health check: its HTTP status, or `None` where none came in time.
pub fn answered(
    host: &impl Host,
    identity: &str,
    active: &Active,
    poll: Poll,
    status: Option<u16>,
    now: Millis,
) {
    let Some((rollout, live)) = active.rollout(poll.rollout) else { return };
    let Some(health) = rollout.health.get(poll.health) else { return };
    let heard = status.map_or(Heard::Nothing, Heard::Status);
    Desk { host, identity, rollout, live, version: health.version, now }.answered(health, heard);
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
    identity: &'a str,
    rollout: &'a Rollout,
    live: &'a Live,
    version: VersionIndex,
    now: Millis,
}

impl<H: Host> Desk<'_, H> {
    /// Reads the latch as it stands, where one that was ended begins anew.
    fn begin(&self) {
        let key = self.latch_key();
        let record = self.read(Latch::from_bytes, &key);
        if record.is_ended() {
            // Should somebody else have been first, the next tick reads what they wrote.
            self.host.set_shared(&key, &Latch::default().to_bytes(), record.ticket);
        }
        if record.shared {
            self.keep(|watched| watched.latch = record.value.unwrap_or_default());
        }
    }

    /// Ends the latch of a rollout that is no longer in force as it was.
    fn end(&self) {
        let key = self.latch_key();
        let record = self.read(Latch::from_bytes, &key);
        if record.value.is_some() {
            self.host.set_shared(&key, &[], record.ticket);
        }
    }

    fn guard(&self, guard: &Guard) {
        let key = self.latch_key();
        let record = self.read(Latch::from_bytes, &key);
        // A proxy without shared data leaves each worker to itself, and so does a record that other
        // workers have ended already, whose newer configuration is about to come here too.
        let alone = !record.shared || record.is_ended();
        let own = self.watched(|watched| watched.latch);
        let latch = if alone { own } else { record.value.unwrap_or_default() };
        let figures = self.watched(|watched| watched.watch.figures(latch.counts_from()));
        let Some((next, event)) = latch.step(guard, self.now, &figures) else {
            self.keep(|watched| watched.latch = latch);
            return;
        };
        let won = alone || self.host.set_shared(&key, &next.to_bytes(), record.ticket);
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

    fn answered(&self, health: &Health, heard: Heard) {
        let key = self.checkup_key(health);
        for _ in 0..TRIES {
            let record = self.read(Checkup::from_bytes, &key);
            let checkup = record.value.unwrap_or_else(|| self.watched(|watched| watched.checkup));
            let (next, changed) = checkup.answered(health, heard.is_good());
            if record.shared && !self.host.set_shared(&key, &next.to_bytes(), record.ticket) {
                continue;
            }
            self.keep(|watched| watched.checkup = next);
            if changed {
                self.announce_health(health, checkup, next.status, heard);
            }
            return;
        }
    }

    fn version_name(&self) -> &str {
        self.rollout.versions.get(self.version).map_or("", |version| &version.name)
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
