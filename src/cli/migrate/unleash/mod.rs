//! Feature toggles of Unleash: strategies as weights and rules, variants as versions, in the places that
//! an SDK of Unleash gives.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{and, condition_fault, headers_fault, on};
use super::draft::{Draft, Version};
use super::json_logic::Attributes;
use super::ledger::{number_of, plain_text, Ledger};
use super::run::{Key, Made, Resource, Run};
use super::units::{label, percent, shares};

mod constraint;

/// Whether a document holds feature toggles: `features` with strategies, of the client API or an export.
pub fn is_one(node: &Node) -> bool {
    let features = node.get("features").map(Node::items).unwrap_or_default();
    features.iter().any(|feature| feature.get("name").is_some())
        && (node.get("featureStrategies").is_some()
            || features.iter().any(|feature| feature.get("strategies").is_some()))
}

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let (ledger, node) = (&resource.ledger, resource.node);
    let mut drafts = Vec::new();
    for feature in ledger.list(node, "features") {
        let name = ledger.text(feature, "name").unwrap_or_else(|| "flag".into());
        let toggle = Toggle { ledger, root: node, feature, name };
        drafts.push(toggle.draft(run, &shown(resource.file)));
    }
    if let Some(draft) = drafts.last_mut() {
        draft.lose_rest(ledger, |path| {
            path.contains("segments[").then_some("no strategy that was read asks for it")
        });
    }
    Made { drafts, routes: Vec::new() }
}

struct Toggle<'r, 'a> {
    ledger: &'r Ledger<'a>,
    root: &'a Node,
    feature: &'a Node,
    name: String,
}

/// A strategy: who it is for, and for how many of them.
struct Strategy {
    /// Any of these is enough; none is everybody.
    when: Vec<Yaml>,
    percent: f64,
    salt: Option<String>,
    sources: Vec<Yaml>,
    name: String,
}

impl<'a> Toggle<'_, 'a> {
    fn draft(&self, run: &Run<'_>, from: &str) -> Draft {
        let mut draft =
            Draft::new(run, format!("feature {} of {from}", shown(&self.name)), &self.name);
        let mut seen = Attributes::default();
        let ledger = self.ledger;
        let mut strategies = Vec::new();
        let mut variants: Vec<&Node> = ledger.list(self.feature, "variants").iter().collect();
        for strategy in self.strategies() {
            let own = strategy.get("variants").map(Node::items).unwrap_or_default();
            if variants.is_empty() {
                variants.extend(own);
            }
            strategies.extend(self.strategy(strategy, &mut draft, &mut seen));
        }
        // Any strategy is enough: the largest percentage that is for everybody, and rules for the others.
        let (everybody, others): (Vec<Strategy>, Vec<Strategy>) =
            strategies.into_iter().partition(|strategy| strategy.when.is_empty());
        let general = everybody.iter().map(|one| one.percent).fold(0.0, f64::max);
        let first = everybody.first().or(others.first());
        let salt = first.and_then(|one| one.salt.clone()).unwrap_or_else(|| self.name.clone());
        let sources = first.map(|one| one.sources.clone()).unwrap_or_default();
        for other in everybody.iter().skip(1) {
            draft.change(format!(
                "strategy {} for {} % of everybody: the largest of all counts",
                shown(&other.name),
                other.percent
            ));
        }
        let shares = self.versions(&mut draft, &variants, general);
        self.place(&mut draft, &salt, general, &others, &shares);
        // The largest first, for any strategy is enough and the first rule decides.
        let mut others = others;
        others.sort_by(|a, b| b.percent.total_cmp(&a.percent));
        for (index, strategy) in others.into_iter().enumerate() {
            self.rule(&mut draft, index, strategy, general, &salt, &shares);
        }
        let sources =
            if sources.is_empty() { vec![Yaml::one("header", "x-user-id")] } else { sources };
        draft.sticky(Some(Key {
            sources: sources.into(),
            note: "The stickiness: change it to what your requests carry.".into(),
        }));
        match self.enabled() {
            Some(false) => draft.put("enabled", false, &["Was not enabled."]),
            Some(true) => draft.change("enabled true: it is enabled"),
            None => {}
        }
        draft.change(
            "the application reads the variant from the request header that each version sets",
        );
        seen.seen.into_iter().for_each(|line| draft.change(line));
        draft
    }

    /// The strategies of the feature, in it or beside it in an export.
    fn strategies(&self) -> Vec<&'a Node> {
        let mut all: Vec<&Node> = self.ledger.list(self.feature, "strategies").iter().collect();
        for strategy in self.ledger.list(self.root, "featureStrategies") {
            if strategy.get("featureName").and_then(Node::text) == Some(&self.name) {
                self.ledger.text(strategy, "featureName");
                all.push(strategy);
            }
        }
        all
    }

    fn enabled(&self) -> Option<bool> {
        let own = self.ledger.flag(self.feature, "enabled");
        let listed = self.ledger.list(self.root, "featureEnvironments").iter();
        let environments: Vec<bool> = listed
            .filter(|one| one.get("featureName").and_then(Node::text) == Some(&self.name))
            .filter_map(|one| {
                self.ledger.text(one, "featureName");
                self.ledger.flag(one, "enabled")
            })
            .collect();
        own.or_else(|| (!environments.is_empty()).then(|| environments.contains(&true)))
    }

    /// Reads a strategy; what cannot be carried over is named.
    fn strategy(
        &self,
        node: &'a Node,
        draft: &mut Draft,
        seen: &mut Attributes,
    ) -> Option<Strategy> {
        let written = Yaml::from(node).shown();
        self.ledger.all(node);
        let name = node.get("name").and_then(plain_text).unwrap_or_default();
        let field = |key: &str| node.at_keys(&["parameters", key]).and_then(plain_text);
        let mut left_out = |why: &str| {
            draft.lose(format!(
                "strategy {written} ({why}; it is left out, so that nobody gets in by it)"
            ));
        };
        if node.get("disabled").and_then(plain_text).as_deref() == Some("true") {
            left_out("it is disabled");
            return None;
        }
        let mut when: Vec<Yaml> = Vec::new();
        let mut percentage = 100.0;
        let user = vec![Yaml::one("header", "x-user-id")];
        let mut sources = user.clone();
        match name.as_str() {
            "default" => {}
            "userWithId" => {
                let ids = field("userIds").unwrap_or_default();
                let ids: Vec<Yaml> = ids
                    .split(',')
                    .map(str::trim)
                    .filter(|id| !id.is_empty())
                    .map(Yaml::from)
                    .collect();
                if ids.is_empty() {
                    left_out("it names nobody");
                    return None;
                }
                when.push(on("header", "x-user-id", Yaml::one("in", ids)));
            }
            "remoteAddress" => {
                let addresses = field("IPs").unwrap_or_default();
                let addresses: Vec<Yaml> = addresses
                    .split(',')
                    .map(str::trim)
                    .filter(|one| !one.is_empty())
                    .map(Yaml::from)
                    .collect();
                let condition = Yaml::one("address", addresses);
                if let Some(why) = condition_fault(&condition) {
                    left_out(&why);
                    return None;
                }
                when.push(condition);
            }
            "flexibleRollout"
            | "gradualRolloutUserId"
            | "gradualRolloutSessionId"
            | "gradualRolloutRandom" => {
                let written = field("rollout").or_else(|| field("percentage")).unwrap_or_default();
                match written.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number)) {
                    Some(number) => percentage = percent(number),
                    None => {
                        left_out("its percentage is no number from 0 to 100");
                        return None;
                    }
                }
                let session = Yaml::one("cookie", "session-id");
                let stickiness = field("stickiness").unwrap_or_else(|| match name.as_str() {
                    "gradualRolloutSessionId" => "sessionId".into(),
                    "gradualRolloutRandom" => "random".into(),
                    _ => "default".into(),
                });
                sources = match stickiness.as_str() {
                    "userId" => user,
                    "sessionId" => vec![session],
                    "default" | "random" => [user, vec![session]].concat(),
                    other => match seen.header(other) {
                        Some(header) => vec![Yaml::one("header", header)],
                        None => user,
                    },
                };
            }
            other => {
                left_out(&format!("strategy {} is none that a proxy can follow", shown(other)));
                return None;
            }
        }
        let asked: Option<Vec<Yaml>> = self.constraints(node).and_then(|constraints| {
            constraints.into_iter().map(|node| constraint::condition(node, seen)).collect()
        });
        let Some(asked) = asked else {
            left_out("a condition cannot ask for one of its constraints or segments");
            return None;
        };
        for condition in asked {
            let mut joined = Vec::new();
            for left in if when.is_empty() { vec![Yaml::map()] } else { when } {
                match and(&left, &condition) {
                    Some(both) => joined.push(both),
                    None => {
                        left_out("one condition cannot ask for all of it");
                        return None;
                    }
                }
            }
            when = joined;
        }
        draft.change(format!("strategy {written} is for {percentage} %"));
        Some(Strategy { when, percent: percentage, salt: field("groupId"), sources, name })
    }

    /// The constraints of a strategy and of its segments; `None` where a segment is not there.
    fn constraints(&self, strategy: &'a Node) -> Option<Vec<&'a Node>> {
        let listed =
            |holder: &'a Node, key: &str| holder.get(key).map(Node::items).unwrap_or_default();
        let mut all: Vec<&Node> = listed(strategy, "constraints").iter().collect();
        let known = self.ledger.list(self.root, "segments");
        for id in listed(strategy, "segments") {
            let id = plain_text(id).or_else(|| id.get("id").and_then(plain_text))?;
            let same =
                |segment: &&Node| segment.get("id").and_then(plain_text).as_ref() == Some(&id);
            let segment = known.iter().find(same)?;
            self.ledger.all(segment);
            all.extend(listed(segment, "constraints"));
        }
        Some(all)
    }

    /// Adds `off`, and `on` or the variants; the shares of these among those that are in.
    fn versions(
        &self,
        draft: &mut Draft,
        variants: &[&'a Node],
        general: f64,
    ) -> Vec<(String, f64)> {
        let header = format!("x-feature-{}", label(&self.name));
        let off = Version {
            weight: 100.0 - general,
            note: "The feature is off.".into(),
            headers: Some(Yaml::one(&header, "off")),
            id: String::new(),
            ..Version::default()
        };
        draft.version("off", off);
        let weights: Vec<f64> = variants
            .iter()
            .map(|variant| {
                variant
                    .get("weight")
                    .and_then(number_of)
                    .filter(|weight| *weight >= 0.0)
                    .unwrap_or(0.0)
            })
            .collect();
        let mut all = Vec::new();
        if variants.is_empty() {
            let version = Version {
                weight: general,
                headers: Some(Yaml::one(&header, "on")),
                id: "on".into(),
                ..Version::default()
            };
            all.push((draft.version("on", version), 100.0));
            return all;
        }
        for (variant, share) in variants.iter().zip(shares(&weights)) {
            self.ledger.all(variant);
            let name = variant.get("name").and_then(plain_text).unwrap_or_else(|| "variant".into());
            let value = variant
                .at_keys(&["payload", "value"])
                .and_then(plain_text)
                .unwrap_or_else(|| name.clone());
            let headers = Yaml::one(&header, value);
            let headers = headers_fault(&headers).is_none().then_some(headers);
            let version = Version {
                weight: general * share / 100.0,
                note: format!("Was variant {}.", Yaml::from(*variant).shown()),
                headers,
                id: format!("variant {name}"),
                ..Version::default()
            };
            let made = draft.version(&name, version);
            for one in variant.get("overrides").map(Node::items).unwrap_or_default() {
                draft.lose(format!(
                    "override {} of variant {} (write a rule for it)",
                    Yaml::from(one).shown(),
                    shown(&name)
                ));
            }
            all.push((made, share));
        }
        draft.change(
            "who gets which variant is decided anew: Unleash hashes a second time for that",
        );
        all
    }

    /// Sets salt and scheme.
    fn place(
        &self,
        draft: &mut Draft,
        salt: &str,
        general: f64,
        others: &[Strategy],
        shares: &[(String, f64)],
    ) {
        if !salt.is_empty() {
            draft.set_salt(salt);
        }
        let of_rules = others.iter().flat_map(|one| {
            let most = one.percent.max(general);
            shares.iter().map(move |(_, share)| most * share / 100.0)
        });
        let whole = of_rules.chain(draft.shares()).all(|share| share.fract() == 0.0);
        if whole && !salt.is_empty() {
            draft.put("hashScheme", "unleash", &["Users stay where Unleash puts them."]);
        } else {
            draft.change("users get new places: hashScheme unleash takes whole percentages only");
        }
    }

    fn rule(
        &self,
        draft: &mut Draft,
        index: usize,
        strategy: Strategy,
        general: f64,
        salt: &str,
        shares: &[(String, f64)],
    ) {
        let Strategy { when, percent: own, salt: group, name, .. } = strategy;
        if let Some(group) = group.filter(|group| group != salt) {
            draft.change(format!(
                "groupId {}: a rollout has one salt, {}",
                shown(&group),
                shown(salt)
            ));
        }
        let most = own.max(general);
        if most > own {
            draft.change(format!(
                "strategy {} is for {own} %: the {general} % of everybody count for them too",
                shown(&name)
            ));
        }
        let wanted = label(&format!("{name}-{index}"));
        let mut weights = Yaml::map();
        for (version, share) in shares {
            let before = match weights.get(version) {
                Some(Yaml::Number(before)) => *before,
                _ => 0.0,
            };
            weights = weights.set(version, percent(before + most * share / 100.0));
        }
        match shares {
            [(only, _)] if most >= 100.0 => {
                draft.rule(&wanted, when, ("version", only.as_str().into()))
            }
            _ => draft.rule(&wanted, when, ("weights", weights)),
        }
    }
}
