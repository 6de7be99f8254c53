//! What of a resource has been carried over, so that nothing is dropped in silence.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::super::source::tree::{Data, Node, Position};
use crate::config::{Path, PathSegment};

/// A resource, and which of its keys have been read.
#[derive(Debug)]
pub struct Ledger<'a> {
    root: &'a Node,
    read: RefCell<BTreeSet<Position>>,
}

impl<'a> Ledger<'a> {
    pub fn new(root: &'a Node) -> Self {
        let ledger = Self { root, read: RefCell::default() };
        for known in ["apiVersion", "kind", "metadata", "status"] {
            ledger.done(root, known);
        }
        ledger
    }

    /// The value of `key`, which counts as read; what is below it does not yet.
    pub fn get(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        let member = node.members().iter().find(|member| member.key == key)?;
        self.read.borrow_mut().insert(member.at);
        Some(&member.value)
    }

    /// The value under `keys`, one below the other.
    pub fn at(&self, node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
        keys.iter().try_fold(node, |node, key| self.get(node, key))
    }

    /// The value of `key`, which counts as read with all that is below it.
    pub fn done(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        let value = self.get(node, key)?;
        self.all(value);
        Some(value)
    }

    /// The texts in the list under `key`, which counts as read with all that is in it.
    pub fn texts(&self, node: &'a Node, key: &str) -> Vec<&'a str> {
        let items = self.done(node, key).map(Node::items).unwrap_or_default();
        items.iter().filter_map(Node::text).collect()
    }

    /// The text of `key`; a number or a boolean counts as the text that it is written as.
    pub fn text(&self, node: &'a Node, key: &str) -> Option<String> {
        let value = node.get(key)?;
        let text = match &value.data {
            Data::Text(text, _) => text.clone(),
            Data::Number(_) | Data::Bool(_) | Data::Word(..) => value.brief(),
            _ => return None,
        };
        self.get(node, key);
        Some(text)
    }

    /// The number of `key`, also where it is written as a text.
    pub fn number(&self, node: &'a Node, key: &str) -> Option<f64> {
        let number = match &node.get(key)?.data {
            Data::Number(number) => *number,
            Data::Text(text, _) => text.trim().parse().ok()?,
            _ => return None,
        };
        self.get(node, key);
        Some(number)
    }

    /// Counts all that is below `node` as read.
    pub fn all(&self, node: &'a Node) {
        for member in node.members() {
            self.read.borrow_mut().insert(member.at);
            self.all(&member.value);
        }
        node.items().iter().for_each(|item| self.all(item));
    }

    /// What a resource is called: `namespace/name`.
    pub fn name(&self) -> String {
        let part = |key| self.root.at_keys(&["metadata", key]).and_then(Node::text);
        match (part("namespace"), part("name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (_, name) => name.unwrap_or("without a name").to_owned(),
        }
    }

    /// Its name alone.
    pub fn short_name(&self) -> &'a str {
        self.root.at_keys(&["metadata", "name"]).and_then(Node::text).unwrap_or("rollout")
    }

    /// Every key that was not read: its path and its value on one line.
    pub fn rest(&self) -> Vec<(String, String)> {
        let mut rest = Vec::new();
        self.rest_of(self.root, &mut Path::default(), &mut rest);
        rest
    }

    fn rest_of(&self, node: &Node, path: &mut Path, rest: &mut Vec<(String, String)>) {
        for member in node.members() {
            path.segments.push(PathSegment::Key(member.key.clone()));
            if self.read.borrow().contains(&member.at) {
                self.rest_of(&member.value, path, rest);
            } else {
                let full = path.to_string();
                let short = full.strip_prefix("$.").unwrap_or(&full);
                rest.push((short.to_owned(), shortened(&member.value.brief())));
            }
            path.segments.pop();
        }
        for (index, item) in node.items().iter().enumerate() {
            path.segments.push(PathSegment::Index(index));
            self.rest_of(item, path, rest);
            path.segments.pop();
        }
    }
}

fn shortened(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
