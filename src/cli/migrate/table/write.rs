//! A table written anew: what asks for the header of a rollout.

use super::super::super::yaml::Yaml;
use super::super::draft::Draft;
use super::{Destination, Dialect, Entry, When};

/// What is left of the entry of a rule in the table.
pub fn kept_rule(
    rule: &Entry,
    bases: &[&Entry],
    header: &str,
    version: Option<&str>,
    dialect: &dyn Dialect,
) -> Vec<Yaml> {
    let Some(version) = version else { return vec![rule.written.clone()] };
    let whole = |when: &When| when.read.whole().is_some_and(|condition| !condition.is_empty());
    let every = bases.iter().all(|base| base.whens.is_empty());
    if every && rule.kept.is_empty() && rule.whens.iter().all(whole) {
        return Vec::new();
    }
    let whens: Vec<Yaml> = rule
        .whens
        .iter()
        .map(|when| {
            if whole(when) {
                dialect.with_header(Some(&when.written), header, version)
            } else {
                when.written.clone()
            }
        })
        .collect();
    let destination = rule.destinations.first().map_or(Yaml::map(), |one| one.written.clone());
    vec![dialect.entry(rule.name.as_deref(), &rule.kept, &whens, &destination)]
}

/// The entries of a split: one for each version, which asks for the header, and stable's last.
pub fn versioned(
    base: &Entry,
    draft: &Draft,
    known: &[(Destination, String)],
    dialect: &dyn Dialect,
) -> Vec<Yaml> {
    let whens: Vec<Yaml> = base.whens.iter().map(|when| when.written.clone()).collect();
    let written =
        |name: &str| known.iter().find(|(_, known)| known == name).map(|(one, _)| &one.written);
    let mut all = known.iter().map(|(destination, _)| &destination.written);
    if let Some(first) = all.next() {
        if all.all(|other| other == first) {
            return vec![dialect.entry(base.name.as_deref(), &base.kept, &whens, first)];
        }
    }
    let stable = draft.stable_name();
    let mut entries = Vec::new();
    for version in draft.versions.iter().filter(|version| version.name != stable) {
        let Some(destination) = written(&version.name) else { continue };
        let header = draft.header();
        let mut asking: Vec<Yaml> = whens
            .iter()
            .map(|when| dialect.with_header(Some(when), &header, &version.name))
            .collect();
        if asking.is_empty() {
            asking.push(dialect.with_header(None, &header, &version.name));
        }
        let name = base.name.as_ref().map(|name| format!("{name}-{}", version.name));
        entries.push(dialect.entry(name.as_deref(), &base.kept, &asking, destination));
    }
    if let Some(destination) = written(stable) {
        entries.push(dialect.entry(base.name.as_deref(), &base.kept, &whens, destination));
    }
    entries
}
