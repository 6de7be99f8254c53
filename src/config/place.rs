//! Where a reader stands in a document, and the problems it meets.

use super::problem::{Path, PathSegment, Problem};
use super::value::Value;

/// A value, and the way to it. Lives on the stack of the readers above it, so that a path costs
/// nothing until there is a problem.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    value: &'a Value,
    above: Option<&'a Place<'a>>,
    /// The key that leads here from an object; `None` in a list and at the top.
    key: Option<&'a str>,
    /// How many entries stand before this one.
    position: usize,
}

impl<'a> Place<'a> {
    /// The whole of a document.
    pub(super) fn top(value: &'a Value) -> Self {
        Self { value, above: None, key: None, position: 0 }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// The entry of an object or a list after `position` others.
    pub(super) fn entry(&self, position: usize) -> Option<Place<'_>> {
        let (key, value) = match self.value {
            Value::Object(entries) => {
                entries.get(position).map(|(key, value)| (Some(key.as_str()), value))?
            }
            Value::List(values) => (None, values.get(position)?),
            _ => return None,
        };
        Some(Place { value, above: Some(self), key, position })
    }

    /// Every entry of an object or a list, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Place<'_>> {
        (0..).map_while(|position| self.entry(position))
    }

    /// The key that leads here from an object.
    pub(super) fn key(&self) -> Option<&'a str> {
        self.key
    }

    /// The first value of `key`.
    pub(super) fn find(&self, key: &str) -> Option<Place<'_>> {
        self.entries().find(|entry| entry.key == Some(key))
    }

    /// The value of `key`, or this object where it has none.
    pub(super) fn at(&self, key: &str) -> Place<'_> {
        self.find(key).unwrap_or(*self)
    }

    /// The list's entry at `index`, or this list where it has none.
    pub(super) fn nth(&self, index: usize) -> Place<'_> {
        self.entry(index).unwrap_or(*self)
    }

    /// The way here from the top.
    fn path(&self) -> Path {
        let mut path = match self.above {
            Some(above) => above.path(),
            None => return Path::default(),
        };
        path.segments.push(match self.key {
            Some(key) => PathSegment::Key(key.to_owned()),
            None => PathSegment::Index(self.position),
        });
        path
    }

    /// The positions on the way here: sorts places as the document has them.
    fn order(&self) -> Vec<usize> {
        let mut order = match self.above {
            Some(above) => above.order(),
            None => return Vec::new(),
        };
        order.push(self.position);
        order
    }
}

/// The problems of one document.
#[derive(Default)]
pub(super) struct Problems {
    list: Vec<(Vec<usize>, Problem)>,
}

impl Problems {
    /// Notes that `found` stands at `at`, where only `allowed` may.
    pub(super) fn add(&mut self, at: &Place<'_>, found: String, allowed: String) {
        self.add_with_hint(at, found, allowed, None);
    }

    /// The same, with what was probably meant.
    pub(super) fn add_with_hint(
        &mut self,
        at: &Place<'_>,
        found: String,
        allowed: String,
        hint: Option<String>,
    ) {
        let order = at.order();
        // Kept sorted, because sorting would bring many times more code into the module.
        let position = self.list.partition_point(|(other, _)| *other <= order);
        self.list.insert(position, (order, Problem { path: at.path(), found, allowed, hint }));
    }

    /// All of them, in document order; those of an object before those of its entries.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        self.list.into_iter().map(|(_, problem)| problem).collect()
    }
}
