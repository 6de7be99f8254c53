//! `$.rollouts[]`: one named split of traffic among versions.

use crate::bucket::{Split, VersionIndex};
use crate::hash::{fingerprint, Scheme};
use crate::http::SetCookie;

use super::analysis::{self, ANALYSIS};
use super::condition::{any_of, CONDITIONS};
use super::guard::{self, GUARD};
use super::hash_key::{self, KEY_SOURCES};
use super::health::{self, HEALTH_BY_VERSION};
use super::inherit::{self, INHERIT};
use super::lists::writes;
use super::output::{self, another, same, OutputKeys, OUTPUT};
use super::overrides::{self, OVERRIDES};
use super::pin::{self, AnonymousIdKeys, ANONYMOUS_ID, PIN};
use super::ramp::{self, RAMP};
use super::rule::{self, RuleKeys, Segments, RULE};
use super::shared::{Firsts, Parts};
use super::text::{FILLED, NAME};
use super::version::{self, again, VersionKeys, Versions, VERSION};
use super::{
    cookie, Check, Condition, Content, Guard, Health, Inherit, KeySource, Output, Overrides, Pin,
    Ramp, Rule, Version, Write,
};
use crate::document::node::{stated, Node, Problems};
use crate::document::shape::{shape, words, Kind, Scalar};

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
    /// In the configuration's order.
    pub analysis: Vec<Check>,
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
    /// Whether a guard, a health check or a check against a metrics server can hold a version out.
    pub fn is_watched(&self) -> bool {
        self.guard.is_some() || !self.health.is_empty() || !self.analysis.is_empty()
    }

    /// The hosts that it can match, in lower case; `None` if those cannot be listed.
    pub fn hosts(&self) -> Option<Vec<&[u8]>> {
        let mut hosts = Vec::new();
        for condition in self.matches.as_ref()? {
            hosts.extend(condition.host.as_ref()?.texts()?.iter().map(|host| &**host));
        }
        Some(hosts)
    }

    /// The version called `name`.
    pub fn version_named(&self, name: &[u8]) -> Option<VersionIndex> {
        self.versions.iter().position(|version| version.name.as_bytes() == name)
    }
}

words! {
    MODE, mode: Mode { "enforce" => Mode::Enforce, "shadow" => Mode::Shadow }
}

words! {
    HASH_SCHEME, scheme: Scheme {
        "cohort" => Scheme::Cohort, "unleash" => Scheme::Unleash, "flagd" => Scheme::Flagd
    }
}

shape! {
    /// One named split of traffic among versions.
    ROLLOUT, RolloutKeys: "Rollout", "an object with name and versions" {
        /// The rollout's name, unique in the configuration.
        name = "name": required Kind::Text(&NAME),
        /// false is the kill switch: everyone gets stable.
        enabled = "enabled": default Kind::Flag => Scalar::Flag(true),
        /// enforce, or shadow: decide, count and log, and do nothing to a request but remove a client's
        /// own copy of the output headers.
        mode = "mode": default MODE => Scalar::Text("enforce"),
        /// Which requests the rollout is for: any of these conditions is enough; absent, every request.
        matches = "match": optional CONDITIONS,
        /// The versions; exactly one has no weight: it is stable and gets the remainder.
        versions = "versions": required Kind::List(&Kind::Object(&VERSION), 2),
        /// Where a user's key is read: the first entry that yields a non-empty value.
        hash_key = "hashKey": optional KEY_SOURCES,
        /// What makes two rollouts put the same user in independent places; absent, the rollout's name.
        salt = "salt": optional Kind::Text(&FILLED),
        /// How a key becomes a place: cohort, or where an Unleash SDK or flagd would put the same user
        /// (whole-number weights only).
        hash_scheme = "hashScheme": default HASH_SCHEME => Scalar::Text("cohort"),
        /// How a visitor without a key gets one; absent, such a visitor gets stable.
        anonymous_id = "anonymousId": optional Kind::Object(&ANONYMOUS_ID),
        /// How a user's version is remembered.
        pin = "pin": optional Kind::Object(&PIN),
        /// How a person asks for a version.
        overrides = "overrides": optional Kind::Object(&OVERRIDES),
        /// Peers whose route header is taken as the decision.
        inherit = "inherit": optional Kind::Object(&INHERIT),
        /// Who gets a version by what they are: the first rule whose condition holds decides.
        rules = "rules": optional Kind::List(&Kind::Object(&RULE), 0),
        /// Weights that follow the clock.
        ramp = "ramp": optional Kind::Object(&RAMP),
        /// When a version is taken out of traffic.
        guard = "guard": optional Kind::Object(&GUARD),
        /// Checks against a metrics server that can take a version out.
        analysis = "analysis": optional ANALYSIS,
        /// How the versions' clusters are polled, by version.
        health = "health": optional HEALTH_BY_VERSION,
        /// Where the decision is written.
        output = "output": optional Kind::Object(&OUTPUT),
    }
}

/// Notes what does not go together in the rollout at `node`; `segments` are the names of the
/// configuration's segments, where they are known. `share` is shown what the rollout takes that others may
/// want, as far as it could be read.
pub(super) fn check(
    node: &Node<'_>,
    segments: Option<&Segments<'_>>,
    problems: &mut Problems<'_>,
    share: impl FnOnce(&Parts<'_>, &mut Problems<'_>),
) -> Option<Rollout> {
    let keys = RolloutKeys::of(node);
    let name = keys.name.text();
    let scheme = scheme(keys.hash_scheme).unwrap_or(Scheme::Cohort);
    let matches = stated(keys.matches, |node| any_of(node, problems));
    let hash_key = hash_key::check_all(keys.hash_key, problems);
    let anonymous_id =
        stated(keys.anonymous_id, |node| cookie::check(AnonymousIdKeys::of(node).cookie, problems));
    let has_key = !keys.hash_key.is_absent() || !keys.anonymous_id.is_absent();
    let list = keys.versions;
    let versions = Versions::check(list, scheme, !keys.ramp.is_absent(), problems);
    let pin = stated(keys.pin, |node| pin::check(node, &versions, problems));
    if matches!(&pin, Some(Some(pin)) if pin.signing_key.is_some()) && !has_key {
        let found = "signingKey without hashKey or anonymousId";
        problems.add(keys.pin, found, "a signed pin where users have a key");
    }
    let inherit = stated(keys.inherit, |node| inherit::check(node, problems));
    let output = output::check(keys.output, name);
    let checked: Vec<Version> = list.entries().iter().map(version::check).collect();
    if let Some(output) = &output {
        check_clusters(node, output, problems);
        check_headers(node, output, &checked, problems);
    }
    let rules = check_rules(keys.rules, segments, &versions, problems);
    let overrides = stated(keys.overrides, |node| overrides::check(node, &versions, problems));
    let ramp = stated(keys.ramp, |node| ramp::check(node, &versions, problems));
    let guard = stated(keys.guard, |node| guard::check(node, &versions, problems));
    let analysis = stated(keys.analysis, |node| analysis::check(node, &versions, problems));
    let health = health::check(keys.health, &versions, problems);
    share(
        &Parts {
            hash_key: hash_key.as_deref().unwrap_or_default(),
            anonymous_id: anonymous_id.as_ref().and_then(Option::as_ref),
            pin: pin.as_ref().and_then(Option::as_ref),
            overrides: overrides.as_ref().and_then(Option::as_ref),
            output: output.as_ref(),
            versions: &checked,
        },
        problems,
    );
    Some(Rollout {
        name: name?.to_owned(),
        fingerprint: fingerprint(node.value.canonical().as_bytes()),
        enabled: keys.enabled.flag()?,
        mode: mode(keys.mode)?,
        matches: matches?,
        versions: checked,
        stable: versions.stable,
        split: versions.own_split(),
        hash_key: hash_key?,
        salt: keys.salt.text().or(name)?.to_owned(),
        scheme,
        anonymous_id: anonymous_id?,
        pin: pin?,
        overrides: overrides?,
        inherit: inherit?,
        rules,
        ramp: ramp?,
        guard: guard?,
        analysis: analysis?.unwrap_or_default(),
        health,
        output: output?,
    })
}

fn check_rules(
    node: &Node<'_>,
    segments: Option<&Segments<'_>>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Rule> {
    let mut names = Firsts::default();
    let mut rules = Vec::new();
    for (index, rule) in node.entries().iter().enumerate().filter(|(_, rule)| rule.is_given()) {
        if let Some(name) = RuleKeys::of(rule).name.text() {
            if names.note(name, index).is_some() {
                again(name, RuleKeys::of(rule).name, problems);
            }
        }
        rules.extend(rule::check(rule, segments, versions, problems));
    }
    rules
}

/// Notes clusters that go nowhere or come from nowhere.
fn check_clusters(node: &Node<'_>, output: &Output, problems: &mut Problems<'_>) {
    let keys = RolloutKeys::of(node);
    let cluster_header = OutputKeys::of(keys.output).cluster_header;
    for version in keys.versions.entries().iter().filter(|version| version.is_given()) {
        let cluster = VersionKeys::of(version).cluster;
        if cluster.is_absent() && output.cluster_header.is_some() {
            let allowed = "a cluster for every version, because output has a clusterHeader";
            problems.add(version, "no cluster", allowed);
        }
        if !cluster.is_absent() && cluster_header.is_absent() {
            let allowed = "no cluster, because output has no clusterHeader to carry it";
            problems.add(cluster, "a cluster", allowed);
        }
    }
}

/// Notes a header that one decision would write twice.
fn check_headers(
    node: &Node<'_>,
    output: &Output,
    versions: &[Version],
    problems: &mut Problems<'_>,
) {
    let keys = RolloutKeys::of(node);
    let OutputKeys { route_header, cluster_header, response_header, reason_header, baggage: _ } =
        OutputKeys::of(keys.output);
    // Each decision writes the headers of one version, so that two versions may have the same.
    let mut written: Vec<Write<'_>> = Vec::new();
    for write in writes(output, versions) {
        let earlier = written.iter().find(|earlier| {
            earlier.content.is_on_request() == write.content.is_on_request()
                && same(earlier.header, write.header)
        });
        if let Some(earlier) = earlier {
            let whose = match earlier.content {
                Content::Route => "the route header",
                Content::Cluster => "the cluster header",
                Content::Own(..) => "a version's own header",
                Content::Response => "the response header",
                Content::Reason => "the reason header",
            };
            let place = match write.content {
                Content::Route => Some(route_header),
                Content::Cluster => Some(cluster_header),
                Content::Own(version, _) => {
                    keys.versions.entries().get(version).and_then(|version| {
                        let name = write.header.as_str();
                        let mut own = VersionKeys::of(version).request_headers.entries().iter();
                        own.find(|header| header.key.eq_ignore_ascii_case(name))
                    })
                }
                Content::Response => Some(response_header),
                Content::Reason => Some(reason_header),
            };
            if let Some(place) = place {
                another(place, whose, problems);
            }
        }
        if !matches!(write.content, Content::Own(..)) {
            written.push(write);
        }
    }
}
