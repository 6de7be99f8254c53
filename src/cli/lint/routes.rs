//! Routes held against rollouts: what the filter writes is what the routes ask for.

use std::collections::BTreeMap;

use super::tables::{tables, Header, Table};
use super::written::Written;
use super::Warning;
use crate::cli::source::find::either;
use crate::cli::source::tree::Node;
use crate::cli::source::{Document, Finder, Problem};
use crate::cli::style::plain;
use crate::config::{Path, PathSegment, Rollout};
use crate::document::suggest::closest;
use crate::document::value::shortened;

/// What does not lead where it should, and what surely is not meant.
#[derive(Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Warning>,
}

/// Everything about the routes of a file with the `documents` in it; `written` is what the rollouts of all
/// files write.
pub fn routes(trees: &[Node], documents: &[Document], written: &Written<'_>) -> Findings {
    let mut findings = Findings::default();
    let known = clusters(trees);
    let subsets = subsets(trees);
    for table in tables(trees) {
        headers(&table, written, &mut findings);
        defaults(&table, written, &mut findings);
        for route in &table.routes {
            for cluster in &route.clusters {
                if let Some(known) = known.as_ref().filter(|known| !known.contains(&cluster.name)) {
                    let path = format!("{}: cluster", table.label);
                    findings.unknown(cluster.at, &path, cluster.name, known);
                }
            }
            for (host, subset) in &route.subsets {
                if let Some(known) = subsets.get(host).filter(|it| !it.contains(&subset.name)) {
                    let path = format!("{}: subset of {host}", table.label);
                    findings.unknown(subset.at, &path, subset.name, known);
                }
            }
        }
    }
    if let Some(known) = &known {
        rollout_clusters(documents, known, &mut findings);
    }
    findings.problems.sort_by_key(|problem| problem.at);
    findings.warnings.sort_by_key(|warning| warning.at);
    findings
}

impl Findings {
    fn unknown(
        &mut self,
        at: crate::cli::source::tree::Position,
        path: &str,
        name: &str,
        known: &[&str],
    ) {
        let allowed = match known {
            [] => "one that is in the file, which has none".to_owned(),
            known => known.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "),
        };
        let hint = closest(name, known).map(|name| plain(name).into_owned());
        self.problems.push(Problem::at(at, &plain(path), shortened(name), allowed, hint));
    }
}

/// The names of the headers that are asked for, and the values.
fn headers(table: &Table<'_>, written: &Written<'_>, findings: &mut Findings) {
    for header in table.routes.iter().flat_map(|route| route.headers()) {
        let path = format!("{}: header {}", table.label, header.name);
        match written.routes.get(header.name.as_str()) {
            Some(rollout) => {
                let Some(value) = header.exact else { continue };
                let names: Vec<&str> =
                    rollout.versions.iter().map(|version| version.name.as_str()).collect();
                if !names.contains(&value) {
                    findings.unknown(header.at, &path, value, &names);
                }
            }
            None if written.is_all && !written.has(&header.name) => {
                let known: Vec<&str> = written.routes.keys().copied().collect();
                let meant = closest(&header.name, &known);
                if header.name.starts_with("x-cohort-") || meant.is_some() {
                    findings.problems.push(Problem::at(
                        header.at,
                        &plain(&path),
                        "a header that no rollout writes".into(),
                        if known.is_empty() { "none".into() } else { known.join(", ") },
                        meant.map(str::to_owned),
                    ));
                }
            }
            None => {}
        }
    }
}

/// That the default is there, and comes last; that every version with users has a route.
fn defaults(table: &Table<'_>, written: &Written<'_>, findings: &mut Findings) {
    let asks = |header: &Header<'_>| written.routes.contains_key(header.name.as_str());
    if let Some(all) = table.routes.iter().position(|route| route.takes_all()) {
        let later = table.routes.iter().skip(all + 1).filter(|_| table.is_ordered);
        let line = table.routes.get(all).map_or(0, |route| route.at.line);
        for route in later.filter(|route| route.headers().any(asks)) {
            findings.problems.push(Problem::at(
                route.at,
                &plain(&table.label),
                format!("a route behind the one of line {line}, which takes every request"),
                "the default last".into(),
                None,
            ));
        }
    }
    let mut asked: BTreeMap<&str, (&Rollout, Vec<Option<&str>>)> = BTreeMap::new();
    for header in table.routes.iter().flat_map(|route| route.headers()) {
        if let Some((name, rollout)) = written.routes.get_key_value(header.name.as_str()) {
            asked.entry(*name).or_insert((*rollout, Vec::new())).1.push(header.exact);
        }
    }
    let Some(first) = table.routes.first() else { return };
    for (name, (rollout, values)) in asked {
        let has_default = table.routes.iter().any(|route| {
            route.matches.iter().any(|one| one.headers.iter().all(|it| it.name != name))
        });
        if !has_default {
            let text = format!(
                "every route asks for {name}: a request without it, as where the filter is off, has none. \
                 The last route should ask for nothing"
            );
            findings.warn(first.at, &table.label, text);
        }
        // What a misspelled value leads to has been said.
        let is_known = |value: &str| rollout.version_named(value.as_bytes()).is_some();
        if !values.iter().flatten().all(|value| is_known(value)) {
            continue;
        }
        let users = |position: &usize| rollout.split.has(*position);
        for position in (0..rollout.versions.len()).filter(users) {
            let Some(version) = rollout.versions.get(position) else { continue };
            let is_asked =
                values.iter().any(|value| value.is_none_or(|value| value == version.name));
            if position != rollout.stable && !is_asked {
                let weight = rollout.split.weight(position).percent();
                let text = format!(
                    "no route asks for {name}: {}, so that its {weight} % of the users get the default",
                    version.name
                );
                findings.warn(first.at, &table.label, text);
            }
        }
    }
}

impl Findings {
    fn warn(&mut self, at: crate::cli::source::tree::Position, label: &str, text: String) {
        self.warnings.push(Warning { at, place: plain(label).into_owned(), text });
    }
}

/// The clusters of a bootstrap; `None` where others may come by discovery, or none are told.
fn clusters(trees: &[Node]) -> Option<Vec<&str>> {
    let bootstrap = trees.first()?;
    let dynamic = either(bootstrap, "dynamic_resources", "dynamicResources");
    let discovers = dynamic.is_some_and(|it| either(it, "cds_config", "cdsConfig").is_some());
    let fixed = either(bootstrap, "static_resources", "staticResources").filter(|_| !discovers)?;
    let clusters = fixed.get("clusters").map(Node::items).unwrap_or_default();
    let names = clusters.iter().filter_map(|cluster| cluster.get("name")?.text());
    fixed.get("listeners")?;
    Some(names.collect())
}

/// The subsets of each host that a DestinationRule of the file has.
fn subsets(trees: &[Node]) -> BTreeMap<&str, Vec<&str>> {
    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let items = |tree: &'_ Node| tree.get("items").map(Node::items).unwrap_or_default().len();
    for tree in trees {
        let documents = if items(tree) > 0 {
            tree.get("items").map(Node::items).unwrap_or_default()
        } else {
            std::slice::from_ref(tree)
        };
        for document in documents {
            if document.get("kind").and_then(Node::text) != Some("DestinationRule") {
                continue;
            }
            let Some(host) = document.at_keys(&["spec", "host"]).and_then(Node::text) else {
                continue;
            };
            let subsets = document.at_keys(&["spec", "subsets"]).map(Node::items);
            let names = subsets.unwrap_or_default().iter().filter_map(|it| it.get("name")?.text());
            known.entry(host).or_default().extend(names);
        }
    }
    known
}

/// The clusters that rollouts of the file name.
fn rollout_clusters(documents: &[Document], known: &[&str], findings: &mut Findings) {
    for document in documents {
        let (Ok(config), Some(tree)) = (&document.config, &document.tree) else { continue };
        let finder = Finder::new(tree);
        for (position, rollout) in config.rollouts.iter().enumerate() {
            let versions = rollout.versions.iter().enumerate().filter_map(|(at, version)| {
                Some((
                    vec![key("versions"), PathSegment::Index(at), key("cluster")],
                    version.cluster.as_deref()?,
                ))
            });
            let health = rollout.health.iter().filter_map(|health| {
                let version = rollout.versions.get(health.version)?;
                let way = vec![key("health"), key(&version.name), key("cluster")];
                Some((way, health.cluster.as_str()))
            });
            let checks = rollout.analysis.iter().enumerate().map(|(at, check)| {
                (vec![key("analysis"), PathSegment::Index(at), key("cluster")], &*check.cluster)
            });
            for (way, cluster) in versions.chain(health).chain(checks) {
                if !known.contains(&cluster) {
                    let mut segments = vec![key("rollouts"), PathSegment::Index(position)];
                    segments.extend(way);
                    let path = Path { segments };
                    findings.unknown(finder.of(&path), &path.to_string(), cluster, known);
                }
            }
        }
    }
}

fn key(name: &str) -> PathSegment {
    PathSegment::Key(name.to_owned())
}
