//! `$.rollouts[]`: one named split of traffic among versions.

use crate::bucket::{Split, VersionIndex};
use crate::hash::{fingerprint, Scheme};
use crate::http::{HeaderName, SetCookie};

use super::health::HealthMap;
use super::output::{another, same, OutputShape};
use super::overrides::OverridesShape;
use super::pin::AnonymousIdShape;
use super::place::{Place, Problems};
use super::ramp::RampShape;
use super::read::{Field, List, Text};
use super::rule::RuleShape;
use super::shape::shape;
use super::text::{Filled, Name};
use super::version::{again, VersionShape, Versions};
use super::{
    Condition, Guard, Health, Inherit, KeySource, Output, Overrides, Pin, Ramp, Rule, Version,
};

/// One named split of traffic among versions.
#[derive(Debug)]
pub struct Rollout {
    pub name: String,
    /// Names the content of this rollout, whatever the order of its keys and the spelling of its
    /// numbers: two rollouts with the same fingerprint say the same. Segments are not part of it, so
    /// that an edited segment does not bring back a version that a guard has taken out.
    pub fingerprint: u64,
    /// `false` is the kill switch: everyone gets stable.
    pub enabled: bool,
    pub mode: Mode,
    /// Any of these is enough; `None` is every request.
    pub matches: Option<Vec<Condition>>,
    /// Two or more.
    pub versions: Vec<Version>,
    /// The position in `versions` of the one without a weight.
    pub stable: VersionIndex,
    /// What `versions` state, before a ramp.
    pub split: Split,
    /// In the order they are asked; empty where users have no key but what `anonymous_id` gives them.
    pub hash_key: Vec<KeySource>,
    /// Defaults to the rollout's name.
    pub salt: String,
    pub scheme: Scheme,
    pub anonymous_id: Option<SetCookie>,
    pub pin: Option<Pin>,
    pub overrides: Option<Overrides>,
    pub inherit: Option<Inherit>,
    pub rules: Vec<Rule>,
    pub ramp: Option<Ramp>,
    pub guard: Option<Guard>,
    /// At most one for each version, in the versions' order.
    pub health: Vec<Health>,
    pub output: Output,
}

/// Whether a decision has effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    /// Decides, counts and logs; changes nothing but a client's own copy of our headers.
    Shadow,
}

impl Rollout {
    /// The version called `name`.
    pub fn version_named(&self, name: &[u8]) -> Option<VersionIndex> {
        self.versions.iter().position(|version| version.name.as_bytes() == name)
    }
}

shape! {
    /// One named split of traffic among versions.
    RolloutShape: "an object with name and versions" {
        /// The rollout's name, unique in the configuration.
        "name" name: required Name,
        /// false is the kill switch: everyone gets stable.
        "enabled" enabled: defaulted bool = true,
        /// enforce, or shadow: decide, count and log, and do nothing to a request but remove a client's
        /// own copy of the output headers.
        "mode" mode: defaulted Mode = "enforce",
        /// Which requests the rollout is for: any of these conditions is enough; absent, every request.
        "match" matches: optional List<Condition, 1>,
        /// The versions; exactly one has no weight: it is stable and gets the remainder.
        "versions" versions: required List<VersionShape, 2>,
        /// Where a user's key is read: the first entry that yields a non-empty value.
        "hashKey" hash_key: optional List<KeySource, 1>,
        /// What makes two rollouts put the same user in independent places; absent, the rollout's name.
        "salt" salt: optional Filled,
        /// How a key becomes a place: cohort, or where an Unleash SDK or flagd would put the same user
        /// (whole-number weights only).
        "hashScheme" scheme: defaulted Scheme = "cohort",
        /// How a visitor without a key gets one; absent, such a visitor gets stable.
        "anonymousId" anonymous_id: optional AnonymousIdShape,
        /// How a user's version is remembered.
        "pin" pin: optional Pin,
        /// How a person asks for a version.
        "overrides" overrides: optional OverridesShape,
        /// Peers whose route header is taken as the decision.
        "inherit" inherit: optional Inherit,
        /// Who gets a version by what they are: the first rule whose condition holds decides.
        "rules" rules: optional List<RuleShape, 0>,
        /// Weights that follow the clock.
        "ramp" ramp: optional RampShape,
        /// When a version is taken out of traffic.
        "guard" guard: optional super::guard::GuardShape,
        /// How the versions' clusters are polled, by version.
        "health" health: optional HealthMap,
        /// Where the decision is written.
        "output" output: optional OutputShape,
    }
}

impl RolloutShape {
    /// Notes what does not go together in the rollout at `at`; `segments` are the names of the
    /// configuration's segments, where they are known.
    pub(super) fn check(
        self,
        at: &Place<'_>,
        segments: Option<&[&str]>,
        problems: &mut Problems,
    ) -> Option<Rollout> {
        let scheme = self.scheme.as_given().copied().unwrap_or(Scheme::Cohort);
        let has_key = !self.hash_key.is_absent() || !self.anonymous_id.is_absent();
        if matches!(&self.pin, Field::Given(pin) if pin.signing_key.is_some()) && !has_key {
            let found = "signingKey without hashKey or anonymousId".to_owned();
            problems.add(&at.at("pin"), found, "a signed pin where users have a key".to_owned());
        }
        let name = self.name.given().map(|name| name.0);
        let output = OutputShape::check(self.output, name.as_deref(), &at.at("output"), problems);

        // Nothing can be said about references to versions where those cannot be read.
        let shapes = self.versions.given()?.0;
        let versions_at = at.at("versions");
        let versions =
            Versions::check(&shapes, scheme, !self.ramp.is_absent(), &versions_at, problems);
        if let Some(output) = &output {
            check_headers(&shapes, output, at, problems);
        }
        let rules = check_rules(self.rules, &at.at("rules"), segments, &versions, problems);
        let overrides =
            self.overrides.given().map(|it| it.check(&at.at("overrides"), &versions, problems));
        let ramp = self.ramp.given().map(|it| it.check(&at.at("ramp"), &versions, problems));
        let guard = self.guard.given().map(|it| it.check(&at.at("guard"), &versions, problems));
        let health = match self.health {
            Field::Given(map) => super::health::check(map, &at.at("health"), &versions, problems),
            _ => Vec::new(),
        };
        let anonymous_id = self.anonymous_id.given().map(|shape| shape.cookie.given());
        let name = name?;
        Some(Rollout {
            fingerprint: fingerprint(at.value().canonical().as_bytes()),
            enabled: self.enabled.given()?,
            mode: self.mode.given()?,
            matches: self.matches.given().and_then(List::whole),
            split: versions.own_split(),
            stable: versions.stable,
            versions: shapes
                .into_iter()
                .map(|shape| shape.and_then(VersionShape::finish))
                .collect::<Option<_>>()?,
            hash_key: self.hash_key.given().and_then(List::whole).unwrap_or_default(),
            salt: self.salt.given().map_or_else(|| name.clone(), |salt| salt.0),
            scheme,
            anonymous_id: all_or_nothing(anonymous_id)?,
            pin: self.pin.given(),
            overrides: all_or_nothing(overrides)?,
            inherit: self.inherit.given(),
            rules,
            ramp: all_or_nothing(ramp)?,
            guard: all_or_nothing(guard)?,
            health,
            output: output?,
            name,
        })
    }
}

/// What is not stated is good; what is stated must be.
fn all_or_nothing<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(None) => None,
        Some(part) => Some(part),
    }
}

fn check_rules(
    rules: Field<List<RuleShape, 0>>,
    at: &Place<'_>,
    segments: Option<&[&str]>,
    versions: &Versions,
    problems: &mut Problems,
) -> Vec<Rule> {
    let mut names: Vec<String> = Vec::new();
    let mut checked = Vec::new();
    for (index, rule) in rules.given().map_or_else(Vec::new, |list| list.0).into_iter().enumerate()
    {
        let Some(rule) = rule else { continue };
        let at = at.nth(index);
        if let Some(name) = rule.name.as_given() {
            if names.contains(&name.0) {
                again(&name.0, &at.at("name"), problems);
            }
            names.push(name.0.clone());
        }
        checked.extend(rule.check(&at, segments, versions, problems));
    }
    checked
}

/// Notes a request header that would be set twice, and clusters that go nowhere or come from nowhere.
fn check_headers(
    shapes: &[Option<VersionShape>],
    output: &Output,
    at: &Place<'_>,
    problems: &mut Problems,
) {
    let versions_at = at.at("versions");
    for (index, shape) in shapes.iter().enumerate() {
        let Some(shape) = shape else { continue };
        let version_at = versions_at.nth(index);
        if shape.cluster.is_absent() && output.cluster_header.is_some() {
            let allowed =
                "a cluster for every version, because output has a clusterHeader".to_owned();
            problems.add(&version_at, "no cluster".to_owned(), allowed);
        }
        if !shape.cluster.is_absent()
            && output.cluster_header.is_none()
            && at.at("output").find("clusterHeader").is_none()
        {
            let allowed = "no cluster, because output has no clusterHeader to carry it".to_owned();
            problems.add(&version_at.at("cluster"), "a cluster".to_owned(), allowed);
        }
        let headers_at = version_at.at("requestHeaders");
        let headers = shape.request_headers.as_given().map_or(&[][..], |map| &map.0);
        for (position, (header, _)) in headers.iter().enumerate() {
            let clash = |other: &HeaderName| same(&header.0, other);
            let header_at = headers_at.nth(position);
            if clash(&output.route_header) {
                another(&header_at, "the route header", problems);
            } else if output.cluster_header.as_ref().is_some_and(clash) {
                another(&header_at, "the cluster header", problems);
            }
        }
    }
}

impl Text for Mode {
    const ALLOWED: &'static str = "enforce or shadow";
    const WORDS: &'static [&'static str] = &["enforce", "shadow"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "enforce" => Some(Self::Enforce),
            "shadow" => Some(Self::Shadow),
            _ => None,
        }
    }
}
