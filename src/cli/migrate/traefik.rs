//! Traefik: weighted TraefikServices, and the hosts of the IngressRoutes that lead to them.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{and, crossed, hosts, on};
use super::draft::{Draft, Version};
use super::http_route::{self, backend, on_a_gateway, plain, Rule};
use super::ledger::{number_of, plain_text, Ledger};
use super::matches::whole_regex;
use super::run::{Made, Resource, Routes, Run};

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(spec) = resource.spec() else { return Made::default() };
    let Some(weighted) = ledger.get(spec, "weighted") else { return Made::default() };
    let listed = weighted.get("services").map(Node::items).unwrap_or_default();
    if !differ(listed, "name") {
        return Made::default();
    }
    let name = ledger.short_name().unwrap_or("rollout");
    let mut draft = Draft::new(run, resource.from(), name);
    let mut backends: Vec<(String, Yaml)> = Vec::new();
    for item in ledger.list(weighted, "services") {
        let Some(service) = ledger.text(item, "name") else { continue };
        let port = item.get("port").and_then(plain_text);
        ledger.done(item, "port");
        let weight = match item.get("weight") {
            None => 1.0,
            Some(node) => number_of(node).filter(|weight| *weight >= 0.0).unwrap_or_else(|| {
                let found = Yaml::from(node).shown();
                draft.lose(format!(
                    "weight of {}: {found} (it is no number from 0 up; the weight is 0 here)",
                    shown(&service)
                ));
                0.0
            }),
        };
        ledger.done(item, "weight");
        let mut note = format!("Was service {}", shown(&service));
        for key in ["port", "weight"] {
            if let Some(value) = item.get(key) {
                note += &format!(", {key} {}", Yaml::from(value).shown());
            }
        }
        let id = format!(
            "{} {service} {}",
            ledger.namespace().unwrap_or("default"),
            port.clone().unwrap_or_default()
        );
        let version = Version { weight, note: note + ".", id: id.clone(), ..Version::default() };
        draft.version(&service, version);
        let number = port.and_then(|port| port.parse().ok()).map(Yaml::Number);
        backends.push((id, backend(&service, number)));
    }
    draft.largest_is_stable();
    draft.settle(run);
    draft.change("a user keeps a version without the cookie of Traefik, which is not read");
    let (names, conditions) = routes(run, ledger, name, &mut draft);
    if names.is_empty() && conditions.is_empty() {
        // Without a match the rollout would decide every request of the proxy.
        draft.nowhere();
    } else {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        draft.scope(crossed(&hosts(&names, ledger.namespace()), &conditions), "");
    }
    draft.sticky(None);
    draft.lose_rest(ledger, |path| {
        if path.contains("sticky") {
            Some("the key makes a user keep a version")
        } else if path.contains("mirroring") {
            Some("mirroring stays with the route")
        } else {
            None
        }
    });
    let all = draft.versions.iter().enumerate();
    let (stable, others): (Vec<_>, Vec<_>) = all.partition(|(at, _)| *at == draft.stable);
    let versions = others.into_iter().chain(stable).map(|(_, version)| {
        let known = backends.iter().find(|(id, _)| *id == version.id);
        (version.name.clone(), known.map_or(Yaml::map(), |(_, backend)| backend.clone()))
    });
    let whens = conditions.iter().filter_map(http_route::when).collect();
    let rules = [Rule { whens, versions: versions.collect() }];
    let hosts = names.into_iter().map(Yaml::from).collect();
    let document =
        plain(&draft.name, ledger.namespace(), on_a_gateway(hosts), &rules, &draft.header());
    let above = vec![format!("The routes, instead of {}.", resource.from())];
    Made { drafts: vec![draft], routes: vec![Routes { above, document }] }
}

/// Whether some items of a list have different values of `key`.
pub fn differ(items: &[Node], key: &str) -> bool {
    let mut values = items.iter().filter_map(|item| item.get(key).and_then(plain_text));
    let first = values.next();
    values.any(|value| Some(value) != first)
}

/// The hosts and conditions of the IngressRoutes that lead to a TraefikService.
fn routes<'a>(
    run: &Run<'a>,
    own: &Ledger<'a>,
    name: &str,
    draft: &mut Draft,
) -> (Vec<String>, Vec<Yaml>) {
    let (mut names, mut conditions) = (Vec::new(), Vec::new());
    for resource in run.of_kind("IngressRoute") {
        let ledger = &resource.ledger;
        if ledger.namespace() != own.namespace() {
            continue;
        }
        let Some(spec) = resource.node.get("spec") else { continue };
        for route in spec.get("routes").map(Node::items).unwrap_or_default() {
            let services = route.get("services").map(Node::items).unwrap_or_default();
            let leads = services.iter().find(|service| {
                service.get("name").and_then(Node::text) == Some(name)
                    && service.get("kind").and_then(Node::text) == Some("TraefikService")
            });
            let Some((rule, service)) = route.get("match").and_then(Node::text).zip(leads) else {
                continue;
            };
            resource.used.set(true);
            resource.spec();
            ledger.list(spec, "routes");
            ledger.list(route, "services");
            ledger.all(service);
            ledger.text(route, "match");
            ledger.text(route, "kind");
            match expression(rule) {
                Some((hosts, condition)) => {
                    names.extend(hosts);
                    if !condition.is_empty() {
                        conditions.push(condition);
                    }
                }
                None => draft.lose(format!(
                    "match {} of {} (only Host, PathPrefix, Path, Header, Query and Method joined by && are read)",
                    shown(rule),
                    resource.from()
                )),
            }
        }
    }
    (names, conditions)
}

/// A rule of Traefik that is a conjunction of matchers: its hosts, and the rest as a condition.
fn expression(rule: &str) -> Option<(Vec<String>, Yaml)> {
    let mut hosts = Vec::new();
    let mut condition = Yaml::map();
    for matcher in rule.split("&&") {
        let (name, rest) = matcher.trim().split_once('(')?;
        let inner = rest.strip_suffix(')')?;
        let arguments: Option<Vec<String>> =
            inner.split(',').map(|one| literal(one.trim())).collect();
        let arguments = arguments?;
        let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let part = match (name, texts.as_slice()) {
            ("Host", [_, ..]) => {
                hosts.extend(arguments);
                continue;
            }
            ("PathPrefix", [path]) => Yaml::one("path", Yaml::one("prefix", *path)),
            ("Path", [path]) => Yaml::one("path", Yaml::one("exact", *path)),
            ("PathRegexp", [path]) => Yaml::one("path", Yaml::one("regex", *path)),
            ("Method", [method]) => Yaml::one("method", vec![Yaml::text(*method)]),
            ("Header" | "Headers", [name, value]) => on("header", name, Yaml::one("exact", *value)),
            ("HeaderRegexp", [name, value]) => on("header", name, whole_regex(value)?),
            ("Query", [name, value]) => on("query", name, Yaml::one("exact", *value)),
            _ => return None,
        };
        condition = and(&condition, &part)?;
    }
    super::condition::fault("match", &Yaml::List(vec![condition.clone()]))
        .filter(|_| !condition.is_empty())
        .map_or(Some((hosts, condition)), |_| None)
}

/// What stands between backticks or quotes.
fn literal(text: &str) -> Option<String> {
    ['`', '"'].iter().find_map(|quote| {
        let inner = text.strip_prefix(*quote)?.strip_suffix(*quote)?;
        (!inner.contains(*quote)).then(|| inner.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_matchers_joined_by_and_is_read_and_no_other() {
        let (hosts, condition) = expression("Host(`a.example.com`) && PathPrefix(`/api`)").unwrap();
        assert_eq!(hosts, ["a.example.com"]);
        assert_eq!(condition.inline(), "{path: {prefix: /api}}");
        for other in ["Host(`a`) || Host(`b`)", "!Host(`a`)", "ClientIP(`1.2.3.4`)", "Host(`a", ""]
        {
            assert_eq!(expression(other), None, "{other}");
        }
    }
}
