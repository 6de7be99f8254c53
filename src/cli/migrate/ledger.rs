//! What of a resource has been carried over, so that nothing is dropped in silence.

use std::cell::RefCell;
use std::collections::HashSet;

use super::super::source::tree::{Data, Node};
use super::super::yaml::{shown, Yaml};
use crate::config::{Path, PathSegment};

/// Keys of `metadata` that name a resource or that the API server writes.
const OWN_METADATA: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
];

/// The annotation in which kubectl keeps a copy of the whole resource.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A value that was read.
pub struct Read {
    /// As people write it: `spec.http[0]`.
    pub path: String,
    /// The keys that lead to it.
    pub keys: Vec<String>,
    /// Its text; empty where it is null, or an object or a list without anything in it.
    pub value: String,
}

/// A resource, and which of its values have been read.
#[derive(Debug)]
pub struct Ledger<'a> {
    pub root: &'a Node,
    /// The addresses of the values that were read. An object or a list that was read may have values
    /// below it that were not.
    read: RefCell<HashSet<*const Node>>,
}

impl<'a> Ledger<'a> {
    pub fn new(root: &'a Node) -> Self {
        let ledger = Self { root, read: RefCell::default() };
        for known in ["apiVersion", "kind", "status"] {
            ledger.done(root, known);
        }
        if let Some(metadata) = ledger.get(root, "metadata") {
            for known in OWN_METADATA {
                ledger.done(metadata, known);
            }
            if let Some(annotations) = ledger.get(metadata, "annotations") {
                ledger.done(annotations, LAST_APPLIED);
            }
        }
        ledger
    }

    fn mark(&self, node: &'a Node) {
        self.read.borrow_mut().insert(std::ptr::from_ref(node));
    }

    /// The value of `key`, for what is below it. Anything but an object or a list is not read by this.
    pub fn get(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        let value = node.get(key)?;
        if matches!(value.data, Data::List(_) | Data::Object(_) | Data::Null) {
            self.mark(value);
        }
        Some(value)
    }

    /// The value under `keys`, one below the other.
    pub fn at(&self, node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
        keys.iter().try_fold(node, |node, key| self.get(node, key))
    }

    /// The items of the list under `key`, for what is in them.
    pub fn list(&self, node: &'a Node, key: &str) -> &'a [Node] {
        let items = self.get(node, key).map(Node::items).unwrap_or_default();
        items.iter().filter(|item| item.is_container()).for_each(|item| self.mark(item));
        items
    }

    /// The value of `key`, which counts as read with all that is below it.
    pub fn done(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        let value = node.get(key)?;
        self.all(value);
        Some(value)
    }

    /// The texts in the list under `key`.
    pub fn texts(&self, node: &'a Node, key: &str) -> Vec<&'a str> {
        let items = self.list(node, key).iter();
        items.filter_map(|item| item.text().inspect(|_| self.mark(item))).collect()
    }

    /// The text of `key`; a number or a boolean counts as the text that it is written as.
    pub fn text(&self, node: &'a Node, key: &str) -> Option<String> {
        let value = node.get(key)?;
        let text = plain_text(value)?;
        self.mark(value);
        Some(text)
    }

    /// The number of `key`, also where it is written as a text.
    pub fn number(&self, node: &'a Node, key: &str) -> Option<f64> {
        let value = node.get(key)?;
        let number = number_of(value)?;
        self.mark(value);
        Some(number)
    }

    /// The boolean of `key`, also where it is written as a text.
    pub fn flag(&self, node: &'a Node, key: &str) -> Option<bool> {
        let value = node.get(key)?;
        let flag = flag_of(value)?;
        self.mark(value);
        Some(flag)
    }

    /// Counts `node` as read with all that is below it.
    pub fn all(&self, node: &'a Node) {
        self.mark(node);
        node.members().iter().for_each(|member| self.all(&member.value));
        node.items().iter().for_each(|item| self.all(item));
    }

    /// What a resource is called: `namespace/name`.
    pub fn name(&self) -> String {
        match (self.namespace(), self.short_name()) {
            (Some(namespace), Some(name)) => shown(&format!("{namespace}/{name}")),
            (_, name) => name.map_or_else(|| "without a name".to_owned(), shown),
        }
    }

    /// Its name alone.
    pub fn short_name(&self) -> Option<&'a str> {
        self.root.at_keys(&["metadata", "name"]).and_then(Node::text)
    }

    pub fn namespace(&self) -> Option<&'a str> {
        self.root.at_keys(&["metadata", "namespace"]).and_then(Node::text)
    }

    /// Every value that was not read: its path, and the value on one line.
    pub fn rest(&self) -> Vec<(String, String)> {
        let mut rest = Vec::new();
        self.walk(self.root, &mut Path::default(), &mut |path, node, read| {
            if !read {
                rest.push((short(path), Yaml::from(node).shown()));
            }
        });
        rest
    }

    /// Every value that was read and holds no other.
    pub fn read_values(&self) -> Vec<Read> {
        let mut values = Vec::new();
        self.walk(self.root, &mut Path::default(), &mut |path, node, read| {
            if read && !is_own(path) {
                let keys = path.segments.iter().filter_map(|segment| match segment {
                    PathSegment::Key(key) => Some(key.clone()),
                    PathSegment::Index(_) => None,
                });
                values.push(Read {
                    path: short(path),
                    keys: keys.collect(),
                    value: plain_text(node).unwrap_or_default(),
                });
            }
        });
        values
    }

    /// Shows `see` each value that is below nothing unread: whether it was read, and if so, and it is an
    /// object or a list, what is below it too.
    fn walk(&self, node: &Node, path: &mut Path, see: &mut impl FnMut(&Path, &Node, bool)) {
        let is_root = path.segments.is_empty();
        let read = is_root || self.read.borrow().contains(&std::ptr::from_ref(node));
        let holds_none = node.members().is_empty() && node.items().is_empty();
        if !is_root && (!read || holds_none) {
            see(path, node, read);
        }
        if !read {
            return;
        }
        for member in node.members() {
            path.segments.push(PathSegment::Key(member.key.clone()));
            self.walk(&member.value, path, see);
            path.segments.pop();
        }
        for (index, item) in node.items().iter().enumerate() {
            path.segments.push(PathSegment::Index(index));
            self.walk(item, path, see);
            path.segments.pop();
        }
    }
}

/// Whether a value only says what a resource is, or is the API server's or kubectl's.
fn is_own(path: &Path) -> bool {
    let keys: Vec<&str> = path
        .segments
        .iter()
        .map(|segment| match segment {
            PathSegment::Key(key) => key.as_str(),
            PathSegment::Index(_) => "",
        })
        .collect();
    match keys.as_slice() {
        ["apiVersion" | "kind" | "status", ..] => true,
        ["metadata", key] | ["metadata", key, ..] if OWN_METADATA.contains(key) => true,
        ["metadata", "annotations", name] => *name == LAST_APPLIED,
        _ => false,
    }
}

/// A path for a comment, as people write it: `spec.http[0]`, and annotations by their own name.
fn short(path: &Path) -> String {
    let full = path.to_string();
    shown_path(full.strip_prefix("$.").or(full.strip_prefix('$')).unwrap_or(&full))
}

fn shown_path(path: &str) -> String {
    path.strip_prefix("metadata.annotations[\"")
        .and_then(|name| name.strip_suffix("\"]"))
        .map_or_else(|| path.to_owned(), |name| format!("annotation {name}"))
}

/// The text of a scalar as it stands in the file.
pub fn plain_text(node: &Node) -> Option<String> {
    match &node.data {
        Data::Text(text, _) => Some(text.clone()),
        Data::Number(_) | Data::Bool(_) | Data::Word(..) => Some(node.brief()),
        _ => None,
    }
}

pub fn number_of(node: &Node) -> Option<f64> {
    match &node.data {
        Data::Number(number) => Some(*number),
        Data::Text(text, _) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn flag_of(node: &Node) -> Option<bool> {
    match &node.data {
        Data::Bool(value) | Data::Word(value, _) => Some(*value),
        Data::Text(text, _) => text.parse().ok(),
        _ => None,
    }
}
