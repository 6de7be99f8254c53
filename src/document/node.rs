//! What the reader made of a document, and the problems it met.

use super::problem::{Path, PathSegment, Problem};
use super::value::Value;

/// A value, read as what it is declared to be, and where it stands.
pub(crate) struct Node<'a> {
    pub(crate) read: Read<'a>,
    /// The key that leads here; empty in a list and at the top.
    pub(crate) key: &'a str,
    /// What stands here; null where nothing does.
    pub(crate) value: &'a Value<'a>,
    pub(crate) spot: Spot,
    /// Whether this is an object with unknown keys.
    pub(crate) has_unknown_keys: bool,
}

/// A place in the document, among those that [`Problems`] knows.
#[derive(Clone, Copy)]
pub(crate) struct Spot(usize);

impl Spot {
    /// The whole document.
    pub(crate) const TOP: Self = Self(0);
}

/// What a value was read as.
pub(crate) enum Read<'a> {
    /// There is none, and no default.
    Absent,
    /// It cannot be read, and a problem was noted.
    Bad,
    Flag(bool),
    /// In the unit of its declaration.
    Number(u64),
    Real(f64),
    Text(&'a str),
    /// A list's entries; a map's entries; a node for each key that an object may have.
    Nodes(Vec<Node<'a>>),
}

impl<'a> Node<'a> {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.read, Read::Absent)
    }

    /// Whether there is a value, and it could be read.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self.read, Read::Absent | Read::Bad)
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match self.read {
            Read::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        match self.read {
            Read::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn real(&self) -> Option<f64> {
        match self.read {
            Read::Real(number) => Some(number),
            _ => None,
        }
    }

    /// A number that is declared to be small.
    pub(crate) fn small(&self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.read {
            Read::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn string(&self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    /// The entries of a list or a map that could be read.
    pub(crate) fn entries(&self) -> &[Node<'a>] {
        match &self.read {
            Read::Nodes(nodes) => nodes,
            _ => &[],
        }
    }
}

/// What `check` makes of a node: nothing of one that is absent, and `None` of one that is not good.
pub(crate) fn stated<'n, 'a, T>(
    node: &'n Node<'a>,
    check: impl FnOnce(&'n Node<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match node.read {
        Read::Absent => Some(None),
        Read::Bad => None,
        _ => check(node).map(Some),
    }
}

/// The problems of one document, and the places where they may be.
pub(crate) struct Problems<'a> {
    document: &'a Value<'a>,
    /// Of each place the one above it, and how many entries stand there before it.
    spots: Vec<(Spot, usize)>,
    /// With the way to each, by which they are sorted as the document is.
    list: Vec<(Vec<usize>, Problem)>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(document: &'a Value<'a>) -> Self {
        Self { document, spots: vec![(Spot::TOP, 0)], list: Vec::new() }
    }

    /// The place of the entry at `position` of what stands at `above`.
    pub(crate) fn below(&mut self, above: Spot, position: usize) -> Spot {
        self.spots.push((above, position));
        Spot(self.spots.len() - 1)
    }

    /// How many entries stand before each one on the way from the top to `spot`.
    fn way(&self, mut spot: Spot) -> Vec<usize> {
        let mut way = Vec::new();
        while let Some((above, position)) = self.spots.get(spot.0).filter(|_| spot.0 > 0) {
            way.push(*position);
            spot = *above;
        }
        way.reverse();
        way
    }

    /// Notes that `found` stands at `node`, where only `allowed` may.
    pub(crate) fn add(&mut self, node: &Node<'_>, found: &str, allowed: &str) {
        self.add_at(node.spot, found, allowed, None);
    }

    /// The same by the place alone, with what was probably meant.
    pub(crate) fn add_at(&mut self, spot: Spot, found: &str, allowed: &str, hint: Option<String>) {
        let way = self.way(spot);
        let problem = Problem {
            path: path(self.document, &way),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
            hint,
        };
        // Kept sorted, because sorting would bring many times more code into the module.
        let position = self.list.partition_point(|(other, _)| *other <= way);
        self.list.insert(position, (way, problem));
    }

    /// All of them, in document order; those of an object before those of its entries.
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        self.list.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// The names and numbers on a way from the top of `document`.
fn path(document: &Value<'_>, way: &[usize]) -> Path {
    let mut path = Path::default();
    let mut value = document;
    for &position in way {
        value = match value {
            Value::Object(entries) => {
                let Some((key, value)) = entries.get(position) else { break };
                path.segments.push(PathSegment::Key(key.clone().into_owned()));
                value
            }
            Value::List(values) => {
                let Some(value) = values.get(position) else { break };
                path.segments.push(PathSegment::Index(position));
                value
            }
            _ => break,
        };
    }
    path
}
