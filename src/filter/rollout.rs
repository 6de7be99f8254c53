//! A rollout of a loaded configuration: what it says, and where it stands in this worker.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use smallvec::SmallVec;

use crate::bucket::{Split, VersionIndex, Weight};
use crate::config::{Millis, Mode, Rollout};
use crate::engine::{split_in_force, CheckState, HealthState, Hold};

use super::heard::{GuardWatch, KnownSince, RecentUsers, Successor};
use super::series::{Answers, Gauges, Requests};
use super::tick::Place;
use super::{Host, Identity};

/// A rollout and its state.
#[derive(Clone, Copy, Debug)]
pub struct LoadedRollout<'a> {
    pub config: &'a Rollout,
    pub state: &'a Rc<RolloutState>,
}

/// What a worker remembers of one rollout.
#[derive(Debug)]
pub struct RolloutState {
    /// The value of the label `plugin`.
    plugin: Rc<str>,
    requests: OnceCell<Requests>,
    answers: OnceCell<Answers>,
    gauges: OnceCell<Gauges>,
    /// One for each version, by position.
    versions: Vec<VersionState>,
    /// One for each entry of the rollout's `analysis`, by position; none where nothing is in force.
    checks: Vec<CheckWatch>,
    /// Whether a guard, a health check or a check against a metrics server watches any version.
    watched: bool,
    /// When a version first tripped, which ends the ramp.
    pub ramp_ended: Cell<Option<Millis>>,
    /// Counts the users without a key that met a probing version.
    pub probe_turn: Cell<u32>,
    /// Whether a changed rollout took this one's place: the gauges are that one's.
    pub replaced: Cell<bool>,
    /// The changed rollout that did, where there is one.
    pub successor: RefCell<Option<Successor>>,
}

/// What a worker remembers of one version.
#[derive(Debug, Default)]
pub struct VersionState {
    /// Whether the version takes part in traffic.
    pub hold: Cell<Hold>,
    /// Whose answers counted of late.
    pub recent: RecentUsers,
    /// There is one where a guard watches the version.
    pub guard: Option<GuardWatch>,
    /// There is one where the version's cluster is polled.
    pub health: Option<HealthWatch>,
}

/// A version whose cluster is polled.
#[derive(Debug)]
pub struct HealthWatch {
    /// Where the state stands in the shared data. It outlives changes to the rest of the rollout, such as a
    /// new weight.
    pub place: Place,
    /// As this worker last knew it, which is all there is where the proxy has no shared data.
    pub state: Cell<HealthState>,
}

/// A check against a metrics server.
#[derive(Debug)]
pub struct CheckWatch {
    /// Where the state stands in the shared data. A changed rollout begins anew.
    pub place: Place,
    /// As this worker last knew it, which is all there is where the proxy has no shared data.
    pub state: Cell<CheckState>,
    /// Since when this worker has known of the state's round.
    pub known: KnownSince,
}

impl RolloutState {
    /// The state of `rollout` when the plugin `identity` first loads it.
    pub fn new(identity: &Identity, rollout: &Rollout) -> Self {
        // A rollout in shadow mode routes nobody, so that nothing it sees speaks of a version.
        let in_force = rollout.enabled && rollout.mode == Mode::Enforce;
        let versions = (0..rollout.versions.len()).map(|version| match in_force {
            true => VersionState::watched(identity, rollout, version),
            false => VersionState::default(),
        });
        let checks = rollout.analysis.iter().filter(|_| in_force).map(|check| CheckWatch {
            place: Place::new(
                format!("{}/analysis/{}/{}", identity.records, rollout.name, check.name),
                rollout.fingerprint,
            ),
            state: Cell::default(),
            known: KnownSince::default(),
        });
        Self {
            plugin: Rc::clone(&identity.plugin),
            requests: OnceCell::new(),
            answers: OnceCell::new(),
            gauges: OnceCell::new(),
            versions: versions.collect(),
            checks: checks.collect(),
            watched: in_force && rollout.is_watched(),
            ramp_ended: Cell::new(None),
            probe_turn: Cell::new(0),
            replaced: Cell::new(false),
            successor: RefCell::default(),
        }
    }

    /// The state of each version, by position.
    pub fn versions(&self) -> &[VersionState] {
        &self.versions
    }

    /// The state of each check, by position in the rollout's `analysis`.
    pub fn checks(&self) -> &[CheckWatch] {
        &self.checks
    }

    /// Whether a guard, a health check or a check against a metrics server watches any version.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether a guard watches any version.
    pub fn has_guard(&self) -> bool {
        self.versions.iter().any(|version| version.guard.is_some())
    }

    /// Whether this worker counts answers: it does from its own first request on.
    pub fn counts(&self) -> bool {
        self.answers.get().is_some()
    }

    /// Whether each version takes part in traffic; empty where nothing is watched, so that all do.
    pub fn holds(&self) -> SmallVec<[Hold; 4]> {
        if self.watched {
            self.versions.iter().map(|version| version.hold.get()).collect()
        } else {
            SmallVec::new()
        }
    }

    fn hold(&self, version: VersionIndex) -> Hold {
        self.versions.get(version).map(|version| version.hold.get()).unwrap_or_default()
    }
}

impl VersionState {
    fn watched(identity: &Identity, rollout: &Rollout, version: VersionIndex) -> Self {
        let place = |kind: &str, fingerprint: u64| {
            let name = rollout.versions.get(version).map_or("", |version| &version.name);
            Place::new(format!("{}/{kind}/{}/{name}", identity.records, rollout.name), fingerprint)
        };
        let guard = rollout.guard.as_ref().filter(|_| version != rollout.stable);
        let health = rollout.health.iter().find(|health| health.version == version);
        Self {
            guard: guard.map(|_| GuardWatch::new(place("guard", rollout.fingerprint))),
            health: health.map(|health| HealthWatch {
                place: place("health", health.fingerprint),
                state: Cell::default(),
            }),
            ..Self::default()
        }
    }
}

impl<'a> LoadedRollout<'a> {
    /// The time series of what is decided, made with the first request.
    pub fn requests(&self, host: &impl Host) -> &'a Requests {
        self.state.requests.get_or_init(|| Requests::new(host, &self.state.plugin, self.config))
    }

    /// The time series of answers, made with the first request.
    pub fn answers(&self, host: &impl Host) -> &'a Answers {
        self.state.answers.get_or_init(|| Answers::new(host, &self.state.plugin, self.config))
    }

    /// The time series of what is in force.
    pub fn gauges(&self, host: &impl Host) -> &'a Gauges {
        self.state.gauges.get_or_init(|| Gauges::new(host, &self.state.plugin, self.config))
    }

    /// The split in force at `now`.
    pub fn split(&self, now: Millis) -> &'a Split {
        split_in_force(self.config, now, self.state.ramp_ended.get())
    }

    /// The name of the version at `version`.
    pub fn version_name(&self, version: VersionIndex) -> &'a str {
        self.config.versions.get(version).map_or("", |version| &version.name)
    }

    /// Sets the gauges, where they are made, to what is in force at `now`. They are the proxy's: a worker
    /// that takes a new configuration later than the others has set them to what was in force before.
    pub fn publish(&self, host: &impl Host, now: Millis) {
        let Some(gauges) = self.state.gauges.get().filter(|_| !self.state.replaced.get()) else {
            return;
        };
        for (version, (share, held_out)) in self.in_force(now).into_iter().enumerate() {
            gauges.set(host, version, share, held_out);
            if let Some(evidence) = self.evidence(version) {
                gauges.set_evidence(host, version, evidence);
            }
        }
        for (check, watch) in self.state.checks.iter().enumerate() {
            let state = watch.state.get();
            gauges.set_check(host, check, state.value, state.is_failing());
        }
    }

    /// Sets the gauges to 0, where they are made.
    pub fn withdraw(&self, host: &impl Host) {
        let Some(gauges) = self.state.gauges.get() else { return };
        for version in 0..self.config.versions.len() {
            gauges.set(host, version, 0, false);
            gauges.set_evidence(host, version, 0);
        }
        gauges.clear_checks(host);
    }

    /// How near a trip of a version under guard is.
    fn evidence(&self, version: VersionIndex) -> Option<u32> {
        Some(self.state.versions.get(version)?.guard.as_ref()?.summary.get().nearness)
    }

    /// Whether stable gets no users at `now`, so that there is nothing to compare a version with.
    pub fn is_stable_without_share(&self, now: Millis) -> bool {
        let in_force = self.in_force(now);
        in_force.get(self.config.stable).is_some_and(|(share, _)| *share == 0)
    }

    /// Each version's share of users in thousandths of a percent, and whether it is held out. What a
    /// version held out does not get goes to the fallback.
    pub fn in_force(&self, now: Millis) -> SmallVec<[(u32, bool); 4]> {
        let (rollout, state) = (self.config, self.state);
        if !rollout.enabled {
            // The kill switch: everyone gets stable.
            let share =
                |version| if version == rollout.stable { Weight::FULL } else { Weight::ZERO };
            return (0..rollout.versions.len())
                .map(|version| (share(version).thousandths(), false))
                .collect();
        }
        let split = self.split(now);
        let fallback = rollout.fallback(|version| state.hold(version));
        let mut in_force: SmallVec<_> = (0..rollout.versions.len())
            .map(|version| (split.weight(version).thousandths(), state.hold(version) == Hold::Out))
            .collect();
        let mut freed = 0;
        for (version, (share, _)) in in_force.iter_mut().enumerate() {
            let kept = match state.hold(version) {
                _ if version == fallback => *share,
                Hold::In => *share,
                Hold::Probing => *share / 10,
                Hold::Out => 0,
            };
            freed += *share - kept;
            *share = kept;
        }
        if let Some((share, _)) = in_force.get_mut(fallback) {
            *share += freed;
        }
        in_force
    }
}
