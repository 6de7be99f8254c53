//! Places in a tree by their paths.

use std::cell::RefCell;
use std::collections::HashMap;

use super::tree::{Node, Position};
use crate::config::{self, PathSegment};

/// Where things are in a tree, in a time that does not grow with the number of an object's keys.
pub struct Finder<'a> {
    tree: &'a Node,
    /// Of each object, by where it begins, the first and the second place of each key.
    known: RefCell<Known<'a>>,
}

type Known<'a> = HashMap<*const Node, HashMap<&'a str, (usize, Option<usize>)>>;

impl<'a> Finder<'a> {
    pub fn new(tree: &'a Node) -> Self {
        Self { tree, known: RefCell::default() }
    }

    /// The key or item that `path` leads to, or the nearest thing above it that there is.
    pub fn of(&self, path: &config::Path) -> Position {
        let (mut node, mut at) = (self.tree, self.tree.at);
        let steps = &path.segments;
        for (depth, step) in steps.iter().enumerate() {
            let below = match step {
                PathSegment::Key(key) => {
                    let (first, second) = self.key(node, key);
                    // What is wrong with a key that stands twice is its second place.
                    let second = if depth + 1 == steps.len() { second } else { None };
                    let member = second.or(first).and_then(|at| node.members().get(at));
                    member.map(|member| (&member.value, member.at))
                }
                PathSegment::Index(index) => node.items().get(*index).map(|item| (item, item.at)),
            };
            let Some(below) = below else { break };
            (node, at) = below;
        }
        at
    }

    /// The first and the second place of a key among the members of an object.
    fn key(&self, node: &'a Node, key: &str) -> (Option<usize>, Option<usize>) {
        let members = node.members();
        if members.len() < 16 {
            let mut same = members
                .iter()
                .enumerate()
                .filter(|(_, member)| member.key == key)
                .map(|(at, _)| at);
            return (same.next(), same.next());
        }
        let mut known = self.known.borrow_mut();
        let places = known.entry(std::ptr::from_ref(node)).or_insert_with(|| {
            let mut places: HashMap<&str, (usize, Option<usize>)> = HashMap::new();
            for (at, member) in members.iter().enumerate() {
                let place = places.entry(&member.key).or_insert((at, None));
                if place.0 != at {
                    place.1.get_or_insert(at);
                }
            }
            places
        });
        places.get(key).map_or((None, None), |(first, second)| (Some(*first), *second))
    }
}
