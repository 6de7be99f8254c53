//! Higress traffic-tag configurations: a rollout for each header that carries a tag.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{and, fault, hosts, not, on};
use super::draft::{Draft, Version};
use super::ledger::{number_of, plain_text, Ledger};
use super::run::{Made, Resource, Run};
use super::units::percent;

const KEYS: [&str; 4] = ["conditionGroups", "weightGroups", "defaultTagKey", "defaultTagVal"];

/// Whether a document has a traffic-tag configuration, plain or in a Higress WasmPlugin.
pub fn is_one(node: &Node) -> bool {
    is_tags(node) || !configurations(node).is_empty()
}

fn is_tags(node: &Node) -> bool {
    KEYS.iter().any(|key| node.get(key).is_some())
}

/// The configurations in a WasmPlugin, with the rule that each is for.
fn configurations(node: &Node) -> Vec<(&Node, Option<&Node>)> {
    let mut all = Vec::new();
    if node.get("kind").and_then(Node::text) != Some("WasmPlugin") {
        return all;
    }
    let Some(spec) = node.get("spec") else { return all };
    // Rules for a host come before the default, as they do in Higress.
    for rule in spec.get("matchRules").map(Node::items).unwrap_or_default() {
        all.extend(
            rule.get("config").filter(|config| is_tags(config)).map(|config| (config, Some(rule))),
        );
    }
    for key in ["defaultConfig", "pluginConfig"] {
        all.extend(spec.get(key).filter(|config| is_tags(config)).map(|config| (config, None)));
    }
    all
}

/// The rollouts of a document.
pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let (ledger, node) = (&resource.ledger, resource.node);
    let mut drafts = Vec::new();
    if is_tags(node) {
        let from = format!("a traffic-tag configuration in {}", shown(resource.file));
        drafts = tags(run, ledger, node, &from, &[]);
    }
    if let Some(spec) = node.get("spec") {
        for key in ["matchRules", "defaultConfig", "pluginConfig"] {
            ledger.list(spec, key);
        }
    }
    resource.spec();
    for (config, rule) in configurations(node) {
        let mut conditions = Vec::new();
        if let Some(rule) = rule {
            ledger.get(rule, "config");
            let domains = hosts(&ledger.texts(rule, "domain"), None);
            conditions.extend(domains.into_iter().map(|host| Yaml::one("host", host)));
        }
        drafts.extend(tags(run, ledger, config, &resource.from(), &conditions));
    }
    if let Some(draft) = drafts.last_mut() {
        draft.change("the routes are those that ask for the tags already");
    }
    rest(ledger, &mut drafts);
    Made { drafts, routes: Vec::new() }
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

fn tags<'a>(
    run: &Run<'_>,
    ledger: &Ledger<'a>,
    config: &'a Node,
    from: &str,
    hosts: &[Yaml],
) -> Vec<Draft> {
    let (conditions, weights) =
        (ledger.list(config, "conditionGroups"), ledger.list(config, "weightGroups"));
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
    let mut drafts = Vec::new();
    for header in &headers {
        let mut draft =
            Draft::new(run, from.to_owned(), header.strip_prefix("x-").unwrap_or(header));
        draft.scope(hosts.to_vec(), "");
        let default = default_value.clone().filter(|_| default_key.as_ref() == Some(header));
        let note = if default.is_some() { "Was the default tag." } else { "Was no tag at all." };
        let tag = default.clone().unwrap_or_else(|| "base".into());
        let stable = Version { note: note.into(), id: tag.clone(), ..Version::default() };
        let stable = draft.version(&tag, stable);
        if default.is_none() {
            draft.change(format!("requests without a tag carry {}: {stable} now", shown(header)));
        }
        draft.change(format!(
            "a client that sends {} itself does not choose by it: use overrides for that",
            shown(header)
        ));
        draft.change("a user keeps a version: traffic-tag chooses anew for each request");
        if headers.len() > 1 {
            draft.change("each header is a rollout and decided for itself: traffic-tag takes the first group of all");
        }
        let own =
            |group: &&Node| group.get("headerName").and_then(plain_text).as_ref() == Some(header);
        let mut sum = 0.0;
        for group in weights.iter().filter(own) {
            sum += weight(ledger, group, &tag, &mut draft);
        }
        if let Some(first) = draft.versions.first_mut() {
            first.weight = f64::max(100.0 - sum, 0.0);
        }
        for (index, group) in conditions.iter().enumerate().filter(|(_, group)| own(group)) {
            rule(ledger, group, index, &mut draft);
        }
        draft.sticky(None);
        draft.put("output", Yaml::one("routeHeader", header.as_str()), &[]);
        drafts.push(draft);
    }
    if let Some(key) = default_key.filter(|key| !headers.contains(key)) {
        let value = default_value.unwrap_or_default();
        if let Some(draft) = drafts.last_mut() {
            draft.lose(format!(
                "defaultTagKey {}: {} (no group sets this header, so that there is nothing to split)",
                shown(&key),
                shown(&value)
            ));
        }
    }
    drafts
}

/// Adds the version of a group with a weight; its weight.
fn weight<'a>(ledger: &Ledger<'a>, group: &'a Node, tag: &str, draft: &mut Draft) -> f64 {
    let value = ledger.text(group, "headerValue").unwrap_or_default();
    let written = Yaml::from(group).shown();
    ledger.all(group);
    let number = group.get("weight").and_then(number_of).map(percent);
    let Some(weight) = number.filter(|weight| (0.0..=100.0).contains(weight)) else {
        draft.lose(format!("weightGroups: {written} (its weight is no percentage; it is 0 here)"));
        draft.version(&value, Version { id: value.clone(), ..Version::default() });
        return 0.0;
    };
    if value == tag || draft.versions.iter().any(|version| version.id == value) {
        draft.lose(format!("weightGroups: {written} (it has a weight already, or is stable)"));
        return 0.0;
    }
    draft.version(&value, Version { weight, id: value.clone(), ..Version::default() });
    weight
}

fn rule<'a>(ledger: &Ledger<'a>, group: &'a Node, index: usize, draft: &mut Draft) {
    let value = ledger.text(group, "headerValue").unwrap_or_default();
    let all = group
        .get("logic")
        .and_then(plain_text)
        .is_none_or(|logic| !logic.eq_ignore_ascii_case("or"));
    ledger.all(group);
    let listed = group.get("conditions").map(Node::items).unwrap_or_default();
    let read: Result<Vec<Yaml>, String> = listed.iter().map(part).collect();
    let joined = read.and_then(|parts| if all { together(&parts) } else { Ok(parts) });
    let left_out = |why: &str| {
        format!(
            "conditionGroups[{index}]: {} ({why}; the rule is left out)",
            Yaml::from(group).shown()
        )
    };
    match joined {
        Ok(conditions) if !conditions.is_empty() => {
            let version =
                draft.version(&value, Version { id: value.clone(), ..Version::default() });
            draft.rule(
                &format!("{version}-{index}"),
                conditions,
                ("version", version.as_str().into()),
            );
        }
        Ok(_) => draft.lose(left_out("it has no conditions")),
        Err(why) => draft.lose(left_out(&why)),
    }
}

/// All of the conditions in one.
fn together(parts: &[Yaml]) -> Result<Vec<Yaml>, String> {
    let mut all = Yaml::map();
    for part in parts {
        all = and(&all, part).ok_or("one condition cannot ask for all of it")?;
    }
    Ok(if all.is_empty() { Vec::new() } else { vec![all] })
}

/// One condition of a group.
fn part(node: &Node) -> Result<Yaml, String> {
    let field = |key: &str| node.get(key).and_then(plain_text).unwrap_or_default();
    let (kind, operator, key) = (field("conditionType"), field("operator"), field("key"));
    let values: Vec<Yaml> = node
        .get("value")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(plain_text)
        .map(Yaml::from)
        .collect();
    let first = values.first().cloned().ok_or("a condition without a value")?;
    if values.len() > 1 && !operator.ends_with("in") {
        return Err(format!("operator {} takes one value", shown(&operator)));
    }
    let place = match kind.as_str() {
        "header" => "header",
        "parameter" => "query",
        "cookie" => "cookie",
        other => return Err(format!("there is no condition on {}", shown(other))),
    };
    let (text, negated) = match operator.as_str() {
        "equal" => (Yaml::one("exact", first), false),
        "not_equal" => (Yaml::one("exact", first), true),
        "prefix" => (Yaml::one("prefix", first), false),
        "regex" => (Yaml::one("regex", first), false),
        "in" => (Yaml::one("in", values), false),
        "not_in" => (Yaml::one("in", values), true),
        other => return Err(format!("there is no operator {}", shown(other))),
    };
    let condition = on(place, &key, text);
    let condition = if negated { not(&condition) } else { condition };
    match fault("match", &Yaml::List(vec![condition.clone()])) {
        Some(why) => Err(why),
        None => Ok(condition),
    }
}
