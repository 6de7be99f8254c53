//! Istio VirtualServices: routes with weights as rollouts, routes by headers as rules.

use super::super::source::tree::Node;
use super::draft::{label, percent, Draft};
use super::ledger::Ledger;
use super::matches::{condition, crossed, hosts};
use super::yaml::Yaml;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq)]
struct Destination {
    host: String,
    subset: Option<String>,
    port: Option<String>,
}

impl Destination {
    /// The name that a version gets from it.
    fn name(&self) -> &str {
        match &self.subset {
            Some(subset) => subset,
            None => self.host.split('.').next().unwrap_or(&self.host),
        }
    }

    fn words(&self) -> String {
        let subset =
            self.subset.as_ref().map_or(String::new(), |subset| format!(", subset {subset}"));
        let port = self.port.as_ref().map_or(String::new(), |port| format!(", port {port}"));
        format!("{}{subset}{port}", self.host)
    }
}

/// One entry of `spec.http`.
struct Entry<'a> {
    node: &'a Node,
    name: Option<String>,
    destinations: Vec<(Destination, f64)>,
}

/// A rollout for each entry with several destinations, and for each service whose versions are told
/// apart by conditions alone.
pub fn drafts(node: &Node, file: &str) -> Vec<Draft> {
    let ledger = Ledger::new(node);
    let from = format!("VirtualService {} in {file}", ledger.name());
    let Some(spec) = ledger.get(node, "spec") else { return Vec::new() };
    let names = ledger.texts(spec, "hosts");
    let namespace = node.at_keys(&["metadata", "namespace"]).and_then(Node::text);
    let hosts = hosts(&names, namespace);
    let entries: Vec<Entry<'_>> = ledger
        .get(spec, "http")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .map(|node| entry(&ledger, node))
        .collect();

    let mut drafts: Vec<Draft> = Vec::new();
    let mut waiting: Vec<(usize, &Entry<'_>)> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let first = entry.destinations.first().map(|(destination, _)| destination);
        let splits = entry.destinations.len() > 1;
        let closes = first.is_some_and(|first| {
            let differs = |(_, other): &(usize, &Entry<'_>)| {
                other
                    .destinations
                    .iter()
                    .any(|(other, _)| other.host == first.host && other != first)
            };
            waiting.iter().any(differs) && entry.node.get("match").is_none()
        });
        if !splits && !closes {
            waiting.push((index, entry));
            continue;
        }
        let name = match (&entry.name, drafts.len()) {
            (Some(name), _) => name.clone(),
            (None, 0) => ledger.short_name().to_owned(),
            (None, count) => format!("{}-{}", ledger.short_name(), count + 1),
        };
        let mut draft = Draft::new(format!("{from}, http[{index}]"), &name);
        let (mine, others) = waiting.into_iter().partition(|(_, other)| belongs(other, entry));
        waiting = others;
        build(&ledger, entry, &mine, &hosts, &mut draft);
        drafts.push(draft);
    }
    if let Some(last) = drafts.last_mut() {
        for (index, entry) in waiting {
            ledger.all(entry.node);
            last.lose(format!(
                "spec.http[{index}]: {} (leads to one place only)",
                entry.node.brief()
            ));
        }
        last.lose_rest(&ledger, |path| match path {
            "spec.gateways" => Some("which proxy has the filter decides where this holds"),
            "spec.tcp" | "spec.tls" => Some("the filter sees HTTP only"),
            _ if path.contains("sourceLabels") || path.ends_with("gateways") => {
                Some("a condition cannot ask for it: it is wider now")
            }
            _ if path.contains(".match[") => Some("a condition cannot ask for it: it is wider now"),
            _ if path.contains(".http[") => Some("stays in the VirtualService"),
            _ => None,
        });
    }
    drafts
}

fn entry<'a>(ledger: &Ledger<'a>, node: &'a Node) -> Entry<'a> {
    let routes = ledger.get(node, "route").map(Node::items).unwrap_or_default();
    let destinations = routes.iter().filter_map(|route| {
        let destination = ledger.get(route, "destination")?;
        let port =
            ledger.done(destination, "port").and_then(|port| port.get("number")).map(Node::brief);
        let host = ledger.text(destination, "host")?;
        let subset = ledger.text(destination, "subset");
        Some((Destination { host, subset, port }, ledger.number(route, "weight").unwrap_or(0.0)))
    });
    Entry { node, name: ledger.text(node, "name"), destinations: destinations.collect() }
}

/// Whether an entry with one destination chooses among the versions of `split`.
fn belongs(entry: &Entry<'_>, split: &Entry<'_>) -> bool {
    entry.destinations.iter().all(|(one, _)| {
        split
            .destinations
            .iter()
            .any(|(other, _)| other == one || (other.host == one.host && one.subset.is_some()))
    }) && !entry.destinations.is_empty()
}

fn build<'a>(
    ledger: &Ledger<'a>,
    base: &Entry<'a>,
    rules: &[(usize, &Entry<'a>)],
    hosts: &[Yaml],
    draft: &mut Draft,
) {
    let output = format!("x-cohort-{}", draft.name);
    let total: f64 = base.destinations.iter().map(|(_, weight)| weight).sum();
    let single = base.destinations.len() == 1;
    // The largest share is what gets the remainder from now on.
    let stable = base
        .destinations
        .iter()
        .enumerate()
        .max_by(|(a, (_, x)), (b, (_, y))| x.total_cmp(y).then(b.cmp(a)))
        .map_or(0, |(position, _)| position);
    let mut known: Vec<(Destination, String)> = Vec::new();
    let mut add = |draft: &mut Draft, destination: &Destination, weight: Option<f64>| -> String {
        if let Some((_, name)) = known.iter().find(|(known, _)| known == destination) {
            return name.clone();
        }
        let mut written = destination.name().to_owned();
        let taken = |written: &str, known: &[(Destination, String)]| {
            known.iter().any(|(_, name)| *name == label(written))
        };
        if taken(&written, &known) {
            written =
                format!("{}-{written}", destination.host.split('.').next().unwrap_or_default());
        }
        let mut number = 2;
        while taken(&written, &known) {
            written = format!("{}-{number}", destination.name());
            number += 1;
        }
        let name = draft.version(&written, weight, format!("Was {}.", destination.words()));
        known.push((destination.clone(), name.clone()));
        name
    };
    for (position, (destination, weight)) in base.destinations.iter().enumerate() {
        let share = if total > 0.0 { percent(weight * 100.0 / total) } else { 0.0 };
        add(draft, destination, (position != stable && !single).then_some(share));
    }
    if !single {
        if total != 100.0 {
            draft.change(format!("the weights add up to {total}; here they are percent"));
        }
        draft.change("a user stays with a version: a VirtualService draws lots for every request");
        if let Some(version) = draft.versions.iter().find(|version| version.weight.is_none()) {
            let text = format!(
                "{} is stable, because its weight was the largest: it gets the remainder",
                version.name
            );
            draft.change(text);
        }
    }
    draft.change(format!(
        "the VirtualService has a route for each version now, which matches header {output}, and stable's last without a match"
    ));
    let base_conditions = conditions(ledger, base.node, draft);
    let mut all = base_conditions.clone();
    for (index, rule) in rules {
        let wanted = conditions(ledger, rule.node, draft);
        let Some((destination, _)) = rule.destinations.first() else { continue };
        let version = add(draft, destination, Some(0.0));
        let name = rule.name.as_deref().map_or_else(|| format!("http-{index}"), label);
        let when = if wanted.is_empty() {
            vec![Yaml::one("path", Yaml::one("prefix", "/"))]
        } else {
            wanted.clone()
        };
        draft.rules.push(Yaml::one("name", name).with("match", when).with("version", version));
        all.extend(wanted);
    }
    if base_conditions.is_empty() {
        all.clear();
    }
    if draft.versions.len() == 1 {
        draft.change("there was one version only: add the other");
    }
    draft.matches = crossed(hosts, &all);
    draft.sticky();
}

fn conditions<'a>(ledger: &Ledger<'a>, node: &'a Node, draft: &mut Draft) -> Vec<Yaml> {
    let matches = ledger.get(node, "match").map(Node::items).unwrap_or_default();
    let read: Vec<Option<Yaml>> = matches.iter().map(|one| condition(ledger, one, draft)).collect();
    // One match without conditions is every request, whatever the others say.
    read.into_iter().collect::<Option<Vec<Yaml>>>().unwrap_or_default()
}
