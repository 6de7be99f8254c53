//! Istio VirtualServices: routes with weights as rollouts, routes by headers as rules.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{headers_fault, hosts};
use super::ledger::{number_of, plain_text, Ledger};
use super::matches::istio;
use super::run::{Made, Resource, Routes, Run};
use super::table::{Destination, Dialect, Entry, Table, When};

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(spec) = resource.spec() else { return Made::default() };
    let names = ledger.texts(spec, "hosts");
    let listed = ledger.list(spec, "http");
    let entries: Vec<Entry> =
        listed.iter().enumerate().map(|(index, node)| entry(ledger, index, node)).collect();
    let key = |destinations: &[Destination]| {
        destinations.iter().find_map(|destination| {
            let host = destination.id.split(' ').next()?;
            super::destination_rule::key(run, ledger.namespace(), host)
        })
    };
    let table = Table {
        from: resource.from(),
        name: ledger.short_name().unwrap_or("rollout").to_owned(),
        hosts: hosts(&names, ledger.namespace()),
        entries,
        key: &key,
        divider: "a VirtualService",
    };
    let (drafts, http) = table.build(run, &Istio);
    if drafts.is_empty() {
        return Made::default();
    }
    ledger.all(resource.node);
    let spec = Yaml::from(spec).set("http", http);
    let document = own(resource.node).set("spec", spec);
    let routes =
        Routes { above: vec![format!("The routes, instead of {}.", table.from)], document };
    Made { drafts, routes: vec![routes] }
}

/// A resource without what the API server and kubectl write into it.
pub fn own(node: &Node) -> Yaml {
    let whole = Yaml::from(node).without(&["status"]);
    let Some(metadata) = whole.get("metadata").cloned() else { return whole };
    let written =
        ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
    let mut metadata = metadata.without(&written);
    if let Some(annotations) = metadata.get("annotations").cloned() {
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        metadata = match annotations.without(&[applied]) {
            annotations if annotations.is_empty() => metadata.without(&["annotations"]),
            annotations => metadata.set("annotations", annotations),
        };
    }
    whole.set("metadata", metadata)
}

fn entry<'a>(ledger: &Ledger<'a>, index: usize, node: &'a Node) -> Entry {
    let whens = ledger.list(node, "match").iter();
    let whens = whens.map(|when| When { written: Yaml::from(when), read: istio(ledger, when) });
    let routes = ledger.list(node, "route");
    Entry {
        place: format!("spec.http[{index}]"),
        name: ledger.text(node, "name"),
        whens: whens.collect(),
        // Where one cannot be read, the entry stays as it is.
        destinations: routes.iter().map(destination).collect::<Option<_>>().unwrap_or_default(),
        kept: Yaml::from(node).without(&["name", "match", "route"]),
        written: Yaml::from(node),
    }
}

fn destination(route: &Node) -> Option<Destination> {
    let destination = route.get("destination")?;
    let host = destination.get("host").and_then(Node::text)?.to_owned();
    let subset = destination.get("subset").and_then(plain_text);
    let mut written = Yaml::from(route).without(&["weight"]);
    let id = written.inline();
    let set = request_set(route);
    let headers = set.map(Yaml::from).filter(|set| {
        // What stands between percent signs is filled in by the proxy.
        headers_fault(set).is_none() && !set.inline().contains('%')
    });
    if headers.is_some() {
        let all = written.get("headers").cloned().unwrap_or(Yaml::map());
        let request = all.get("request").cloned().unwrap_or(Yaml::map()).without(&["set"]);
        let all = if request.is_empty() {
            all.without(&["request"])
        } else {
            all.set("request", request)
        };
        written = if all.is_empty() {
            written.without(&["headers"])
        } else {
            written.set("headers", all)
        };
    }
    let values: Vec<String> = headers
        .iter()
        .flat_map(|headers| headers.entries())
        .map(|entry| match &entry.value {
            Yaml::Text(text) => text.clone(),
            other => other.inline(),
        })
        .collect();
    let short = host.split('.').next().unwrap_or(&host).to_owned();
    let wanted = match (&subset, values.is_empty()) {
        (Some(subset), _) => subset.clone(),
        (None, false) => values.join("-"),
        (None, true) => short,
    };
    let mut words = shown(&host);
    let port = destination.at_keys(&["port", "number"]);
    for (what, value) in [("subset", destination.get("subset")), ("port", port)] {
        if let Some(value) = value {
            words += &format!(", {what} {}", Yaml::from(value).shown());
        }
    }
    if let Some(set) = set {
        words += &format!(", headers {}", Yaml::from(set).shown());
    }
    if let Some(weight) = route.get("weight") {
        words += &format!(", weight {}", Yaml::from(weight).shown());
    }
    let weight = match route.get("weight") {
        None => Ok(0.0),
        Some(node) => {
            number_of(node).filter(|weight| *weight >= 0.0).ok_or_else(|| Yaml::from(node).shown())
        }
    };
    Some(Destination {
        id: format!("{host} {}", id),
        service: subset.is_some().then_some(host),
        wanted,
        words,
        weight,
        written,
        headers,
    })
}

/// `headers.request.set` of a destination.
fn request_set(route: &Node) -> Option<&Node> {
    let set = route.at_keys(&["headers", "request", "set"])?;
    (!set.members().is_empty()).then_some(set)
}

/// How a VirtualService is written.
pub struct Istio;

impl Dialect for Istio {
    fn with_header(&self, when: Option<&Yaml>, header: &str, version: &str) -> Yaml {
        let when = when.cloned().unwrap_or(Yaml::map());
        let headers = when.get("headers").cloned().unwrap_or(Yaml::map());
        when.set("headers", headers.with(header, Yaml::one("exact", version)))
    }

    fn entry(&self, name: Option<&str>, kept: &Yaml, whens: &[Yaml], destination: &Yaml) -> Yaml {
        let mut entry = Yaml::map().maybe("name", name);
        if !whens.is_empty() {
            entry = entry.with("match", whens.to_vec());
        }
        entry = entry.with("route", vec![destination.clone()]);
        kept.entries().iter().fold(entry, |entry, kept| entry.with(&kept.key, kept.value.clone()))
    }
}

/// A VirtualService for versions that are services of their own; `whens` are its matches, `kept` is what
/// each of its routes says beside.
pub fn plain(
    name: &str,
    namespace: Option<&str>,
    spec: Yaml,
    (whens, kept): (&[Yaml], &Yaml),
    header: &str,
    versions: &[(String, Yaml)],
) -> Yaml {
    let mut http = Vec::new();
    let last = versions.len().saturating_sub(1);
    for (position, (version, destination)) in versions.iter().enumerate() {
        let route = Yaml::one("destination", destination.clone());
        if position == last {
            http.push(Istio.entry(None, kept, whens, &route));
            continue;
        }
        let mut asking: Vec<Yaml> =
            whens.iter().map(|when| Istio.with_header(Some(when), header, version)).collect();
        if asking.is_empty() {
            asking.push(Istio.with_header(None, header, version));
        }
        http.push(Istio.entry(None, kept, &asking, &route));
    }
    Yaml::one("apiVersion", "networking.istio.io/v1")
        .with("kind", "VirtualService")
        .with("metadata", Yaml::one("name", name).maybe("namespace", namespace))
        .with("spec", spec.with("http", http))
}
