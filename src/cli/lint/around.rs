//! Warnings about what stands around a plugin: other resources of the same files, or the Envoy
//! configuration that it is part of.

use std::collections::HashSet;

use crate::config::Path;

use super::super::early::{connection_manager, contexts, gateways, Removal};
use super::super::source::resource::Resource;
use super::super::source::tree::{Node, Position};
use super::super::source::{Discovered, Document};
use super::Warning;

/// A file that was read: what carries our configurations, and everything else in it.
pub struct File {
    pub name: String,
    pub documents: Vec<Document>,
    pub resources: Vec<Resource>,
    /// The trees that are no Kubernetes resources.
    pub others: Vec<Node>,
    /// Everything that stands in the file.
    pub trees: Vec<Node>,
    /// The filters of ours whose configuration comes by discovery.
    pub discovered: Vec<Discovered>,
    /// How many Wasm plugins are somebody else's.
    pub foreign: usize,
}

/// The kinds that choose by the headers that the filter sets.
const ROUTES: [&str; 3] = ["VirtualService", "HTTPRoute", "GRPCRoute"];

/// Every warning, with the name of the file that it is about; `whole` tells that a folder was read.
pub fn warnings(files: &[File], whole: bool) -> Vec<(&str, Warning)> {
    let around = Around {
        resources: files.iter().flat_map(|file| &file.resources).collect(),
        patched: files
            .iter()
            .flat_map(|file| &file.resources)
            .any(|one| one.kind == "Kustomization")
            || files.iter().flat_map(|file| &file.resources).any(|one| one.kind == "Component"),
        whole: whole
            || files
                .iter()
                .flat_map(|file| &file.resources)
                .any(|one| ROUTES.contains(&&*one.kind)),
    };
    let mut found = Vec::new();
    for file in files {
        for document in &file.documents {
            let Ok(config) = &document.config else { continue };
            let removal = Removal::of(config);
            if let Some(plugin) = file.resources.iter().find(|one| one.carries(document)) {
                let texts = around.plugin(plugin, &removal);
                found.extend(
                    texts.into_iter().map(|text| (&*file.name, warning(document.at, text))),
                );
            }
        }
        // A connection manager has the plugin beside it, or gets it by discovery from another file.
        let carried = |file: &File, document: &&Document| {
            !file.resources.iter().any(|one| one.carries(document))
        };
        let own = file.documents.iter().filter(|document| carried(file, document));
        let mut headers = headers(own);
        if headers.is_empty() {
            let all = files.iter();
            headers = self::headers(all.flat_map(|file| {
                file.documents.iter().filter(move |document| carried(file, document))
            }));
        }
        for manager in file.others.iter().flat_map(managers) {
            let missing = missing(&headers, &removed_by(manager));
            if !missing.is_empty() && runs_wasm(manager) {
                let lines =
                    connection_manager(&Removal { headers: missing.clone(), ..Removal::default() });
                let text = format!(
                    "the connection manager does not remove {} before it chooses a first route, so that a client \
                     picks what hangs on that route; add to it, as cohort early prints it\n{lines}",
                    missing.join(", ")
                );
                found.push((&*file.name, warning(manager.at, text)));
            }
        }
    }
    found
}

/// The headers to remove early for these configurations, as far as they are good.
fn headers<'a>(documents: impl Iterator<Item = &'a Document>) -> Vec<String> {
    let configs = documents.filter_map(|document| document.config.as_ref().ok());
    configs.flat_map(|config| Removal::of(config).headers).collect()
}

fn warning(at: Position, text: String) -> Warning {
    Warning { at, place: Path::default().to_string(), text }
}

/// Those of `headers` that are not among `removed`, each once.
fn missing(headers: &[String], removed: &[String]) -> Vec<String> {
    let mut known: HashSet<String> = removed.iter().map(|name| name.to_ascii_lowercase()).collect();
    headers.iter().filter(|header| known.insert(header.to_ascii_lowercase())).cloned().collect()
}

struct Around<'a> {
    resources: Vec<&'a Resource>,
    /// Whether Kustomize moves them about, so that namespaces and selections are not yet what they will be.
    patched: bool,
    /// Whether what is missing here is surely missing: a folder was read, or routes beside the plugin.
    whole: bool,
}

impl Around<'_> {
    fn plugin(&self, plugin: &Resource, removal: &Removal) -> Vec<String> {
        if !self.whole {
            return Vec::new();
        }
        let mut texts = Vec::new();
        let missing = missing(&removal.headers, &self.removed_for(plugin));
        if !missing.is_empty() {
            let what = match plugin.kind.as_str() {
                "EnvoyExtensionPolicy" => "ClientTrafficPolicy",
                _ => "EnvoyFilter",
            };
            texts.push(format!(
                "no {what} here removes {} before a route is chosen: without the plugin a client picks its version \
                 by it, with the plugin the first route; cohort early prints one",
                missing.join(", ")
            ));
        }
        let routed: Vec<&String> = removal.headers.iter().chain(&removal.kept).collect();
        match plugin.kind.as_str() {
            "EnvoyExtensionPolicy" => texts.extend(self.security_policies(&routed)),
            _ => texts.extend(self.authorization_policies(plugin, &routed)),
        }
        texts
    }

    /// What is removed early wherever `plugin` runs.
    fn removed_for(&self, plugin: &Resource) -> Vec<String> {
        let mut removed = Vec::new();
        if plugin.kind == "EnvoyExtensionPolicy" {
            let all: Vec<Resource> = self.resources.iter().map(|one| (*one).clone()).collect();
            let gateways = gateways(plugin, &all);
            for policy in self.of("ClientTrafficPolicy") {
                let is_here = policy.targets().iter().any(|target| {
                    let name = target.get("name").and_then(Node::text);
                    gateways.iter().any(|(gateway, namespace)| {
                        Some(gateway.as_str()) == name && *namespace == policy.namespace
                    })
                });
                let names = policy.spec(&["headers", "earlyRequestHeaders", "remove"]);
                if self.patched || gateways.is_empty() || is_here {
                    removed
                        .extend(names.map(Node::items).unwrap_or_default().iter().filter_map(text));
                }
            }
            return removed;
        }
        for filter in self.of("EnvoyFilter") {
            if !self.patched && !reaches(filter, plugin) {
                continue;
            }
            let patches = filter.spec(&["configPatches"]).map(Node::items).unwrap_or_default();
            let in_context = |patch: &&Node| {
                let context = patch.at_keys(&["match", "context"]).and_then(Node::text);
                context.is_none_or(|context| {
                    context == "ANY"
                        || contexts(plugin)
                            .iter()
                            .any(|wanted| *wanted == "ANY" || *wanted == context)
                })
            };
            for patch in patches.iter().filter(in_context) {
                if let Some(manager) = patch.at_keys(&["patch", "value", "typed_config"]) {
                    removed.extend(removed_by(manager));
                }
            }
        }
        removed
    }

    /// Authentication that is bound to one rule of a route that a rollout chooses.
    fn security_policies(&self, headers: &[&String]) -> Vec<String> {
        let mut texts = Vec::new();
        for policy in self.of("SecurityPolicy") {
            let before = ["jwt", "oidc", "apiKeyAuth", "basicAuth", "extAuth"];
            let Some(kind) = before.iter().find(|kind| policy.spec(&[kind]).is_some()) else {
                continue;
            };
            for target in policy.targets() {
                let text = |key| target.get(key).and_then(Node::text);
                let (Some(section), Some(route)) = (text("sectionName"), text("name")) else {
                    continue;
                };
                let chosen = self.resources.iter().any(|one| {
                    Some(one.kind.as_str()) == text("kind")
                        && one.name == route
                        && one.namespace == policy.namespace
                        && headers.iter().any(|header| asks_for(&one.node, header))
                });
                if chosen {
                    texts.push(format!(
                        "SecurityPolicy {} binds {kind} to the rule {section} of {route}, and runs before the filter has \
                         chosen the rule: a client passes it by with a header; bind it to the whole route or the Gateway",
                        policy.name
                    ));
                }
            }
        }
        texts
    }

    /// Authorization that asks for a header of ours before the filter has written it.
    fn authorization_policies(&self, plugin: &Resource, headers: &[&String]) -> Vec<String> {
        let phase = plugin.spec(&["phase"]).and_then(Node::text).unwrap_or("UNSPECIFIED_PHASE");
        let mut texts = Vec::new();
        for policy in self.of("AuthorizationPolicy") {
            let custom = policy.spec(&["action"]).and_then(Node::text) == Some("CUSTOM");
            if !custom && ["AUTHN", "AUTHZ"].contains(&phase) {
                continue;
            }
            let rules = policy.spec(&["rules"]).map(Node::items).unwrap_or_default();
            let asked = rules.iter().filter_map(|rule| rule.get("when")).flat_map(Node::items);
            for key in asked.filter_map(|when| when.get("key")).filter_map(Node::text) {
                let named = headers
                    .iter()
                    .find(|header| key.eq_ignore_ascii_case(&format!("request.headers[{header}]")));
                if let Some(header) = named {
                    let cure = if custom {
                        "ask for it in a policy of another action"
                    } else {
                        "give the plugin phase AUTHN"
                    };
                    texts.push(format!(
                        "AuthorizationPolicy {} asks for {header} before the filter has written it, and so sees what the \
                         client sent; {cure}",
                        policy.name
                    ));
                }
            }
        }
        texts
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().copied().filter(move |one| one.kind == kind)
    }
}

/// Whether an EnvoyFilter acts on every proxy that runs `plugin`.
fn reaches(filter: &Resource, plugin: &Resource) -> bool {
    let whole_mesh = filter.namespace.as_deref() == Some("istio-system");
    if filter.namespace != plugin.namespace && !whole_mesh {
        return false;
    }
    let labels =
        filter.spec(&["workloadSelector", "labels"]).map(Node::members).unwrap_or_default();
    let selected = plugin.spec(&["selector", "matchLabels"]);
    let fits = labels.iter().all(|label| {
        let theirs = selected.and_then(|selected| selected.get(&label.key)).map(Node::brief);
        theirs.is_some_and(|theirs| theirs == label.value.brief())
    });
    let name = |target: &&Node| target.get("name").and_then(Node::text).map(str::to_owned);
    let (ours, theirs) = (plugin.targets(), filter.targets());
    let ours: Vec<_> = ours.iter().map(name).collect();
    let theirs: Vec<_> = theirs.iter().map(name).collect();
    fits && (theirs.is_empty()
        || (!ours.is_empty() && ours.iter().all(|name| theirs.contains(name))))
}

/// The headers that a connection manager removes early.
fn removed_by(manager: &Node) -> Vec<String> {
    let either =
        |node: &Node, snake: &str, camel: &str| node.get(snake).or(node.get(camel)).cloned();
    let key = either(manager, "early_header_mutation_extensions", "earlyHeaderMutationExtensions");
    let mut removed = Vec::new();
    for extension in key.as_ref().map(Node::items).unwrap_or_default() {
        let config = either(extension, "typed_config", "typedConfig");
        let mutations = config.as_ref().and_then(|config| config.get("mutations"));
        let mutations = mutations.map(Node::items).unwrap_or_default();
        removed.extend(mutations.iter().filter_map(|one| one.get("remove")).filter_map(text));
    }
    removed
}

fn text(node: &Node) -> Option<String> {
    node.text().map(str::to_owned)
}

/// Every connection manager in an Envoy configuration.
fn managers(node: &Node) -> Vec<&Node> {
    let mut found = Vec::new();
    let filters = node.get("http_filters").or(node.get("httpFilters"));
    if filters.is_some_and(|filters| !filters.items().is_empty()) {
        found.push(node);
    }
    let members = node.members().iter().map(|member| &member.value);
    found.extend(members.chain(node.items()).flat_map(managers));
    found
}

/// Whether a Wasm filter is among a connection manager's, written out or by discovery.
fn runs_wasm(manager: &Node) -> bool {
    let filters = manager.get("http_filters").or(manager.get("httpFilters"));
    filters.is_some_and(|filters| mentions(filters, ".wasm.v3.Wasm"))
}

fn mentions(node: &Node, end: &str) -> bool {
    node.text().is_some_and(|text| text.ends_with(end))
        || node.items().iter().any(|item| mentions(item, end))
        || node.members().iter().any(|member| mentions(&member.value, end))
}

/// Whether a route has a rule that asks for `header`.
fn asks_for(node: &Node, header: &str) -> bool {
    let named = |node: &Node| node.text().is_some_and(|text| text.eq_ignore_ascii_case(header));
    node.get("name").is_some_and(named)
        || node.members().iter().any(|member| {
            (member.key == "headers"
                && member.value.members().iter().any(|one| one.key.eq_ignore_ascii_case(header)))
                || asks_for(&member.value, header)
        })
        || node.items().iter().any(|item| asks_for(item, header))
}
