//! The decision: design.md section 3, step by step. The filter, `explain` and `simulate` all call this.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use sha2::{Digest, Sha256};

use crate::bucket::{Split, VersionIndex};
use crate::config::{Choice, Config, Count, KeySource, Mode, Overrides, Pin, Require, Rollout};
use crate::hash::Scheme;
use crate::http::baggage;

use super::condition::within;
use super::pin::{open, seal, Opened};
use super::verdict::{Decision, Hold, Ignored, Reason, Verdict, Witness};
use super::Request;

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
        witness,
    };
    let choice = walk.choose(config);
    let (version, reason) = walk.fall_back(choice.version, choice.reason);
    let pin = match &rollout.pin {
        Some(pin) if reason == Reason::Hash => {
            seal(rollout, pin, version, walk.key().unwrap_or_default())
        }
        _ => None,
    };
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
        self.witness.step(Reason::Default, Verdict::Decided(stable), || {
            "stable, for want of a key".to_owned()
        });
        decided(stable, Reason::Default)
    }

    fn disabled(&mut self) -> Option<VersionIndex> {
        let stable = self.rollout.stable;
        if self.rollout.enabled {
            self.pass(Reason::Disabled, || "enabled".to_owned());
            return None;
        }
        self.witness
            .step(Reason::Disabled, Verdict::Decided(stable), || "enabled: false".to_owned());
        Some(stable)
    }

    fn overridden(&mut self) -> Option<VersionIndex> {
        let Some(overrides) = &self.rollout.overrides else {
            self.pass(Reason::Override, || "no overrides are configured".to_owned());
            return None;
        };
        let request = self.request;
        let sources = [
            ("header", overrides.header.as_ref().map(|name| (name.as_str(), request.header(name)))),
            ("query", overrides.query.as_deref().map(|name| (name, request.query(name)))),
            ("cookie", overrides.cookie.as_deref().map(|name| (name, request.cookie(name)))),
        ];
        for (kind, source) in sources {
            let Some((name, Some(value))) = source else { continue };
            let Some(version) = asked_for(self.rollout, overrides, value) else {
                self.ignored.overrides = true;
                self.pass(Reason::Override, || {
                    format!("{kind} {name} is {}, which names no version: ignored", show(value))
                });
                continue;
            };
            if let Err(unmet) = meets(&overrides.require, request) {
                self.ignored.overrides = true;
                self.pass(Reason::Override, || {
                    format!("{kind} {name} is {}, but {unmet}: ignored", show(value))
                });
                return None;
            }
            self.decide(Reason::Override, version, || format!("{kind} {name} is {}", show(value)));
            return Some(version);
        }
        if !self.ignored.overrides {
            self.pass(Reason::Override, || "the request carries none".to_owned());
        }
        None
    }

    fn inherited(&mut self) -> Option<VersionIndex> {
        let Some(inherit) = &self.rollout.inherit else {
            self.pass(Reason::Inherited, || "inherit is not configured".to_owned());
            return None;
        };
        let request = self.request;
        let header = &self.rollout.output.route_header;
        let by_header = request.header(header).map(|value| (header.as_str(), value));
        let brought = by_header.or_else(|| {
            let lines = request.headers().all("baggage").filter(|_| inherit.baggage);
            let member = lines.flat_map(baggage::members).find(|member| {
                member.key.strip_prefix(b"cohort-") == Some(self.rollout.name.as_bytes())
            });
            member.map(|member| ("baggage", member.value))
        });
        let Some((place, value)) = brought else {
            self.pass(Reason::Inherited, || "the request carries no decision".to_owned());
            return None;
        };
        if !self.rollout.trusts(request) {
            self.ignored.inherit = true;
            self.pass(Reason::Inherited, || {
                format!("{place} says {}, but the peer is not trusted: ignored", show(value))
            });
            return None;
        }
        let Some(version) = self.rollout.version_named(value) else {
            self.ignored.inherit = true;
            self.pass(Reason::Inherited, || {
                format!("{place} says {}, which is no version: ignored", show(value))
            });
            return None;
        };
        self.decide(Reason::Inherited, version, || {
            format!("{place} of a trusted peer says {}", show(value))
        });
        Some(version)
    }

    fn ruled(&mut self, config: &Config) -> Option<(VersionIndex, usize)> {
        for (position, rule) in self.rollout.rules.iter().enumerate() {
            if !rule.holds(config, self.request) {
                self.pass(Reason::Rule, || format!("rule {} does not hold", rule.name));
                continue;
            }
            let version = match &rule.choice {
                Choice::Version(version) => *version,
                // Without a key there is no bucket, and stable is who gets what nobody else owns.
                Choice::Weights(split) => {
                    self.bucket().map_or(self.rollout.stable, |bucket| split.owner(bucket))
                }
            };
            let bucket = self.bucket.get().copied().flatten();
            self.decide(Reason::Rule, version, || match (&rule.choice, bucket) {
                (Choice::Version(_), _) => format!("rule {} holds", rule.name),
                (Choice::Weights(_), Some(bucket)) => {
                    format!("rule {} holds, and by its weights bucket {bucket} decides", rule.name)
                }
                (Choice::Weights(_), None) => {
                    format!("rule {} holds, but there is no key for its weights: stable", rule.name)
                }
            });
            return Some((version, position));
        }
        if self.rollout.rules.is_empty() {
            self.pass(Reason::Rule, || "there are no rules".to_owned());
        }
        None
    }

    fn pinned(&mut self) -> Option<VersionIndex> {
        let Some(pin) = &self.rollout.pin else {
            self.pass(Reason::Pinned, || "no pin is configured".to_owned());
            return None;
        };
        let Some(value) = self.request.cookie(&pin.cookie.name) else {
            self.pass(Reason::Pinned, || format!("no cookie {}", pin.cookie.name));
            return None;
        };
        match self.open(pin, value) {
            Opened::Version(version) if self.keeps(version) => {
                self.decide(Reason::Pinned, version, || {
                    format!("cookie {} names it", pin.cookie.name)
                });
                return Some(version);
            }
            Opened::Version(_) => self.pass(Reason::Pinned, || {
                format!(
                    "cookie {} names a version that has no weight and does not drain",
                    pin.cookie.name
                )
            }),
            Opened::Expired => {
                self.pass(Reason::Pinned, || {
                    format!("cookie {} is of another generation", pin.cookie.name)
                });
            }
            Opened::Worthless => {
                self.ignored.pin = true;
                self.pass(Reason::Pinned, || {
                    format!("cookie {} is unknown or forged: ignored", pin.cookie.name)
                });
            }
        }
        None
    }

    fn open(&self, pin: &Pin, value: &[u8]) -> Opened {
        // Only a signed pin needs the key, and looking for one may issue an anonymous id.
        let key = if pin.signing_key.is_some() { self.key() } else { None };
        open(self.rollout, pin, value, key)
    }

    /// Whether a user pinned to `version` may stay there.
    fn keeps(&self, version: VersionIndex) -> bool {
        let drains = self.rollout.versions.get(version).is_some_and(|version| version.drain);
        drains || self.standing.split.weight(version).thousandths() > 0
    }

    fn hashed(&mut self) -> Option<VersionIndex> {
        let Some(bucket) = self.bucket() else {
            self.pass(Reason::Hash, || "no key: none of hashKey yields one".to_owned());
            return None;
        };
        let version = self.standing.split.owner(bucket);
        // Field by field, so that nothing is copied for a witness that does not listen.
        let key = self.key.get().and_then(Option::as_deref).unwrap_or_default();
        self.witness.step(Reason::Hash, Verdict::Decided(version), || {
            format!("key {} is in bucket {bucket}", show(key))
        });
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
        self.decide(Reason::Fallback, instead, || "the version is held out of traffic".to_owned());
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

    fn pass(&mut self, step: Reason, saw: impl FnOnce() -> String) {
        self.witness.step(step, Verdict::Passed, saw);
    }

    fn decide(&mut self, step: Reason, version: VersionIndex, saw: impl FnOnce() -> String) {
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

/// The version that an override's value stands for.
fn asked_for(rollout: &Rollout, overrides: &Overrides, value: &[u8]) -> Option<VersionIndex> {
    let word = overrides.values.iter().find(|(word, _)| word.as_bytes() == value);
    word.map(|(_, version)| *version).or_else(|| rollout.version_named(value))
}

/// Whether a request may override; else what it lacks.
fn meets(require: &Require, request: &Request<'_>) -> Result<(), &'static str> {
    if require.addresses.as_ref().is_some_and(|networks| !within(networks, request)) {
        return Err("the client's address is not among require.addresses");
    }
    let Some(secret) = &require.secret else { return Ok(()) };
    // Nothing is no secret, also where the configuration holds the hash of nothing.
    let Some(given) = request.header(&secret.header).filter(|given| !given.is_empty()) else {
        return Err("there is no secret header");
    };
    let given = Sha256::digest(given);
    // Without a shortcut, so that the time does not tell how much of the hash was right.
    let differs = given.iter().zip(&secret.sha256).fold(0, |differs, (a, b)| differs | (a ^ b));
    if differs == 0 {
        Ok(())
    } else {
        Err("the secret header does not hold")
    }
}

/// Bytes as a person can read them, in quotes.
fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
