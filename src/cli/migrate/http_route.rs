//! Gateway API HTTPRoutes and GRPCRoutes: rules with several backends as rollouts.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::hosts;
use super::ledger::{number_of, Ledger};
use super::matches::gateway;
use super::run::{Made, Resource, Routes, Run};
use super::table::{Destination, Dialect, Entry, Table, When};
use super::virtual_service::own;

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(spec) = resource.spec() else { return Made::default() };
    let mut names = ledger.texts(spec, "hostnames");
    // In a mesh a route hangs on a service, whose names are its hosts.
    let parents = ledger.list(spec, "parentRefs").iter();
    let services: Vec<&str> = parents
        .filter(|parent| parent.get("kind").and_then(Node::text) == Some("Service"))
        .filter_map(|parent| parent.get("name").and_then(Node::text))
        .collect();
    names.extend(services);
    let listed = ledger.list(spec, "rules");
    let mut entries: Vec<(usize, Entry)> =
        listed.iter().map(|node| entry(ledger, node)).enumerate().collect();
    for (index, entry) in &mut entries {
        entry.place = format!("spec.rules[{index}]");
    }
    // The most specific match decides, wherever it stands.
    entries.sort_by_key(|(_, entry)| std::cmp::Reverse(specificity(entry)));
    let key = |destinations: &[Destination]| {
        destinations.iter().find_map(|destination| {
            let host = destination.wanted.as_str();
            super::destination_rule::key(run, ledger.namespace(), host)
        })
    };
    let table = Table {
        from: resource.from(),
        name: ledger.short_name().unwrap_or("rollout").to_owned(),
        hosts: hosts(&names, ledger.namespace()),
        entries: entries.into_iter().map(|(_, entry)| entry).collect(),
        key: &key,
        divider: "an HTTPRoute",
    };
    let (drafts, rules) = table.build(run, &Gateway);
    if drafts.is_empty() {
        return Made::default();
    }
    ledger.all(resource.node);
    let spec = Yaml::from(spec).set("rules", rules);
    let document = own(resource.node).set("spec", spec);
    let routes =
        Routes { above: vec![format!("The routes, instead of {}.", table.from)], document };
    Made { drafts, routes: vec![routes] }
}

/// How specific a rule's matches are, by the Gateway API's order: exact paths, longer ones, methods, more
/// headers, more query parameters.
fn specificity(entry: &Entry) -> (bool, usize, bool, usize, usize) {
    let of = |when: &When| {
        let path = when.written.get("path");
        let exact = path.and_then(|path| path.get("type")) == Some(&Yaml::text("Exact"));
        let length = match path.and_then(|path| path.get("value")) {
            Some(Yaml::Text(text)) => text.trim_end_matches('/').len(),
            _ => 0,
        };
        let count = |key| match when.written.get(key) {
            Some(Yaml::List(items)) => items.len(),
            _ => 0,
        };
        (
            exact,
            length,
            when.written.get("method").is_some(),
            count("headers"),
            count("queryParams"),
        )
    };
    entry.whens.iter().map(of).max().unwrap_or_default()
}

fn entry<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Entry {
    let whens = ledger.list(node, "matches").iter();
    let whens: Vec<When> = whens
        .map(|when| When { written: Yaml::from(when), read: gateway(ledger, when) })
        // A match of nothing but the path / is every request.
        .filter(|when| !(when.read.condition.is_empty() && when.read.lost.is_empty()))
        .collect();
    let all = node.get("matches").map(Node::items).unwrap_or_default();
    let whens = if whens.len() < all.len() { Vec::new() } else { whens };
    let references = ledger.list(node, "backendRefs").iter();
    Entry {
        place: String::new(),
        name: ledger.text(node, "name"),
        whens,
        // Where one cannot be read, the rule stays as it is.
        destinations: references.map(destination).collect::<Option<_>>().unwrap_or_default(),
        kept: Yaml::from(node).without(&["name", "matches", "backendRefs"]),
        written: Yaml::from(node),
    }
}

fn destination(reference: &Node) -> Option<Destination> {
    let name = reference.get("name").and_then(Node::text)?.to_owned();
    let written = Yaml::from(reference).without(&["weight"]);
    let mut words = shown(&name);
    for key in ["namespace", "port", "kind", "weight"] {
        if let Some(value) = reference.get(key) {
            words += &format!(", {key} {}", Yaml::from(value).shown());
        }
    }
    let weight = match reference.get("weight") {
        None => Ok(1.0),
        Some(node) => {
            number_of(node).filter(|weight| *weight >= 0.0).ok_or_else(|| Yaml::from(node).shown())
        }
    };
    Some(Destination {
        id: written.inline(),
        service: None,
        wanted: name,
        words,
        weight,
        written,
        headers: None,
    })
}

/// How an HTTPRoute is written.
pub struct Gateway;

impl Dialect for Gateway {
    fn with_header(&self, when: Option<&Yaml>, header: &str, version: &str) -> Yaml {
        let when = when.cloned().unwrap_or(Yaml::map());
        let mut headers = match when.get("headers") {
            Some(Yaml::List(headers)) => headers.clone(),
            _ => Vec::new(),
        };
        headers.push(Yaml::one("name", header).with("value", version));
        when.set("headers", headers)
    }

    fn entry(&self, name: Option<&str>, kept: &Yaml, whens: &[Yaml], destination: &Yaml) -> Yaml {
        let mut entry = Yaml::map().maybe("name", name);
        if !whens.is_empty() {
            entry = entry.with("matches", whens.to_vec());
        }
        let entry = kept
            .entries()
            .iter()
            .fold(entry, |entry, kept| entry.with(&kept.key, kept.value.clone()));
        entry.with("backendRefs", vec![destination.clone()])
    }
}

/// An HTTPRoute for versions, stable's last; `spec` has what hangs it up.
pub fn plain(
    name: &str,
    namespace: Option<&str>,
    spec: Yaml,
    rules: &[Rule],
    header: &str,
) -> Yaml {
    let mut written = Vec::new();
    for rule in rules {
        let last = rule.versions.len().saturating_sub(1);
        for (position, (version, backend)) in rule.versions.iter().enumerate() {
            let mut whens = rule.whens.clone();
            if position < last {
                if whens.is_empty() {
                    whens.push(Yaml::map());
                }
                for when in &mut whens {
                    *when = Gateway.with_header(Some(when), header, version);
                }
            }
            written.push(Gateway.entry(None, &Yaml::map(), &whens, backend));
        }
    }
    Yaml::one("apiVersion", "gateway.networking.k8s.io/v1")
        .with("kind", "HTTPRoute")
        .with("metadata", Yaml::one("name", name).maybe("namespace", namespace))
        .with("spec", spec.with("rules", written))
}

/// A rule of an HTTPRoute before it is divided.
pub struct Rule {
    /// Matches of the Gateway API.
    pub whens: Vec<Yaml>,
    /// The versions and their backends, stable last.
    pub versions: Vec<(String, Yaml)>,
}

/// A backend of an HTTPRoute.
pub fn backend(name: &str, port: Option<Yaml>) -> Yaml {
    Yaml::one("name", name).maybe("port", port)
}

/// What hangs an HTTPRoute on a Gateway that the source does not know.
pub fn on_a_gateway(hosts: Vec<Yaml>) -> Yaml {
    let parents = vec![Yaml::one("name", "gateway")];
    let spec = Yaml::map().noted("parentRefs", parents, &["Put the name of your Gateway here."]);
    if hosts.is_empty() {
        spec
    } else {
        spec.with("hostnames", hosts)
    }
}

/// A condition of ours as matches of the Gateway API; `None` where it has no word for a part of it.
pub fn when(condition: &Yaml) -> Option<Yaml> {
    let mut when = Yaml::map();
    for entry in condition.entries() {
        match entry.key.as_str() {
            "host" => {}
            "path" => {
                let [how] = entry.value.entries() else { return None };
                let Yaml::Text(text) = &how.value else { return None };
                let (kind, value) = match how.key.as_str() {
                    "exact" => ("Exact", text.clone()),
                    "prefix" => ("PathPrefix", text.clone()),
                    "regex" => ("RegularExpression", text.trim_start_matches('^').to_owned()),
                    _ => return None,
                };
                when = when.with("path", Yaml::one("type", kind).with("value", value));
            }
            "method" => match &entry.value {
                Yaml::List(methods) if methods.len() == 1 => {
                    when = when.maybe("method", methods.first().cloned());
                }
                _ => return None,
            },
            key @ ("header" | "query") => {
                let mut list = Vec::new();
                for named in entry.value.entries() {
                    let [how] = named.value.entries() else { return None };
                    let name = Yaml::one("name", named.key.as_str());
                    list.push(match how.key.as_str() {
                        "exact" => name.with("value", how.value.clone()),
                        "regex" => {
                            name.with("type", "RegularExpression").with("value", how.value.clone())
                        }
                        _ => return None,
                    });
                }
                when = when.with(if key == "header" { "headers" } else { "queryParams" }, list);
            }
            _ => return None,
        }
    }
    Some(when)
}
