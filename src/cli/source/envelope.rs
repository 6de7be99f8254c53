//! What carries a configuration, held against the schema of its kind: what the API server or Envoy would
//! refuse or drop.

use super::tree::{Data, Node};
use super::Problem;
use crate::document::suggest::closest;
use crate::document::value::shortened;

/// What may stand at a place.
enum Shape {
    Any,
    Text,
    /// A text that is good, in words that follow "allowed:".
    Good(fn(&str) -> bool, &'static str),
    Word(&'static [&'static str]),
    Flag,
    /// A whole number of a range.
    Whole(i64, i64),
    /// Any keys, each with a text.
    Texts,
    Object(&'static [Key]),
    List(&'static Shape),
}

/// A key of an object, whether it has to be there, and what may stand under it.
struct Key(&'static str, bool, Shape);

const SELECTOR: Shape = Shape::Object(&[Key("matchLabels", false, Shape::Texts)]);

const TARGET: Shape = Shape::Object(&[
    Key("group", false, Shape::Text),
    Key("kind", true, FILLED),
    Key("name", true, FILLED),
    Key("namespace", false, Shape::Text),
]);

const PORTS: Shape = Shape::List(&Shape::Object(&[Key("number", true, Shape::Whole(1, 65_535))]));

const MATCH: Shape = Shape::List(&Shape::Object(&[
    Key("mode", false, Shape::Word(&["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"])),
    Key("ports", false, PORTS),
]));

const ENVIRONMENT: Shape = Shape::Object(&[Key(
    "env",
    false,
    Shape::List(&Shape::Object(&[
        Key("name", true, FILLED),
        Key("value", false, Shape::Text),
        Key("valueFrom", false, Shape::Word(&["INLINE", "HOST"])),
    ])),
)]);

const FILLED: Shape = Shape::Good(|text| !text.is_empty(), "a string that is not empty");

const URL: Shape = Shape::Good(
    |url| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("oci", url));
        ["oci", "file", "http", "https"].contains(&scheme) && !rest.is_empty()
    },
    "an image or a URL with oci://, file://, http:// or https://",
);

const SHA256: Shape = Shape::Good(
    |text| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.is_empty() || (text.len() == 64 && text.bytes().all(digit))
    },
    "64 hexadecimal digits in lower case",
);

const FAIL: Shape = Shape::Word(&["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]);
const PULL: Shape = Shape::Word(&["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]);
const PLUGIN_TYPE: Shape = Shape::Word(&["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]);
const PHASES: [&str; 4] = ["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"];
const NEW_PHASES: [&str; 4] = ["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"];
const PRIORITY: Shape = Shape::Whole(i32::MIN as i64, i32::MAX as i64);

const WASM_PLUGIN: Shape = Shape::Object(&[
    Key("selector", false, SELECTOR),
    Key("targetRef", false, TARGET),
    Key("targetRefs", false, Shape::List(&TARGET)),
    Key("url", true, URL),
    Key("sha256", false, SHA256),
    Key("imagePullPolicy", false, PULL),
    Key("imagePullSecret", false, FILLED),
    Key("verificationKey", false, Shape::Text),
    Key("pluginConfig", false, Shape::Any),
    Key("pluginName", false, FILLED),
    Key("phase", false, Shape::Word(&PHASES)),
    Key("priority", false, PRIORITY),
    Key("failStrategy", false, FAIL),
    Key("vmConfig", false, ENVIRONMENT),
    Key("match", false, MATCH),
    Key("type", false, PLUGIN_TYPE),
]);

const TRAFFIC_EXTENSION: Shape = Shape::Object(&[
    Key("selector", false, SELECTOR),
    Key("targetRefs", false, Shape::List(&TARGET)),
    Key("match", false, MATCH),
    Key("phase", false, Shape::Word(&NEW_PHASES)),
    Key("priority", false, PRIORITY),
    Key(
        "wasm",
        true,
        Shape::Object(&[
            Key("url", true, URL),
            Key("sha256", false, SHA256),
            Key("imagePullPolicy", false, PULL),
            Key("imagePullSecret", false, FILLED),
            Key("verificationKey", false, Shape::Text),
            Key("pluginConfig", false, Shape::Any),
            Key("pluginName", false, FILLED),
            Key("failStrategy", false, FAIL),
            Key("vmConfig", false, ENVIRONMENT),
            Key("type", false, PLUGIN_TYPE),
        ]),
    ),
]);

const ENVOY_GATEWAY: Shape = Shape::Object(&[
    Key("name", false, Shape::Text),
    Key("rootID", false, Shape::Text),
    Key(
        "code",
        true,
        Shape::Object(&[
            Key("type", true, Shape::Word(&["HTTP", "Image"])),
            Key("http", false, Shape::Any),
            Key("image", false, Shape::Any),
            Key("pullPolicy", false, Shape::Word(&["IfNotPresent", "Always"])),
        ]),
    ),
    Key("config", false, Shape::Any),
    Key("failOpen", false, Shape::Flag),
    Key("env", false, Shape::Any),
]);

/// Where Envoy Gateway has a filter in a dynamic module, as the native module is one.
const ENVOY_GATEWAY_MODULE: Shape = Shape::Object(&[
    Key("name", true, FILLED),
    Key("filterName", false, Shape::Text),
    Key("config", false, Shape::Any),
    Key("terminalFilter", false, Shape::Flag),
]);

/// Envoy's `PluginConfig`, in the spelling of its own files.
const PLUGIN: Shape = Shape::Object(&[
    Key("name", false, Shape::Text),
    Key("root_id", false, Shape::Text),
    Key("vm_config", false, Shape::Any),
    Key("configuration", false, Shape::Any),
    Key("fail_open", false, Shape::Flag),
    Key(
        "failure_policy",
        false,
        Shape::Word(&["UNSPECIFIED", "FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"]),
    ),
    Key("reload_config", false, Shape::Any),
    Key("capability_restriction_config", false, Shape::Any),
    Key("allow_on_headers_stop_iteration", false, Shape::Any),
]);

/// What is wrong with a Kubernetes resource that carries a configuration.
pub fn resource(kind: &str, document: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let name = ["name", "generateName"].map(|key| document.at_keys(&["metadata", key]));
    if name.iter().flatten().next().is_none() {
        let (found, allowed) = ("no metadata.name".to_owned(), "a name for the resource");
        problems.push(Problem::outside(document, "metadata.name", found, allowed.into(), None));
    }
    let version = document.get("apiVersion").and_then(Node::text).unwrap_or_default();
    let (group, shape) = match kind {
        "WasmPlugin" => ("extensions.istio.io/v1alpha1", &WASM_PLUGIN),
        "TrafficExtension" => ("extensions.istio.io/v1alpha1", &TRAFFIC_EXTENSION),
        _ => {
            for (key, shape) in [("wasm", &ENVOY_GATEWAY), ("dynamicModule", &ENVOY_GATEWAY_MODULE)]
            {
                let list = document.at_keys(&["spec", key]).map(Node::items).unwrap_or_default();
                for (position, plugin) in list.iter().enumerate() {
                    check(shape, plugin, &format!("spec.{key}[{position}]"), &mut problems);
                }
            }
            return problems;
        }
    };
    // The API server of a mesh knows no other; a proprietary fork has a group of its own.
    if version != group
        && version.ends_with("istio.io/v1alpha1") | version.starts_with("extensions.istio.io")
    {
        let node = document.get("apiVersion").unwrap_or(document);
        problems.push(Problem::outside(node, "apiVersion", shortened(version), group.into(), None));
    }
    match document.get("spec") {
        Some(spec) => check(shape, spec, "spec", &mut problems),
        None => problems.push(Problem::outside(
            document,
            "spec",
            "no spec".into(),
            format!("the spec of a {kind}"),
            None,
        )),
    }
    problems
}

/// What is wrong with an Envoy plugin that carries a configuration.
pub fn plugin(plugin: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    check(&PLUGIN, plugin, "config", &mut problems);
    if let Some(configuration) = plugin.get("configuration") {
        problems.extend(any(configuration, "config.configuration"));
    }
    problems
}

/// What is wrong with the protobuf `Any` at `path` that holds a configuration.
pub fn any(any: &Node, path: &str) -> Vec<Problem> {
    let is_known = |kind: &str| {
        ["StringValue", "Struct", "BytesValue"]
            .iter()
            .any(|name| kind.ends_with(&format!("google.protobuf.{name}")))
    };
    let found = match any.get("@type").and_then(Node::text) {
        None => "no @type".to_owned(),
        Some(kind) if !is_known(kind) => shortened(kind),
        Some(_) if any.get("value").is_none() && any.members().len() > 1 => "no value".to_owned(),
        Some(_) => return Vec::new(),
    };
    let allowed =
        "an \"@type\" of google.protobuf.StringValue or Struct, with the configuration under value";
    vec![Problem::outside(any, path, found, allowed.into(), None)]
}

fn check(shape: &Shape, node: &Node, path: &str, problems: &mut Vec<Problem>) {
    let good = match (shape, &node.data) {
        // What is null is not there.
        (Shape::Any, _) | (_, Data::Null) => true,
        (Shape::Text, Data::Text(..)) | (Shape::Flag, Data::Bool(_) | Data::Word(..)) => true,
        (Shape::Good(good, _), Data::Text(text, _)) => good(text),
        (Shape::Word(words), Data::Text(text, _)) => words.contains(&text.as_str()),
        (Shape::Whole(least, most), Data::Number(number)) => {
            number.fract() == 0.0 && (*least as f64..=*most as f64).contains(number)
        }
        (Shape::Texts, Data::Object(members)) => {
            for member in members {
                check(&Shape::Text, &member.value, &below(path, &member.key), problems);
            }
            true
        }
        (Shape::List(entry), Data::List(items)) => {
            for (position, item) in items.iter().enumerate() {
                check(entry, item, &format!("{path}[{position}]"), problems);
            }
            true
        }
        (Shape::Object(keys), Data::Object(_)) => {
            object(keys, node, path, problems);
            true
        }
        _ => false,
    };
    if !good {
        let hint = match (shape, node.text()) {
            (Shape::Word(words), Some(text)) => closest(text, words).map(str::to_owned),
            _ => None,
        };
        problems.push(Problem::outside(node, path, found(node), allowed(shape), hint));
    }
}

fn object(keys: &[Key], node: &Node, path: &str, problems: &mut Vec<Problem>) {
    let names: Vec<&str> = keys.iter().map(|Key(name, ..)| *name).collect();
    let mut meant = Vec::new();
    for member in node.members() {
        match keys.iter().find(|Key(name, ..)| *name == member.key || camel(name) == member.key) {
            Some(Key(_, _, shape)) => {
                check(shape, &member.value, &below(path, &member.key), problems);
            }
            None => {
                let hint = closest(&member.key, &names);
                meant.extend(hint);
                let mut problem = Problem::outside(
                    &member.value,
                    &below(path, &member.key),
                    "an unknown key".into(),
                    names.join(", "),
                    hint.map(str::to_owned),
                );
                problem.at = member.at;
                problems.push(problem);
            }
        }
    }
    for Key(name, required, shape) in keys {
        if *required && node.get(name).is_none() && !meant.contains(name) {
            let allowed = format!("the key {name}, which is {}", allowed(shape));
            problems.push(Problem::outside(node, path, format!("no {name}"), allowed, None));
        }
    }
}

/// A name of a protobuf field as protobuf's JSON writes it.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

fn below(path: &str, key: &str) -> String {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        format!("{path}.{key}")
    } else {
        format!("{path}[{}]", shortened(key))
    }
}

fn found(node: &Node) -> String {
    match &node.data {
        Data::Text(text, _) => shortened(text),
        Data::List(_) => "a list".into(),
        Data::Object(_) => "an object".into(),
        _ => node.brief(),
    }
}

fn allowed(shape: &Shape) -> String {
    match shape {
        Shape::Any => "a value".into(),
        Shape::Text => "a string".into(),
        Shape::Good(_, allowed) => (*allowed).into(),
        Shape::Word(words) => words.join(", "),
        Shape::Flag => "true or false".into(),
        Shape::Whole(least, most) => format!("a whole number from {least} to {most}"),
        Shape::Texts => "an object with a string under each key".into(),
        Shape::Object(keys) => {
            let names: Vec<&str> = keys.iter().map(|Key(name, ..)| *name).collect();
            format!("an object with {}", names.join(", "))
        }
        Shape::List(_) => "a list".into(),
    }
}
