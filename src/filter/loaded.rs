//! A configuration that a worker has loaded, and where each of its rollouts stands.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::{Millis, Rollout};
use crate::engine::Plan;

use super::rollout::{LoadedRollout, RolloutState};
use super::visitors::Visitors;
use super::{Host, Identity};

/// How many rollouts set their gauges at once. To define a gauge takes the proxy some microseconds, and
/// requests wait so long.
const PUBLISHED_AT_ONCE: usize = 100;

/// A configuration with all that a worker remembers beside it.
#[derive(Debug, Default)]
pub struct LoadedConfig {
    /// Whose configuration it is.
    pub identity: Identity,
    pub plan: Plan,
    /// One for each rollout, by position. A rollout that a new configuration leaves as it is keeps its own.
    states: Vec<Rc<RolloutState>>,
    /// Whether the configuration could not be read: there are no rollouts, and every `x-cohort-*` is
    /// removed.
    pub invalid: bool,
    /// When a stream last began, in milliseconds since the Unix epoch.
    pub last_stream: Cell<Millis>,
    /// When another configuration took this one's place.
    pub replaced: Cell<Option<Millis>>,
    /// Names the bytes of the configuration: the proxy has one plugin for the same bytes.
    pub fingerprint: u64,
    /// How many contexts of the proxy have it.
    pub contexts: Cell<usize>,
    /// The highest number of a connection that was seen, as the proxy counts connections.
    pub newest_connection: Cell<u64>,
    /// Whether the next stream is asked for its connection.
    pub asks_for_connection: Cell<bool>,
    /// What was in force before, until the first tick shows that this is in force now.
    pub before: RefCell<Option<Rc<LoadedConfig>>>,
    /// How many rollouts, from the first on, have set their gauges; starts again at the end.
    published: Cell<usize>,
    /// Whether every rollout has set its gauges once.
    all_published: Cell<bool>,
    /// Whether it has had a tick, so that it is known to be in force.
    pub ticked: Cell<bool>,
    /// Who came without an id in the last seconds. A new configuration goes on with it.
    pub visitors: Rc<Visitors>,
    /// Whether it has been logged that one answer had too many cookies.
    pub has_said_too_many_cookies: Cell<bool>,
}

impl LoadedConfig {
    /// `plan`, made of bytes with this fingerprint, loaded for the plugin `identity`. A rollout that is unchanged since `before` keeps its
    /// state.
    pub fn new(plan: Plan, fingerprint: u64, identity: &Identity, before: Option<&Self>) -> Self {
        let state = |rollout: &Rollout| {
            let earlier = before.and_then(|before| before.named(&rollout.name));
            match earlier.filter(|earlier| earlier.config.fingerprint == rollout.fingerprint) {
                Some(unchanged) => Rc::clone(unchanged.state),
                None => Rc::new(RolloutState::new(identity, rollout)),
            }
        };
        let states = plan.rollouts().iter().map(state).collect();
        let visitors = before.map(|before| Rc::clone(&before.visitors)).unwrap_or_default();
        Self { identity: identity.clone(), plan, states, fingerprint, visitors, ..Self::default() }
    }

    /// The stand-in for a configuration that could not be read.
    pub fn invalid(identity: &Identity) -> Self {
        Self { identity: identity.clone(), invalid: true, ..Self::default() }
    }

    /// The rollout at `position` of the configuration.
    pub fn rollout(&self, position: usize) -> Option<LoadedRollout<'_>> {
        let config = self.plan.rollouts().get(position)?;
        Some(LoadedRollout { config, state: self.states.get(position)? })
    }

    /// The rollout called `name`.
    pub fn named(&self, name: &str) -> Option<LoadedRollout<'_>> {
        self.rollout(self.plan.rollout_named(name)?)
    }

    /// Every rollout, in the configuration's order.
    pub fn rollouts(&self) -> impl Iterator<Item = LoadedRollout<'_>> {
        let pairs = self.plan.rollouts().iter().zip(&self.states);
        pairs.map(|(config, state)| LoadedRollout { config, state })
    }

    /// Whether anything is watched.
    pub fn is_watching(&self) -> bool {
        self.states.iter().any(|state| state.is_watched())
    }

    /// Lets the next rollouts set their gauges. Of a configuration with many of them the first do at the
    /// first tick, and the others at the ticks that follow. Then it begins again: in a hot restart the proxy
    /// adds the gauges of its parent to ours (`filter::gauge`).
    pub fn publish_next(&self, host: &impl Host, now: Millis) {
        let published = self.published.get();
        for rollout in self.rollouts().skip(published).take(PUBLISHED_AT_ONCE) {
            rollout.gauges(host);
            rollout.publish(host, now);
        }
        let published = published.saturating_add(PUBLISHED_AT_ONCE);
        let at_end = published >= self.states.len();
        self.published.set(if at_end { 0 } else { published });
        if at_end {
            self.all_published.set(true);
        }
    }

    /// Whether every rollout has set its gauges.
    pub fn is_published(&self) -> bool {
        self.all_published.get()
    }

    /// Sets the gauges of every rollout to 0: the plugin is gone.
    pub fn withdraw(&self, host: &impl Host) {
        for rollout in self.rollouts() {
            rollout.withdraw(host);
        }
    }

    /// Notes the number of a connection.
    pub fn note_connection(&self, connection: u64) {
        self.newest_connection.set(self.newest_connection.get().max(connection));
    }

    /// Leaves the gauges of the rollouts that `other` does not share to that configuration.
    pub fn give_way(&self, other: &Self, now: Millis) {
        self.replaced.set(Some(now));
        for rollout in self.rollouts() {
            rollout.state.replaced.set(!other.shares(rollout));
        }
    }

    /// Takes the gauges of its rollouts.
    pub fn come_back(&self) {
        self.replaced.set(None);
        for state in &self.states {
            state.replaced.set(false);
        }
    }

    /// Whether `rollout` is one of this configuration's too, unchanged.
    pub fn shares(&self, rollout: LoadedRollout<'_>) -> bool {
        self.named(&rollout.config.name).is_some_and(|own| Rc::ptr_eq(own.state, rollout.state))
    }
}
