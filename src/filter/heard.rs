//! What this worker has heard of the versions under guard, until its next tick shares it with the others.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use crate::bucket::VersionIndex;
use crate::config::{Count, Millis, Rollout};
use crate::engine::guard::{Heard, Recent, Record, Summary, Totals};
use crate::hash::murmur3_32;

use super::rollout::{LoadedRollout, RolloutState};
use super::tick::Place;

/// A version under guard.
#[derive(Debug)]
pub struct GuardWatch {
    /// Where the record stands in the shared data. A changed rollout begins anew.
    pub place: Place,
    /// What this worker knows of it.
    pub summary: Cell<Summary>,
    /// The record itself, where there is none in the shared data.
    pub own: RefCell<Option<Box<Record>>>,
    /// The ticket of the record in the shared data, where that is the one that is known.
    pub ticket: Cell<Option<u32>>,
    /// What the record does not hold yet.
    pub pending: RefCell<Heard>,
    /// Since when this worker has known of the record's round.
    pub known: KnownSince,
}

/// The round of a record, and since when this worker has known of it.
#[derive(Debug, Default)]
pub struct KnownSince(Cell<Option<(u32, Millis)>>);

impl GuardWatch {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            summary: Cell::default(),
            own: RefCell::default(),
            ticket: Cell::default(),
            pending: RefCell::default(),
            known: KnownSince::default(),
        }
    }
}

impl KnownSince {
    /// The round that this worker knew last.
    pub fn round(&self) -> Option<u32> {
        self.0.get().map(|(round, _)| round)
    }

    /// For how long this worker has known of the round.
    pub fn known_for(&self, round: u32, now: Millis) -> Millis {
        match self.0.get() {
            Some((known, since)) if known == round && since <= now => now - since,
            _ => {
                self.0.set(Some((round, now)));
                0
            }
        }
    }
}

/// The rollout that took another one's place, and where in it each version of the other is.
pub type Successor = (Rc<RolloutState>, Vec<Option<VersionIndex>>);

/// One answer that counts for the guard of its version.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub version: VersionIndex,
    /// What tells the user from others.
    pub user: Option<u32>,
    pub failed: bool,
    pub slow: bool,
    pub now: Millis,
}

impl LoadedRollout<'_> {
    /// Takes in an answer. `address` is asked where the user has no key.
    pub fn hear(&self, mut answer: Answer, address: impl FnOnce() -> Option<IpAddr>) {
        let rollout = self.config;
        let has_keys = !rollout.hash_key.is_empty() || rollout.anonymous_id.is_some();
        let users = matches!(&rollout.guard, Some(guard) if guard.count == Count::Users);
        // Most of stable's users without a key are well, and an address costs the proxy a microsecond.
        let matters = answer.version != rollout.stable || answer.failed || answer.slow;
        if users && has_keys && answer.user.is_none() && matters {
            let hash = |address: IpAddr| murmur3_32(&[address.to_string().as_bytes(), b"", b""]);
            answer.user = address().map(hash);
        }
        self.state.hear(rollout.stable, answer);
    }
}

impl RolloutState {
    fn hear(&self, stable: VersionIndex, answer: Answer) {
        if let Some((later, places)) = &*self.successor.borrow() {
            // It began before, and speaks of the same version.
            if let Some(Some(version)) = places.get(answer.version) {
                let stable = places.get(stable).copied().flatten().unwrap_or(usize::MAX);
                later.hear(stable, Answer { version: *version, ..answer });
            }
        }
        let Some(state) = self.versions().get(answer.version) else { return };
        let one_in_ten_seconds =
            |user| state.recent.borrow_mut().get_or_insert_default().counts(user, answer.now);
        if !self.has_guard() || !answer.user.is_none_or(one_in_ten_seconds) {
            return;
        }
        let one =
            Totals { answers: 1, failures: u64::from(answer.failed), slow: u64::from(answer.slow) };
        if answer.version == stable {
            for watch in self.versions().iter().filter_map(|version| version.guard.as_ref()) {
                let pending = &mut watch.pending.borrow_mut().answered;
                pending.stable = pending.stable.and(one);
            }
        } else if let Some(watch) = &state.guard {
            let mut pending = watch.pending.borrow_mut();
            pending.answered.version = pending.answered.version.and(one);
            let Some(user) = answer.user else { return };
            for (sufferers, bad) in pending.sufferers.iter_mut().zip([answer.failed, answer.slow]) {
                if bad {
                    sufferers.add(user);
                }
            }
        }
    }
}

/// Where each version of `earlier` is in `later`: by its name, where the same runs under it.
pub fn places(earlier: &Rollout, later: &Rollout) -> Vec<Option<VersionIndex>> {
    let place = |known: &crate::config::Version| {
        later.versions.iter().position(|it| it.name == known.name && it.revision == known.revision)
    };
    earlier.versions.iter().map(place).collect()
}

/// The users of one version whose answers counted of late; made with the first of them.
pub type RecentUsers = RefCell<Option<Box<Recent>>>;
