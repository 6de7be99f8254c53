//! Which part of a document is a configuration of this filter.

use base64ct::{Base64, Encoding};

use super::tree::{Data, Member, Node, Position};

/// A configuration as a document carries it.
#[derive(Debug)]
pub struct Found {
    /// What carries it (`WasmPlugin shop/cohort`); `None`: the document is the configuration.
    pub carrier: Option<String>,
    /// Where the configuration, or what should have it, begins.
    pub at: Position,
    pub body: Body,
    /// Whether it is a configuration of this filter by its looks.
    ours: bool,
}

/// The configuration itself.
#[derive(Debug)]
pub enum Body {
    /// A tree, as in a `pluginConfig` or a protobuf `Struct`.
    Tree(Node),
    /// A text that the proxy hands to the filter as it is; the node is the one that holds it.
    Text(String, Option<Node>),
}

/// Every configuration of this filter in the documents of one file.
///
/// A Wasm plugin is ours if its configuration has our keys or its module our name, or if it is the only
/// one there is.
pub fn find(documents: &[Node]) -> Vec<Found> {
    let mut all = Vec::new();
    for document in documents {
        document_of(document, &mut all);
    }
    let only = all.len() == 1;
    all.retain(|found| found.ours || only);
    all
}

fn document_of(document: &Node, all: &mut Vec<Found>) {
    let kind = document.get("kind").and_then(Node::text);
    let is_resource = document.get("apiVersion").is_some();
    match kind.filter(|_| is_resource) {
        Some("WasmPlugin") => istio(document, "WasmPlugin", document.get("spec"), all),
        Some("TrafficExtension") => {
            // With `lua` instead of `wasm` it is somebody else's.
            if let Some(wasm) = document.at_keys(&["spec", "wasm"]) {
                istio(document, "TrafficExtension", Some(wasm), all);
            }
        }
        Some("EnvoyExtensionPolicy") => {
            let wasm = document.at_keys(&["spec", "wasm"]).map(Node::items).unwrap_or_default();
            for plugin in wasm {
                let url = ["image", "http"]
                    .into_iter()
                    .find_map(|source| plugin.at_keys(&["code", source, "url"]));
                resource(document, "EnvoyExtensionPolicy", plugin, plugin.get("config"), url, all);
            }
        }
        Some(_) if document.get("items").is_some() => {
            for item in document.get("items").map(Node::items).unwrap_or_default() {
                document_of(item, all);
            }
        }
        Some(_) => envoy(document, &Named::default(), all),
        None if is_plain(document) => all.push(Found {
            carrier: None,
            at: document.at,
            body: Body::Tree(document.clone()),
            ours: true,
        }),
        None => envoy(document, &Named::default(), all),
    }
}

/// Whether an object is a configuration and not something that carries one.
fn is_plain(node: &Node) -> bool {
    has_our_keys(node) || !node.members().iter().any(|member| ENVOY_KEYS.contains(&&*member.key))
}

fn has_our_keys(node: &Node) -> bool {
    node.get("rollouts").is_some() || node.get("segments").is_some()
}

/// Keys at the top of an Envoy bootstrap, discovery answer, listener, filter or plugin.
const ENVOY_KEYS: [&str; 24] = [
    "@type",
    "admin",
    "apiVersion",
    "api_listener",
    "bootstrap_extensions",
    "bootstrapExtensions",
    "config",
    "configs",
    "configuration",
    "dynamic_resources",
    "dynamicResources",
    "filter_chains",
    "filterChains",
    "http_filters",
    "httpFilters",
    "listeners",
    "node",
    "resources",
    "static_resources",
    "staticResources",
    "typed_config",
    "typedConfig",
    "vm_config",
    "vmConfig",
];

fn istio(document: &Node, kind: &str, plugin: Option<&Node>, all: &mut Vec<Found>) {
    let config = plugin.and_then(|plugin| plugin.get("pluginConfig"));
    let url = plugin.and_then(|plugin| plugin.get("url"));
    resource(document, kind, plugin.unwrap_or(document), config, url, all);
}

/// A plugin in a Kubernetes resource: its configuration and the URL of its module.
fn resource(
    document: &Node,
    kind: &str,
    plugin: &Node,
    config: Option<&Node>,
    url: Option<&Node>,
    all: &mut Vec<Found>,
) {
    let name = |key| document.at_keys(&["metadata", key]).and_then(Node::text);
    let full = match (name("namespace"), name("name").or(name("generateName"))) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    };
    let named = url.and_then(Node::text).is_some_and(|url| url.contains("cohort"));
    // A control plane hands over nothing at all for an object that is not there.
    let body = match config {
        Some(Node { data: Data::Null, .. }) | None => Body::Text(String::new(), None),
        Some(config) => Body::Tree(config.clone()),
    };
    all.push(Found {
        carrier: Some(full),
        at: config.unwrap_or(plugin).at,
        ours: named || config.is_some_and(has_our_keys),
        body,
    });
}

/// What an Envoy configuration says of a plugin on the way down to it.
#[derive(Clone, Default)]
struct Named {
    /// The name of the nearest filter or resource.
    name: Option<String>,
    /// Whether the nearest `@type` (or `type_url`) is a Wasm filter's or service's.
    is_wasm: bool,
}

fn envoy(node: &Node, outer: &Named, all: &mut Vec<Found>) {
    if is_plugin(node) {
        return plugin(node, outer, all);
    }
    let text = |key| node.get(key).and_then(Node::text);
    let mut here = outer.clone();
    if let Some(name) = text("name") {
        here.name = Some(name.to_owned());
    }
    // A TypedStruct has the type that counts beside its own.
    let kind = text("type_url").or(text("typeUrl")).or(text("@type"));
    here.is_wasm = kind.map_or(here.is_wasm, is_wasm_type);
    for member in node.members() {
        if here.is_wasm && member.key == "config" {
            plugin(&member.value, &here, all);
        } else {
            envoy(&member.value, &here, all);
        }
    }
    for item in node.items() {
        envoy(item, &here, all);
    }
}

fn is_wasm_type(url: &str) -> bool {
    url.ends_with(".wasm.v3.Wasm") || url.ends_with(".wasm.v3.WasmService")
}

/// Whether an object is an Envoy Wasm `PluginConfig` by its keys.
fn is_plugin(node: &Node) -> bool {
    node.get("vm_config").or(node.get("vmConfig")).is_some_and(|vm| !vm.members().is_empty())
}

fn plugin(node: &Node, named: &Named, all: &mut Vec<Found>) {
    let label = named.name.as_deref().or(node.get("name").and_then(Node::text));
    let carrier = match label {
        Some(name) => format!("Envoy filter {name}"),
        None => "Envoy filter".into(),
    };
    let configuration = node.get("configuration");
    let body = match configuration {
        Some(any) => any_of(any),
        None => Body::Text(String::new(), None),
    };
    let keys = match &body {
        Body::Tree(tree) => has_our_keys(tree),
        Body::Text(text, _) => text.contains("\"rollouts\"") || text.contains("\"segments\""),
    };
    let module =
        node.get("vm_config").or(node.get("vmConfig")).is_some_and(|vm| mentions(vm, "cohort"));
    all.push(Found {
        carrier: Some(carrier),
        at: configuration.unwrap_or(node).at,
        ours: keys || module,
        body,
    });
}

/// Whether the code of a plugin is read from somewhere with `word` in its name.
fn mentions(node: &Node, word: &str) -> bool {
    node.text().is_some_and(|text| text.contains(word))
        || node.items().iter().any(|item| mentions(item, word))
        || node.members().iter().any(|member| mentions(&member.value, word))
}

/// What Envoy hands to a plugin for a protobuf `Any`: the text of a `StringValue` or `BytesValue`, the
/// JSON of a `Struct`.
fn any_of(any: &Node) -> Body {
    let url = any.get("@type").and_then(Node::text).unwrap_or_default();
    let value = any.get("value");
    if url.ends_with("google.protobuf.StringValue") {
        return match value {
            Some(node) => match node.text() {
                Some(text) => Body::Text(text.to_owned(), Some(node.clone())),
                None => Body::Tree(node.clone()),
            },
            None => Body::Text(String::new(), None),
        };
    }
    if url.ends_with("google.protobuf.BytesValue") {
        let bytes = value.and_then(Node::text).and_then(|text| Base64::decode_vec(text).ok());
        if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
            return Body::Text(text, None);
        }
    }
    if let Some(value) = value {
        return Body::Tree(value.clone());
    }
    let members: Vec<Member> =
        any.members().iter().filter(|member| member.key != "@type").cloned().collect();
    Body::Tree(Node { at: any.at, data: Data::Object(members) })
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    /// What carries each configuration that is found, and how.
    fn found(text: &str) -> Vec<String> {
        let found = find(&yaml::read(text).unwrap());
        let words = |found: &Found| {
            let carrier = found.carrier.as_deref().unwrap_or("plain");
            let body = match &found.body {
                Body::Tree(tree) => tree.brief(),
                Body::Text(text, _) => format!("text {text}"),
            };
            format!("{carrier}: {body}")
        };
        found.iter().map(words).collect()
    }

    #[test]
    fn a_configuration_is_found_by_its_keys_or_alone_even_if_they_are_misspelled() {
        assert_eq!(found("rollouts: []"), ["plain: {rollouts: []}"]);
        assert_eq!(found("rolouts: []"), ["plain: {rolouts: []}"]);
        assert_eq!(found("rollouts: []\n---\nsegments: {}").len(), 2);
        assert_eq!(found("{}"), ["plain: {}"]);
        assert_eq!(found("just text"), ["plain: just text"]);
    }

    #[test]
    fn of_several_plugins_only_ours_are_found() {
        let plugin = |url: &str, config: &str| {
            format!(
                "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: p}}\n\
                 spec: {{url: '{url}', {config}}}\n"
            )
        };
        let other = plugin("oci://x/limit", "pluginConfig: {limit: 1}");
        let ours = plugin("oci://x/filter", "pluginConfig: {rollouts: []}");
        let misspelled = plugin("oci://x/cohort:1", "pluginConfig: {rolouts: []}");
        let without = plugin("oci://x/cohort:1", "phase: AUTHN");
        assert_eq!(found(&(other.clone() + &ours)), ["WasmPlugin p: {rollouts: []}"]);
        assert_eq!(found(&(other.clone() + &misspelled)), ["WasmPlugin p: {rolouts: []}"]);
        assert_eq!(found(&(other.clone() + &without)), ["WasmPlugin p: text "]);
        assert_eq!(found(&other), ["WasmPlugin p: {limit: 1}"]);
        assert!(found(&(other.clone() + &other)).is_empty());
    }

    #[test]
    fn a_policy_of_envoy_gateway_has_a_list_of_plugins() {
        let policy = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: p}\n\
                      spec: {wasm: [{name: a, code: {image: {url: x/limit}}, config: {limit: 1}}, \
                      {name: b, code: {image: {url: x/cohort}}, config: {rolouts: []}}]}";
        assert_eq!(found(policy), ["EnvoyExtensionPolicy p: {rolouts: []}"]);
    }

    #[test]
    fn an_envoy_configuration_is_searched_all_over() {
        let wasm = "'@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
        let text = "configuration: {'@type': type.googleapis.com/google.protobuf.StringValue, value: '{\"rollouts\": []}'}";
        let filter = format!("{{name: f, typed_config: {{{wasm}, config: {{{text}}}}}}}");
        for outer in [
            filter.clone(),
            format!("resources: [{filter}]"),
            format!("static_resources: {{listeners: [{{filter_chains: [{{filters: [{filter}]}}]}}]}}"),
            format!("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nspec: {{configPatches: [{{patch: {{value: {filter}}}}}]}}"),
        ] {
            assert_eq!(found(&outer), ["Envoy filter f: text {\"rollouts\": []}"], "{outer}");
        }
        let service = "'@type': type.googleapis.com/envoy.extensions.wasm.v3.WasmService";
        let service = format!(
            "bootstrap_extensions: [{{name: s, typed_config: {{{service}, config: {{{text}}}}}}}]"
        );
        assert_eq!(found(&service), ["Envoy filter s: text {\"rollouts\": []}"]);
        let plugin = format!("name: p\nvm_config: {{runtime: envoy.wasm.runtime.v8}}\n{text}");
        assert_eq!(found(&plugin), ["Envoy filter p: text {\"rollouts\": []}"]);
    }

    #[test]
    fn an_any_is_what_envoy_hands_to_the_plugin() {
        let body = |any: &str| {
            let plugin = format!("vm_config: {{runtime: v8}}\nconfiguration: {any}");
            found(&plugin).join("; ")
        };
        let any = |name: &str| format!("'@type': type.googleapis.com/google.protobuf.{name}");
        assert_eq!(
            body(&format!("{{{}, value: {{rollouts: []}}}}", any("Struct"))),
            "Envoy filter: {rollouts: []}"
        );
        assert_eq!(body("{rollouts: []}"), "Envoy filter: {rollouts: []}");
        assert_eq!(
            body(&format!("{{{}, value: e30=}}", any("BytesValue"))),
            "Envoy filter: text {}"
        );
        assert_eq!(body(&format!("{{{}}}", any("StringValue"))), "Envoy filter: text ");
    }
}
