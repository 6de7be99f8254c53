//! Why a condition does not hold: the first part of it that does not, and what the request has there.
//!
//! The parts are asked one by one by the engine's own test.

use crate::config::{Condition, Config, Rule};
use crate::engine::Request;
use crate::http::pattern::{Pattern, Test};

/// Why `rule` does not hold.
pub fn rule(config: &Config, rule: &Rule, request: &Request<'_>) -> String {
    let segment = rule.segment.and_then(|segment| config.segments.get(segment));
    let failing = segment.filter(|segment| !segment.any.iter().any(|one| one.holds(request)));
    match failing {
        Some(segment) => format!("segment {}: {}", segment.name, none_of(&segment.any, request)),
        None => none_of(rule.matches.as_deref().unwrap_or_default(), request),
    }
}

/// Why none of `conditions` holds.
pub fn none_of(conditions: &[Condition], request: &Request<'_>) -> String {
    let reasons: Vec<String> = conditions.iter().map(|one| first_unmet(one, request)).collect();
    reasons.join("; or ")
}

fn first_unmet(condition: &Condition, request: &Request<'_>) -> String {
    let fails = |part: &Condition| !part.holds(request);
    let part = Condition::default;
    // Exhaustive, so that a new part of a condition cannot be forgotten here.
    let Condition { host, path, method, headers, cookies, query, address, not } = condition;
    if let Some(wanted) =
        host.as_ref().filter(|_| fails(&Condition { host: host.clone(), ..part() }))
    {
        return unmet("the host", request.host(), wanted);
    }
    if let Some(wanted) =
        path.as_ref().filter(|_| fails(&Condition { path: path.clone(), ..part() }))
    {
        return unmet("the path", Some(request.path()), wanted);
    }
    if fails(&Condition { method: method.clone(), ..part() }) {
        return format!("the method is {}, wanted {}", show(request.method()), method.join(", "));
    }
    for one in headers {
        if fails(&Condition { headers: vec![one.clone()], ..part() }) {
            return unmet(&format!("header {}", one.0), request.header(&one.0), &one.1);
        }
    }
    for one in cookies {
        if fails(&Condition { cookies: vec![one.clone()], ..part() }) {
            return unmet(&format!("cookie {}", one.0), request.cookie(&one.0), &one.1);
        }
    }
    for one in query {
        if fails(&Condition { query: vec![one.clone()], ..part() }) {
            return unmet(&format!("query parameter {}", one.0), request.query(&one.0), &one.1);
        }
    }
    if fails(&Condition { address: address.clone(), ..part() }) {
        let networks: Vec<String> = address.iter().flatten().map(ToString::to_string).collect();
        let seen = request.address().map_or("not known".into(), |address| address.to_string());
        return format!("the client address is {seen}, wanted {}", networks.join(", "));
    }
    if not.is_some() {
        return "what stands under not holds".to_owned();
    }
    "it does not hold".to_owned()
}

fn unmet(what: &str, seen: Option<&[u8]>, wanted: &Pattern) -> String {
    match seen {
        Some(seen) => format!("{what} is {}, wanted {}", show(seen), words(wanted)),
        None => format!("{what} is absent, wanted {}", words(wanted)),
    }
}

/// A comparison in words.
fn words(pattern: &Pattern) -> String {
    let text = match pattern.test() {
        Test::Exact(text) => format!("exactly {}", show(text)),
        Test::Prefix(text) => format!("the prefix {}", show(text)),
        Test::Suffix(text) => format!("the suffix {}", show(text)),
        Test::Contains(needle) => format!("{} in it", show(needle.text())),
        Test::In(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| show(text)).collect();
            format!("one of {}", texts.join(", "))
        }
        Test::Regex(regex) => format!("a match of {}", show(regex.as_str().as_bytes())),
        Test::Semver(comparison) => format!("a version {}", comparison.as_str()),
        Test::Present(true) => "any value".to_owned(),
        Test::Present(false) => "none".to_owned(),
    };
    if pattern.ignore_case() {
        format!("{text} in any case")
    } else {
        text
    }
}

/// Bytes as a person can read them, in quotes.
pub fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
