//! YAML with comments, written. `source::yaml` is the reader.

mod scalar;

use std::fmt::Write;

use super::source::tree::{Data, Node};

pub use scalar::{escaped, scalar};

/// The longest line that a list or an object is put on as a whole.
const LINE: usize = 90;

/// Stands for a space that ends no line of a comment; no value of a file has it unescaped.
const GLUE: char = '\u{e000}';

/// The longest key that stands on a line with its value: readers give up on longer ones.
const KEY: usize = 1000;

/// A value to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    Null,
    Number(f64),
    Bool(bool),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<Entry>),
}

/// One key of an object to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub value: Yaml,
    /// Comments that stand above the key.
    pub above: Vec<String>,
}

impl Yaml {
    pub fn map() -> Self {
        Self::Map(Vec::new())
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An object with one key.
    pub fn one(key: &str, value: impl Into<Yaml>) -> Self {
        Self::map().with(key, value)
    }

    /// The object with another key; of anything else, nothing changes.
    pub fn with(self, key: &str, value: impl Into<Yaml>) -> Self {
        self.noted(key, value, &[])
    }

    /// The same, with comments above the key.
    pub fn noted(mut self, key: &str, value: impl Into<Yaml>, above: &[&str]) -> Self {
        if let Self::Map(entries) = &mut self {
            let above = above.iter().map(|line| (*line).to_owned()).collect();
            entries.push(Entry { key: key.to_owned(), value: value.into(), above });
        }
        self
    }

    /// The object with `value` under `key`, where there is a value.
    pub fn maybe(self, key: &str, value: Option<impl Into<Yaml>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of an object; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The object without `keys`.
    pub fn without(mut self, keys: &[&str]) -> Self {
        if let Self::Map(entries) = &mut self {
            entries.retain(|entry| !keys.contains(&entry.key.as_str()));
        }
        self
    }

    /// The object with `value` under `key`, in the place of the one that is there, or at the end.
    pub fn set(mut self, key: &str, value: impl Into<Yaml>) -> Self {
        if let Self::Map(entries) = &mut self {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
                entry.value = value.into();
                return self;
            }
        }
        self.with(key, value)
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// The value on one line, without its comments.
    pub fn inline(&self) -> String {
        let mut line = String::new();
        self.flow(&scalar, &mut line);
        line
    }

    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Value::from(*number as i64)
            }
            Self::Number(number) => Value::from(*number),
            Self::Bool(value) => Value::from(*value),
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect()
            }
        }
    }

    /// The value on one line for a comment, which tears none of its texts.
    pub fn shown(&self) -> String {
        let mut line = String::new();
        self.flow(&shown, &mut line);
        line
    }

    /// Whether there is no comment in it and no key that is too long for a line.
    fn flows(&self) -> bool {
        match self {
            Self::List(items) => items.iter().all(Self::flows),
            Self::Map(entries) => entries.iter().all(|entry| {
                entry.above.is_empty() && entry.key.len() < KEY && entry.value.flows()
            }),
            _ => true,
        }
    }

    fn flow(&self, text_of: &impl Fn(&str) -> String, line: &mut String) {
        match self {
            Self::Null => line.push_str("null"),
            // Writing to a String cannot fail.
            Self::Number(number) => drop(write!(line, "{number}")),
            Self::Bool(value) => drop(write!(line, "{value}")),
            Self::Text(text) => line.push_str(&text_of(text)),
            Self::List(items) => {
                line.push('[');
                for (position, item) in items.iter().enumerate() {
                    line.push_str(if position == 0 { "" } else { ", " });
                    item.flow(text_of, line);
                }
                line.push(']');
            }
            Self::Map(entries) => {
                line.push('{');
                for (position, entry) in entries.iter().enumerate() {
                    line.push_str(if position == 0 { "" } else { ", " });
                    line.push_str(&text_of(&entry.key));
                    line.push_str(": ");
                    entry.value.flow(text_of, line);
                }
                line.push('}');
            }
        }
    }

    /// The value on one line where it must or may stand on what is left of one behind `used` letters.
    fn line(&self, used: usize) -> Option<String> {
        let must = !matches!(self, Self::List(_) | Self::Map(_)) || self.is_empty();
        if !must && !self.flows() {
            return None;
        }
        let line = self.inline();
        (must || used + line.len() <= LINE).then_some(line)
    }

    /// The comments above the first key, which stand above the dash of an item.
    fn lead(&self) -> &[String] {
        match self {
            Self::List(items) => items.first().map_or(&[], Self::lead),
            other => other.entries().first().map_or(&[], |entry| &entry.above),
        }
    }

    /// Writes the value behind a dash or a colon at whose right it stands, its further lines at `indent`.
    fn write_here(&self, indent: usize, out: &mut String) {
        if let Some(line) = self.line(indent) {
            out.push_str(&line);
            out.push('\n');
            return;
        }
        for (position, entry) in self.entries().iter().enumerate() {
            // The comments of the first have been written above the dash.
            if position > 0 {
                entry.comments(indent, out);
                pad(indent, out);
            }
            entry.write(indent, out);
        }
        if let Self::List(items) = self {
            write_items(items, indent, true, out);
        }
    }

    /// Writes an object or a list that begins on a line of its own at `indent`.
    fn write_below(&self, indent: usize, out: &mut String) {
        for entry in self.entries() {
            entry.comments(indent, out);
            pad(indent, out);
            entry.write(indent, out);
        }
        if let Self::List(items) = self {
            write_items(items, indent, false, out);
        }
    }
}

/// Writes the items of a list; `here`: the first one's place on the line is reached already.
fn write_items(items: &[Yaml], indent: usize, here: bool, out: &mut String) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 && item.lead().len() > 1 {
            out.push('\n');
        }
        if position > 0 || !here {
            item.lead().iter().for_each(|line| comment(line, indent, out));
            pad(indent, out);
        }
        out.push_str("- ");
        item.write_here(indent + 2, out);
    }
}

impl Entry {
    fn comments(&self, indent: usize, out: &mut String) {
        self.above.iter().for_each(|line| comment(line, indent, out));
    }

    /// Writes the key where the line has come to, and the value.
    fn write(&self, indent: usize, out: &mut String) {
        let key = scalar(&self.key);
        if key.len() >= KEY {
            let _ = writeln!(out, "? {key}");
            pad(indent, out);
        } else {
            out.push_str(&key);
        }
        out.push(':');
        match self.value.line(indent + key.len() + 2) {
            Some(line) => drop(writeln!(out, " {line}")),
            None => {
                out.push('\n');
                self.value.write_below(indent + 2, out);
            }
        }
    }
}

/// A whole document, comments above it first.
pub fn document(value: &Yaml) -> String {
    let mut out = String::new();
    match value {
        Yaml::Map(entries) if !entries.is_empty() => value.write_below(0, &mut out),
        Yaml::List(items) if !items.is_empty() => value.write_below(0, &mut out),
        other => drop(writeln!(out, "{}", other.inline())),
    }
    out
}

/// `text` of a file for a comment, which does not tear it.
pub fn shown(text: &str) -> String {
    scalar(text).replace(' ', GLUE.encode_utf8(&mut [0; 4]))
}

/// `text` as comment lines of a readable length; nothing in it ends the comment.
pub fn comment(text: &str, indent: usize, out: &mut String) {
    let hang = if text.starts_with("- ") { "  " } else { "" };
    let mut line = String::new();
    let mut lead = "";
    for word in text.split(' ') {
        let word: Vec<String> = word.split(GLUE).map(escaped).collect();
        let word = word.join(" ");
        if !line.is_empty() && indent + line.len() + word.len() > LINE + 6 {
            comment_line(&format!("{lead}{line}"), indent, out);
            line.clear();
            lead = hang;
        }
        line.push_str(&word);
        line.push(' ');
    }
    comment_line(&format!("{lead}{line}"), indent, out);
}

fn comment_line(line: &str, indent: usize, out: &mut String) {
    pad(indent, out);
    out.push_str(format!("# {line}").trim_end());
    out.push('\n');
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

impl From<&Node> for Yaml {
    fn from(node: &Node) -> Self {
        match &node.data {
            Data::Null => Self::Null,
            // The word is kept, and with it what each reader takes it for.
            Data::Bool(value) | Data::Word(value, _) => Self::Bool(*value),
            Data::Number(number) => Self::Number(*number),
            Data::Text(text, _) => Self::Text(text.clone()),
            Data::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Data::Object(members) => Self::Map(
                members
                    .iter()
                    .map(|member| Entry {
                        key: member.key.clone(),
                        value: Self::from(&member.value),
                        above: Vec::new(),
                    })
                    .collect(),
            ),
        }
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Yaml {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Yaml>> for Yaml {
    fn from(items: Vec<Yaml>) -> Self {
        Self::List(items)
    }
}

#[cfg(test)]
mod tests;
