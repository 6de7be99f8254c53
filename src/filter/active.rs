//! A configuration at work in one worker.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use smallvec::SmallVec;

use crate::bucket::{Split, VersionIndex, Weight};
use crate::config::{Millis, Mode, Rollout};
use crate::engine::{split_in_force, Checkup, Hold, Latch, Plan, Totals, Watch};

use super::series::{Answers, Gauges, Requests};
use super::Host;

/// How many rollouts tell the proxy at once what is in force. To make their gauges takes the proxy some
/// microseconds each, and requests wait so long.
const TELL: usize = 100;

/// A configuration with all that a worker remembers beside it.
#[derive(Debug, Default)]
pub struct Active {
    pub plan: Plan,
    /// One for each rollout, by position. One that a new configuration leaves as it is keeps its own.
    live: Vec<Rc<Live>>,
    /// Whether the configuration could not be read: no rollouts, and every `x-cohort-*` goes.
    pub invalid: bool,
    /// When a stream last began, in milliseconds since the Unix epoch.
    pub last_stream: Cell<Millis>,
    /// When a newer configuration took this one's place.
    pub replaced: Cell<Option<Millis>>,
    /// How many rollouts, from the first on, have told the proxy what is in force.
    told: Cell<usize>,
}

/// What a worker remembers of one rollout.
#[derive(Debug)]
pub struct Live {
    requests: OnceCell<Requests>,
    answers: OnceCell<Answers>,
    gauges: OnceCell<Gauges>,
    /// Whether each version takes part; empty where neither guard nor health watches.
    pub holds: RefCell<SmallVec<[Hold; 4]>>,
    /// When a version first tripped.
    pub stopped: Cell<Option<Millis>>,
    /// Counts users without a key that met a probing version.
    pub turn: Cell<u32>,
    /// This worker's own totals of each version.
    pub own: Vec<Cell<Totals>>,
    /// What watches each version; empty where nothing does.
    pub watches: Vec<Watched>,
    /// Whether it has been said that the proxy leaves our counters out.
    pub blind: Cell<bool>,
    /// Whether a changed one took this one's place: the gauges are that one's.
    pub replaced: Cell<bool>,
}

/// What watches one version. Latch and checkup are as this worker last knew them, which is all there
/// is where the proxy has no shared data.
#[derive(Debug)]
pub struct Watched {
    pub watch: RefCell<Watch>,
    pub latch: Cell<Latch>,
    pub checkup: Cell<Checkup>,
    /// Where the latch of a version under guard stands in the shared data. A changed rollout begins anew.
    pub latch_key: String,
    /// Where the checkup of a version that is polled stands. It outlives changes to the rest of the
    /// rollout, such as a new weight.
    pub checkup_key: String,
}

impl Watched {
    fn new(identity: &str, rollout: &Rollout, version: VersionIndex) -> Self {
        let key = |what: &str, fingerprint: u64| {
            let known = rollout.versions.get(version).map_or("", |version| &version.name);
            format!("cohort/{identity}/{what}/{}/{fingerprint:x}/{known}", rollout.name)
        };
        let guard = rollout.guard.as_ref().filter(|_| version != rollout.stable);
        let health = rollout.health.iter().find(|health| health.version == version);
        Self {
            watch: RefCell::default(),
            latch: Cell::default(),
            checkup: Cell::default(),
            latch_key: guard.map(|_| key("guard", rollout.fingerprint)).unwrap_or_default(),
            checkup_key: health.map(|it| key("health", it.fingerprint)).unwrap_or_default(),
        }
    }
}

impl Active {
    /// `plan` at work for the plugin `identity`. What is unchanged since `before` goes on as it is.
    pub fn new(plan: Plan, identity: &str, before: Option<&Self>) -> Self {
        let live = |rollout: &Rollout| {
            let earlier = before.and_then(|before| before.named(&rollout.name));
            let unchanged = earlier.filter(|(it, _)| it.fingerprint == rollout.fingerprint);
            match unchanged {
                Some((_, live)) => Rc::clone(live),
                None => Rc::new(Live::new(identity, rollout)),
            }
        };
        let live = plan.rollouts().iter().map(live).collect();
        Self { plan, live, ..Self::default() }
    }

    /// The stand-in for a configuration that could not be read.
    pub fn invalid() -> Self {
        Self { invalid: true, ..Self::default() }
    }

    /// A rollout and what is remembered of it.
    pub fn rollout(&self, position: usize) -> Option<(&Rollout, &Rc<Live>)> {
        self.plan.rollouts().get(position).zip(self.live.get(position))
    }

    /// The same by the rollout's name.
    pub fn named(&self, name: &str) -> Option<(&Rollout, &Rc<Live>)> {
        self.rollout(self.plan.rollout_named(name)?)
    }

    /// Every rollout and what is remembered of it.
    pub fn rollouts(&self) -> impl Iterator<Item = (&Rollout, &Rc<Live>)> {
        self.plan.rollouts().iter().zip(&self.live)
    }

    /// Whether there is anything to watch.
    pub fn is_watching(&self) -> bool {
        self.live.iter().any(|live| !live.watches.is_empty())
    }

    /// Lets the next rollouts tell the proxy what is in force. Of a configuration with many of them the
    /// first do at once, and the others at the ticks that follow.
    pub fn tell(&self, host: &impl Host, now: Millis) {
        let told = self.told.get();
        for (rollout, live) in self.rollouts().skip(told).take(TELL) {
            live.gauges(host, rollout);
            live.publish(host, rollout, now);
        }
        self.told.set(told.saturating_add(TELL));
    }

    /// Whether every rollout has told the proxy what is in force.
    pub fn all_told(&self) -> bool {
        self.told.get() >= self.live.len()
    }
}

impl Live {
    fn new(identity: &str, rollout: &Rollout) -> Self {
        let versions = rollout.versions.len();
        // A rollout in shadow mode routes nobody, so that nothing it sees speaks of a version.
        let works = rollout.enabled && rollout.mode == Mode::Enforce;
        let watched = works && (rollout.guard.is_some() || !rollout.health.is_empty());
        Self {
            requests: OnceCell::new(),
            answers: OnceCell::new(),
            gauges: OnceCell::new(),
            holds: RefCell::new(SmallVec::from_elem(Hold::In, if watched { versions } else { 0 })),
            stopped: Cell::new(None),
            turn: Cell::new(0),
            own: vec![Cell::default(); versions],
            watches: (0..if watched { versions } else { 0 })
                .map(|version| Watched::new(identity, rollout, version))
                .collect(),
            blind: Cell::new(false),
            replaced: Cell::new(false),
        }
    }

    /// The time series of what is decided, made with the first request.
    pub fn requests(&self, host: &impl Host, rollout: &Rollout) -> &Requests {
        self.requests.get_or_init(|| Requests::new(host, rollout))
    }

    /// The time series of answers, made with the first request.
    pub fn answers(&self, host: &impl Host, rollout: &Rollout) -> &Answers {
        self.answers.get_or_init(|| Answers::new(host, rollout))
    }

    /// Whether this worker counts answers: it does from its own first request on.
    pub fn counts(&self) -> bool {
        self.answers.get().is_some()
    }

    /// The time series of what is in force.
    pub fn gauges(&self, host: &impl Host, rollout: &Rollout) -> &Gauges {
        self.gauges.get_or_init(|| Gauges::new(host, rollout))
    }

    /// The split in force at `now`.
    pub fn split<'a>(&self, rollout: &'a Rollout, now: Millis) -> &'a Split {
        split_in_force(rollout, now, self.stopped.get())
    }

    /// Adds one answer to this worker's own totals.
    pub fn add(&self, version: VersionIndex, failed: bool, slow: bool) {
        if let Some(own) = self.own.get(version) {
            let Totals { answers, failures, slow: slow_before } = own.get();
            own.set(Totals {
                answers: answers + 1,
                failures: failures + u64::from(failed),
                slow: slow_before + u64::from(slow),
            });
        }
    }

    /// Sets the gauges, where they are made, to what is in force at `now`. They are the proxy's: a worker
    /// that takes a new configuration later than the others has set them to what was in force before.
    pub fn publish(&self, host: &impl Host, rollout: &Rollout, now: Millis) {
        let Some(gauges) = self.gauges.get().filter(|_| !self.replaced.get()) else { return };
        for (version, (share, held_out)) in self.in_force(rollout, now).into_iter().enumerate() {
            gauges.set(host, version, share, held_out);
        }
    }

    /// Each version's share of users in thousandths of a percent, and whether it is held out. What a
    /// version held out does not get goes to the fallback.
    fn in_force(&self, rollout: &Rollout, now: Millis) -> Vec<(u32, bool)> {
        if !rollout.enabled {
            // The kill switch: everyone gets stable.
            let share =
                |version| if version == rollout.stable { Weight::FULL } else { Weight::ZERO };
            return (0..rollout.versions.len())
                .map(|version| (share(version).thousandths(), false))
                .collect();
        }
        let split = self.split(rollout, now);
        let holds = self.holds.borrow();
        let hold = |version: VersionIndex| holds.get(version).copied().unwrap_or_default();
        let fallback = rollout.fallback(hold);
        let mut in_force: Vec<(u32, bool)> = (0..rollout.versions.len())
            .map(|version| (split.weight(version).thousandths(), hold(version) == Hold::Out))
            .collect();
        let mut freed = 0;
        for (version, (share, _)) in in_force.iter_mut().enumerate() {
            let kept = match hold(version) {
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
