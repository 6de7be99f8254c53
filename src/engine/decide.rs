//! The decision: design.md section 3, step by step. The filter, `explain` and `simulate` all call this.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use smallvec::SmallVec;

use crate::bucket::{Split, VersionIndex};
use crate::config::{Choice, Config, Count, KeySource, Mode, Overrides, Pin, Rollout};
use crate::hash::Scheme;

use super::overrides::{asked_for, meets};
use super::pin::{open, seal, Opened};
use super::verdict::{
    Brought, Decision, Hold, Ignored, Override, PinSeen, Reason, Saw, Source, Verdict, Witness,
};
use super::Request;

/// How many pins of one name are looked at: a signature takes time, and a browser has few.
const PINS_LOOKED_AT: usize = 16;

/// Where a rollout stands at the moment of a request.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The weights in force, of `versions` or of the ramp's step.
    pub split: &'a Split,
    /// Whether each version takes part, by its position; a version past the end does.
    pub holds: &'a [Hold],
    /// Counts the users without a key that met a probing version.
    pub turn: &'a Cell<u32>,
}

impl Standing<'_> {
    fn hold(&self, version: VersionIndex) -> Hold {
        self.holds.get(version).copied().unwrap_or_default()
    }
}

/// Chooses the version of `rollout` that `request` gets.
///
/// Whether the rollout matches the request has been asked before. `witness` hears every step that is
/// asked, in order, and the last one decided.
pub fn decide<'a, W: Witness>(
    config: &Config,
    rollout: &'a Rollout,
    standing: &Standing<'_>,
    request: &Request<'a>,
    witness: &mut W,
) -> Decision {
    let mut walk = Walk {
        rollout,
        standing,
        request,
        key: OnceCell::new(),
        bucket: OnceCell::new(),
        ignored: Ignored::default(),
        pinned_to: SmallVec::new(),
        has_pin: false,
        sign_anew: false,
        witness,
    };
    let choice = walk.choose(config);
    let (version, reason) = walk.fall_back(choice.version, choice.reason);
    let pin = rollout.pin.as_ref().and_then(|pin| {
        let pinned = match choice.reason {
            Reason::Pinned if walk.sign_anew => choice.version,
            Reason::Hash if reason == Reason::Hash && walk.pins(pin, version) => version,
            _ => return None,
        };
        seal(rollout, pin, pinned, walk.key().unwrap_or_default())
    });
    let bucket = walk.bucket.get().copied().flatten();
    let user = rollout.guard.as_ref().filter(|guard| guard.count == Count::Users);
    let user = user.and_then(|_| walk.user());
    Decision { version, reason, rule: choice.rule, bucket, user, pin, ignored: walk.ignored }
}

/// What steps 1 to 7 chose.
struct Chosen {
    version: VersionIndex,
    reason: Reason,
    rule: Option<usize>,
}

/// One decision under way.
struct Walk<'w, 'a, W> {
    rollout: &'a Rollout,
    standing: &'w Standing<'w>,
    request: &'w Request<'a>,
    key: OnceCell<Option<Cow<'a, [u8]>>>,
    bucket: OnceCell<Option<u32>>,
    ignored: Ignored,
    /// The versions that good pins of this generation name.
    pinned_to: SmallVec<[VersionIndex; 2]>,
    /// Whether a cookie of the pin's name came.
    has_pin: bool,
    /// Whether the pin that decided was signed for the anonymous id, and the key is another one by now.
    sign_anew: bool,
    witness: &'w mut W,
}

impl<'a, W: Witness> Walk<'_, 'a, W> {
    fn choose(&mut self, config: &Config) -> Chosen {
        let decided = |version, reason| Chosen { version, reason, rule: None };
        if let Some(version) = self.disabled() {
            return decided(version, Reason::Disabled);
        }
        if let Some(version) = self.overridden() {
            return decided(version, Reason::Override);
        }
        if let Some(version) = self.inherited() {
            return decided(version, Reason::Inherited);
        }
        if let Some((version, rule)) = self.ruled(config) {
            return Chosen { version, reason: Reason::Rule, rule: Some(rule) };
        }
        if let Some(version) = self.pinned() {
            return decided(version, Reason::Pinned);
        }
        if let Some(version) = self.hashed() {
            return decided(version, Reason::Hash);
        }
        let stable = self.rollout.stable;
        self.decide(Reason::Default, stable, Saw::Stable);
        decided(stable, Reason::Default)
    }

    fn disabled(&mut self) -> Option<VersionIndex> {
        let stable = self.rollout.stable;
        if self.rollout.enabled {
            self.pass(Reason::Disabled, Saw::Enabled(true));
            return None;
        }
        self.decide(Reason::Disabled, stable, Saw::Enabled(false));
        Some(stable)
    }

    fn overridden(&mut self) -> Option<VersionIndex> {
        let Some(overrides) = &self.rollout.overrides else {
            self.pass(Reason::Override, Saw::NoOverrides);
            return None;
        };
        let request = self.request;
        let Overrides { header, query, cookie, values: _, require } = overrides;
        let sources = [
            header.as_ref().map(|name| (Source::Header(name), request.header(name))),
            query.as_deref().map(|name| (Source::Query(name), request.query(name))),
            cookie.as_deref().map(|name| (Source::Cookie(name), request.cookie(name))),
        ];
        for (source, value) in sources.into_iter().flatten() {
            let Some(value) = value else { continue };
            let saw = |outcome| Saw::Override(source, value, outcome);
            let Some(version) = asked_for(self.rollout, overrides, value) else {
                self.ignored.overrides = true;
                self.pass(Reason::Override, saw(Override::Unknown));
                continue;
            };
            if let Err(unmet) = meets(require, request) {
                self.ignored.overrides = true;
                self.pass(Reason::Override, saw(Override::Unmet(unmet)));
                return None;
            }
            self.decide(Reason::Override, version, saw(Override::Taken));
            return Some(version);
        }
        if !self.ignored.overrides {
            self.pass(Reason::Override, Saw::NoOverride);
        }
        None
    }

    fn inherited(&mut self) -> Option<VersionIndex> {
        let Some(inherit) = &self.rollout.inherit else {
            self.pass(Reason::Inherited, Saw::NoInherit);
            return None;
        };
        let request = self.request;
        let header = &self.rollout.output.route_header;
        let by_header = request.header(header).map(|value| (Source::Header(header), value));
        let brought = by_header.or_else(|| {
            let value = request.brought(&self.rollout.name).filter(|_| inherit.baggage)?;
            Some((Source::Baggage, value))
        });
        let Some((source, value)) = brought else {
            self.pass(Reason::Inherited, Saw::NothingBrought);
            return None;
        };
        let outcome = if !self.rollout.trusts(request) {
            Brought::Untrusted
        } else if let Some(version) = self.rollout.version_named(value) {
            self.decide(Reason::Inherited, version, Saw::Brought(source, value, Brought::Taken));
            return Some(version);
        } else {
            Brought::Unknown
        };
        self.ignored.inherit = true;
        self.pass(Reason::Inherited, Saw::Brought(source, value, outcome));
        None
    }

    fn ruled(&mut self, config: &Config) -> Option<(VersionIndex, usize)> {
        for (position, rule) in self.rollout.rules.iter().enumerate() {
            if !rule.holds(config, self.request) {
                self.pass(Reason::Rule, Saw::RuleFails(position));
                continue;
            }
            let (version, saw) = match &rule.choice {
                Choice::Version(version) => (*version, Saw::RuleDecides(position)),
                // Without a key there is no bucket, and stable is who gets what nobody else owns.
                Choice::Weights(split) => {
                    let bucket = self.bucket();
                    let version = bucket.map_or(self.rollout.stable, |bucket| split.owner(bucket));
                    (version, Saw::RuleDivides(position, bucket))
                }
            };
            self.decide(Reason::Rule, version, saw);
            return Some((version, position));
        }
        if self.rollout.rules.is_empty() {
            self.pass(Reason::Rule, Saw::NoRules);
        }
        None
    }

    fn pinned(&mut self) -> Option<VersionIndex> {
        let Some(pin) = &self.rollout.pin else {
            self.pass(Reason::Pinned, Saw::NoPinning);
            return None;
        };
        for value in self.request.cookies(&pin.cookie.name).take(PINS_LOOKED_AT) {
            self.has_pin = true;
            let (seen, version) = self.open(pin, value);
            if let (PinSeen::Holds | PinSeen::HoldsById, Some(version)) = (seen, version) {
                self.sign_anew = seen == PinSeen::HoldsById;
                self.ignored.pin = false;
                self.decide(Reason::Pinned, version, Saw::Pin(seen));
                return Some(version);
            }
            self.pinned_to.extend(version);
            self.ignored.pin |= seen == PinSeen::Worthless;
            self.pass(Reason::Pinned, Saw::Pin(seen));
        }
        if !self.has_pin {
            self.pass(Reason::Pinned, Saw::NoPin);
        }
        None
    }

    /// What a pin says, and the version that it names where it is good and of this generation.
    fn open(&self, pin: &Pin, value: &[u8]) -> (PinSeen, Option<VersionIndex>) {
        // Only a signed pin needs the key, and looking for one may issue an anonymous id.
        let key = if pin.signing_key.is_some() { self.key() } else { None };
        let mut holds = PinSeen::Holds;
        let mut opened = open(self.rollout, pin, value, key);
        if opened == Opened::Worthless && pin.signing_key.is_some() {
            // A pin that was signed before the user had a key of the user's own.
            let id =
                self.rollout.anonymous_id.as_ref().and_then(|id| self.request.cookie(&id.name));
            if let Some(id) = id.filter(|id| Some(*id) != key) {
                holds = PinSeen::HoldsById;
                opened = open(self.rollout, pin, value, Some(id));
            }
        }
        match opened {
            Opened::Version(version) if !pin.versions.contains(&version) => {
                (PinSeen::NotKept, Some(version))
            }
            Opened::Version(version) if self.keeps(version) => (holds, Some(version)),
            Opened::Version(version) => (PinSeen::NoWeight, Some(version)),
            Opened::Expired => (PinSeen::Expired, None),
            Opened::Worthless => (PinSeen::Worthless, None),
        }
    }

    /// Whether a pin to `version`, which the hash chose, is handed out: where pins keep users there, and else
    /// in the place of another one, which might take the user back there one day.
    fn pins(&self, pin: &Pin, version: VersionIndex) -> bool {
        pin.versions.contains(&version) || (self.has_pin && !self.pinned_to.contains(&version))
    }

    /// Whether a user pinned to `version` may stay there.
    fn keeps(&self, version: VersionIndex) -> bool {
        let drains = self.rollout.versions.get(version).is_some_and(|version| version.drain);
        drains || self.standing.split.has(version)
    }

    fn hashed(&mut self) -> Option<VersionIndex> {
        let Some(bucket) = self.bucket() else {
            self.pass(Reason::Hash, Saw::NoKey);
            return None;
        };
        let version = self.standing.split.owner(bucket);
        let key = self.key.get().and_then(Option::as_deref).unwrap_or_default();
        self.witness.step(Reason::Hash, Verdict::Decided(version), Saw::Key(key, bucket));
        Some(version)
    }

    /// Puts the fallback in the place of a version that is held out. What a person (OVERRIDE) or the
    /// kill switch chose stays.
    fn fall_back(&mut self, version: VersionIndex, reason: Reason) -> (VersionIndex, Reason) {
        let hold = self.standing.hold(version);
        if reason <= Reason::Override
            || hold == Hold::In
            || (hold == Hold::Probing && self.probes())
        {
            return (version, reason);
        }
        let instead = self.rollout.fallback(|version| self.standing.hold(version));
        if instead == version {
            return (version, reason);
        }
        self.decide(Reason::Fallback, instead, Saw::HeldOut);
        (instead, Reason::Fallback)
    }

    /// Whether this request is among the tenth that a probing version gets: by the user where there is
    /// a key, else every tenth request.
    fn probes(&self) -> bool {
        match self.key() {
            Some(key) => {
                Scheme::Cohort.bucket(self.rollout.salt.as_bytes(), key).is_multiple_of(10)
            }
            None => {
                let turn = self.standing.turn.get();
                self.standing.turn.set(turn.wrapping_add(1));
                turn.is_multiple_of(10)
            }
        }
    }

    /// The user's key: the first entry that yields one, else the anonymous id.
    fn key(&self) -> Option<&[u8]> {
        let rollout = self.rollout;
        let key = self.key.get_or_init(|| {
            if let Some(key) = self.request.given_key() {
                return Some(Cow::Borrowed(key));
            }
            let by_source = |source: &'a KeySource| self.request.key(source);
            rollout.hash_key.iter().find_map(by_source).or_else(|| {
                let cookie = rollout.anonymous_id.as_ref()?;
                self.request.anonymous_id(cookie, rollout.mode == Mode::Enforce)
            })
        });
        key.as_deref()
    }

    fn bucket(&self) -> Option<u32> {
        let rollout = self.rollout;
        *self
            .bucket
            .get_or_init(|| Some(rollout.scheme.bucket(rollout.salt.as_bytes(), self.key()?)))
    }

    /// What tells the user from others, where there is a key. No anonymous id is made for it.
    fn user(&self) -> Option<u32> {
        let rollout = self.rollout;
        if rollout.scheme == Scheme::Cohort {
            if let Some(bucket) = self.bucket.get() {
                return *bucket;
            }
        }
        let known = || {
            let by_source = |source: &'a KeySource| self.request.key(source);
            rollout.hash_key.iter().find_map(by_source).or_else(|| {
                let id = self.request.cookie(&rollout.anonymous_id.as_ref()?.name)?;
                (!id.is_empty()).then_some(Cow::Borrowed(id))
            })
        };
        let hash = |key: &[u8]| Scheme::Cohort.bucket(rollout.salt.as_bytes(), key);
        match self.key.get() {
            Some(key) => key.as_deref().map(hash),
            None => known().as_deref().map(hash),
        }
    }

    fn pass(&mut self, step: Reason, saw: Saw<'_>) {
        self.witness.step(step, Verdict::Passed, saw);
    }

    fn decide(&mut self, step: Reason, version: VersionIndex, saw: Saw<'_>) {
        self.witness.step(step, Verdict::Decided(version), saw);
    }
}

impl Rollout {
    /// Who gets the users of a version that is held out: the guard's fallback while it takes part
    /// itself, else stable.
    pub fn fallback(&self, hold: impl Fn(VersionIndex) -> Hold) -> VersionIndex {
        let fallback = self.guard.as_ref().map_or(self.stable, |guard| guard.fallback);
        if hold(fallback) == Hold::In {
            fallback
        } else {
            self.stable
        }
    }
}
