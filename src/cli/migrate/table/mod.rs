//! Route tables, in which the first entry that matches decides: VirtualServices, HTTPRoutes, HTTPProxies,
//! Envoy's own. An entry with several destinations becomes a rollout, one in front of it that leads to
//! one of the versions a rule, and the table is written anew with the rollout's header.

use super::super::yaml::{shown, Yaml};
use super::condition::{and, any, condition_fault, crossed, not};
use super::draft::{Draft, Version};
use super::matches::Read;
use super::run::{Key, Run};
use super::units::shares;

mod write;

use write::{kept_rule, versioned};

/// An entry of a table.
pub struct Entry {
    /// Where it stands: `spec.http[0]`.
    pub place: String,
    pub name: Option<String>,
    /// Any of these is enough; none is every request.
    pub whens: Vec<When>,
    pub destinations: Vec<Destination>,
    /// What it says beside: timeouts, retries, rewrites.
    pub kept: Yaml,
    pub written: Yaml,
}

/// A condition of an entry.
pub struct When {
    pub written: Yaml,
    pub read: Read,
}

/// Where an entry leads.
#[derive(Clone)]
pub struct Destination {
    /// The same for the same destination everywhere.
    pub id: String,
    /// What versions of one thing have in common; nothing where a destination says nothing of that.
    pub service: Option<String>,
    /// The name that a version gets from it.
    pub wanted: String,
    /// What it was, its weight too, for a comment.
    pub words: String,
    /// `Err`: what stands where a weight should.
    pub weight: Result<f64, String>,
    /// The destination without a weight, and without what a version's `requestHeaders` do.
    pub written: Yaml,
    pub headers: Option<Yaml>,
}

/// How a kind of table is written.
pub trait Dialect {
    /// A condition that also asks for a header; of nothing, one that asks for the header alone.
    fn with_header(&self, when: Option<&Yaml>, header: &str, version: &str) -> Yaml;
    /// An entry with one destination.
    fn entry(&self, name: Option<&str>, kept: &Yaml, whens: &[Yaml], destination: &Yaml) -> Yaml;
}

/// What a table is made of, and what goes with it.
pub struct Table<'r> {
    /// `VirtualService shop/checkout in checkout.yaml`.
    pub from: String,
    pub name: String,
    /// Conditions on the host.
    pub hosts: Vec<Yaml>,
    pub entries: Vec<Entry>,
    pub key: &'r dyn Fn(&[Destination]) -> Option<Key>,
    /// What divides users anew with every request.
    pub divider: &'static str,
}

/// A comment above `match`.
const AHEAD: &str =
    "Requests that an earlier route takes get a decision too, but are not routed by it.";

/// A rollout of a table.
struct Group {
    /// The entries that divide, by their positions.
    bases: Vec<usize>,
    rules: Vec<usize>,
}

impl Table<'_> {
    /// The rollouts, and the entries of the table that goes with them.
    pub fn build(&self, run: &Run<'_>, dialect: &dyn Dialect) -> (Vec<Draft>, Vec<Yaml>) {
        let groups = self.groups();
        let mut drafts = Vec::new();
        let mut written: Vec<Option<Vec<Yaml>>> = self.entries.iter().map(|_| None).collect();
        for (number, group) in groups.iter().enumerate() {
            let (draft, entries) = self.draft(run, number, group, &groups, dialect);
            drafts.push(draft);
            for (position, entries) in entries {
                if let Some(slot) = written.get_mut(position) {
                    *slot = Some(entries);
                }
            }
        }
        let entries = written.into_iter().zip(&self.entries);
        let entries = entries
            .flat_map(|(written, entry)| written.unwrap_or_else(|| vec![entry.written.clone()]));
        (drafts, entries.collect())
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut waiting: Vec<usize> = Vec::new();
        for (position, entry) in self.entries.iter().enumerate() {
            let [first, others @ ..] = entry.destinations.as_slice() else {
                waiting.push(position);
                continue;
            };
            let splits = others.iter().any(|other| other.id != first.id);
            if !splits && !self.closes(entry, &waiting) {
                waiting.push(position);
                continue;
            }
            let (rules, others): (Vec<usize>, Vec<usize>) = waiting
                .into_iter()
                .partition(|waiting| self.at(*waiting).is_some_and(|one| belongs(one, entry)));
            waiting = others;
            let same = groups.iter_mut().find(|group| {
                rules.is_empty()
                    && group
                        .bases
                        .first()
                        .and_then(|base| self.at(*base))
                        .is_some_and(|base| divides(base) == divides(entry) && splits)
            });
            match same {
                Some(group) => group.bases.push(position),
                None => groups.push(Group { bases: vec![position], rules }),
            }
        }
        groups
    }

    fn at(&self, position: usize) -> Option<&Entry> {
        self.entries.get(position)
    }

    /// Whether an entry with one destination is what is left of a service whose other versions are
    /// chosen by conditions in front of it.
    fn closes(&self, entry: &Entry, waiting: &[usize]) -> bool {
        let [own] = entry.destinations.as_slice() else { return false };
        waiting.iter().filter_map(|position| self.at(*position)).any(|other| {
            let [theirs] = other.destinations.as_slice() else { return false };
            let same_service = own.service.is_some() && own.service == theirs.service;
            let by_header = own.service.is_none()
                && !other.whens.is_empty()
                && other.whens.iter().all(|when| asks_for_header(&when.read.condition))
                && paths(other) == paths(entry);
            own.id != theirs.id && (same_service && entry.whens.is_empty() || by_header)
        })
    }

    fn draft(
        &self,
        run: &Run<'_>,
        number: usize,
        group: &Group,
        groups: &[Group],
        dialect: &dyn Dialect,
    ) -> (Draft, Vec<(usize, Vec<Yaml>)>) {
        let bases: Vec<&Entry> = group.bases.iter().filter_map(|at| self.at(*at)).collect();
        let places: Vec<&str> = bases.iter().map(|base| base.place.as_str()).collect();
        let from = format!("{}, {}", self.from, places.join(" and "));
        let named = bases.iter().find_map(|base| base.name.clone()).filter(|_| groups.len() > 1);
        let mut draft = Draft::new(run, from, &named.unwrap_or_else(|| self.name.clone()));
        if number > 0 && groups.len() > 1 {
            draft.change("each split of the table is a rollout of its own");
        }
        if bases.len() > 1 {
            draft.change(format!(
                "{} divide alike, so that they are one rollout",
                places.join(" and ")
            ));
        }
        let mut known: Vec<(Destination, String)> = Vec::new();
        let destinations: &[Destination] =
            bases.first().map_or(&[], |base| base.destinations.as_slice());
        let single = destinations.len() == 1;
        let place = places.first().copied().unwrap_or_default();
        for (index, destination) in destinations.iter().enumerate() {
            let weight = match &destination.weight {
                _ if single => 1.0,
                Ok(weight) => *weight,
                Err(found) => {
                    draft.lose(format!(
                        "{place}, weight of destination {index}: {found} (it is no number from 0 up; the weight is 0 here)"
                    ));
                    0.0
                }
            };
            add(&mut draft, &mut known, destination, weight);
        }
        if single {
            draft.stable = 0;
        } else {
            draft.largest_is_stable();
            draft.change(format!(
                "a user keeps a version: {} chooses anew for each request",
                self.divider
            ));
        }
        let mut entries = Vec::new();
        let mut asked: Vec<Yaml> = Vec::new();
        for at in &group.rules {
            if let Some(rule) = self.at(*at) {
                let version = self.rule(rule, *at, &mut draft, &mut known, &mut asked);
                let kept = kept_rule(rule, &bases, &draft.header(), version.as_deref(), dialect);
                entries.push((*at, kept));
            }
        }
        draft.settle(run);
        let (matches, note) = self.scope(group, asked);
        draft.scope(matches, note);
        draft.sticky((self.key)(destinations));
        for (at, base) in group.bases.iter().zip(&bases) {
            entries.push((*at, versioned(base, &draft, &known, dialect)));
        }
        (draft, entries)
    }

    /// Makes a rule of an entry with one destination; the name of its version.
    fn rule(
        &self,
        rule: &Entry,
        at: usize,
        draft: &mut Draft,
        known: &mut Vec<(Destination, String)>,
        asked: &mut Vec<Yaml>,
    ) -> Option<String> {
        let destination = rule.destinations.first()?;
        let version = add(draft, known, destination, 0.0);
        if rule.whens.is_empty() {
            draft.lose(format!(
                "{}: it takes every request, so that what stands behind it is never reached; its route stays in front",
                rule.place
            ));
            return None;
        }
        let mut whole = Vec::new();
        for when in &rule.whens {
            match when.read.whole() {
                Some(condition) if !condition.is_empty() => whole.push(condition.clone()),
                Some(_) => draft.lose(format!(
                    "{}: {} is every request, so that there is no rule; its route stays",
                    rule.place,
                    when.written.shown()
                )),
                None => draft.lose(format!(
                    "{}: {} (a condition cannot ask for {}; there is no rule, its route stays as it is)",
                    rule.place,
                    when.written.shown(),
                    lost(&when.read)
                )),
            }
        }
        if whole.is_empty() {
            return None;
        }
        let name = rule.name.clone().unwrap_or_else(|| format!("route-{at}"));
        draft.rule(&name, whole.clone(), ("version", version.as_str().into()));
        asked.extend(whole);
        Some(version)
    }

    /// Which requests a rollout is for, and what there is to say about it.
    fn scope(&self, group: &Group, asked: Vec<Yaml>) -> (Vec<Yaml>, String) {
        let mut own: Vec<Yaml> = Vec::new();
        let mut note = Vec::new();
        let mut every = false;
        for at in &group.bases {
            let Some(base) = self.at(*at) else { continue };
            let earlier = self.earlier(*at, group);
            if earlier.iter().any(|when| when.read.whole().is_none()) {
                note.push(AHEAD);
            }
            let conditions: Vec<Yaml> =
                earlier.iter().filter_map(|when| when.read.whole().cloned()).collect();
            // An expression over many paths may be longer than the filter takes.
            let other = if conditions.is_empty() { None } else { any(&conditions) };
            let other = other.filter(|other| condition_fault(&not(other)).is_none());
            if other.is_none() && !conditions.is_empty() {
                note.push(AHEAD);
            }
            let whens = base.whens.iter().map(|when| {
                if when.read.whole().is_none() {
                    note.push("A condition cannot ask for everything that the route asks for: more requests get a decision than are routed by it.");
                }
                when.read.condition.clone()
            });
            let mut whens: Vec<Yaml> = whens.collect();
            if whens.is_empty() {
                whens.push(Yaml::map());
            }
            for when in whens {
                let without = other.as_ref().and_then(|other| and(&when, &not(other)));
                let condition = without.unwrap_or(when);
                every |= condition.is_empty();
                own.push(condition);
            }
        }
        own.extend(asked);
        note.dedup();
        let own = if every { Vec::new() } else { own };
        (crossed(&self.hosts, &own), note.join(" "))
    }

    /// The conditions of the entries in front of one that are not of its own rollout.
    fn earlier(&self, at: usize, group: &Group) -> Vec<&When> {
        let entries = self.entries.iter().enumerate().take(at);
        entries
            .filter(|(other, _)| !group.rules.contains(other) && !group.bases.contains(other))
            .flat_map(|(_, entry)| &entry.whens)
            .collect()
    }
}

/// The keys that a condition cannot ask for.
pub fn lost(read: &Read) -> String {
    let names: Vec<String> = read.lost.iter().map(|name| shown(name)).collect();
    names.join(" and ")
}

fn add(
    draft: &mut Draft,
    known: &mut Vec<(Destination, String)>,
    destination: &Destination,
    weight: f64,
) -> String {
    if let Some((_, name)) = known.iter().find(|(known, _)| known.id == destination.id) {
        // One destination may stand twice in an entry.
        let same = draft.versions.iter_mut().find(|version| version.name == *name);
        same.into_iter().for_each(|version| version.weight += weight);
        return name.clone();
    }
    let version = Version {
        weight,
        note: format!("Was {}.", destination.words),
        headers: destination.headers.clone(),
        id: destination.id.clone(),
        ..Version::default()
    };
    let name = draft.version(&destination.wanted, version);
    known.push((destination.clone(), name.clone()));
    name
}

/// Whether an entry with one destination chooses among the versions of `split`.
fn belongs(entry: &Entry, split: &Entry) -> bool {
    let [one] = entry.destinations.as_slice() else { return false };
    split
        .destinations
        .iter()
        .any(|other| other.id == one.id || one.service.is_some() && other.service == one.service)
        || split.destinations.len() == 1
            && entry.whens.iter().all(|when| asks_for_header(&when.read.condition))
            && !entry.whens.is_empty()
            && paths(entry) == paths(split)
}

/// How an entry divides: the destinations and their shares.
fn divides(entry: &Entry) -> Vec<(&str, u64)> {
    let weights: Vec<f64> = entry
        .destinations
        .iter()
        .map(|destination| destination.weight.as_ref().copied().unwrap_or_default())
        .collect();
    let shares = shares(&weights);
    let ids = entry.destinations.iter().map(|destination| destination.id.as_str());
    let mut all: Vec<(&str, u64)> =
        ids.zip(shares).map(|(id, share)| (id, (share * 1000.0).round() as u64)).collect();
    all.sort_unstable();
    all
}

fn asks_for_header(condition: &Yaml) -> bool {
    ["header", "cookie", "query"].iter().any(|place| condition.get(place).is_some())
}

/// The paths that an entry is for.
fn paths(entry: &Entry) -> Vec<Option<Yaml>> {
    let mut paths: Vec<Option<Yaml>> =
        entry.whens.iter().map(|when| when.read.condition.get("path").cloned()).collect();
    paths.dedup();
    if paths.is_empty() {
        paths.push(None);
    }
    paths
}
