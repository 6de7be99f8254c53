//! Conditions of Istio (`HTTPMatchRequest`), which Flagger uses too, and of the Gateway API.

use super::super::source::tree::Node;
use super::super::yaml::Yaml;
use super::condition::{and, condition_fault, not, on, segment_regex};
use super::ledger::Ledger;
use crate::http::pattern::compile;

/// A condition of a source as ours.
pub struct Read {
    /// As much of it as can be asked for; an empty object is every request.
    pub condition: Yaml,
    /// The keys that cannot be asked for.
    pub lost: Vec<String>,
}

impl Read {
    /// The condition, if it is the whole one.
    pub fn whole(&self) -> Option<&Yaml> {
        self.lost.is_empty().then_some(&self.condition)
    }

    /// Joins a part, or notes it as lost.
    pub fn join(&mut self, key: &str, part: Option<Yaml>) {
        let good = part.filter(|part| condition_fault(part).is_none());
        match good.and_then(|part| and(&self.condition, &part)) {
            Some(both) => self.condition = both,
            None => self.lost.push(key.to_owned()),
        }
    }
}

/// An expression over a whole value as ours, which match anywhere in it.
pub fn whole_regex(regex: &str) -> Option<Yaml> {
    let whole = format!("^(?:{regex})$");
    compile(&whole, false).is_ok().then(|| Yaml::one("regex", whole))
}

/// A `StringMatch`: one of `exact`, `prefix`, `regex`.
pub fn text<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Option<Yaml> {
    if node.members().len() != 1 {
        return None;
    }
    ledger.all(node);
    for key in ["exact", "prefix", "suffix"] {
        if let Some(text) = ledger.text(node, key) {
            return Some(Yaml::one(key, text));
        }
    }
    match ledger.text(node, "regex")?.as_str() {
        ".*" | ".+" => Some(Yaml::one("present", true)),
        regex => whole_regex(regex),
    }
}

/// One `HTTPMatchRequest` of Istio, all of whose keys count as read: who leaves a condition out names it.
pub fn istio<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Read {
    let mut read = Read { condition: Yaml::map(), lost: Vec::new() };
    let fold = ledger.flag(node, "ignoreUriCase") == Some(true);
    ledger.all(node);
    for member in node.members() {
        let key = member.key.as_str();
        let value = &member.value;
        match key {
            "name" | "ignoreUriCase" => {}
            "uri" => {
                let path = text(ledger, value);
                let path = path.map(|path| if fold { path.with("ignoreCase", true) } else { path });
                read.join(key, path.map(|path| Yaml::one("path", path)));
            }
            "authority" => read.join(key, text(ledger, value).map(|host| Yaml::one("host", host))),
            "method" => read.join(key, method(value.get("exact"))),
            "headers" | "queryParams" => {
                let place = if key == "headers" { "header" } else { "query" };
                for named in value.members() {
                    let part = header(ledger, place, &named.key, &named.value);
                    read.join(&format!("{key}.{}", named.key), part);
                }
            }
            "withoutHeaders" => {
                for named in value.members() {
                    let part = header(ledger, "header", &named.key, &named.value);
                    read.join(&format!("{key}.{}", named.key), part.map(|part| not(&part)));
                }
            }
            _ => read.lost.push(key.to_owned()),
        }
    }
    read
}

pub fn method(exact: Option<&Node>) -> Option<Yaml> {
    let name = exact?.text()?;
    Some(Yaml::one("method", vec![Yaml::text(name)]))
}

/// A condition of Istio on a header or a query parameter; an empty one asks that it is there.
fn header<'a>(ledger: &Ledger<'a>, place: &str, name: &str, value: &'a Node) -> Option<Yaml> {
    // `:authority` and its like are parts of the request here.
    if name.starts_with(':') {
        let text = text(ledger, value)?;
        return match name {
            ":authority" => Some(Yaml::one("host", text)),
            ":path" => None,
            ":method" => method(value.get("exact")),
            _ => None,
        };
    }
    let regex = value.get("regex").and_then(Node::text);
    if let Some((cookie, wanted)) =
        regex.and_then(cookie_of).filter(|_| name.eq_ignore_ascii_case("cookie"))
    {
        return Some(on("cookie", &cookie, Yaml::one("exact", wanted)));
    }
    let there = value.members().is_empty().then(|| Yaml::one("present", true));
    Some(on(place, name, there.or_else(|| text(ledger, value))?))
}

/// A match of an HTTPRoute, all of whose keys count as read.
pub fn gateway<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Read {
    let mut read = Read { condition: Yaml::map(), lost: Vec::new() };
    ledger.all(node);
    for member in node.members() {
        let value = &member.value;
        match member.key.as_str() {
            "path" => {
                if let Some(path) = gateway_path(value) {
                    if !path.is_empty() {
                        read.join("path", Some(path));
                    }
                } else {
                    read.lost.push("path".to_owned());
                }
            }
            "method" => read.join("method", method(Some(value))),
            key @ ("headers" | "queryParams") => {
                let place = if key == "headers" { "header" } else { "query" };
                for item in value.items() {
                    let name = item.get("name").and_then(Node::text).unwrap_or_default();
                    let wanted = item.get("value").map(Node::brief).unwrap_or_default();
                    let kind = item.get("type").and_then(Node::text).unwrap_or("Exact");
                    let text = match kind {
                        "Exact" => Some(Yaml::one("exact", wanted)),
                        "RegularExpression" => whole_regex(&wanted),
                        _ => None,
                    };
                    read.join(&format!("{key}.{name}"), text.map(|text| on(place, name, text)));
                }
            }
            key => read.lost.push(key.to_owned()),
        }
    }
    read
}

/// A path of an HTTPRoute; an empty condition is every path. A prefix is by whole segments.
fn gateway_path(node: &Node) -> Option<Yaml> {
    let value = node.get("value").and_then(Node::text).unwrap_or("/");
    match node.get("type").and_then(Node::text).unwrap_or("PathPrefix") {
        "Exact" => Some(Yaml::one("path", Yaml::one("exact", value))),
        "PathPrefix" => match segment_regex(value) {
            Some(path) => Some(Yaml::one("path", path)),
            None => Some(Yaml::map()),
        },
        "RegularExpression" => Some(Yaml::one("path", whole_regex(value)?)),
        _ => None,
    }
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
