//! What the sources of one run share: the other resources, the names that are taken, the splits that are
//! known already.

use std::cell::{Cell, RefCell};

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::draft::Draft;
use super::ledger::Ledger;
use super::units::distinct;

/// A resource of a file.
pub struct Resource<'a> {
    pub node: &'a Node,
    pub file: &'a str,
    pub ledger: Ledger<'a>,
    /// Whether another resource has taken something from it.
    pub used: Cell<bool>,
}

impl<'a> Resource<'a> {
    pub fn new(node: &'a Node, file: &'a str) -> Self {
        Self { node, file, ledger: Ledger::new(node), used: Cell::new(false) }
    }

    pub fn kind(&self) -> &'a str {
        self.node.get("kind").and_then(Node::text).unwrap_or_default()
    }

    /// `Ingress shop/checkout in ingress.yaml`.
    pub fn from(&self) -> String {
        let kind = self.kind();
        let file = shown(self.file);
        match kind {
            "" => format!("a document in {file}"),
            kind => format!("{} {} in {file}", shown(kind), self.ledger.name()),
        }
    }

    pub fn spec(&self) -> Option<&'a Node> {
        self.ledger.get(self.node, "spec")
    }

    fn namespace(&self) -> &'a str {
        self.ledger.namespace().unwrap_or("default")
    }
}

/// What a source has become.
#[derive(Default)]
pub struct Made {
    pub drafts: Vec<Draft>,
    pub routes: Vec<Routes>,
}

/// A document of routes that choose by the rollouts' headers.
pub struct Routes {
    /// Comments above it.
    pub above: Vec<String>,
    pub document: Yaml,
}

/// Where users' keys are read.
#[derive(Clone, Debug)]
pub struct Key {
    pub sources: Yaml,
    /// The comment above it.
    pub note: String,
}

/// A split of the same versions, in one rollout or several.
#[derive(Clone, Debug)]
pub struct Family {
    pub salt: String,
    /// What stable is in its source.
    pub stable: String,
    /// What the versions are in their sources, in the order of the first rollout.
    pub order: Vec<String>,
}

#[derive(Default)]
pub struct Run<'a> {
    pub resources: Vec<Resource<'a>>,
    names: RefCell<Vec<String>>,
    families: RefCell<Vec<Family>>,
}

impl<'a> Run<'a> {
    pub fn new(resources: Vec<Resource<'a>>) -> Self {
        Self { resources, ..Self::default() }
    }

    /// A name for a rollout that no other has.
    pub fn name(&self, wanted: &str) -> String {
        let mut names = self.names.borrow_mut();
        let name = distinct(wanted, |name| names.iter().any(|taken| taken == name));
        names.push(name.clone());
        name
    }

    /// The split that is known already and has two or more versions of `own`; else `own`, which is known
    /// from now on.
    pub fn family(&self, own: Family) -> Family {
        let mut families = self.families.borrow_mut();
        let shared = |family: &&mut Family| {
            own.order.iter().filter(|id| family.order.contains(id)).count() >= 2
        };
        if let Some(family) = families.iter_mut().find(shared) {
            for id in own.order {
                if !family.order.contains(&id) {
                    family.order.push(id);
                }
            }
            return family.clone();
        }
        families.push(own.clone());
        own
    }

    /// The resource of that kind and name, which counts as used.
    pub fn find(
        &self,
        kinds: &[&str],
        namespace: Option<&str>,
        name: &str,
    ) -> Option<&Resource<'a>> {
        let namespace = namespace.unwrap_or("default");
        let same = |resource: &&Resource<'a>| {
            kinds.contains(&resource.kind())
                && resource.ledger.short_name() == Some(name)
                && (resource.namespace() == namespace || resource.kind().starts_with("Cluster"))
        };
        let found = self.resources.iter().find(same)?;
        found.used.set(true);
        Some(found)
    }

    /// The resources of a kind.
    pub fn of_kind<'r>(&'r self, kind: &'r str) -> impl Iterator<Item = &'r Resource<'a>> {
        self.resources.iter().filter(move |resource| resource.kind() == kind)
    }
}
