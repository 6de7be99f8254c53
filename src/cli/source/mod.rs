//! Files to configurations: what a FILE of the command line may be, and where in it things stand.

mod embed;
mod find;
pub mod resource;
pub mod tree;
pub mod yaml;

use std::fmt;
use std::io::Read;

use crate::config::{self, Config, PathSegment};

use embed::Places;
use find::{Body, Found};
use tree::{Data, Node, Position};

/// A configuration of this filter in a file.
#[derive(Debug)]
pub struct Document {
    /// What carries it (`WasmPlugin shop/cohort`); `None`: the file or document is the configuration.
    pub carrier: Option<String>,
    /// Where it begins.
    pub at: Position,
    /// The configuration, or all that is wrong with it.
    pub config: Result<Config, Vec<Problem>>,
    /// Its tree with the places in the file; `None` where they are not known.
    pub tree: Option<Node>,
}

/// One thing wrong with a configuration, and where it stands.
#[derive(Debug)]
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
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The system says no.
    Io(String),
    /// It was read, and there is no configuration of this filter in it.
    Nothing,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) => f.write_str(why),
            Self::Nothing => f.write_str("found no configuration of this filter"),
        }
    }
}

/// The bytes of a file, or of standard input for `-`.
pub fn bytes(file: &str) -> Result<Vec<u8>, Unreadable> {
    let read = if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| Unreadable::Io(words(&error)))
}

/// The files that a FILE of the command line stands for: itself, or for a folder every YAML and JSON file
/// below it, in order of their names.
pub fn files(file: &str) -> Result<Vec<String>, Unreadable> {
    let mut found = Vec::new();
    walk(std::path::Path::new(file), &mut found).map_err(|error| Unreadable::Io(words(&error)))?;
    found.sort();
    match found.is_empty() {
        true => Err(Unreadable::Nothing),
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

/// An error of the system in its words, without its number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_lowercase()
}

/// Every configuration of this filter in `bytes`, the content of `file`.
pub fn documents(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Unreadable> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        // The filter says what is wrong with it.
        return Ok(vec![plain_json(bytes, None)]);
    };
    let is_json = file.ends_with(".json") || json_fault(text).is_none();
    let trees = match yaml::read(text) {
        Ok(trees) => trees,
        Err(_) if is_json => return Ok(vec![plain_json(bytes, None)]),
        Err(fault) => {
            let problem = Problem::at_root(fault.at, fault.what, "YAML or JSON");
            let config = Err(vec![problem]);
            return Ok(vec![Document { carrier: None, at: fault.at, config, tree: None }]);
        }
    };
    let found = find::find(&trees);
    if found.is_empty() {
        return Err(Unreadable::Nothing);
    }
    Ok(found
        .into_iter()
        .map(|found| match found {
            Found { carrier: None, body: Body::Tree(tree), .. } if is_json => {
                plain_json(bytes, Some(tree))
            }
            found => carried(found, text),
        })
        .collect())
}

/// A file that is the configuration, as the filter reads it.
fn plain_json(bytes: &[u8], tree: Option<Node>) -> Document {
    let fault = std::str::from_utf8(bytes).ok().and_then(json_fault);
    let at = fault.or(tree.as_ref().map(|tree| tree.at)).unwrap_or(Position::START);
    let known = tree.as_ref().filter(|_| fault.is_none());
    let config = Config::from_json(bytes).map_err(|problems| placed(problems, known, at));
    Document { carrier: None, at, config, tree }
}

/// Where a text stops being JSON.
fn json_fault(text: &str) -> Option<Position> {
    let fault = serde_json::from_str::<serde::de::IgnoredAny>(text).err()?;
    Some(Position { line: fault.line().max(1), column: fault.column().max(1) })
}

fn carried(found: Found, file: &str) -> Document {
    let Found { carrier, at, body, .. } = found;
    match body {
        Body::Tree(tree) => {
            let config = Config::from_value(&value(&tree));
            let config = config.map_err(|problems| placed(problems, Some(&tree), at));
            Document { carrier, at, config, tree: Some(tree) }
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
            let config = config.map_err(|problems| placed(problems, known, at));
            Document { carrier, at, config, tree }
        }
    }
}

fn placed(problems: Vec<config::Problem>, tree: Option<&Node>, at: Position) -> Vec<Problem> {
    let place = |problem: config::Problem| Problem {
        at: tree.map_or(at, |tree| place_of(tree, &problem.path)),
        path: problem.path.to_string(),
        line: problem.to_string(),
        found: problem.found,
        allowed: problem.allowed,
        hint: problem.hint,
    };
    problems.into_iter().map(place).collect()
}

/// The key or item that `path` leads to, or the nearest thing above it that there is.
pub fn place_of(tree: &Node, path: &config::Path) -> Position {
    let (mut node, mut at) = (tree, tree.at);
    let steps = &path.segments;
    for (depth, step) in steps.iter().enumerate() {
        let below = match step {
            PathSegment::Key(key) => {
                let mut same = node.members().iter().filter(|member| member.key == *key);
                let first = same.next();
                // What is wrong with a key that stands twice is its second place.
                let second = if depth + 1 == steps.len() { same.next() } else { None };
                second.or(first).map(|member| (&member.value, member.at))
            }
            PathSegment::Index(index) => node.items().get(*index).map(|item| (item, item.at)),
        };
        let Some(below) = below else { break };
        (node, at) = below;
    }
    at
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
}
