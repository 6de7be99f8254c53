//! Conditions of the configuration, put together from those of other formats.

use super::super::source;
use super::super::yaml::{document, Yaml};

/// A condition on one part of a request: `{header: {x-user: {exact: a}}}`.
pub fn on(place: &str, name: &str, text: Yaml) -> Yaml {
    Yaml::one(place, Yaml::one(name, text))
}

/// What is wrong with `key: value` in a rollout, as the filter's own reader says it.
pub fn fault(key: &str, value: &Yaml) -> Option<String> {
    fault_among(&["a", "b"], key, value)
}

/// The same in a rollout of these versions, the first of which is stable.
pub fn fault_among(names: &[&str], key: &str, value: &Yaml) -> Option<String> {
    let versions = names.iter().enumerate().map(|(position, name)| {
        Yaml::one("name", *name).maybe("weight", (position > 0).then_some(0.0))
    });
    let versions: Vec<Yaml> = versions.collect();
    let rollout = Yaml::one("name", "a").with("versions", versions).set(key, value.clone());
    let text = document(&Yaml::one("rollouts", vec![rollout]));
    let documents = source::documents("part.yaml", text.as_bytes()).ok()?;
    let problem = documents.into_iter().next()?.config.err()?.into_iter().next()?;
    Some(format!("found {}, allowed: {}", problem.found, problem.allowed))
}

/// What is wrong with headers that a version sets.
pub fn headers_fault(headers: &Yaml) -> Option<String> {
    let version = Yaml::one("name", "a").with("requestHeaders", headers.clone());
    fault("versions", &vec![version, Yaml::one("name", "b").with("weight", 0.0)].into())
}

/// What is wrong with a condition.
pub fn condition_fault(condition: &Yaml) -> Option<String> {
    fault("match", &Yaml::List(vec![condition.clone()]))
}

/// Both conditions in one; `None` where one object cannot ask for both.
pub fn and(left: &Yaml, right: &Yaml) -> Option<Yaml> {
    let mut both = left.clone();
    for entry in right.entries() {
        let Some(there) = both.get(&entry.key).cloned() else {
            both = both.with(&entry.key, entry.value.clone());
            continue;
        };
        if there == entry.value {
            continue;
        }
        if !["header", "cookie", "query"].contains(&entry.key.as_str()) {
            return None;
        }
        let mut map = there;
        for named in entry.value.entries() {
            match map.get(&named.key) {
                None => map = map.with(&named.key, named.value.clone()),
                Some(same) if *same == named.value => {}
                Some(_) => return None,
            }
        }
        both = both.set(&entry.key, map);
    }
    Some(both)
}

/// The condition that `condition` does not hold. A value that must be there becomes one that must not.
pub fn not(condition: &Yaml) -> Yaml {
    if let [only] = condition.entries() {
        if only.key == "not" {
            return only.value.clone();
        }
        if let [named] = only.value.entries() {
            if named.value == Yaml::one("present", true) {
                return on(&only.key, &named.key, Yaml::one("present", false));
            }
        }
    }
    Yaml::one("not", condition.clone())
}

/// A condition that holds where one of `conditions` does, if one object can say that: paths in one
/// expression.
pub fn any(conditions: &[Yaml]) -> Option<Yaml> {
    if let [only] = conditions {
        return Some(only.clone());
    }
    let paths: Option<Vec<String>> = conditions.iter().map(path_expression).collect();
    let paths = paths.filter(|paths| !paths.is_empty())?;
    Some(Yaml::one("path", Yaml::one("regex", format!("^(?:{})", paths.join("|")))))
}

/// A condition on the path alone as an expression that begins at the path's start.
fn path_expression(condition: &Yaml) -> Option<String> {
    let [only] = condition.entries() else { return None };
    match (only.key.as_str(), only.value.entries()) {
        ("path", [how]) => match (how.key.as_str(), &how.value) {
            ("exact", Yaml::Text(text)) => Some(format!("{}$", escaped(text))),
            ("prefix", Yaml::Text(text)) => Some(escaped(text)),
            _ => None,
        },
        _ => None,
    }
}

/// `text` as an expression that matches it alone.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_ascii_punctuation() && !"/-_".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// A path and all that is below it, by whole segments, as Kubernetes's `Prefix` means it; none is every
/// path.
pub fn segments(path: &str) -> Vec<Yaml> {
    let stem = path.trim_end_matches('/');
    if stem.is_empty() {
        return Vec::new();
    }
    vec![
        Yaml::one("path", Yaml::one("exact", stem)),
        Yaml::one("path", Yaml::one("prefix", format!("{stem}/"))),
    ]
}

/// A path and all that is below it, by whole segments, as one comparison.
pub fn segment_regex(path: &str) -> Option<Yaml> {
    let stem = path.trim_end_matches('/');
    (!stem.is_empty()).then(|| Yaml::one("regex", format!("^{}(?:/|$)", escaped(stem))))
}

/// The names by which a service of a cluster is called.
pub fn service_names(name: &str, namespace: Option<&str>) -> Vec<String> {
    let namespace = namespace.unwrap_or("default");
    ["", ".", ".svc", ".svc.cluster.local"]
        .into_iter()
        .map(|tail| match tail {
            "" => name.to_owned(),
            "." => format!("{name}.{namespace}"),
            tail => format!("{name}.{namespace}{tail}"),
        })
        .collect()
}

/// Conditions on the host for names as a VirtualService or an Ingress has them; none is every host.
pub fn hosts(names: &[&str], namespace: Option<&str>) -> Vec<Yaml> {
    let mut exact: Vec<String> = Vec::new();
    let mut others = Vec::new();
    for name in names {
        if *name == "*" {
            return Vec::new();
        }
        match name.strip_prefix('*') {
            Some(suffix) => others.push(Yaml::one("suffix", suffix)),
            // A name without a dot is a service of the mesh, which callers may write out.
            None if !name.contains('.') => exact.extend(service_names(name, namespace)),
            None => exact.push((*name).to_owned()),
        }
    }
    let mut known: Vec<Yaml> = Vec::new();
    for name in exact {
        if !known.contains(&Yaml::text(&name)) {
            known.push(name.into());
        }
    }
    match known.as_slice() {
        [] => {}
        [only] => others.insert(0, Yaml::one("exact", only.clone())),
        _ => others.insert(0, Yaml::one("in", known)),
    }
    others
}

/// Every condition on a host together with every other condition.
pub fn crossed(hosts: &[Yaml], conditions: &[Yaml]) -> Vec<Yaml> {
    let all: Vec<Yaml> = match (hosts, conditions) {
        ([], conditions) => conditions.to_vec(),
        (hosts, []) => hosts.iter().map(|host| Yaml::one("host", host.clone())).collect(),
        (hosts, conditions) => hosts
            .iter()
            .flat_map(|host| {
                // A condition with an authority of its own keeps that.
                conditions.iter().map(|condition| match condition.get("host") {
                    Some(_) => condition.clone(),
                    None => {
                        let host = Yaml::one("host", host.clone());
                        and(&host, condition).unwrap_or(host)
                    }
                })
            })
            .collect(),
    };
    let mut once: Vec<Yaml> = Vec::new();
    for condition in all {
        if !once.contains(&condition) {
            once.push(condition);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_conditions_are_one_where_an_object_can_ask_for_both() {
        let a = on("header", "a", Yaml::one("exact", "1"));
        let b = on("header", "b", Yaml::one("exact", "2"));
        let both = and(&a, &b).unwrap();
        assert_eq!(both.inline(), "{header: {a: {exact: \"1\"}, b: {exact: \"2\"}}}");
        assert_eq!(and(&a, &on("header", "a", Yaml::one("exact", "3"))), None);
        assert_eq!(and(&not(&a), &not(&b)), None);
    }

    #[test]
    fn not_there_needs_no_not() {
        let there = on("header", "a", Yaml::one("present", true));
        assert_eq!(not(&there).inline(), "{header: {a: {present: false}}}");
        assert_eq!(
            not(&not(&Yaml::one("path", Yaml::one("exact", "/")))).inline(),
            "{path: {exact: /}}"
        );
    }

    #[test]
    fn several_paths_are_one_expression() {
        let paths = [
            Yaml::one("path", Yaml::one("prefix", "/a.b")),
            Yaml::one("path", Yaml::one("exact", "/c")),
        ];
        assert_eq!(any(&paths).unwrap().inline(), "{path: {regex: '^(?:/a\\.b|/c$)'}}");
    }

    #[test]
    fn the_filter_says_what_it_does_not_take() {
        assert_eq!(condition_fault(&Yaml::one("path", Yaml::one("prefix", "/a"))), None);
        let fault = condition_fault(&Yaml::one("path", Yaml::one("prefix", "a"))).unwrap();
        assert!(fault.contains("starts with /"), "{fault}");
    }
}
