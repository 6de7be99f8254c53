//! The removal as Istio, Envoy Gateway and Envoy are told of it.

use std::fmt::Write;

use super::super::source::resource::Resource;
use super::super::source::tree::Node;
use super::Removal;

const MUTATION: &str =
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The keys to add to the `HttpConnectionManager` of an Envoy.
pub fn connection_manager(removal: &Removal) -> String {
    let mut text = notes(removal);
    extension(removal, 0, &mut text);
    text
}

fn extension(removal: &Removal, indent: usize, text: &mut String) {
    let lines = [
        "early_header_mutation_extensions:".to_owned(),
        "  - name: envoy.http.early_header_mutation.header_mutation".to_owned(),
        "    typed_config:".to_owned(),
        format!("      \"@type\": type.googleapis.com/{MUTATION}"),
        "      mutations:".to_owned(),
    ];
    let removed = removal.headers.iter().map(|name| format!("        - remove: {name}"));
    for line in lines.into_iter().chain(removed) {
        push(indent, &line, text);
    }
}

fn push(indent: usize, line: &str, text: &mut String) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{:indent$}{line}", "");
}

/// What is not removed, and what inheriting then goes by.
fn notes(removal: &Removal) -> String {
    let mut text = String::new();
    for name in &removal.kept {
        push(
            0,
            &format!("# {name} is not removed: decisions are inherited by it alone. With"),
            &mut text,
        );
        push(0, "# inherit.baggage and the callers' output.baggage it could be.", &mut text);
    }
    for name in &removal.by_baggage {
        push(
            0,
            &format!(
                "# {name} is inherited by its baggage from here on: the route header is removed."
            ),
            &mut text,
        );
    }
    if removal.headers.is_empty() {
        push(0, "# There is nothing to remove.", &mut text);
    }
    text
}

/// The EnvoyFilter for the proxies that run `plugin`, a WasmPlugin or TrafficExtension.
pub fn envoy_filter(plugin: &Resource, removal: &Removal) -> String {
    let mut text = notes(removal);
    if removal.headers.is_empty() {
        return text;
    }
    push(0, "apiVersion: networking.istio.io/v1alpha3", &mut text);
    push(0, "kind: EnvoyFilter", &mut text);
    push(0, "metadata:", &mut text);
    push(2, &format!("name: {}-early", quoted(&plugin.name)), &mut text);
    if let Some(namespace) = &plugin.namespace {
        push(2, &format!("namespace: {}", quoted(namespace)), &mut text);
    }
    push(0, "spec:", &mut text);
    if let Some(labels) = plugin.spec(&["selector", "matchLabels"]) {
        push(2, "workloadSelector:", &mut text);
        push(4, "labels:", &mut text);
        for label in labels.members() {
            let value = label.value.text().map_or_else(|| label.value.brief(), str::to_owned);
            push(6, &format!("{}: {}", quoted(&label.key), quoted(&value)), &mut text);
        }
    }
    let targets = plugin.targets();
    if !targets.is_empty() {
        push(2, "targetRefs:", &mut text);
        targets.iter().for_each(|target| reference(target, &["group", "kind", "name"], &mut text));
    }
    push(2, "configPatches:", &mut text);
    for context in contexts(plugin) {
        for line in [
            "    - applyTo: NETWORK_FILTER".to_owned(),
            "      match:".to_owned(),
            format!("        context: {context}"),
            "        listener:".to_owned(),
            "          filterChain:".to_owned(),
            "            filter:".to_owned(),
            "              name: envoy.filters.network.http_connection_manager".to_owned(),
            "      patch:".to_owned(),
            "        operation: MERGE".to_owned(),
            "        value:".to_owned(),
            "          typed_config:".to_owned(),
            format!("            \"@type\": type.googleapis.com/{MANAGER}"),
        ] {
            push(0, &line, &mut text);
        }
        extension(removal, 12, &mut text);
    }
    text
}

/// Where the plugin acts: the removal acts there too, and nowhere else.
pub fn contexts(plugin: &Resource) -> &'static [&'static str] {
    let matches = plugin.spec(&["match"]).map(Node::items).unwrap_or_default();
    let all = |mode: &str| {
        let is = |one: &Node| one.get("mode").and_then(Node::text) == Some(mode);
        !matches.is_empty() && matches.iter().all(is)
    };
    if all("CLIENT") {
        &["SIDECAR_OUTBOUND", "GATEWAY"]
    } else if all("SERVER") {
        &["SIDECAR_INBOUND"]
    } else {
        &["ANY"]
    }
}

/// One ClientTrafficPolicy for each Gateway whose routes `plugin`, an EnvoyExtensionPolicy, acts on.
pub fn client_traffic_policies(plugin: &Resource, all: &[Resource], removal: &Removal) -> String {
    let mut text = notes(removal);
    let gateways = gateways(plugin, all);
    if gateways.is_empty() && !removal.headers.is_empty() {
        push(0, "# Name your Gateway below, and its namespace: this policy belongs beside it. With the HTTPRoute", &mut text);
        push(0, "# among the files, cohort reads both from its parentRefs.", &mut text);
        policy(plugin, &("GATEWAY".to_owned(), None), removal, &mut text);
    }
    for (position, gateway) in gateways.iter().enumerate() {
        if position > 0 {
            push(0, "---", &mut text);
        }
        policy(plugin, gateway, removal, &mut text);
    }
    text
}

fn policy(
    plugin: &Resource,
    (gateway, namespace): &(String, Option<String>),
    removal: &Removal,
    text: &mut String,
) {
    push(0, "apiVersion: gateway.envoyproxy.io/v1alpha1", text);
    push(0, "kind: ClientTrafficPolicy", text);
    push(0, "metadata:", text);
    push(2, &format!("name: {}-early", quoted(&plugin.name)), text);
    if let Some(namespace) = namespace {
        push(2, &format!("namespace: {}", quoted(namespace)), text);
    }
    push(0, "spec:", text);
    push(2, "targetRefs:", text);
    push(4, "- group: gateway.networking.k8s.io", text);
    push(6, "kind: Gateway", text);
    push(6, &format!("name: {}", quoted(gateway)), text);
    push(2, "headers:", text);
    push(4, "earlyRequestHeaders:", text);
    push(6, "remove:", text);
    removal.headers.iter().for_each(|name| push(8, &format!("- {name}"), text));
}

/// The Gateways that a policy acts on, with their namespaces.
pub fn gateways(plugin: &Resource, all: &[Resource]) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut add = |name: &str, namespace: Option<&str>| {
        let gateway = (name.to_owned(), namespace.map(str::to_owned));
        if !found.contains(&gateway) {
            found.push(gateway);
        }
    };
    for target in plugin.targets() {
        let text = |key| target.get(key).and_then(Node::text);
        let Some(name) = text("name") else { continue };
        if text("kind") == Some("Gateway") {
            add(name, plugin.namespace.as_deref());
        }
        let routes = all.iter().filter(|route| {
            text("kind") == Some(&route.kind)
                && route.name == name
                && route.namespace == plugin.namespace
        });
        for parent in routes.filter_map(|route| route.spec(&["parentRefs"])).flat_map(Node::items) {
            let text = |key| parent.get(key).and_then(Node::text);
            if let Some(name) =
                text("name").filter(|_| text("kind").is_none_or(|kind| kind == "Gateway"))
            {
                add(name, text("namespace").or(plugin.namespace.as_deref()));
            }
        }
    }
    found
}

fn reference(target: &Node, keys: &[&str], text: &mut String) {
    let mut mark = "- ";
    for key in keys {
        let Some(value) = target.get(key).and_then(Node::text) else { continue };
        push(4, &format!("{mark}{key}: {}", quoted(value)), text);
        mark = "  ";
    }
}

/// A text that YAML reads as itself.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
