//! Constraints of Unleash's strategies and segments.

use super::super::super::source::tree::Node;
use super::super::super::yaml::Yaml;
use super::super::condition::{condition_fault, not, on};
use super::super::json_logic::{semver, Attributes};
use super::super::ledger::plain_text;

/// A constraint as a condition.
pub fn condition(node: &Node, seen: &mut Attributes) -> Option<Yaml> {
    let field = |key: &str| node.get(key).and_then(plain_text);
    let yes = |key: &str| field(key).as_deref() == Some("true");
    let attribute = field("contextName")?;
    let values: Vec<Yaml> = node
        .get("values")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(plain_text)
        .map(Yaml::from)
        .collect();
    let value = field("value").unwrap_or_default();
    let operator = field("operator")?;
    let (text, negated) = match (operator.as_str(), values.as_slice()) {
        ("IN" | "NOT_IN", [_, ..]) => (Yaml::one("in", values), operator == "NOT_IN"),
        ("STR_STARTS_WITH", [only]) => (Yaml::one("prefix", only.clone()), false),
        ("STR_ENDS_WITH", [only]) => (Yaml::one("suffix", only.clone()), false),
        ("STR_CONTAINS", [only]) => (Yaml::one("contains", only.clone()), false),
        ("SEMVER_EQ", _) => (Yaml::one("semver", semver("=", &value)?), false),
        ("SEMVER_GT", _) => (Yaml::one("semver", semver(">", &value)?), false),
        ("SEMVER_LT", _) => (Yaml::one("semver", semver("<", &value)?), false),
        _ => return None,
    };
    let text = if yes("caseInsensitive") { text.with("ignoreCase", true) } else { text };
    let condition = match attribute.as_str() {
        "userId" => on("header", "x-user-id", text),
        "sessionId" => on("cookie", "session-id", text),
        "remoteAddress" => Yaml::one("address", text.get("in")?.clone()),
        other => on("header", &seen.header(other)?, text),
    };
    let condition = if negated != yes("inverted") { not(&condition) } else { condition };
    condition_fault(&condition).is_none().then_some(condition)
}
