//! Higress traffic-tag configurations: a rollout for each header that carries a tag.

use super::super::source::tree::Node;
use super::draft::{label, percent, Draft};
use super::ledger::Ledger;
use super::yaml::Yaml;

const KEYS: [&str; 4] = ["conditionGroups", "weightGroups", "defaultTagKey", "defaultTagVal"];

/// The rollouts of a plain traffic-tag configuration, or of a Higress WasmPlugin that carries some.
pub fn drafts(node: &Node, file: &str) -> Vec<Draft> {
    let is_tags = |node: &Node| KEYS.iter().any(|key| node.get(key).is_some());
    if is_tags(node) {
        let ledger = Ledger::new(node);
        let mut drafts =
            tags(&ledger, node, &format!("a traffic-tag configuration in {file}"), &[]);
        rest(&ledger, &mut drafts);
        return drafts;
    }
    if node.get("kind").and_then(Node::text) != Some("WasmPlugin") {
        return Vec::new();
    }
    let ledger = Ledger::new(node);
    let from = format!("WasmPlugin {} in {file}", ledger.name());
    let mut drafts = Vec::new();
    let Some(spec) = ledger.get(node, "spec") else { return drafts };
    // Rules for a host come before the default, as they do in Higress.
    for rule in ledger.get(spec, "matchRules").map(Node::items).unwrap_or_default() {
        let Some(config) = rule.get("config").filter(|config| is_tags(config)) else { continue };
        ledger.get(rule, "config");
        let domains = ledger.done(rule, "domain").map(Node::items).unwrap_or_default();
        let domains: Vec<&str> = domains.iter().filter_map(Node::text).collect();
        let hosts = super::matches::hosts(&domains, None);
        let hosts: Vec<Yaml> = hosts.into_iter().map(|host| Yaml::one("host", host)).collect();
        drafts.extend(tags(&ledger, config, &from, &hosts));
    }
    for key in ["defaultConfig", "pluginConfig"] {
        if let Some(config) = spec.get(key).filter(|config| is_tags(config)) {
            ledger.get(spec, key);
            drafts.extend(tags(&ledger, config, &from, &[]));
        }
    }
    rest(&ledger, &mut drafts);
    drafts
}

fn rest(ledger: &Ledger<'_>, drafts: &mut [Draft]) {
    if let Some(draft) = drafts.last_mut() {
        draft.lose_rest(ledger, |path| match path {
            "spec.url"
            | "spec.phase"
            | "spec.priority"
            | "spec.imagePullPolicy"
            | "spec.imagePullSecret" => Some("is about the other plugin's module"),
            _ if path.ends_with(".ingress") => {
                Some("there is no condition on an Ingress: use host and path")
            }
            _ => None,
        });
    }
}

fn tags<'a>(ledger: &Ledger<'a>, config: &'a Node, from: &str, hosts: &[Yaml]) -> Vec<Draft> {
    let groups = |key| ledger.get(config, key).map(Node::items).unwrap_or_default();
    let (conditions, weights) = (groups("conditionGroups"), groups("weightGroups"));
    let default_key = ledger.text(config, "defaultTagKey");
    let default_value = ledger.text(config, "defaultTagVal");
    let mut headers: Vec<String> = Vec::new();
    for group in conditions.iter().chain(weights) {
        if let Some(header) =
            ledger.text(group, "headerName").filter(|header| !headers.contains(header))
        {
            headers.push(header);
        }
    }
    let drafts = headers.iter().map(|header| {
        let mut draft = Draft::new(from.to_owned(), header.strip_prefix("x-").unwrap_or(header));
        draft.matches = hosts.to_vec();
        let default = default_value.clone().filter(|_| default_key.as_ref() == Some(header));
        let note = if default.is_some() { "Was the default tag." } else { "Was no tag at all." };
        draft.version(default.as_deref().unwrap_or("base"), None, note);
        if default.is_none() {
            draft.change(format!("requests without a tag carry {header}: base now"));
        }
        draft.change(format!("a client that sends {header} itself does not choose by it: use overrides for that"));
        draft.change("a user stays with a version: traffic-tag draws lots for every request");
        if headers.len() > 1 {
            draft.change("each header is a rollout and decided for itself: traffic-tag takes the first group of all");
        }
        for group in weights.iter().filter(|group| group.get("headerName").map(Node::brief).as_ref() == Some(header)) {
            let value = ledger.text(group, "headerValue").unwrap_or_default();
            let weight = percent(ledger.number(group, "weight").unwrap_or(0.0).clamp(0.0, 100.0));
            if draft.versions.iter().any(|version| version.name == label(&value)) {
                draft.lose(format!("weightGroups: weight {weight} of {value} (it has a weight already, or is stable)"));
            } else {
                draft.version(&value, Some(weight), "");
            }
        }
        for (index, group) in conditions.iter().enumerate() {
            if group.get("headerName").map(Node::brief).as_ref() == Some(header) {
                rule(ledger, group, index, &mut draft);
            }
        }
        draft.sticky();
        draft.put("output", Yaml::one("routeHeader", header.to_ascii_lowercase()), &[]);
        draft
    });
    let mut drafts: Vec<Draft> = drafts.collect();
    if let Some(key) = default_key.filter(|key| !headers.contains(key)) {
        let value = default_value.unwrap_or_default();
        let lost = format!("defaultTagKey {key}: {value} (no group sets this header, so that there is nothing to split)");
        if let Some(draft) = drafts.last_mut() {
            draft.lose(lost);
        }
    }
    drafts
}

fn rule<'a>(ledger: &Ledger<'a>, group: &'a Node, index: usize, draft: &mut Draft) {
    let value = ledger.text(group, "headerValue").unwrap_or_default();
    let all = ledger.text(group, "logic").is_none_or(|logic| !logic.eq_ignore_ascii_case("or"));
    let listed = ledger.done(group, "conditions").map(Node::items).unwrap_or_default();
    let read: Result<Vec<Part>, String> = listed.iter().map(part).collect();
    let joined =
        read.and_then(|parts| if all { and(parts).map(|one| vec![one]) } else { Ok(or(parts)) });
    match joined {
        Ok(conditions) if !conditions.is_empty() => {
            let version = draft.version(&value, Some(0.0), "");
            let rule = Yaml::one("name", format!("{version}-{index}"));
            draft.rules.push(rule.with("match", conditions).with("version", version));
        }
        Ok(_) => draft.lose(format!("conditionGroups[{index}] ({value}): it has no conditions")),
        Err(why) => {
            draft.lose(format!("conditionGroups[{index}] ({value}): {why}; the rule is left out"))
        }
    }
}

/// One condition: where it looks, what it compares with, and whether it holds if that does not.
struct Part {
    place: &'static str,
    key: String,
    text: Yaml,
    not: bool,
}

impl Part {
    fn condition(self) -> Yaml {
        let plain = Yaml::one(self.place, Yaml::one(&self.key, self.text));
        if self.not {
            Yaml::one("not", plain)
        } else {
            plain
        }
    }
}

fn part(node: &Node) -> Result<Part, String> {
    let field = |key: &str| node.get(key).map(Node::brief).unwrap_or_default();
    let (kind, operator, key) = (field("conditionType"), field("operator"), field("key"));
    let values: Vec<Yaml> = node
        .get("value")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .map(|value| value.brief().into())
        .collect();
    let first = values.first().cloned().ok_or("a condition without a value")?;
    let place = match kind.as_str() {
        "header" => "header",
        "parameter" => "query",
        "cookie" => "cookie",
        other => return Err(format!("there is no condition on {other}")),
    };
    let key = if place == "header" { key.to_ascii_lowercase() } else { key };
    let (text, not) = match operator.as_str() {
        "equal" => (Yaml::one("exact", first), false),
        "not_equal" => (Yaml::one("exact", first), true),
        "prefix" => (Yaml::one("prefix", first), false),
        "regex" => (Yaml::one("regex", first), false),
        "in" => (Yaml::one("in", values), false),
        "not_in" => (Yaml::one("in", values), true),
        other => return Err(format!("there is no operator {other}")),
    };
    Ok(Part { place, key, text, not })
}

fn or(parts: Vec<Part>) -> Vec<Yaml> {
    parts.into_iter().map(Part::condition).collect()
}

/// All of them in one condition, which has each place once and one `not`.
fn and(parts: Vec<Part>) -> Result<Yaml, String> {
    let mut all = Yaml::map();
    for place in ["header", "cookie", "query"] {
        let mut map = Yaml::map();
        for part in parts.iter().filter(|part| part.place == place && !part.not) {
            if map.get(&part.key).is_some() {
                return Err(format!("two conditions on {place} {} at once", part.key));
            }
            map = map.with(&part.key, part.text.clone());
        }
        if !map.is_empty() {
            all = all.with(place, map);
        }
    }
    let mut denied = parts.into_iter().filter(|part| part.not);
    if let Some(part) = denied.next() {
        all = all.merged(&part.condition());
    }
    if denied.next().is_some() {
        Err("a condition has one not, and this has several".into())
    } else {
        Ok(all)
    }
}
