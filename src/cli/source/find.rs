//! Which part of a document is a configuration of this filter.

mod envoy;

pub use envoy::either;

use super::envelope;
use super::tree::{Data, Member, Node, Position};
use super::Problem;
use crate::document::suggest::closest;

/// A Wasm plugin in a document, or a document that is a configuration.
#[derive(Debug)]
pub struct Found {
    /// What carries it (`WasmPlugin shop/cohort`); `None`: the document is the configuration.
    pub carrier: Option<String>,
    /// Where the configuration, or what should have it, begins.
    pub at: Position,
    pub body: Body,
    /// What is wrong with what carries it.
    pub envelope: Vec<Problem>,
    /// The same for plugins that one request passes, as far as the file tells.
    pub chain: String,
    /// Whether it is of this filter by its looks.
    pub ours: bool,
}

/// The configuration itself.
#[derive(Debug)]
pub enum Body {
    /// A tree that reaches the filter as JSON, as a `pluginConfig` does.
    Tree(Node),
    /// A tree that reaches the filter as a protobuf `Struct`.
    Struct(Node),
    /// A text that the proxy hands to the filter as it is; the node is the one that holds it.
    Text(String, Option<Node>),
    /// It comes by discovery from elsewhere.
    Discovered,
}

/// Every Wasm plugin in the documents of one file, and every document that is a configuration.
///
/// A plugin is ours if its configuration has our keys, or if its module or its own name has ours.
pub fn find(documents: &[Node]) -> Vec<Found> {
    let mut all = Vec::new();
    for document in documents {
        document_of(document, &mut all);
    }
    // What is discovered may stand in the same file, as in an EnvoyFilter.
    let is_discovered = |found: &Found| matches!(found.body, Body::Discovered);
    let here = all.iter().filter(|found| found.ours && !is_discovered(found));
    let carriers: Vec<_> = here.map(|found| found.carrier.clone()).collect();
    all.retain(|found| !is_discovered(found) || !carriers.contains(&found.carrier));
    all
}

/// Whether a document is one that Envoy itself reads.
pub fn is_envoy(document: &Node) -> bool {
    document.get("apiVersion").is_none() && !document.members().is_empty() && !is_plain(document)
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
            let list = |key| document.at_keys(&["spec", key]).map(Node::items).unwrap_or_default();
            for plugin in list("wasm") {
                let url = ["image", "http"]
                    .into_iter()
                    .find_map(|source| plugin.at_keys(&["code", source, "url"]));
                let names = ["name", "rootID"].map(|key| plugin.get(key));
                let config = plugin.get("config");
                resource(document, "EnvoyExtensionPolicy", (plugin, config), url, &names, all);
            }
            for module in list("dynamicModule") {
                let names = ["name", "filterName"].map(|key| module.get(key));
                let config = module.get("config");
                resource(document, "EnvoyExtensionPolicy", (module, config), None, &names, all);
            }
        }
        Some(_) if document.get("items").is_some() => {
            for item in document.get("items").map(Node::items).unwrap_or_default() {
                document_of(item, all);
            }
        }
        // Its schema is full of our keys' names.
        Some("CustomResourceDefinition") => {}
        Some(_) => envoy::walk(document, all),
        None if is_plain(document) => all.push(Found {
            carrier: None,
            at: document.at,
            body: Body::Tree(document.clone()),
            envelope: Vec::new(),
            chain: String::new(),
            ours: true,
        }),
        None => envoy::walk(document, all),
    }
}

/// Whether an object is a configuration and not something that carries one.
fn is_plain(node: &Node) -> bool {
    has_our_keys(node) || !node.members().iter().any(|member| ENVOY_KEYS.contains(&&*member.key))
}

fn has_our_keys(node: &Node) -> bool {
    node.get("rollouts").is_some() || node.get("segments").is_some()
}

/// The same, with a slip of the pen.
fn has_nearly_our_keys(node: &Node) -> bool {
    let ours = |member: &Member| closest(&member.key, &["rollouts", "segments"]).is_some();
    node.members().iter().any(ours)
}

/// Keys at the top of an Envoy bootstrap, discovery answer, listener, filter or plugin.
const ENVOY_KEYS: [&str; 30] = [
    "@type",
    "admin",
    "apiVersion",
    "api_listener",
    "bootstrap_extensions",
    "bootstrapExtensions",
    "config",
    "config_discovery",
    "configDiscovery",
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
    "route_config",
    "routeConfig",
    "static_resources",
    "staticResources",
    "typed_config",
    "typedConfig",
    "virtual_hosts",
    "virtualHosts",
    "vm_config",
    "vmConfig",
];

fn istio(document: &Node, kind: &str, plugin: Option<&Node>, all: &mut Vec<Found>) {
    let part = |key| plugin.and_then(|plugin| plugin.get(key));
    let names = [part("pluginName"), None];
    // The name of Envoy's own key, or a slip of the pen, still says whose it is.
    let config = part("pluginConfig").or_else(|| {
        let keys = plugin.map(Node::members).unwrap_or_default();
        let meant = |member: &&Member| closest(&member.key, &["pluginConfig"]).is_some();
        keys.iter().find(meant).map(|member| &member.value)
    });
    let plugin = (plugin.unwrap_or(document), config);
    resource(document, kind, plugin, part("url"), &names, all);
}

/// A plugin in a Kubernetes resource, with its configuration, the URL of its module and its names.
fn resource(
    document: &Node,
    kind: &str,
    (plugin, config): (&Node, Option<&Node>),
    url: Option<&Node>,
    names: &[Option<&Node>],
    all: &mut Vec<Found>,
) {
    let name = |key| document.at_keys(&["metadata", key]).and_then(Node::text);
    let full = match (name("namespace"), name("name").or(name("generateName"))) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    };
    let texts = [url, document.at_keys(&["metadata", "name"])];
    let named = texts.iter().chain(names).flatten().filter_map(|node| node.text()).any(is_our_name);
    // A control plane hands over nothing at all for an object that is not there.
    let body = match config {
        Some(Node { data: Data::Null, .. }) | None => Body::Text(String::new(), None),
        Some(config) => Body::Tree(config.clone()),
    };
    let where_it_is = ["selector", "targetRefs", "targetRef"]
        .map(|key| document.at_keys(&["spec", key]).map(Node::brief).unwrap_or_default());
    all.push(Found {
        carrier: Some(full),
        at: config.unwrap_or(plugin).at,
        ours: named || config.is_some_and(|it| has_our_keys(it) || has_nearly_our_keys(it)),
        body,
        envelope: envelope::resource(kind, document),
        chain: format!("{} {}", name("namespace").unwrap_or_default(), where_it_is.join(" ")),
    });
}

fn is_our_name(text: &str) -> bool {
    text.contains("cohort")
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    /// What carries each configuration that is found, and how.
    fn found(text: &str) -> Vec<String> {
        let found: Vec<Found> =
            find(&yaml::read(text).unwrap()).into_iter().filter(|found| found.ours).collect();
        let words = |found: &Found| {
            let carrier = found.carrier.as_deref().unwrap_or("plain");
            let body = match &found.body {
                Body::Tree(tree) | Body::Struct(tree) => tree.brief(),
                Body::Discovered => "discovered".into(),
                Body::Text(text, _) => format!("text {text}"),
            };
            format!("{carrier}: {body}")
        };
        found.iter().map(words).collect()
    }

    #[test]
    fn a_configuration_is_found_by_its_keys_even_if_they_are_misspelled() {
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
        let renamed = plugin("oci://x/filter", "plugin_config: {rollout: []}");
        assert_eq!(found(&renamed), ["WasmPlugin p: {rollout: []}"]);
        assert!(found(&other).is_empty(), "alone or not, it is somebody else's");
        assert!(found(&(other.clone() + &other)).is_empty());
        let resource = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
                        spec: {names: {kind: WasmPlugin}, a: {vmConfig: {type: cohort}}}";
        assert!(found(resource).is_empty());
    }

    #[test]
    fn a_policy_of_envoy_gateway_has_a_list_of_plugins() {
        let policy = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: p}\n\
                      spec: {wasm: [{name: a, code: {image: {url: x/limit}}, config: {limit: 1}}, \
                      {name: b, code: {image: {url: x/cohort}}, config: {rolouts: []}}]}";
        assert_eq!(found(policy), ["EnvoyExtensionPolicy p: {rolouts: []}"]);
        let policy = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: p}\n\
                      spec: {dynamicModule: [{name: a, config: {limit: 1}}, {name: b, filterName: cohort}, \
                      {name: c, config: {rollouts: []}}]}";
        assert_eq!(
            found(policy),
            ["EnvoyExtensionPolicy p: text ", "EnvoyExtensionPolicy p: {rollouts: []}"]
        );
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
            let plugin =
                format!("root_id: cohort\nvm_config: {{runtime: v8}}\nconfiguration: {any}");
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

    #[test]
    fn a_filter_in_a_dynamic_module_carries_a_configuration_as_a_wasm_filter_does() {
        let kind = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
        let any = "{'@type': type.googleapis.com/google.protobuf.StringValue, value: '{\"rollouts\": []}'}";
        let path = |file: &str| format!("{{module: {{local: {{filename: /usr/lib/{file}.so}}}}}}");
        let ours = format!(
            "{{name: f, typed_config: {{'@type': type.googleapis.com/{kind}, filter_config: {any}, \
              dynamic_module_config: {}, filter_name: f}}}}",
            path("other")
        );
        assert_eq!(
            found(&format!("resources: [{ours}]")),
            ["Envoy filter f: text {\"rollouts\": []}"]
        );
        // By the file's name alone, in protobuf's other spelling, without a configuration.
        let empty = format!(
            "{{name: f, typedConfig: {{'@type': type.googleapis.com/{kind}, dynamicModuleConfig: {}}}}}",
            path("libcohort")
        );
        assert_eq!(found(&format!("http_filters: [{empty}]")), ["Envoy filter f: text "]);
        let other = empty.replace("libcohort", "other");
        assert!(found(&format!("http_filters: [{other}]")).is_empty());
        let discovered =
            format!("http_filters: [{{name: cohort, config_discovery: {{type_urls: [{kind}]}}}}]");
        assert_eq!(found(&discovered), ["Envoy filter cohort: discovered"]);
        let resource = ours.replace("name: f,", "name: cohort,");
        assert_eq!(
            found(&format!("{discovered}\nresources: [{resource}]")),
            ["Envoy filter cohort: text {\"rollouts\": []}"]
        );
    }
}
