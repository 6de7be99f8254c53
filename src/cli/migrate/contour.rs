//! Contour HTTPProxies: routes with several services as rollouts. The routes come out as an HTTPRoute, for
//! Contour's own Envoy loads no Wasm module.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{escaped, headers_fault, hosts, not, on};
use super::http_route::{on_a_gateway, Gateway};
use super::ledger::{number_of, plain_text, Ledger};
use super::matches::{whole_regex, Read};
use super::run::{Key, Made, Resource, Routes, Run};
use super::table::{lost, Destination, Entry, Table, When};

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(spec) = resource.spec() else { return Made::default() };
    let name = ledger.at(spec, &["virtualhost"]).and_then(|host| ledger.text(host, "fqdn"));
    let names: Vec<&str> = name.as_deref().into_iter().collect();
    let listed = ledger.list(spec, "routes");
    let splits = listed.iter().any(|route| backends(route).count() > 1);
    if !splits {
        return Made::default();
    }
    let mut stay = Vec::new();
    let entries = listed.iter().enumerate();
    let entries: Vec<Entry> =
        entries.map(|(index, node)| entry(ledger, index, node, &mut stay)).collect();
    let asked = listed.iter().find_map(|route| {
        let sources = hash_policies(ledger, route)?;
        Some(Key { sources, note: "Taken from loadBalancerPolicy.".into() })
    });
    let key = |_: &[Destination]| asked.clone();
    let table = Table {
        from: resource.from(),
        name: ledger.short_name().unwrap_or("rollout").to_owned(),
        hosts: hosts(&names, ledger.namespace()),
        entries,
        key: &key,
        divider: "an HTTPProxy",
    };
    let (mut drafts, rules) = table.build(run, &Gateway);
    let rules: Vec<Yaml> = rules.into_iter().filter(|rule| *rule != Yaml::Null).collect();
    if let Some(draft) = drafts.last_mut() {
        stay.into_iter().for_each(|line| draft.lose(line));
        draft.change("a prefix such as /api matches /apiary too in Contour; PathPrefix in the new routes matches whole segments");
        draft.lose_rest(ledger, |path| {
            if path.contains("loadBalancerPolicy.strategy") {
                Some("the key makes a user keep a version")
            } else {
                Some("say it in the new routes if it still holds")
            }
        });
    }
    let hosts = names.iter().map(|name| Yaml::text(*name)).collect();
    let metadata = Yaml::one("name", table.name.as_str()).maybe("namespace", ledger.namespace());
    let document = Yaml::one("apiVersion", "gateway.networking.k8s.io/v1")
        .with("kind", "HTTPRoute")
        .with("metadata", metadata)
        .with("spec", on_a_gateway(hosts).with("rules", rules));
    let above = vec![format!("The routes, instead of {}.", table.from)];
    Made { drafts, routes: vec![Routes { above, document }] }
}

/// The services of a route that answer; a mirror does not.
fn backends(route: &Node) -> impl Iterator<Item = &Node> {
    let services = route.get("services").map(Node::items).unwrap_or_default().iter();
    services.filter(|service| {
        !matches!(service.get("mirror").map(Node::brief).as_deref(), Some("true"))
    })
}

fn entry<'a>(ledger: &Ledger<'a>, index: usize, node: &'a Node, stay: &mut Vec<String>) -> Entry {
    let place = format!("spec.routes[{index}]");
    let conditions = ledger.list(node, "conditions");
    let mut read = Read { condition: Yaml::map(), lost: Vec::new() };
    let mut written = Yaml::map();
    for condition in conditions {
        ledger.all(condition);
        for member in condition.members() {
            part(&member.key, &member.value, &mut read, &mut written);
        }
    }
    let whole: Vec<String> = conditions.iter().map(|one| Yaml::from(one).shown()).collect();
    ledger.list(node, "services");
    let destinations = backends(node).filter_map(|service| destination(ledger, service));
    let mut destinations: Vec<Destination> = destinations.collect();
    let backends: Vec<Yaml> = destinations.iter().map(|one| one.written.clone()).collect();
    let mut own = Yaml::map();
    if !conditions.is_empty() {
        own = own.with("matches", vec![written.clone()]);
    }
    let mut whole_entry = own.with("backendRefs", backends);
    if !read.lost.is_empty() {
        // Without the condition the route would take everybody.
        stay.push(format!(
            "{place}: conditions {} (neither a rollout nor an HTTPRoute can ask for {}; the route is left out)",
            whole.join(", "),
            lost(&read)
        ));
        whole_entry = Yaml::Null;
        destinations.clear();
    }
    let whens = if conditions.is_empty() || read.condition.is_empty() {
        Vec::new()
    } else {
        vec![When { written, read }]
    };
    Entry { place, name: None, whens, destinations, kept: Yaml::map(), written: whole_entry }
}

/// Reads one condition, as ours and as an HTTPRoute's.
fn part(key: &str, node: &Node, read: &mut Read, written: &mut Yaml) {
    let field = |name: &str| node.get(name).and_then(plain_text);
    match key {
        "prefix" | "exact" | "regex" => {
            let Some(text) = plain_text(node) else { return read.lost.push(key.to_owned()) };
            let kind = match key {
                "prefix" => "PathPrefix",
                "exact" => "Exact",
                _ => "RegularExpression",
            };
            let path = match key {
                "prefix" if text == "/" => return,
                "prefix" => Some(Yaml::one("prefix", text.as_str())),
                "exact" => Some(Yaml::one("exact", text.as_str())),
                _ => whole_regex(&text),
            };
            read.join(key, path.map(|path| Yaml::one("path", path)));
            *written = written.clone().set("path", Yaml::one("type", kind).with("value", text));
        }
        "header" | "queryParameter" => {
            let place = if key == "header" { "header" } else { "query" };
            let Some(name) = field("name") else { return read.lost.push(key.to_owned()) };
            let asked = [
                ("exact", "exact", false),
                ("contains", "contains", false),
                ("prefix", "prefix", false),
                ("suffix", "suffix", false),
                ("notexact", "exact", true),
                ("notcontains", "contains", true),
            ];
            let text = asked.iter().find_map(|(theirs, ours, negated)| {
                Some((Yaml::one(ours, field(theirs)?), *negated))
            });
            let regex = field("regex").and_then(|regex| Some((whole_regex(&regex)?, false)));
            let there = |name| node.get(name).map(|_| Yaml::one("present", name == "present"));
            let there = there("present").or(there("notpresent")).map(|text| (text, false));
            let fold = field("ignoreCase").as_deref() == Some("true");
            let condition = text.or(regex).or(there).map(|(text, negated)| {
                let text = if fold { text.with("ignoreCase", true) } else { text };
                let condition = on(place, &name, text);
                if negated {
                    not(&condition)
                } else {
                    condition
                }
            });
            read.join(&format!("{key} {name}"), condition);
            let list = if key == "header" { "headers" } else { "queryParams" };
            let regex = |regex: String| ("RegularExpression", regex);
            let around = |key: &str| field(key).map(|text| escaped(&text));
            let matched = (field("exact").filter(|_| !fold).map(|text| ("Exact", text)))
                .or(field("regex").map(regex))
                .or(around("contains").map(|text| regex(format!(".*{text}.*"))))
                .or(around("prefix").map(|text| regex(format!("{text}.*"))))
                .or(around("suffix").map(|text| regex(format!(".*{text}"))))
                .or(node.get("present").map(|_| regex(".*".to_owned())))
                .filter(|_| !fold);
            let matched = matched.map(|(kind, value)| {
                Yaml::one("name", name).with("type", kind).with("value", value)
            });
            match matched {
                Some(matched) => {
                    let mut all = match written.get(list) {
                        Some(Yaml::List(all)) => all.clone(),
                        _ => Vec::new(),
                    };
                    all.push(matched);
                    *written = written.clone().set(list, all);
                }
                None => read.lost.push(format!("{key} in this way")),
            }
        }
        other => read.lost.push(other.to_owned()),
    }
}

fn destination<'a>(ledger: &Ledger<'a>, service: &'a Node) -> Option<Destination> {
    let name = ledger.text(service, "name")?;
    let port = service.get("port");
    let number = port.and_then(number_of);
    ledger.done(service, "port");
    let mut words = format!("service {}", shown(&name));
    for key in ["port", "weight"] {
        if let Some(value) = service.get(key) {
            words += &format!(", {key} {}", Yaml::from(value).shown());
        }
    }
    let weight = match service.get("weight") {
        // Services without a weight share alike.
        None => Ok(1.0),
        Some(node) => {
            ledger.done(service, "weight");
            number_of(node).filter(|weight| *weight >= 0.0).ok_or_else(|| Yaml::from(node).shown())
        }
    };
    let set = ledger.at(service, &["requestHeadersPolicy"]).and_then(|policy| policy.get("set"));
    let mut headers = Yaml::map();
    for item in set.map(Node::items).unwrap_or_default() {
        if let (Some(name), Some(value)) =
            (item.get("name").and_then(plain_text), item.get("value"))
        {
            headers = headers.with(&name, plain_text(value).unwrap_or_default());
        }
    }
    let taken =
        !headers.is_empty() && !headers.inline().contains('%') && headers_fault(&headers).is_none();
    if taken {
        if let Some(set) = set {
            ledger.all(set);
        }
    }
    let written = Yaml::one("name", name.as_str()).maybe("port", number);
    Some(Destination {
        id: format!("{} {}", written.inline(), headers.inline()),
        service: None,
        wanted: name,
        words,
        weight,
        written,
        headers: taken.then_some(headers),
    })
}

/// What a route's `loadBalancerPolicy` hashes.
fn hash_policies<'a>(ledger: &Ledger<'a>, route: &'a Node) -> Option<Yaml> {
    let policy = ledger.get(route, "loadBalancerPolicy")?;
    let mut sources = Vec::new();
    for hash in ledger.list(policy, "requestHashPolicies") {
        let named = |options: &str, key: &str| {
            ledger.get(hash, options).and_then(|options| ledger.text(options, key))
        };
        if let Some(name) = named("headerHashOptions", "headerName") {
            sources.push(Yaml::one("header", name));
        }
        if let Some(name) = named("queryParameterHashOptions", "parameterName") {
            sources.push(Yaml::one("query", name));
        }
        if ledger.flag(hash, "hashSourceIP") == Some(true) {
            sources.push(Yaml::one("address", true));
        }
    }
    (!sources.is_empty()).then_some(Yaml::List(sources))
}
