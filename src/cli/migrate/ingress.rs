//! Ingress resources with ingress-nginx's `canary-*` annotations.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{crossed, hosts, on, segments};
use super::draft::{Draft, Version};
use super::http_route::{backend, on_a_gateway, plain, when, Rule};
use super::ledger::{number_of, plain_text, Ledger};
use super::run::{Key, Made, Resource, Routes, Run};
use crate::http::pattern::compile;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Whether a resource is an Ingress of a canary.
pub fn is_one(node: &Node) -> bool {
    node.get("kind").and_then(Node::text) == Some("Ingress")
        && annotation(node, "canary").and_then(plain_text).as_deref() == Some("true")
}

fn annotation<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    node.at_keys(&["metadata", "annotations", &format!("{PREFIX}{name}")])
}

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let (ledger, node) = (&resource.ledger, resource.node);
    let short = ledger.short_name().unwrap_or("rollout");
    let name = short.strip_suffix("-canary").unwrap_or(short);
    let own = Annotations { ledger, node };
    let from = match own.text("canary") {
        Some(canary) => format!("{}, canary {}", resource.from(), shown(&canary)),
        None => resource.from(),
    };
    let mut draft = Draft::new(run, from, name);
    let served = served(ledger, node);
    let total = own.number("canary-weight-total", &mut draft).filter(|total| *total > 0.0);
    let total = total.unwrap_or(100.0);
    let mut weight = own.number("canary-weight", &mut draft).unwrap_or(0.0);
    if weight > total {
        // ingress-nginx sends everybody there, which is hardly meant.
        draft.lose(format!(
            "annotation {PREFIX}canary-weight: {weight} (it is more than all, which is {total}; the weight is 0 here)"
        ));
        weight = 0.0;
    } else if total != 100.0 {
        draft.change(format!(
            "canary-weight {weight} of {total} is {} %",
            super::units::percent(weight * 100.0 / total)
        ));
    }
    let backends: Vec<String> = served.iter().map(|place| place.backend.words.clone()).collect();
    let backends = once(backends).join(", ");
    let id = format!("{} {backends}", ledger.namespace().unwrap_or("default"));
    let stable =
        Version { weight: total - weight, id: format!("stable beside {id}"), ..Version::default() };
    draft.version("stable", stable);
    let places: Vec<String> = served.iter().map(|place| place.words.clone()).collect();
    let note = format!("Was {}.", once(places).join(", "));
    draft.version("canary", Version { weight, note, id, ..Version::default() });
    draft.settle(run);
    draft.change("a user keeps a version: ingress-nginx chooses anew for each request");
    draft.scope(scope(&served), "");
    asked_for(&own, &mut draft);
    let key = own.text("upstream-hash-by").and_then(|expression| {
        let key = hashed(&expression);
        if key.is_none() {
            draft.lose(format!(
                "annotation {PREFIX}upstream-hash-by: {} (see hashKey)",
                shown(&expression)
            ));
        }
        Some(Key { sources: vec![key?].into(), note: "Taken from upstream-hash-by.".into() })
    });
    draft.sticky(key);
    draft.lose_rest(ledger, |path| match path {
        "spec.tls" => Some("stays where TLS ends"),
        "spec.ingressClassName" => Some("names a gateway, not versions"),
        path if path.contains("/affinity") || path.contains("/session-cookie") => {
            Some("the key makes a user keep a version")
        }
        _ => None,
    });
    let routes = routes(run, resource, &draft, &served);
    Made { drafts: vec![draft], routes: vec![routes] }
}

fn once(texts: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// A host and a path of an Ingress, and what is behind them.
struct Place {
    host: Option<String>,
    /// Any of these is enough; none is every path.
    paths: Vec<Yaml>,
    backend: Backend,
    /// All of that, for a comment.
    words: String,
}

#[derive(Clone)]
struct Backend {
    words: String,
    written: Yaml,
}

/// Everything that an Ingress serves.
fn served<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Vec<Place> {
    let mut places = Vec::new();
    let Some(spec) = ledger.get(node, "spec") else { return places };
    let default = ledger.get(spec, "defaultBackend").or_else(|| ledger.get(spec, "backend"));
    if let Some(default) = default {
        let backend = backend_of(ledger, default);
        let words = backend.words.clone();
        places.push(Place { host: None, paths: Vec::new(), backend, words });
    }
    for rule in ledger.list(spec, "rules") {
        let host = ledger.text(rule, "host");
        let Some(http) = ledger.get(rule, "http") else { continue };
        for path in ledger.list(http, "paths") {
            let text = ledger.text(path, "path").unwrap_or_else(|| "/".into());
            let kind = ledger.text(path, "pathType").unwrap_or_default();
            let condition = |how: &str, text: String| vec![Yaml::one("path", Yaml::one(how, text))];
            let at = format!("at {} {}", shown(&text), shown(&kind))
                .trim_end_matches("\"\"")
                .trim_end()
                .to_owned();
            let paths = match (kind.as_str(), text.as_str()) {
                ("Exact", _) => condition("exact", text),
                (_, "/") => Vec::new(),
                ("Prefix", _) => segments(&text),
                _ if compile(&text, false).is_ok()
                    && text.contains(['(', '*', '[', '\\', '$', '^']) =>
                {
                    condition("regex", format!("^{}", text.trim_start_matches('^')))
                }
                _ => condition("prefix", text),
            };
            let backend = ledger.get(path, "backend");
            let backend = backend.map_or_else(unnamed, |node| backend_of(ledger, node));
            let words = format!("{} {at}", backend.words);
            places.push(Place { host: host.clone(), paths, backend, words });
        }
    }
    if places.is_empty() {
        let backend = unnamed();
        let words = backend.words.clone();
        places.push(Place { host: None, paths: Vec::new(), backend, words });
    }
    places
}

fn unnamed() -> Backend {
    Backend {
        words: "a backend that is not named".into(),
        written: backend("canary-service", None),
    }
}

fn backend_of<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Backend {
    let service = ledger.get(node, "service").unwrap_or(node);
    let name = ledger.text(service, "name").or_else(|| ledger.text(service, "serviceName"));
    let Some(name) = name else { return unnamed() };
    let port = ledger.done(service, "port").or_else(|| ledger.done(service, "servicePort"));
    let port = port.map(|port| port.get("number").or(port.get("name")).unwrap_or(port));
    let words = match port {
        Some(port) => format!("service {}, port {}", shown(&name), Yaml::from(port).shown()),
        None => format!("service {}", shown(&name)),
    };
    let number = port.and_then(number_of).map(Yaml::Number);
    Backend { words, written: backend(&name, number) }
}

/// Which requests a canary is for; nothing is every request.
fn scope(places: &[Place]) -> Vec<Yaml> {
    let mut all: Vec<Yaml> = Vec::new();
    for place in places {
        let host = hosts(&[place.host.as_deref().unwrap_or("*")], None);
        let crossed = crossed(&host, &place.paths);
        if crossed.is_empty() {
            return Vec::new();
        }
        for condition in crossed {
            if !all.contains(&condition) {
                all.push(condition);
            }
        }
    }
    all
}

/// The routes: for each path, the canary's backend behind the header and the other one last.
fn routes(run: &Run<'_>, resource: &Resource<'_>, draft: &Draft, served: &[Place]) -> Routes {
    let ledger = &resource.ledger;
    let mut above =
        vec![format!("The routes, instead of {} and the Ingress beside it.", resource.from())];
    let mut rules = Vec::new();
    let mut names = Vec::new();
    let mut unknown = false;
    for place in served {
        let stable = main_backend(run, ledger, place);
        unknown |= stable.is_none();
        let stable = stable.unwrap_or_else(|| backend("stable-service", Some(Yaml::Number(80.0))));
        let whens = place.paths.iter().filter_map(when).collect();
        let versions = vec![
            ("canary".to_owned(), place.backend.written.clone()),
            ("stable".to_owned(), stable),
        ];
        rules.push(Rule { whens, versions });
        names.extend(place.host.clone());
    }
    if unknown {
        above.push("The main Ingress is in none of the files: put its service in the place of stable-service.".into());
    }
    let names = once(names).into_iter().map(Yaml::from).collect();
    let spec = on_a_gateway(names);
    let document = plain(&draft.name, ledger.namespace(), spec, &rules, &draft.header());
    Routes { above, document }
}

/// What the Ingress that is no canary serves at the same place.
fn main_backend(run: &Run<'_>, own: &Ledger<'_>, place: &Place) -> Option<Yaml> {
    run.of_kind("Ingress")
        .filter(|other| !is_one(other.node) && other.ledger.namespace() == own.namespace())
        .find_map(|other| {
            let ledger = Ledger::new(other.node);
            let same = served(&ledger, other.node)
                .into_iter()
                .find(|theirs| theirs.host == place.host && theirs.paths == place.paths)?;
            other.used.set(true);
            other.ledger.all(other.node);
            Some(same.backend.written)
        })
}

/// The annotations by which a request asks for a version, in ingress-nginx's order: header, cookie.
fn asked_for(own: &Annotations<'_, '_>, draft: &mut Draft) {
    let header = own.text("canary-by-header");
    let cookie = own.text("canary-by-cookie");
    let value = own.text("canary-by-header-value");
    let pattern = own.text("canary-by-header-pattern");
    let mut idle = |name: &str, value: &Option<String>, why: &str| {
        if let Some(value) = value {
            draft.lose(format!("annotation {PREFIX}{name}: {} ({why})", shown(value)));
        }
    };
    let Some(header) = header else {
        idle("canary-by-header-value", &value, "has no effect without canary-by-header");
        idle("canary-by-header-pattern", &pattern, "has no effect without canary-by-header");
        if let Some(cookie) = cookie {
            words(draft, Yaml::one("cookie", cookie));
        }
        return;
    };
    let wanted = match (value, pattern) {
        (Some(value), pattern) => {
            idle(
                "canary-by-header-pattern",
                &pattern,
                "has no effect beside canary-by-header-value",
            );
            Yaml::one("exact", value)
        }
        (None, Some(pattern)) => match compile(&pattern, false) {
            Ok(_) => Yaml::one("regex", pattern),
            Err(why) => {
                let why = format!("{why}; nobody gets the canary by header {}", shown(&header));
                idle("canary-by-header-pattern", &Some(pattern), &why);
                cookies(draft, cookie);
                return;
            }
        },
        (None, None) => {
            return words(draft, Yaml::one("header", header).maybe("cookie", cookie));
        }
    };
    // Overrides come before rules, so that a cookie behind a header is a rule too.
    draft.rule("by-header", vec![on("header", &header, wanted)], ("version", "canary".into()));
    cookies(draft, cookie);
}

/// A cookie as rules.
fn cookies(draft: &mut Draft, cookie: Option<String>) {
    let Some(cookie) = cookie else { return };
    let is = |value: &str| vec![on("cookie", &cookie, Yaml::one("exact", value))];
    draft.rule("by-cookie-always", is("always"), ("version", "canary".into()));
    draft.rule("by-cookie-never", is("never"), ("version", "stable".into()));
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

/// What nginx hashes as a key.
fn hashed(expression: &str) -> Option<Yaml> {
    let name = expression.trim().strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    match name {
        "remote_addr" | "binary_remote_addr" => Some(Yaml::one("address", true)),
        _ => {
            let header = name.strip_prefix("http_");
            let header = header.map(|name| Yaml::one("header", name.replace('_', "-")));
            let cookie = name.strip_prefix("cookie_").map(|name| Yaml::one("cookie", name));
            header.or(cookie).or(name.strip_prefix("arg_").map(|name| Yaml::one("query", name)))
        }
    }
}

/// The annotations of ingress-nginx.
struct Annotations<'r, 'a> {
    ledger: &'r Ledger<'a>,
    node: &'a Node,
}

impl Annotations<'_, '_> {
    fn text(&self, name: &str) -> Option<String> {
        let annotations = self.node.at_keys(&["metadata", "annotations"])?;
        self.ledger.text(annotations, &format!("{PREFIX}{name}"))
    }

    /// A number from 0 up; what is none is named.
    fn number(&self, name: &str, draft: &mut Draft) -> Option<f64> {
        let text = self.text(name)?;
        let number =
            text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
        if number.is_none() {
            draft.lose(format!(
                "annotation {PREFIX}{name}: {} (it is no number from 0 up; ingress-nginx does not take it either)",
                shown(&text)
            ));
        }
        number
    }
}
