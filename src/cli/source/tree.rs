//! A document with the line and column of everything in it.

use std::fmt;

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub at: Position,
    pub data: Data,
}

/// What a document holds. Objects keep the order of their keys, and duplicates.
#[derive(Clone, Debug)]
pub enum Data {
    Null,
    Bool(bool),
    /// A word that YAML 1.1 readers, Kubernetes's and Envoy's among them, take for a boolean (`on`).
    Word(bool, String),
    Number(f64),
    Text(String, Style),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Single,
    Double,
    /// A YAML block after `|`.
    Literal,
    /// Any other, in which a place of the text has no simple place in the file.
    Folded,
}

/// One key of an object.
#[derive(Clone, Debug)]
pub struct Member {
    pub key: String,
    /// Where the key begins.
    pub at: Position,
    pub value: Node,
}

impl Node {
    /// The value of `key`, the first where it stands more than once.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.members().iter().find(|member| member.key == key).map(|member| &member.value)
    }

    /// The value under `keys`, one below the other.
    pub fn at_keys(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> &[Member] {
        match &self.data {
            Data::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// Whether it is an object or a list.
    pub fn is_container(&self) -> bool {
        matches!(self.data, Data::List(_) | Data::Object(_))
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// The value as a person would write it on one line, for messages and comments.
    pub fn brief(&self) -> String {
        match &self.data {
            Data::Null => "null".into(),
            Data::Bool(value) => value.to_string(),
            Data::Word(_, word) => word.clone(),
            Data::Number(number) => number.to_string(),
            Data::Text(text, _) => text.lines().next().unwrap_or_default().to_owned(),
            Data::List(items) => {
                let items: Vec<String> = items.iter().map(Node::brief).collect();
                format!("[{}]", items.join(", "))
            }
            Data::Object(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|member| format!("{}: {}", member.key, member.value.brief()))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }

    /// The same tree with every position replaced by what `place` says.
    pub fn moved(mut self, place: &impl Fn(Position) -> Position) -> Self {
        self.move_by(place);
        self
    }

    fn move_by(&mut self, place: &impl Fn(Position) -> Position) {
        self.at = place(self.at);
        match &mut self.data {
            Data::List(items) => items.iter_mut().for_each(|item| item.move_by(place)),
            Data::Object(members) => members.iter_mut().for_each(|member| {
                member.at = place(member.at);
                member.value.move_by(place);
            }),
            _ => {}
        }
    }
}
