//! SMI TrafficSplits: the backends of a service as versions.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{any, crossed, hosts, on};
use super::draft::{Draft, Version};
use super::http_route::{backend, plain, Rule};
use super::ledger::{plain_text, Ledger};
use super::matches::{whole_regex, Read};
use super::run::{Made, Resource, Routes, Run};
use super::traefik::differ;

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(spec) = resource.spec() else { return Made::default() };
    let listed = spec.get("backends").map(Node::items).unwrap_or_default();
    let Some(service) = ledger.text(spec, "service").filter(|_| differ(listed, "service")) else {
        return Made::default();
    };
    let mut draft = Draft::new(run, resource.from(), ledger.short_name().unwrap_or(&service));
    for item in ledger.list(spec, "backends") {
        let Some(name) = ledger.text(item, "service") else { continue };
        let written = item.get("weight");
        let weight = written.and_then(quantity).unwrap_or_else(|| {
            let found = written.map_or("nothing".to_owned(), |node| Yaml::from(node).shown());
            draft.lose(format!(
                "weight of {}: {found} (it is no number from 0 up; the weight is 0 here)",
                shown(&name)
            ));
            0.0
        });
        ledger.done(item, "weight");
        let said = written
            .map_or_else(String::new, |weight| format!(", weight {}", Yaml::from(weight).shown()));
        let note = format!("Was service {}{said}.", shown(&name));
        let id = format!("{} {name}", ledger.namespace().unwrap_or("default"));
        draft.version(&name.clone(), Version { weight, note, id, ..Version::default() });
    }
    draft.largest_is_stable();
    draft.settle(run);
    draft.change("a user keeps a version: a TrafficSplit chooses anew for each request");
    let conditions = groups(run, ledger, spec, &mut draft);
    draft.scope(crossed(&hosts(&[&service], ledger.namespace()), &conditions), "");
    draft.sticky(super::destination_rule::key(run, ledger.namespace(), &service));
    draft.lose_rest(ledger, |_| None);

    let parent = Yaml::one("group", "").with("kind", "Service").with("name", service.as_str());
    let versions = ordered(&draft);
    let rules = [Rule { whens: Vec::new(), versions }];
    let spec = Yaml::one("parentRefs", vec![parent]);
    let document = plain(&draft.name, ledger.namespace(), spec, &rules, &draft.header());
    let above = vec![
        format!("The routes, instead of {}.", resource.from()),
        "An HTTPRoute names the ports of its backends: put them here.".to_owned(),
    ];
    Made { drafts: vec![draft], routes: vec![Routes { above, document }] }
}

/// The versions of a draft with backends of the services that they were, stable last.
fn ordered(draft: &Draft) -> Vec<(String, Yaml)> {
    let service = |version: &Version| version.id.split(' ').nth(1).unwrap_or_default().to_owned();
    let all = draft.versions.iter().enumerate();
    let (stable, others): (Vec<_>, Vec<_>) = all.partition(|(at, _)| *at == draft.stable);
    let port = || Some(Yaml::Number(80.0));
    let pair = |version: &Version| (version.name.clone(), backend(&service(version), port()));
    others.into_iter().chain(stable).map(|(_, version)| pair(version)).collect()
}

/// A weight as a number or as a Kubernetes quantity.
fn quantity(node: &Node) -> Option<f64> {
    let text = plain_text(node)?;
    let text = text.trim();
    let number = match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f64>().ok()? / 1000.0,
        None => text.parse().ok()?,
    };
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// The conditions of the HTTPRouteGroups that a split names.
fn groups<'a>(run: &Run<'a>, ledger: &Ledger<'a>, spec: &'a Node, draft: &mut Draft) -> Vec<Yaml> {
    let mut conditions = Vec::new();
    for reference in ledger.list(spec, "matches") {
        let name = reference.get("name").map(Node::brief).unwrap_or_default();
        let Some(group) = run.find(&["HTTPRouteGroup"], ledger.namespace(), &name) else {
            draft.lose(format!("the HTTPRouteGroup {}: it is in none of the files; the rollout is for every request of the service", shown(&name)));
            return Vec::new();
        };
        ledger.all(reference);
        let holder = group.spec().unwrap_or(group.node);
        for item in group.ledger.list(holder, "matches") {
            let mut read = Read { condition: Yaml::map(), lost: Vec::new() };
            group.ledger.all(item);
            for member in item.members() {
                let value = &member.value;
                match member.key.as_str() {
                    "name" => {}
                    "pathRegex" => {
                        let path = plain_text(value).and_then(|regex| whole_regex(&regex));
                        read.join("pathRegex", path.map(|path| Yaml::one("path", path)));
                    }
                    "methods" if value.items().iter().any(|item| item.text() == Some("*")) => {}
                    "methods" => {
                        let all = value.items().iter().filter_map(plain_text).map(Yaml::from);
                        read.join("methods", Some(Yaml::one("method", all.collect::<Vec<_>>())));
                    }
                    "headers" => {
                        // A map, or a list of them.
                        let maps = std::iter::once(value).chain(value.items());
                        for named in maps.flat_map(Node::members) {
                            let text =
                                plain_text(&named.value).and_then(|regex| whole_regex(&regex));
                            read.join(&named.key, text.map(|text| on("header", &named.key, text)));
                        }
                    }
                    other => read.lost.push(other.to_owned()),
                }
            }
            if read.condition.is_empty() {
                return Vec::new();
            }
            if !read.lost.is_empty() {
                draft.lose(format!(
                    "{} (a condition cannot ask for all of it: the rollout is for more requests)",
                    Yaml::from(item).shown()
                ));
            }
            conditions.push(read.condition);
        }
    }
    any(&conditions).map_or(conditions, |one| vec![one])
}
