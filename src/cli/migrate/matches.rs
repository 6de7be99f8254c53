//! Conditions of Istio (`HTTPMatchRequest`), which Flagger uses too, as ours.

use super::super::source::tree::{Data, Node};
use super::draft::Draft;
use super::ledger::Ledger;
use super::yaml::Yaml;
use crate::http::pattern::compile;

/// A `StringMatch`: one of `exact`, `prefix`, `regex`.
pub fn text<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Option<Yaml> {
    for key in ["exact", "prefix", "suffix"] {
        if let Some(text) = ledger.text(node, key) {
            return Some(Yaml::one(key, text));
        }
    }
    let regex = node.get("regex").and_then(Node::text)?;
    // Istio's expressions match a whole value, ours match anywhere in it.
    let whole = format!("^(?:{regex})$");
    let text = match regex {
        ".*" | ".+" => Yaml::one("present", true),
        _ if compile(&whole, false).is_ok() => Yaml::one("regex", whole),
        _ => return None,
    };
    ledger.get(node, "regex");
    Some(text)
}

/// One `HTTPMatchRequest` as a condition. What of it has no counterpart stays in the ledger, so that it
/// is named; `None` if nothing of it is left.
pub fn condition<'a>(ledger: &Ledger<'a>, node: &'a Node, draft: &mut Draft) -> Option<Yaml> {
    let mut condition = Yaml::map();
    let ignore_case = ledger
        .done(node, "ignoreUriCase")
        .is_some_and(|node| matches!(node.data, Data::Bool(true)));
    if let Some(path) = part(ledger, node, "uri") {
        let path = if ignore_case { path.with("ignoreCase", true) } else { path };
        condition = condition.with("path", path);
    }
    if let Some(host) = part(ledger, node, "authority") {
        condition = condition.with("host", host);
    }
    if let Some(method) = node.at_keys(&["method", "exact"]).and_then(Node::text) {
        ledger.done(node, "method");
        condition = condition.with("method", vec![Yaml::text(method)]);
    }
    let (mut headers, mut cookies) = (Yaml::map(), Yaml::map());
    for (name, value) in named(ledger, node, "headers") {
        let cookie = value.get("regex").and_then(Node::text).and_then(cookie_of);
        match (cookie, name.eq_ignore_ascii_case("cookie")) {
            (Some((cookie, wanted)), true) => {
                ledger.done(value, "regex");
                cookies = cookies.with(&cookie, Yaml::one("exact", wanted));
            }
            _ => {
                let present = value.members().is_empty().then(|| Yaml::one("present", true));
                if let Some(text) = present.or_else(|| text(ledger, value)) {
                    headers = headers.with(&name.to_ascii_lowercase(), text);
                }
            }
        }
    }
    let mut without = Yaml::map();
    for (name, value) in named(ledger, node, "withoutHeaders") {
        let present = value.members().is_empty().then(|| Yaml::one("present", true));
        if let Some(text) = present.or_else(|| text(ledger, value)) {
            if without.is_empty() {
                without = without.with(&name.to_ascii_lowercase(), text);
            } else {
                draft.lose(format!(
                    "withoutHeaders {name}: a condition has one not; the condition is wider now"
                ));
            }
        }
    }
    let mut query = Yaml::map();
    for (name, value) in named(ledger, node, "queryParams") {
        if let Some(text) = text(ledger, value) {
            query = query.with(name, text);
        }
    }
    for (key, map) in [("header", headers), ("cookie", cookies), ("query", query)] {
        if !map.is_empty() {
            condition = condition.with(key, map);
        }
    }
    if !without.is_empty() {
        condition = condition.with("not", Yaml::one("header", without));
    }
    ledger.done(node, "name");
    (!condition.is_empty()).then_some(condition)
}

fn part<'a>(ledger: &Ledger<'a>, node: &'a Node, key: &str) -> Option<Yaml> {
    let text = text(ledger, node.get(key)?)?;
    ledger.get(node, key);
    Some(text)
}

fn named<'a>(ledger: &Ledger<'a>, node: &'a Node, key: &str) -> Vec<(&'a str, &'a Node)> {
    let Some(map) = ledger.get(node, key) else { return Vec::new() };
    let pairs = map.members().iter().map(|member| (member.key.as_str(), &member.value));
    pairs.filter(|(name, _)| ledger.get(map, name).is_some()).collect()
}

/// The cookie that an expression over the whole `cookie` header asks for, in the form that Istio's and
/// Flagger's documents teach: `^(.*?;)?(NAME=VALUE)(;.*)?$`.
fn cookie_of(regex: &str) -> Option<(String, String)> {
    let inner = regex.strip_prefix("^(.*?;)?")?.strip_suffix("(;.*)?$")?;
    let inner = inner.strip_prefix("(\\s*)?").or(inner.strip_prefix("\\s*")).unwrap_or(inner);
    let pair = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    let (name, value) = pair.split_once('=')?;
    let plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (plain(name) && plain(value)).then(|| (name.to_owned(), value.to_owned()))
}

/// Conditions on the host for names as a VirtualService or an Ingress has them; none is every host.
pub fn hosts(names: &[&str], namespace: Option<&str>) -> Vec<Yaml> {
    let mut exact = Vec::new();
    let mut others = Vec::new();
    for name in names {
        if *name == "*" {
            return Vec::new();
        }
        match name.strip_prefix('*') {
            Some(suffix) => others.push(Yaml::one("suffix", suffix)),
            None => {
                exact.push(Yaml::text(*name));
                // A name without a dot is a service of the mesh, which callers may write out.
                if !name.contains('.') {
                    let namespace = namespace.unwrap_or("default");
                    for tail in ["", ".svc", ".svc.cluster.local"] {
                        exact.push(format!("{name}.{namespace}{tail}").into());
                    }
                }
            }
        }
    }
    match exact.as_slice() {
        [] => {}
        [only] => others.insert(0, Yaml::one("exact", only.clone())),
        _ => others.insert(0, Yaml::one("in", exact)),
    }
    others
}

/// Every condition on a host together with every other condition.
pub fn crossed(hosts: &[Yaml], conditions: &[Yaml]) -> Vec<Yaml> {
    match (hosts, conditions) {
        ([], conditions) => conditions.to_vec(),
        (hosts, []) => hosts.iter().map(|host| Yaml::one("host", host.clone())).collect(),
        (hosts, conditions) => hosts
            .iter()
            .flat_map(|host| {
                // A condition with an authority of its own keeps that.
                conditions.iter().map(|condition| match condition.get("host") {
                    Some(_) => condition.clone(),
                    None => Yaml::one("host", host.clone()).merged(condition),
                })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_recognised_in_the_taught_expression_and_nowhere_else() {
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(cookie_of("^(.*?;)?(canary=always)(;.*)?$"), pair("canary", "always"));
        assert_eq!(cookie_of("^(.*?;)?(\\s*)?(user=test)(;.*)?$"), pair("user", "test"));
        for other in [".*canary=always.*", "^(.*?;)?(type=.+)(;.*)?$", ""] {
            assert_eq!(cookie_of(other), None, "{other}");
        }
    }
}
