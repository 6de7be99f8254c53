//! Conditions: `$.rollouts[].match[]`, `$.rollouts[].rules[].match[]`, `$.segments.*[]`.

use crate::http::{HeaderName, Network, Pattern};

use super::pattern::{self, PATTERN};
use super::text::{networks, CONDITION_HEADER, COOKIE_NAME, METHOD, NETWORKS, QUERY_NAME};
use crate::document::node::{stated, Node, Problems};
use crate::document::shape::{shape, Kind};
use crate::document::value::Value;

/// What a request must be like: all the parts that are stated hold.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// The `:authority`, in lower case and without its port. Exact patterns are in lower case, and the
    /// others ignore case: host names have none.
    pub host: Option<Pattern>,
    /// The path without the query string.
    pub path: Option<Pattern>,
    /// Any of these methods; empty is any method.
    pub method: Vec<String>,
    /// The first line of each header.
    pub headers: Vec<(HeaderName, Pattern)>,
    /// The first cookie of each exact name.
    pub cookies: Vec<(String, Pattern)>,
    /// The first query parameter of each exact name, as it stands.
    pub query: Vec<(String, Pattern)>,
    /// The client's address is in one of these; `None` is any address.
    pub address: Option<Vec<Network>>,
    /// This does not hold.
    pub not: Option<Box<Condition>>,
}

const COMPARISON: Kind = Kind::Object(&PATTERN);

/// Conditions, any of which is enough.
pub(super) const CONDITIONS: Kind = Kind::List(&ONE, 1);
const ONE: Kind = Kind::Object(&CONDITION);

shape! {
    /// What a request must be like: all the parts that are stated hold.
    CONDITION, ConditionKeys: "Condition", "a condition, which is an object with host, path, method, header, cookie, query, address or not" {
        /// The host, in lower case and without its port.
        host = "host": optional COMPARISON,
        /// The path without the query string.
        path = "path": optional COMPARISON,
        /// Any of these methods.
        method = "method": optional Kind::List(&Kind::Text(&METHOD), 1),
        /// The first line of each of these headers.
        header = "header": optional Kind::Map(&CONDITION_HEADER, &COMPARISON, 1),
        /// The first cookie of each of these names.
        cookie = "cookie": optional Kind::Map(&COOKIE_NAME, &COMPARISON, 1),
        /// The first query parameter of each of these names, as it stands in the URL.
        query = "query": optional Kind::Map(&QUERY_NAME, &COMPARISON, 1),
        /// The client's address is in one of these networks.
        address = "address": optional NETWORKS,
        /// This does not hold.
        negated = "not": optional Kind::Object(&CONDITION),
    }
    also r#"{"minProperties": 1}"#
}

/// [`CONDITIONS`] that are given.
pub(super) fn any_of(list: &Node<'_>, problems: &mut Problems<'_>) -> Option<Vec<Condition>> {
    let mut conditions = Vec::with_capacity(list.entries().len());
    let mut all_good = true;
    for entry in list.entries() {
        match stated(entry, |entry| check(entry, problems)).flatten() {
            Some(condition) => conditions.push(condition),
            None => all_good = false,
        }
    }
    all_good.then_some(conditions)
}

fn check(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Condition> {
    let keys = ConditionKeys::of(node);
    if matches!(node.value, Value::Object(entries) if entries.is_empty()) {
        let allowed = "a condition with one part or more of host, path, method, header, cookie, query, address, not";
        problems.add(node, "an empty condition", allowed);
    }
    let host = stated(keys.host, |node| pattern::check_host(node, problems));
    let path = stated(keys.path, |node| pattern::check_path(node, problems));
    let [headers, cookies, query] =
        [keys.header, keys.cookie, keys.query].map(|node| check_patterns(node, problems));
    let not = stated(keys.negated, |node| check(node, problems));
    let mut named = Vec::new();
    for (name, pattern) in headers? {
        named.push((HeaderName::new(&name)?, pattern));
    }
    Some(Condition {
        host: host?,
        path: path?,
        method: keys.method.entries().iter().filter_map(Node::string).collect(),
        headers: named,
        cookies: cookies?,
        query: query?,
        address: networks(keys.address),
        not: not?.map(Box::new),
    })
}

fn check_patterns(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Vec<(String, Pattern)>> {
    let mut patterns = Vec::with_capacity(node.entries().len());
    let mut all_good = true;
    for entry in node.entries() {
        match stated(entry, |entry| pattern::check(entry, problems)).flatten() {
            Some(pattern) => patterns.push((entry.key.to_owned(), pattern)),
            None => all_good = false,
        }
    }
    all_good.then_some(patterns)
}
