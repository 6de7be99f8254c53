//! The filters in an Envoy configuration, in any part of one: Wasm plugins, and filters in dynamic modules.

use base64ct::{Base64, Encoding};

use super::super::envelope;
use super::super::tree::{Data, Member, Node};
use super::super::Problem;
use super::{has_nearly_our_keys, has_our_keys, is_our_name, Body, Found};

/// A filter's type.
#[derive(Clone, Copy)]
enum Kind {
    /// A Wasm filter or service.
    Wasm,
    /// A filter in a dynamic module, as the native module is one.
    Module,
}

/// What an Envoy configuration says of a plugin on the way down to it.
#[derive(Clone, Default)]
struct Named {
    /// The name of the nearest filter or resource.
    name: Option<String>,
    /// What the nearest `@type` (or `type_url`) is.
    kind: Option<Kind>,
    /// The place of the nearest connection manager.
    chain: String,
}

/// Adds the filters below `node`, whatever of Envoy's it is.
pub fn walk(node: &Node, all: &mut Vec<Found>) {
    below(node, &Named::default(), all);
}

fn below(node: &Node, outer: &Named, all: &mut Vec<Found>) {
    if is_plugin(node) {
        return plugin(node, outer, all);
    }
    let text = |key| node.get(key).and_then(Node::text);
    let mut here = outer.clone();
    if let Some(name) = text("name") {
        here.name = Some(name.to_owned());
    }
    if either(node, "http_filters", "httpFilters").is_some() {
        here.chain = node.at.to_string();
    }
    if let Some(discovery) = either(node, "config_discovery", "configDiscovery") {
        discovered(discovery, &here, all);
    }
    // A TypedStruct has the type that counts beside its own.
    let kind = text("type_url").or(text("typeUrl")).or(text("@type"));
    here.kind = kind.map_or(here.kind, Kind::of);
    for member in node.members() {
        match (here.kind, member.key.as_str()) {
            (Some(Kind::Wasm), "config") => plugin(&member.value, &here, all),
            (Some(Kind::Module), "dynamic_module_config" | "dynamicModuleConfig") => {
                module(node, &member.value, &here, all)
            }
            _ => below(&member.value, &here, all),
        }
    }
    for item in node.items() {
        below(item, &here, all);
    }
}

/// The value of a key in either of the spellings that protobuf's JSON has.
pub fn either<'a>(node: &'a Node, snake: &str, camel: &str) -> Option<&'a Node> {
    node.get(snake).or_else(|| node.get(camel))
}

impl Kind {
    /// The kind that a type's URL says; `None` for everything else.
    fn of(url: &str) -> Option<Self> {
        if url.ends_with(".wasm.v3.Wasm") || url.ends_with(".wasm.v3.WasmService") {
            Some(Self::Wasm)
        } else if url.ends_with(".http.dynamic_modules.v3.DynamicModuleFilter") {
            Some(Self::Module)
        } else {
            None
        }
    }
}

/// Whether an object is an Envoy Wasm `PluginConfig` by its keys.
fn is_plugin(node: &Node) -> bool {
    either(node, "vm_config", "vmConfig").is_some_and(|vm| !vm.members().is_empty())
}

/// A filter whose configuration comes by discovery.
fn discovered(discovery: &Node, named: &Named, all: &mut Vec<Found>) {
    let types = either(discovery, "type_urls", "typeUrls").map(Node::items).unwrap_or_default();
    if types.iter().filter_map(Node::text).any(|url| Kind::of(url).is_some()) {
        all.push(Found {
            carrier: Some(labelled(named.name.as_deref())),
            at: discovery.at,
            body: Body::Discovered,
            envelope: Vec::new(),
            chain: named.chain.clone(),
            ours: named.name.as_deref().is_some_and(is_our_name),
        });
    }
}

fn labelled(name: Option<&str>) -> String {
    name.map_or("Envoy filter".into(), |name| format!("Envoy filter {name}"))
}

fn plugin(node: &Node, named: &Named, all: &mut Vec<Found>) {
    let own = ["name", "root_id", "rootId"].map(|key| node.get(key).and_then(Node::text));
    let filter = Filter {
        node,
        configuration: node.get("configuration"),
        own: &own,
        code: either(node, "vm_config", "vmConfig").and_then(|vm| vm.get("code")),
        envelope: envelope::plugin(node),
    };
    all.push(filter.found(named));
}

/// A filter in a dynamic module.
fn module(node: &Node, module: &Node, named: &Named, all: &mut Vec<Found>) {
    let configuration = either(node, "filter_config", "filterConfig");
    let envelope = configuration.map(|any| envelope::any(any, "filter_config")).unwrap_or_default();
    let filter = Filter {
        node,
        configuration,
        own: &[either(node, "filter_name", "filterName").and_then(Node::text)],
        code: Some(module),
        envelope,
    };
    all.push(filter.found(named));
}

/// A filter of Envoy's.
struct Filter<'a> {
    node: &'a Node,
    configuration: Option<&'a Node>,
    /// The names that it has of its own.
    own: &'a [Option<&'a str>],
    /// Where its code comes from.
    code: Option<&'a Node>,
    envelope: Vec<Problem>,
}

impl Filter<'_> {
    fn found(self, named: &Named) -> Found {
        let outer = named.name.as_deref();
        let body = match self.configuration {
            Some(any) => any_of(any),
            None => Body::Text(String::new(), None),
        };
        let keys = match &body {
            Body::Tree(tree) | Body::Struct(tree) => {
                has_our_keys(tree) || has_nearly_our_keys(tree)
            }
            Body::Text(text, _) => text.contains("\"rollouts\"") || text.contains("\"segments\""),
            Body::Discovered => false,
        };
        let named_so = self.own.iter().flatten().copied().chain(outer).any(is_our_name);
        Found {
            carrier: Some(labelled(outer.or(self.own.first().copied().flatten()))),
            at: self.configuration.unwrap_or(self.node).at,
            ours: keys || named_so || self.code.is_some_and(mentions_us),
            body,
            envelope: self.envelope,
            chain: named.chain.clone(),
        }
    }
}

/// Whether the code of a plugin is read from somewhere with our name in it.
fn mentions_us(node: &Node) -> bool {
    node.text().is_some_and(is_our_name)
        || node.items().iter().any(mentions_us)
        || node.members().iter().any(|member| mentions_us(&member.value))
}

/// What Envoy hands to a plugin for a protobuf `Any`: the text of a `StringValue` or `BytesValue`, the
/// bytes of a `Struct`.
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
        return Body::Struct(value.clone());
    }
    let members: Vec<Member> =
        any.members().iter().filter(|member| member.key != "@type").cloned().collect();
    Body::Struct(Node { at: any.at, data: Data::Object(members) })
}
