//! Envoy's own route tables: `weighted_clusters` as rollouts, header matches in front of them as rules.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{headers_fault, not, on, segment_regex};
use super::ledger::{number_of, plain_text};
use super::matches::{whole_regex, Read};
use super::run::{Key, Made, Resource, Routes, Run};
use super::table::{Destination, Dialect, Entry, Table, When};

/// Every virtual host below a node that divides its requests.
pub fn hosts_of(node: &Node) -> Vec<&Node> {
    let mut found = Vec::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        for key in ["virtual_hosts", "virtualHosts"] {
            let hosts = node.get(key).map(Node::items).unwrap_or_default();
            found.extend(hosts.iter().filter(|host| divides(host)));
        }
        let below = node.members().iter().map(|member| &member.value);
        let below: Vec<&Node> = below.chain(node.items()).collect();
        open.extend(below.into_iter().rev());
    }
    found
}

/// Whether a node is a virtual host that divides its requests.
pub fn is_one(node: &Node) -> bool {
    node.get("domains").is_some() && divides(node)
}

fn divides(host: &Node) -> bool {
    let routes = host.get("routes").map(Node::items).unwrap_or_default();
    routes.iter().any(|route| clusters(route).len() > 1)
}

/// The value of a key in either of protobuf's spellings.
fn either<'a>(node: &'a Node, snake: &str) -> Option<&'a Node> {
    node.get(snake).or_else(|| node.get(&camel(snake)))
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}

fn clusters(route: &Node) -> &[Node] {
    let action = route.get("route");
    let weighted = action.and_then(|action| either(action, "weighted_clusters"));
    weighted.and_then(|weighted| weighted.get("clusters")).map(Node::items).unwrap_or_default()
}

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let host = resource.node;
    let name = host.get("name").and_then(plain_text).unwrap_or_else(|| "rollout".into());
    let from = format!("virtual host {} in {}", shown(&name), shown(resource.file));
    let (hosts, mut notes) = domains(host);
    let listed = host.get("routes").map(Node::items).unwrap_or_default();
    let entries = listed.iter().enumerate();
    let entries = entries.map(|(index, node)| entry(node, format!("routes[{index}]"))).collect();
    let keys: Vec<Yaml> =
        listed.iter().filter_map(|route| hash_policy(route, &mut notes)).collect();
    for route in listed {
        let weighted = route.get("route").and_then(|action| either(action, "weighted_clusters"));
        for member in weighted.map(Node::members).unwrap_or_default() {
            if member.key != "clusters" {
                let value = Yaml::from(&member.value).shown();
                notes.push(format!("weighted_clusters.{}: {value}", shown(&member.key)));
            }
        }
    }
    let key = |_: &[Destination]| {
        let sources = keys.first()?.clone();
        Some(Key { sources, note: "Taken from hash_policy.".into() })
    };
    let table = Table { from, name, hosts, entries, key: &key, divider: "a weighted cluster" };
    let (mut drafts, routes) = table.build(run, &Proxy);
    if let Some(draft) = drafts.first_mut() {
        notes.into_iter().for_each(|note| draft.lose(note));
    }
    resource.ledger.all(host);
    let kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    let hosts = vec![Yaml::from(host).set("routes", routes)];
    let document = Yaml::one("@type", kind).with("virtual_hosts", hosts);
    let above = vec![format!("The routes, instead of those of {}.", table.from)];
    Made { drafts, routes: vec![Routes { above, document }] }
}

/// The domains of a virtual host as conditions, and what they lose.
fn domains(host: &Node) -> (Vec<Yaml>, Vec<String>) {
    let (mut hosts, mut exact, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for domain in host.get("domains").map(Node::items).unwrap_or_default() {
        let Some(written) = plain_text(domain) else { continue };
        let mut text = written.as_str();
        // Ports are not compared; the colons of an IPv6 address stand in brackets.
        if let Some((name, port)) = text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            notes.push(format!(
                "domain {}: the port {} (a condition has the host alone)",
                shown(&written),
                shown(port)
            ));
            text = name;
        }
        if text == "*" {
            return (Vec::new(), notes);
        }
        if let Some(suffix) = text.strip_prefix('*') {
            hosts.push(Yaml::one("suffix", suffix));
        } else if let Some(prefix) = text.strip_suffix('*') {
            hosts.push(Yaml::one("prefix", prefix));
        } else if !exact.contains(&Yaml::text(text)) {
            exact.push(Yaml::text(text));
        }
    }
    match exact.as_slice() {
        [] => {}
        [only] => hosts.insert(0, Yaml::one("exact", only.clone())),
        _ => hosts.insert(0, Yaml::one("in", exact)),
    }
    (hosts, notes)
}

fn entry(node: &Node, place: String) -> Entry {
    let action = node.get("route");
    let single = action.and_then(|action| action.get("cluster"));
    // Where one cannot be read, the route stays as it is.
    let mut destinations: Vec<Destination> =
        clusters(node).iter().map(destination).collect::<Option<_>>().unwrap_or_default();
    if let Some(name) = single.and_then(Node::text) {
        destinations.push(cluster(name, &Yaml::map(), Ok(1.0), None));
    }
    let matched = node.get("match");
    let read = matched.map_or(Read { condition: Yaml::map(), lost: Vec::new() }, condition);
    let every = read.condition.is_empty() && read.lost.is_empty();
    let whens = match matched {
        Some(matched) if !every => vec![When { written: Yaml::from(matched), read }],
        _ => Vec::new(),
    };
    let action = action.map_or(Yaml::map(), Yaml::from);
    let kept_action = action.without(&["cluster", "weighted_clusters", "weightedClusters"]);
    let kept = Yaml::from(node).without(&["name", "match", "route"]);
    let kept = if kept_action.is_empty() { kept } else { kept.with("route", kept_action) };
    Entry {
        place,
        name: node.get("name").and_then(plain_text),
        whens,
        destinations,
        kept,
        written: Yaml::from(node),
    }
}

fn destination(node: &Node) -> Option<Destination> {
    let name = node.get("name").and_then(Node::text)?;
    let weight = match node.get("weight") {
        None => Ok(0.0),
        Some(weight) => number_of(weight)
            .filter(|weight| *weight >= 0.0)
            .ok_or_else(|| Yaml::from(weight).shown()),
    };
    let added = either(node, "request_headers_to_add").map(Node::items).unwrap_or_default();
    let mut headers = Yaml::map();
    for item in added {
        let header = item.get("header")?;
        let key = header.get("key").and_then(plain_text)?;
        headers = headers.set(&key, header.get("value").and_then(plain_text).unwrap_or_default());
    }
    let taken =
        !headers.is_empty() && !headers.inline().contains('%') && headers_fault(&headers).is_none();
    let extra = Yaml::from(node).without(&["name", "weight"]);
    let extra = if taken {
        extra.without(&["request_headers_to_add", "requestHeadersToAdd"])
    } else {
        extra
    };
    let mut cluster = cluster(name, &extra, weight, taken.then_some(headers));
    if let Some(weight) = node.get("weight") {
        cluster.words += &format!(", weight {}", Yaml::from(weight).shown());
    }
    Some(cluster)
}

fn cluster(
    name: &str,
    extra: &Yaml,
    weight: Result<f64, String>,
    headers: Option<Yaml>,
) -> Destination {
    let said =
        headers.as_ref().map_or(String::new(), |headers| format!(", headers {}", headers.shown()));
    let written = extra
        .entries()
        .iter()
        .fold(Yaml::one("cluster", name), |all, entry| all.with(&entry.key, entry.value.clone()));
    Destination {
        id: format!("{} {}", written.inline(), said),
        service: None,
        wanted: name.rsplit('|').next().unwrap_or(name).to_owned(),
        words: format!("cluster {}{said}", shown(name)),
        weight,
        written,
        headers,
    }
}

/// A `RouteMatch` as a condition.
fn condition(node: &Node) -> Read {
    let mut read = Read { condition: Yaml::map(), lost: Vec::new() };
    let sensitive = either(node, "case_sensitive").and_then(plain_text).as_deref() != Some("false");
    for member in node.members() {
        let value = &member.value;
        let text = plain_text(value).unwrap_or_default();
        let path = |how: &str| {
            let path = Yaml::one(how, text.as_str());
            let path = if sensitive { path } else { path.with("ignoreCase", true) };
            Some(Yaml::one("path", path))
        };
        let key = member.key.as_str();
        match key {
            "prefix" if text == "/" => {}
            "prefix" => read.join(key, path("prefix")),
            "path" => read.join(key, path("exact")),
            "path_separated_prefix" | "pathSeparatedPrefix" => {
                read.join(key, segment_regex(&text).map(|path| Yaml::one("path", path)));
            }
            "safe_regex" | "safeRegex" => {
                let regex = value.get("regex").and_then(plain_text);
                let path = regex.and_then(|regex| whole_regex(&regex));
                read.join(key, path.map(|path| Yaml::one("path", path)));
            }
            "headers" | "query_parameters" | "queryParameters" => {
                let place = if key == "headers" { "header" } else { "query" };
                for item in value.items() {
                    let name = item.get("name").and_then(plain_text).unwrap_or_default();
                    read.join(&format!("{key}.{name}"), matcher(item, place, &name));
                }
            }
            "case_sensitive" | "caseSensitive" => {}
            _ => read.lost.push(key.to_owned()),
        }
    }
    read
}

/// A `HeaderMatcher` or a `QueryParameterMatcher`.
fn matcher(item: &Node, place: &str, name: &str) -> Option<Yaml> {
    let text_of = |holder: &Node| {
        let fold = either(holder, "ignore_case").and_then(plain_text).as_deref() == Some("true");
        let text = ["exact", "prefix", "suffix", "contains"]
            .into_iter()
            .find_map(|how| Some(Yaml::one(how, holder.get(how).and_then(plain_text)?)));
        let regex = either(holder, "safe_regex").and_then(|regex| regex.get("regex"));
        let regex = || whole_regex(&plain_text(regex?)?);
        text.or_else(regex).map(|text| if fold { text.with("ignoreCase", true) } else { text })
    };
    let old = ["exact_match", "prefix_match", "suffix_match", "contains_match"]
        .into_iter()
        .find_map(|key| {
            Some(Yaml::one(key.strip_suffix("_match")?, either(item, key).and_then(plain_text)?))
        });
    let old_regex = || {
        let regex = either(item, "safe_regex_match").and_then(|regex| regex.get("regex"));
        whole_regex(&plain_text(regex?)?)
    };
    let there = || {
        let flag = either(item, "present_match").and_then(plain_text)?;
        Some(Yaml::one("present", flag == "true"))
    };
    let bare = || {
        item.members().iter().all(|member| member.key == "name").then(|| Yaml::one("present", true))
    };
    let text = either(item, "string_match")
        .and_then(text_of)
        .or(old)
        .or_else(old_regex)
        .or_else(there)
        .or_else(bare)?;
    let plain = match name {
        ":method" => match text.get("exact") {
            Some(Yaml::Text(name)) => Yaml::one("method", vec![Yaml::text(name)]),
            _ => return None,
        },
        ":authority" => Yaml::one("host", text),
        ":path" => return None,
        name => on(place, name, text),
    };
    let inverted = either(item, "invert_match").and_then(plain_text).as_deref() == Some("true");
    if either(item, "treat_missing_header_as_empty").is_some() {
        return None;
    }
    Some(if inverted { not(&plain) } else { plain })
}

/// What a route hashes, in order.
fn hash_policy(route: &Node, notes: &mut Vec<String>) -> Option<Yaml> {
    let policies = route.get("route").and_then(|action| either(action, "hash_policy"))?.items();
    let mut sources = Vec::new();
    for policy in policies {
        let field = |holder: &str, key: &str| {
            either(policy, holder).and_then(|holder| either(holder, key)).and_then(plain_text)
        };
        let source = (field("header", "header_name").map(|name| Yaml::one("header", name)))
            .or(field("cookie", "name").map(|name| Yaml::one("cookie", name)))
            .or(field("query_parameter", "name").map(|name| Yaml::one("query", name)))
            .or(field("connection_properties", "source_ip").map(|_| Yaml::one("address", true)));
        match source {
            Some(source) => sources.push(source),
            None => notes.push(format!("hash_policy {} (see hashKey)", Yaml::from(policy).shown())),
        }
    }
    (!sources.is_empty()).then_some(Yaml::List(sources))
}

/// How Envoy's table is written.
struct Proxy;

impl Dialect for Proxy {
    fn with_header(&self, when: Option<&Yaml>, header: &str, version: &str) -> Yaml {
        let when = when.cloned().unwrap_or_else(|| Yaml::one("prefix", "/"));
        let mut headers = match when.get("headers") {
            Some(Yaml::List(headers)) => headers.clone(),
            _ => Vec::new(),
        };
        let exact = Yaml::one("exact", version);
        headers.push(Yaml::one("name", header).with("string_match", exact));
        when.set("headers", headers)
    }

    fn entry(&self, name: Option<&str>, kept: &Yaml, whens: &[Yaml], destination: &Yaml) -> Yaml {
        let matched = whens.first().cloned().unwrap_or_else(|| Yaml::one("prefix", "/"));
        let cluster = destination.get("cluster").cloned().unwrap_or(Yaml::Null);
        let mut action = Yaml::one("cluster", cluster);
        for entry in kept.get("route").into_iter().flat_map(|action| action.entries()) {
            action = action.with(&entry.key, entry.value.clone());
        }
        let entry = Yaml::map().maybe("name", name).with("match", matched).with("route", action);
        let own = kept.entries().iter().filter(|entry| entry.key != "route");
        let extra = destination.entries().iter().filter(|entry| entry.key != "cluster");
        own.chain(extra).fold(entry, |all, entry| all.set(&entry.key, entry.value.clone()))
    }
}
