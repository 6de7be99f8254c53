//! Kubernetes resources in a file, ours and others.

use super::tree::Node;
use super::{yaml, Document};

/// A Kubernetes resource.
#[derive(Clone, Debug)]
pub struct Resource {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub node: Node,
}

/// Every resource in the content of a file, those in a `List` too; none where it is no YAML.
pub fn all(bytes: &[u8]) -> Vec<Resource> {
    let trees = std::str::from_utf8(bytes).ok().and_then(|text| yaml::read(text).ok());
    let mut all = Vec::new();
    for tree in trees.unwrap_or_default() {
        collect(tree, &mut all);
    }
    all
}

fn collect(node: Node, all: &mut Vec<Resource>) {
    let text = |keys: &[&str]| node.at_keys(keys).and_then(Node::text).map(str::to_owned);
    let Some(kind) = text(&["kind"]).filter(|_| node.get("apiVersion").is_some()) else { return };
    if let Some(items) = node.get("items") {
        items.items().iter().for_each(|item| collect(item.clone(), all));
        return;
    }
    let name = text(&["metadata", "name"]).or(text(&["metadata", "generateName"]));
    let namespace = text(&["metadata", "namespace"]);
    all.push(Resource { kind, namespace, name: name.unwrap_or_default(), node });
}

impl Resource {
    /// Whether `document` is the configuration in this resource.
    pub fn carries(&self, document: &Document) -> bool {
        let Self { kind, namespace, name, .. } = self;
        let full = match namespace {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None if name.is_empty() => kind.clone(),
            None => format!("{kind} {name}"),
        };
        document.carrier.as_deref().is_some_and(|carrier| carrier == full)
    }

    /// What stands under `spec` and these keys.
    pub fn spec(&self, keys: &[&str]) -> Option<&Node> {
        self.node.get("spec").and_then(|spec| spec.at_keys(keys))
    }

    /// `targetRefs`, or the one `targetRef`, of a policy.
    pub fn targets(&self) -> Vec<&Node> {
        let list = self.spec(&["targetRefs"]).map(Node::items).unwrap_or_default();
        list.iter().chain(self.spec(&["targetRef"])).collect()
    }
}
