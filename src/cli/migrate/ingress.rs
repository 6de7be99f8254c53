//! Ingress resources with ingress-nginx's `canary-*` annotations.

use super::super::source::tree::{Data, Node};
use super::draft::{percent, Draft};
use super::ledger::Ledger;
use super::matches::{crossed, hosts};
use super::yaml::Yaml;
use crate::http::pattern::compile;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Whether a resource is an Ingress of a canary.
pub fn is_one(node: &Node) -> bool {
    node.get("kind").and_then(Node::text) == Some("Ingress")
        && node.at_keys(&["metadata", "annotations", &format!("{PREFIX}canary")]).is_some_and(
            |flag| flag.text() == Some("true") || matches!(flag.data, Data::Bool(true)),
        )
}

pub fn draft(node: &Node, file: &str) -> Draft {
    let ledger = Ledger::new(node);
    let short = ledger.short_name();
    let name = short.strip_suffix("-canary").unwrap_or(short);
    let mut draft = Draft::new(format!("Ingress {} in {file}", ledger.name()), name);
    let backends = paths(&ledger, node, &mut draft);
    let annotations = Annotations::new(node);
    annotations.get("canary");
    let total =
        annotations.number("canary-weight-total").filter(|total| *total > 0.0).unwrap_or(100.0);
    let written = annotations.number("canary-weight");
    let weight = percent((written.unwrap_or(0.0) * 100.0 / total).clamp(0.0, 100.0));
    draft.version("stable", None, "");
    draft.version("canary", Some(weight), format!("Was service {}.", backends.join(", ")));
    if written.is_some() && total != 100.0 {
        draft.change(format!(
            "canary-weight {} of {total} is {weight} %",
            written.unwrap_or_default()
        ));
    }
    draft.change(
        "a user stays with a version: ingress-nginx draws lots for every request, so that the same user sees both",
    );
    let output = format!("x-cohort-{}", draft.name);
    draft.change(format!(
        "the canary is no Ingress of its own any more: route requests with the header {output}: canary to it"
    ));
    asked_for(&annotations, &mut draft);
    draft.sticky();
    for (name, value) in annotations.rest() {
        let why = match name.as_str() {
            "affinity" | "affinity-mode" | "affinity-canary-behavior" => {
                " (the key makes a user stay with a version; a pin remembers it beside)"
            }
            name if name.starts_with("session-cookie") => " (see pin and anonymousId for cookies)",
            "upstream-hash-by" => " (what it hashes may be the key: see hashKey)",
            _ => "",
        };
        draft.lose(format!("annotation {name}: {value}{why}"));
    }
    draft.lose_rest(&ledger, |path| match path {
        "spec.tls" => Some("stays where TLS ends"),
        "spec.ingressClassName" => Some("names a gateway, not versions"),
        _ => None,
    });
    draft
}

/// Reads hosts and paths into the draft, and says which services are behind them.
fn paths<'a>(ledger: &Ledger<'a>, node: &'a Node, draft: &mut Draft) -> Vec<String> {
    let mut backends = Vec::new();
    let Some(spec) = ledger.get(node, "spec") else { return backends };
    let mut every_request = false;
    let default = ledger.get(spec, "defaultBackend").or_else(|| ledger.get(spec, "backend"));
    if let Some(default) = default {
        backend(ledger, default, &mut backends);
        every_request = true;
    }
    for rule in ledger.get(spec, "rules").map(Node::items).unwrap_or_default() {
        let host = ledger.text(rule, "host");
        let host = hosts(&[host.as_deref().unwrap_or("*")], Some("default"));
        let mut conditions = Vec::new();
        let mut whole_host = false;
        for path in ledger.at(rule, &["http", "paths"]).map(Node::items).unwrap_or_default() {
            let text = ledger.text(path, "path").unwrap_or_else(|| "/".into());
            let kind = ledger.text(path, "pathType").unwrap_or_default();
            let condition = |how: &str, text: String| Yaml::one("path", Yaml::one(how, text));
            match (kind.as_str(), text.as_str()) {
                ("Exact", _) => conditions.push(condition("exact", text)),
                (_, "/") => whole_host = true,
                ("Prefix", _) => {
                    let stem = text.trim_end_matches('/');
                    conditions.push(condition("exact", stem.to_owned()));
                    conditions.push(condition("prefix", format!("{stem}/")));
                }
                _ if compile(&text, false).is_ok()
                    && text.contains(['(', '*', '[', '\\', '$', '^']) =>
                {
                    conditions
                        .push(condition("regex", format!("^{}", text.trim_start_matches('^'))));
                }
                _ => conditions.push(condition("prefix", text)),
            }
            if let Some(node) = ledger.get(path, "backend") {
                backend(ledger, node, &mut backends);
            }
        }
        let conditions = if whole_host { Vec::new() } else { conditions };
        let crossed = crossed(&host, &conditions);
        every_request |= crossed.is_empty();
        for condition in crossed {
            if !draft.matches.contains(&condition) {
                draft.matches.push(condition);
            }
        }
    }
    if every_request {
        draft.matches.clear();
    }
    if backends.is_empty() {
        backends.push("of the canary".into());
    }
    backends
}

fn backend<'a>(ledger: &Ledger<'a>, node: &'a Node, backends: &mut Vec<String>) {
    let service = ledger.get(node, "service").unwrap_or(node);
    let name = ledger.text(service, "name").or_else(|| ledger.text(service, "serviceName"));
    let port = ledger.done(service, "port").or_else(|| ledger.done(service, "servicePort"));
    let port = port.map(|port| port.get("number").or(port.get("name")).unwrap_or(port).brief());
    let named = match (name, port) {
        (Some(name), Some(port)) => format!("{name}:{port}"),
        (Some(name), None) => name,
        (None, _) => return,
    };
    if !backends.contains(&named) {
        backends.push(named);
    }
}

/// The annotations by which a request asks for a version, in ingress-nginx's order: header, cookie.
fn asked_for(annotations: &Annotations<'_>, draft: &mut Draft) {
    let header = annotations.get("canary-by-header");
    let value = annotations.get("canary-by-header-value");
    let pattern = annotations.get("canary-by-header-pattern").filter(|pattern| {
        if value.is_some() {
            draft.lose(format!(
                "annotation canary-by-header-pattern: {pattern} (has no effect beside canary-by-header-value)"
            ));
        }
        value.is_none()
    });
    let cookie = annotations.get("canary-by-cookie");
    let wanted = match (&value, &pattern) {
        (Some(value), _) => Some(Yaml::one("exact", value.as_str())),
        (None, Some(pattern)) => match compile(pattern, false) {
            Ok(_) => Some(Yaml::one("regex", pattern.as_str())),
            Err(why) => {
                draft.lose(format!("annotation canary-by-header-pattern: {pattern} ({why})"));
                None
            }
        },
        (None, None) => None,
    };
    let Some(header) = header else {
        if let Some(cookie) = cookie {
            words(draft, Yaml::one("cookie", cookie));
        }
        for (name, value) in
            [("canary-by-header-value", value), ("canary-by-header-pattern", pattern)]
        {
            if let Some(value) = value {
                draft.lose(format!(
                    "annotation {name}: {value} (has no effect without canary-by-header)"
                ));
            }
        }
        return;
    };
    if value.is_none() && pattern.is_none() {
        let places = Yaml::one("header", header.to_ascii_lowercase());
        return words(
            draft,
            match cookie {
                Some(cookie) => places.with("cookie", cookie),
                None => places,
            },
        );
    }
    // Overrides come before rules, so that a cookie behind a header is a rule too.
    let rule = |name: &str, condition: Yaml, version: &str| {
        Yaml::one("name", name).with("match", vec![condition]).with("version", version)
    };
    if let Some(wanted) = wanted {
        let condition = Yaml::one("header", Yaml::one(&header.to_ascii_lowercase(), wanted));
        draft.rules.push(rule("by-header", condition, "canary"));
    }
    if let Some(cookie) = cookie {
        let is = |value: &str| Yaml::one("cookie", Yaml::one(&cookie, Yaml::one("exact", value)));
        draft.rules.push(rule("by-cookie-always", is("always"), "canary"));
        draft.rules.push(rule("by-cookie-never", is("never"), "stable"));
    }
}

/// `always` and `never`.
fn words(draft: &mut Draft, places: Yaml) {
    let values = Yaml::one("always", "canary").with("never", "stable");
    draft.put(
        "overrides",
        places.with("values", values),
        &["The words canary and stable do the same as always and never."],
    );
}

/// The annotations of ingress-nginx, and which of them have been read.
struct Annotations<'a> {
    node: Option<&'a Node>,
    read: std::cell::RefCell<Vec<String>>,
}

impl<'a> Annotations<'a> {
    fn new(node: &'a Node) -> Self {
        Self {
            node: node.at_keys(&["metadata", "annotations"]),
            read: std::cell::RefCell::default(),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        let value = self.node?.get(&format!("{PREFIX}{name}"))?.brief();
        self.read.borrow_mut().push(name.to_owned());
        Some(value)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.trim().parse().ok()
    }

    /// Those that have not been read; kubectl's own notes are nobody's setting.
    fn rest(&self) -> Vec<(String, String)> {
        let read = self.read.borrow();
        self.node
            .map(Node::members)
            .unwrap_or_default()
            .iter()
            .filter(|member| !member.key.starts_with("kubectl.kubernetes.io/"))
            .map(|member| {
                (member.key.strip_prefix(PREFIX).unwrap_or(&member.key), member.value.brief())
            })
            .filter(|(name, _)| !read.iter().any(|read| read == name))
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
