//! A configuration that a worker has loaded, and where each of its rollouts stands.

use std::cell::Cell;
use std::rc::Rc;

use crate::config::{Millis, Rollout};
use crate::engine::Plan;

use super::rollout::{LoadedRollout, RolloutState};
use super::Host;

/// How many rollouts set their gauges at once. To define a gauge takes the proxy some microseconds, and
/// requests wait so long.
const PUBLISHED_AT_ONCE: usize = 100;

/// A configuration with all that a worker remembers beside it.
#[derive(Debug, Default)]
pub struct LoadedConfig {
    pub plan: Plan,
    /// One for each rollout, by position. A rollout that a new configuration leaves as it is keeps its own.
    states: Vec<Rc<RolloutState>>,
    /// Whether the configuration could not be read: there are no rollouts, and every `x-cohort-*` is
    /// removed.
    pub invalid: bool,
    /// When a stream last began, in milliseconds since the Unix epoch.
    pub last_stream: Cell<Millis>,
    /// When a newer configuration took this one's place.
    pub replaced: Cell<Option<Millis>>,
    /// How many rollouts, from the first on, have set their gauges.
    published: Cell<usize>,
}

impl LoadedConfig {
    /// `plan`, loaded for the plugin `identity`. A rollout that is unchanged since `before` keeps its
    /// state.
    pub fn new(plan: Plan, identity: &str, before: Option<&Self>) -> Self {
        let state = |rollout: &Rollout| {
            let earlier = before.and_then(|before| before.named(&rollout.name));
            match earlier.filter(|earlier| earlier.config.fingerprint == rollout.fingerprint) {
                Some(unchanged) => Rc::clone(unchanged.state),
                None => Rc::new(RolloutState::new(identity, rollout)),
            }
        };
        let states = plan.rollouts().iter().map(state).collect();
        Self { plan, states, ..Self::default() }
    }

    /// The stand-in for a configuration that could not be read.
    pub fn invalid() -> Self {
        Self { invalid: true, ..Self::default() }
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

    /// Whether a guard or a health check watches anything.
    pub fn is_watching(&self) -> bool {
        self.states.iter().any(|state| state.is_watched())
    }

    /// Lets the next rollouts set their gauges. Of a configuration with many of them the first do at once,
    /// and the others at the ticks that follow.
    pub fn publish_next(&self, host: &impl Host, now: Millis) {
        let published = self.published.get();
        for rollout in self.rollouts().skip(published).take(PUBLISHED_AT_ONCE) {
            rollout.gauges(host);
            rollout.publish(host, now);
        }
        self.published.set(published.saturating_add(PUBLISHED_AT_ONCE));
    }

    /// Whether every rollout has set its gauges.
    pub fn is_published(&self) -> bool {
        self.published.get() >= self.states.len()
    }
}
