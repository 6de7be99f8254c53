//! Route tables in files: Envoy's, and those that control planes make them of.

use crate::cli::source::find::either;
use crate::cli::source::tree::{Node, Position};

/// A route table: the routes of one virtual host or resource.
pub struct Table<'a> {
    /// What it is called, such as `VirtualService shop/checkout`.
    pub label: String,
    /// Whether the first route that matches takes a request.
    pub is_ordered: bool,
    pub routes: Vec<Route<'a>>,
}

/// One route.
pub struct Route<'a> {
    pub at: Position,
    /// Any of these is enough.
    pub matches: Vec<Matching<'a>>,
    /// The clusters that it leads to.
    pub clusters: Vec<Named<'a>>,
    /// The hosts and subsets that it leads to.
    pub subsets: Vec<(&'a str, Named<'a>)>,
}

/// A name and where it stands.
pub struct Named<'a> {
    pub at: Position,
    pub name: &'a str,
}

/// Conditions that all have to hold.
#[derive(Default)]
pub struct Matching<'a> {
    pub headers: Vec<Header<'a>>,
    /// Whether there are conditions on anything but headers.
    pub has_others: bool,
}

/// A condition on a header.
pub struct Header<'a> {
    pub at: Position,
    /// In lower case.
    pub name: String,
    /// The value that it has to have; `None` where the condition is another.
    pub exact: Option<&'a str>,
}

impl Route<'_> {
    /// Whether it takes every request that comes to it.
    pub fn takes_all(&self) -> bool {
        self.matches.iter().any(|one| one.headers.is_empty() && !one.has_others)
    }

    /// Every condition on a header.
    pub fn headers(&self) -> impl Iterator<Item = &Header<'_>> {
        self.matches.iter().flat_map(|one| &one.headers)
    }
}

/// Every route table in the documents of a file.
pub fn tables(documents: &[Node]) -> Vec<Table<'_>> {
    let mut tables = Vec::new();
    documents.iter().for_each(|document| document_of(document, &mut tables));
    tables
}

fn document_of<'a>(document: &'a Node, tables: &mut Vec<Table<'a>>) {
    let kind = document.get("kind").and_then(Node::text);
    match kind.filter(|_| document.get("apiVersion").is_some()) {
        Some("VirtualService") => tables.push(virtual_service(document)),
        Some("HTTPRoute") => tables.push(http_route(document)),
        Some(_) if document.get("items").is_some() => {
            list(document, "items").iter().for_each(|item| document_of(item, tables));
        }
        _ => envoy(document, tables),
    }
}

fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).map(Node::items).unwrap_or_default()
}

/// What a resource is called.
fn resource(document: &Node, kind: &str) -> String {
    let name = |key| document.at_keys(&["metadata", key]).and_then(Node::text);
    match (name("namespace"), name("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    }
}

fn virtual_service(document: &Node) -> Table<'_> {
    let http = document.at_keys(&["spec", "http"]).map(Node::items).unwrap_or_default();
    let routes = http.iter().map(|route| {
        let mut matches: Vec<Matching<'_>> =
            list(route, "match").iter().map(virtual_service_match).collect();
        if matches.is_empty() {
            matches.push(Matching::default());
        }
        let destinations = list(route, "route").iter().filter_map(|one| one.get("destination"));
        let subsets = destinations.filter_map(|destination| {
            let subset = destination.get("subset")?;
            let host = destination.get("host").and_then(Node::text)?;
            Some((host, Named { at: subset.at, name: subset.text()? }))
        });
        Route { at: route.at, matches, clusters: Vec::new(), subsets: subsets.collect() }
    });
    Table {
        label: resource(document, "VirtualService"),
        is_ordered: true,
        routes: routes.collect(),
    }
}

fn virtual_service_match(node: &Node) -> Matching<'_> {
    let mut matching = Matching::default();
    for member in node.members() {
        match member.key.as_str() {
            "name" | "ignoreUriCase" | "statPrefix" => {}
            "headers" => {
                matching.headers.extend(member.value.members().iter().map(|header| Header {
                    at: header.at,
                    name: header.key.to_ascii_lowercase(),
                    exact: header.value.get("exact").and_then(Node::text),
                }));
            }
            "uri" if is_any_path(member.value.get("prefix")) => {}
            _ => matching.has_others = true,
        }
    }
    matching
}

fn is_any_path(prefix: Option<&Node>) -> bool {
    prefix.and_then(Node::text) == Some("/")
}

fn http_route(document: &Node) -> Table<'_> {
    let rules = document.at_keys(&["spec", "rules"]).map(Node::items).unwrap_or_default();
    let routes = rules.iter().map(|rule| {
        let mut matches: Vec<Matching<'_>> =
            list(rule, "matches").iter().map(http_route_match).collect();
        if matches.is_empty() {
            matches.push(Matching::default());
        }
        Route { at: rule.at, matches, clusters: Vec::new(), subsets: Vec::new() }
    });
    Table { label: resource(document, "HTTPRoute"), is_ordered: false, routes: routes.collect() }
}

fn http_route_match(node: &Node) -> Matching<'_> {
    let headers = list(node, "headers").iter().filter_map(|header| {
        let is_exact = header.get("type").and_then(Node::text).is_none_or(|kind| kind == "Exact");
        Some(Header {
            at: header.at,
            name: header.get("name").and_then(Node::text)?.to_ascii_lowercase(),
            exact: header.get("value").and_then(Node::text).filter(|_| is_exact),
        })
    });
    let path = node.get("path").and_then(|path| path.get("value"));
    let has_others = node.members().iter().any(|member| match member.key.as_str() {
        "headers" => false,
        "path" => !is_any_path(path),
        _ => true,
    });
    Matching { headers: headers.collect(), has_others }
}

fn envoy<'a>(node: &'a Node, tables: &mut Vec<Table<'a>>) {
    let routes = list(node, "routes");
    if !routes.is_empty() && routes.iter().all(|route| route.get("match").is_some()) {
        let name = node.get("name").and_then(Node::text).unwrap_or_default();
        tables.push(Table {
            label: format!("virtual host {name}").trim_end().to_owned(),
            is_ordered: true,
            routes: routes.iter().filter_map(envoy_route).collect(),
        });
        return;
    }
    node.members().iter().for_each(|member| envoy(&member.value, tables));
    node.items().iter().for_each(|item| envoy(item, tables));
}

fn envoy_route(route: &Node) -> Option<Route<'_>> {
    let conditions = route.get("match")?;
    let mut matching = Matching::default();
    for member in conditions.members() {
        match member.key.as_str() {
            "prefix" if is_any_path(Some(&member.value)) => {}
            "case_sensitive" | "caseSensitive" => {}
            "headers" => {
                matching.headers.extend(member.value.items().iter().filter_map(envoy_header))
            }
            _ => matching.has_others = true,
        }
    }
    let action = route.get("route");
    let weighted =
        action.and_then(|action| either(action, "weighted_clusters", "weightedClusters"));
    let one = action.and_then(|action| action.get("cluster"));
    let several = weighted.map(|weighted| list(weighted, "clusters")).unwrap_or_default();
    let clusters = one.into_iter().chain(several.iter().filter_map(|one| one.get("name")));
    let clusters =
        clusters.filter_map(|node| Some(Named { at: node.at, name: node.text()? })).collect();
    Some(Route { at: route.at, matches: vec![matching], clusters, subsets: Vec::new() })
}

fn envoy_header(header: &Node) -> Option<Header<'_>> {
    let string = either(header, "string_match", "stringMatch").and_then(|text| text.get("exact"));
    let exact = string.or_else(|| either(header, "exact_match", "exactMatch"));
    let inverted = either(header, "invert_match", "invertMatch").is_some();
    Some(Header {
        at: header.at,
        name: header.get("name").and_then(Node::text)?.to_ascii_lowercase(),
        exact: exact.and_then(Node::text).filter(|_| !inverted),
    })
}
