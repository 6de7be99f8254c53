//! Files to configurations: what a FILE of the command line may be, and where in it things stand.

mod embed;
mod envelope;
pub mod find;
mod finder;
pub mod resource;
mod text;
pub mod tree;
pub mod yaml;

use std::fmt;

use crate::config::{self, Config, PathSegment};

use embed::{Lines, Places};
use find::{Body, Found};
pub use finder::Finder;
pub use text::{bytes, words};
use tree::{Data, Node, Position};
use yaml::Dialect;

/// What is in a file.
#[derive(Debug, Default)]
pub struct File {
    /// The configurations of this filter; at least one, or something is `discovered`.
    pub documents: Vec<Document>,
    /// What has this filter and gets its configuration from elsewhere.
    pub discovered: Vec<Discovered>,
    /// The Wasm plugins that are somebody else's.
    pub others: Vec<String>,
    /// Everything that stands in the file; nothing where it cannot be read.
    pub trees: Vec<Node>,
}

/// A filter whose configuration comes by discovery.
#[derive(Debug)]
pub struct Discovered {
    /// Such as `Envoy filter cohort`.
    pub carrier: String,
    pub at: Position,
}

/// A configuration of this filter in a file.
#[derive(Debug)]
pub struct Document {
    /// What carries it (`WasmPlugin shop/cohort`); `None`: the file or document is the configuration.
    pub carrier: Option<String>,
    /// Where it begins.
    pub at: Position,
    /// The configuration, or all that is wrong with it.
    pub config: Result<Config, Vec<Problem>>,
    /// What is wrong with what carries it.
    pub envelope: Vec<Problem>,
    /// The same for plugins that one request passes, as far as the file tells.
    pub chain: String,
    /// Its tree with the places in the file; `None` where they are not known.
    pub tree: Option<Node>,
    /// The text that is the configuration's JSON, and the node that holds it.
    pub text: Option<(String, Option<Node>)>,
}

/// One thing wrong with a configuration, and where it stands.
#[derive(Clone, Debug)]
pub struct Problem {
    pub at: Position,
    pub path: String,
    pub found: String,
    pub allowed: String,
    pub hint: Option<String>,
    /// The line that the filter logs.
    pub line: String,
}

/// Why a file could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The system says no.
    Io(String),
    /// It was read, and there is no configuration of this filter in it.
    Nothing {
        /// The Wasm plugins that are somebody else's.
        others: Vec<String>,
        /// Everything that stands in the file.
        trees: Vec<Node>,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) => f.write_str(why),
            Self::Nothing { others, .. } => {
                f.write_str("found no configuration of this filter")?;
                match others.as_slice() {
                    [] => Ok(()),
                    [other] => write!(f, " (passed over {})", super::style::plain(other)),
                    [other, more @ ..] => {
                        let (other, more) = (super::style::plain(other), more.len());
                        write!(f, " (passed over {other} and {more} more plugins of others)")
                    }
                }
            }
        }
    }
}

/// The files that a FILE of the command line stands for: itself, or for a folder every YAML and JSON file
/// below it, in order of their names.
pub fn files(file: &str) -> Result<Vec<String>, Unreadable> {
    let mut found = Vec::new();
    walk(std::path::Path::new(file), &mut found).map_err(|error| Unreadable::Io(words(&error)))?;
    found.sort();
    match found.is_empty() {
        true => Err(Unreadable::Nothing { others: Vec::new(), trees: Vec::new() }),
        false => Ok(found),
    }
}

fn walk(path: &std::path::Path, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let ending = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if kind.is_dir() {
            walk(&path, found)?;
        } else if ["yaml", "yml", "json"].contains(&ending) {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Every configuration of this filter in `bytes`, the content of `file`.
pub fn documents(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Unreadable> {
    read(file, bytes).map(|file| file.documents)
}

/// What is in `bytes`, the content of `file`.
pub fn read(file: &str, bytes: &[u8]) -> Result<File, Unreadable> {
    let broken = |problem: Problem| File {
        documents: vec![Document {
            carrier: None,
            at: problem.at,
            config: Err(vec![problem]),
            envelope: Vec::new(),
            chain: String::new(),
            tree: None,
            text: None,
        }],
        ..File::default()
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(match text::other_encoding(bytes) {
            Some(encoding) => broken(Problem::at_root(Position::START, encoding, "text in UTF-8")),
            // The filter says what is wrong with it.
            None => File { documents: vec![plain_json(bytes, None)], ..File::default() },
        });
    };
    let is_json = file.ends_with(".json") || json_fault(text).is_none();
    let trees = match trees(text, is_json) {
        Ok(trees) => trees,
        Err(fault) => match text::template(text) {
            Some(at) => {
                return Ok(broken(Problem::at_root(at, text::TEMPLATE.into(), "YAML or JSON")))
            }
            None if is_json => {
                return Ok(File { documents: vec![plain_json(bytes, None)], ..File::default() });
            }
            None => {
                let fault = text::tab(text, fault);
                return Ok(broken(Problem::at_root(fault.at, fault.what, "YAML or JSON")));
            }
        },
    };
    let lines = Lines::of(text);
    let (mut file, mut others) = (File::default(), Vec::new());
    for found in find::find(&trees) {
        match found {
            Found { ours: false, carrier, .. } => others.extend(carrier),
            Found { carrier: Some(carrier), body: Body::Discovered, at, .. } => {
                file.discovered.push(Discovered { carrier, at });
            }
            Found { carrier: None, body: Body::Tree(tree), .. } if is_json => {
                file.documents.push(plain_json(bytes, Some(tree)));
            }
            found => file.documents.push(carried(found, &lines)),
        }
    }
    if file.documents.is_empty() && file.discovered.is_empty() {
        return Err(Unreadable::Nothing { others, trees });
    }
    Ok(File { others, trees, ..file })
}

/// The documents of a file, as its reader reads them.
fn trees(text: &str, is_json: bool) -> Result<Vec<Node>, yaml::Fault> {
    let trees = yaml::read(text)?;
    match trees.first() {
        // Of several documents in a file Envoy reads the first.
        Some(first) if find::is_envoy(first) && !is_json => {
            let mut trees = yaml::read_as(Dialect::Envoy, text)?;
            trees.truncate(1);
            Ok(trees)
        }
        _ => Ok(trees),
    }
}

/// A file that is the configuration, as the filter reads it.
fn plain_json(bytes: &[u8], tree: Option<Node>) -> Document {
    let fault = std::str::from_utf8(bytes).ok().and_then(json_fault);
    let at = fault.or(tree.as_ref().map(|tree| tree.at)).unwrap_or(Position::START);
    let known = tree.as_ref().filter(|_| fault.is_none());
    let config = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        // No reader of JSON takes one.
        Some(_) => Err(vec![Problem::at_root(
            Position::START,
            "a byte order mark (U+FEFF) before the text".into(),
            "JSON in UTF-8 without one",
        )]),
        None => Config::from_json(bytes).map_err(|problems| placed(problems, known, at)),
    };
    Document {
        carrier: None,
        at,
        config,
        envelope: Vec::new(),
        chain: String::new(),
        tree,
        text: None,
    }
}

/// Where a text stops being JSON.
fn json_fault(text: &str) -> Option<Position> {
    let fault = serde_json::from_str::<serde::de::IgnoredAny>(text).err()?;
    Some(Position { line: fault.line().max(1), column: fault.column().max(1) })
}

fn carried(found: Found, file: &Lines<'_>) -> Document {
    let Found { carrier, at, body, envelope, chain, .. } = found;
    let mut document = Document {
        carrier,
        at,
        config: Ok(Config::default()),
        envelope,
        chain,
        tree: None,
        text: None,
    };
    match body {
        Body::Tree(tree) => {
            let config = Config::from_value(&value(&tree));
            document.config = config.map_err(|problems| placed(problems, Some(&tree), at));
            document.tree = Some(tree);
        }
        Body::Struct(tree) => {
            let config = Config::from_struct(value(&tree));
            document.config = config.map_err(|problems| placed(problems, Some(&tree), at));
            document.tree = Some(tree);
        }
        Body::Text(text, holder) => {
            let places = holder.as_ref().map(|holder| match &holder.data {
                Data::Text(text, style) => Places::new(file, holder.at, text, *style),
                _ => Places::new(file, holder.at, &text, tree::Style::Folded),
            });
            let outer = |inner| places.as_ref().map_or(at, |places| places.outer(inner));
            let tree = yaml::read(&text).ok().and_then(|trees| trees.into_iter().next());
            let tree = tree.map(|tree| tree.moved(&outer));
            let fault = json_fault(&text).filter(|_| !text.is_empty());
            let at = fault.map_or(at, outer);
            let known = tree.as_ref().filter(|_| fault.is_none());
            let config = Config::from_json(text.as_bytes());
            document.config = config.map_err(|problems| placed(problems, known, at));
            document.at = at;
            document.tree = tree;
            document.text = Some((text, holder));
        }
        // What is discovered is no document.
        Body::Discovered => {}
    }
    document
}

fn placed(problems: Vec<config::Problem>, tree: Option<&Node>, at: Position) -> Vec<Problem> {
    let place = tree.map(Finder::new);
    let placed = |mut problem: config::Problem| {
        if problem.path.segments.last() == Some(&PathSegment::Key("<<".into())) {
            problem.found = "a merge key (<<), which Envoy's YAML reader does not know".into();
            problem.allowed = "the keys themselves".into();
        } else if text::is_template(&problem.found) {
            problem.found = format!("{}, {}", problem.found, text::TEMPLATE);
        }
        Problem {
            at: place.as_ref().map_or(at, |place| place.of(&problem.path)),
            path: problem.path.to_string(),
            line: problem.to_string(),
            found: problem.found,
            allowed: problem.allowed,
            hint: problem.hint,
        }
    };
    problems.into_iter().map(placed).collect()
}

/// The tree as the filter gets it from the proxy.
fn value(node: &Node) -> config::Value<'_> {
    match &node.data {
        Data::Null => config::Value::Null,
        Data::Bool(value) | Data::Word(value, _) => config::Value::Bool(*value),
        Data::Number(number) => config::Value::Number(*number),
        Data::Text(text, _) => config::Value::String(text.as_str().into()),
        Data::List(items) => config::Value::List(items.iter().map(value).collect()),
        Data::Object(members) => {
            let mut entries = Vec::with_capacity(members.len());
            for member in members {
                entries.push((member.key.as_str().into(), value(&member.value)));
            }
            config::Value::Object(entries)
        }
    }
}

impl Problem {
    fn at_root(at: Position, found: String, allowed: &str) -> Self {
        let line = format!("$: found {found}, allowed: {allowed}");
        Self { at, path: "$".into(), found, allowed: allowed.into(), hint: None, line }
    }

    /// One thing wrong with `node`, outside of the configuration, at a path of its own.
    pub fn outside(
        node: &Node,
        path: &str,
        found: String,
        allowed: String,
        hint: Option<String>,
    ) -> Self {
        Self::at(node.at, path, found, allowed, hint)
    }

    /// One thing wrong at a place of the file.
    pub fn at(
        at: Position,
        path: &str,
        found: String,
        allowed: String,
        hint: Option<String>,
    ) -> Self {
        let meant = hint.as_ref().map_or(String::new(), |hint| format!(" (did you mean {hint}?)"));
        let line = format!("{path}: found {found}, allowed: {allowed}{meant}");
        Self { at, path: path.into(), found, allowed, hint, line }
    }
}

impl Document {
    /// All that is wrong with it and with what carries it, in the file's order.
    pub fn problems(&self) -> Vec<&Problem> {
        let own = self.config.as_ref().err().map_or(&[][..], Vec::as_slice);
        let mut all: Vec<&Problem> = own.iter().chain(&self.envelope).collect();
        all.sort_by_key(|problem| problem.at);
        all
    }
}
