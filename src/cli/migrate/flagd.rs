//! Flag definitions of flagd: variants as versions, targeting as rules, `fractional` as weights in the
//! places that flagd gives.

use super::super::source::tree::{Data, Node};
use super::super::yaml::{shown, Yaml};
use super::condition::headers_fault;
use super::draft::{Draft, Version};
use super::json_logic::{conditions, operator, variable, weight, Attributes};
use super::ledger::{plain_text, Ledger};
use super::run::{Key, Made, Resource, Run};
use super::units::{label, shares};

/// Whether a document holds flags of flagd, alone or in a FeatureFlag resource of its operator.
pub fn is_one(node: &Node) -> bool {
    holder(node).is_some()
}

/// What holds the flags.
fn holder(node: &Node) -> Option<&Node> {
    [Some(node), node.at_keys(&["spec", "flagSpec"]), node.get("spec")].into_iter().flatten().find(
        |holder| {
            let flags = holder.get("flags").map(Node::members).unwrap_or_default();
            flags.iter().any(|flag| flag.value.get("variants").is_some())
        },
    )
}

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(holder) = holder(resource.node) else { return Made::default() };
    for keys in [&["spec"][..], &["spec", "flagSpec"]] {
        ledger.at(resource.node, keys);
    }
    let shared = ledger.done(holder, "$evaluators");
    let mut drafts = Vec::new();
    for member in ledger.get(holder, "flags").map(Node::members).unwrap_or_default() {
        ledger.get(ledger.get(holder, "flags").unwrap_or(holder), &member.key);
        let flag = Flag { ledger, name: &member.key, node: &member.value, shared };
        drafts.push(flag.draft(run, &shown(resource.file)));
    }
    if let Some(draft) = drafts.last_mut() {
        draft.lose_rest(ledger, |_| None);
        if let Some(shared) = shared {
            draft.change(format!(
                "$evaluators {} stand in each rule that names them",
                Yaml::from(shared).shown()
            ));
        }
    }
    Made { drafts, routes: Vec::new() }
}

/// A flag, and what it refers to.
struct Flag<'r, 'a> {
    ledger: &'r Ledger<'a>,
    name: &'a str,
    node: &'a Node,
    shared: Option<&'a Node>,
}

/// What a `fractional` divides: the salt, where the key is read, and the weights by variant.
#[derive(Clone)]
struct Fraction {
    /// What stands before the key; empty is nothing.
    salt: String,
    attribute: String,
    weights: Vec<(String, f64)>,
}

impl<'a> Flag<'_, 'a> {
    fn draft(&self, run: &Run<'_>, from: &str) -> Draft {
        let mut draft = Draft::new(run, format!("flag {} of {from}", shown(self.name)), self.name);
        let mut seen = Attributes::default();
        let state = self.ledger.text(self.node, "state");
        let default = self.ledger.text(self.node, "defaultVariant");
        let targeting = self.ledger.done(self.node, "targeting");
        let variants =
            self.ledger.done(self.node, "variants").map(Node::members).unwrap_or_default();
        let (rules, rest) = targeting.map_or((Vec::new(), None), |targeting| self.flow(targeting));
        let fraction = rest.and_then(|rest| self.fraction(rest));
        // Where only rules divide, the first of them says who stands where.
        let by_rule = || rules.iter().find_map(|(_, then)| self.fraction(then));
        let placing = fraction.clone().or_else(by_rule);
        self.versions(
            &mut draft,
            variants,
            default.as_deref(),
            rest,
            (fraction.as_ref(), placing.as_ref()),
        );
        let exact = self.place(&mut draft, placing.as_ref());
        for (index, (when, then)) in rules.iter().enumerate() {
            self.rule(&mut draft, index, when, then, placing.as_ref().filter(|_| exact), &mut seen);
        }
        if let Some(rest) = rest.filter(|rest| fraction.is_none() && self.variant(rest).is_none()) {
            if !matches!(rest.data, Data::Null) {
                draft.lose(format!(
                    "targeting: {} (it is no variant and no fractional; the default holds)",
                    Yaml::from(rest).shown()
                ));
            }
        }
        let attribute = placing.as_ref().map_or("targetingKey", |fraction| &fraction.attribute);
        let header = seen.header(attribute).unwrap_or_else(|| "x-user-id".into());
        let note = "The targeting key: change it to what your requests carry.".to_owned();
        draft.sticky(Some(Key { sources: vec![Yaml::one("header", header)].into(), note }));
        match state.as_deref() {
            Some("DISABLED") => {
                draft.put("enabled", false, &["Was state DISABLED."]);
            }
            Some(other) if other != "ENABLED" => draft.lose(format!("state: {}", shown(other))),
            Some(state) => draft.change(format!("state {state}: it is enabled")),
            None => {}
        }
        draft.change(
            "the application reads the variant from the request header that each version sets",
        );
        seen.seen.into_iter().for_each(|line| draft.change(line));
        draft
    }

    /// The `if` chain of a targeting: conditions and what follows from them, and what is left.
    fn flow(&self, node: &'a Node) -> (Vec<(&'a Node, &'a Node)>, Option<&'a Node>) {
        let Some(("if", chain)) = operator(node) else {
            return (Vec::new(), Some(node).filter(|node| !node.members().is_empty()));
        };
        let items = chain.items();
        let pairs = items.chunks(2).filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
        let mut rules: Vec<(&Node, &Node)> = pairs.collect();
        let rest = if items.len() % 2 == 1 { items.last() } else { None };
        match rest.map(|rest| self.flow(rest)) {
            Some((more, rest)) => {
                rules.extend(more);
                (rules, rest)
            }
            None => (rules, None),
        }
    }

    /// The variant that an outcome names: a text, or a boolean for the variants `true` and `false`.
    fn variant(&self, node: &Node) -> Option<String> {
        if node.is_container() || matches!(node.data, Data::Null) {
            return None;
        }
        let name = plain_text(node)?;
        self.node.get("variants")?.get(&name).map(|_| name)
    }

    fn fraction(&self, node: &Node) -> Option<Fraction> {
        let (_, arguments) = operator(node).filter(|(name, _)| *name == "fractional")?;
        let items = arguments.items();
        let first = items.first()?;
        let by_key = matches!(first.data, Data::List(_));
        let (salt, attribute) = if by_key {
            (self.name.to_owned(), "targetingKey".to_owned())
        } else {
            self.bucket_by(first)?
        };
        let listed = if by_key { items } else { items.get(1..).unwrap_or_default() };
        let weights: Option<Vec<(String, f64)>> = listed
            .iter()
            .map(|pair| {
                let name = self.variant(pair.items().first()?)?;
                Some((name, weight(pair.items().get(1))?))
            })
            .collect();
        Some(Fraction { salt, attribute, weights: weights.filter(|weights| !weights.is_empty())? })
    }

    /// What a `fractional` hashes: a text that is the same for all, and then an attribute.
    fn bucket_by(&self, node: &Node) -> Option<(String, String)> {
        if let Some(name) = variable(node) {
            return Some((String::new(), name.to_owned()));
        }
        let (_, parts) = operator(node).filter(|(name, _)| *name == "cat")?;
        let (last, before) = parts.items().split_last()?;
        let mut salt = String::new();
        for part in before {
            match variable(part) {
                Some("$flagd.flagKey") => salt.push_str(self.name),
                Some(_) => return None,
                None => salt.push_str(part.text()?),
            }
        }
        Some((salt, variable(last)?.to_owned()))
    }

    /// Adds the variants as versions: those that are divided in their order, then the others.
    fn versions(
        &self,
        draft: &mut Draft,
        variants: &[super::super::source::tree::Member],
        default: Option<&str>,
        rest: Option<&Node>,
        (fraction, placing): (Option<&Fraction>, Option<&Fraction>),
    ) {
        let divided = fraction.map_or(&[][..], |fraction| &fraction.weights);
        let placed = placing.map_or(&[][..], |placing| &placing.weights);
        let fallback = rest.and_then(|rest| self.variant(rest)).or(default.map(str::to_owned));
        let order = placed.iter().map(|(name, _)| name.as_str());
        let all = order.chain(variants.iter().map(|variant| variant.key.as_str()));
        for name in all {
            let weight: f64 =
                divided.iter().filter(|(other, _)| other == name).map(|(_, weight)| weight).sum();
            let only = divided.is_empty() && fallback.as_deref() == Some(name);
            let weight = if only { 1.0 } else { weight };
            let value =
                variants.iter().find(|variant| variant.key == name).map(|variant| &variant.value);
            let value = value.map_or(Yaml::Null, Yaml::from);
            let mut note = format!("Was variant {}: {}", shown(name), value.shown());
            if fraction.is_some() {
                note += &format!(", weight {weight}");
            }
            let text = match &value {
                Yaml::Text(text) => text.clone(),
                other => other.json().to_string(),
            };
            let header = format!("x-feature-{}", label(self.name));
            let headers = Yaml::one(&header, text);
            let headers = match headers_fault(&headers) {
                None => Some(headers),
                Some(why) => {
                    let headers = headers.shown();
                    if !draft.versions.iter().any(|version| version.id == name) {
                        draft.lose(format!("requestHeaders {headers} ({why})"));
                    }
                    None
                }
            };
            let id = name.to_owned();
            draft.version(
                name,
                Version { weight, note: note + ".", headers, id, ..Version::default() },
            );
        }
        let stable = default.or(fallback.as_deref());
        let stable = draft.versions.iter().position(|version| {
            stable == Some(version.id.as_str()) && (divided.is_empty() || version.weight > 0.0)
        });
        match stable {
            Some(position) => draft.stable = position,
            None => draft.largest_is_stable(),
        }
        if let Some(default) = default {
            if draft.versions.get(draft.stable).is_some_and(|version| version.id != default) {
                draft.change(format!(
                    "the default variant {} gets nobody: who has no key gets {}",
                    shown(default),
                    draft.stable_name()
                ));
            }
        }
    }

    /// Sets salt and scheme; whether users keep the places that flagd gives them.
    fn place(&self, draft: &mut Draft, fraction: Option<&Fraction>) -> bool {
        let Some(fraction) = fraction else { return false };
        let weights: Vec<f64> = fraction.weights.iter().map(|(_, weight)| *weight).collect();
        let whole = shares(&weights).iter().all(|share| share.fract() == 0.0);
        if whole && !fraction.salt.is_empty() {
            draft.set_salt(&fraction.salt);
            draft.put("hashScheme", "flagd", &["Users stay where flagd 0.15 or later puts them."]);
            return true;
        }
        if !fraction.salt.is_empty() {
            draft.set_salt(&fraction.salt);
        }
        let why = if whole {
            "flagd hashes the key alone"
        } else {
            "the weights are no whole percentages"
        };
        draft.change(format!("users get new places: {why}, which hashScheme flagd cannot do"));
        false
    }

    fn rule(
        &self,
        draft: &mut Draft,
        index: usize,
        when: &Node,
        then: &Node,
        same: Option<&Fraction>,
        seen: &mut Attributes,
    ) {
        let place = format!("targeting, condition {index}");
        let name = format!("targeting-{index}");
        let outcome = if matches!(then.data, Data::Null) {
            // A flag without variants has no default either.
            (!draft.versions.is_empty()).then(|| ("version", draft.stable_name().into()))
        } else if let Some(variant) = self.variant(then) {
            let version = draft.versions.iter().find(|version| version.id == variant);
            version.map(|version| ("version", version.name.as_str().into()))
        } else {
            self.fraction(then).and_then(|own| self.weights(draft, &own, same))
        };
        let written = || format!("{} then {}", Yaml::from(when).shown(), Yaml::from(then).shown());
        match (conditions(when, self.shared, seen), outcome) {
            (Ok(conditions), Some(choice)) => {
                draft.rule(&name, conditions, choice);
                if matches!(then.data, Data::Null) {
                    draft.change(format!("{place}: null is the default variant"));
                }
            }
            (Err(lost), _) => draft.lose(format!("{place}: {} (a condition cannot ask for {lost}; the rule is left out)", written())),
            (Ok(_), None) => draft.lose(format!("{place}: {} (the outcome is no variant and no fractional that fits; the rule is left out)", written())),
        }
    }

    /// The weights of a rule that divides.
    fn weights(
        &self,
        draft: &mut Draft,
        own: &Fraction,
        same: Option<&Fraction>,
    ) -> Option<(&'static str, Yaml)> {
        let weights: Vec<f64> = own.weights.iter().map(|(_, weight)| *weight).collect();
        let shares = shares(&weights);
        if same.is_some_and(|same| same.salt != own.salt || same.attribute != own.attribute)
            || same.is_some() && shares.iter().any(|share| share.fract() != 0.0)
        {
            return None;
        }
        if own.attribute != "targetingKey" && same.is_none() {
            return None;
        }
        let mut map = Yaml::map();
        for ((name, _), share) in own.weights.iter().zip(shares) {
            let version = draft.versions.iter().position(|version| version.id == *name)?;
            let version_name = draft.versions.get(version)?.name.clone();
            if version != draft.stable {
                map = map.set(&version_name, share);
            }
        }
        let said: Vec<String> =
            own.weights.iter().map(|(name, weight)| format!("{} {weight}", shown(name))).collect();
        draft.change(format!("a rule divides {}", said.join(", ")));
        if map.is_empty() {
            return Some(("version", draft.stable_name().into()));
        }
        Some(("weights", map))
    }
}
