//! YAML with comments, written.

use std::fmt::Write;

use super::super::source::tree::Data;
use super::super::source::yaml;

/// The longest line that a list or an object is put on as a whole.
const LINE: usize = 90;

/// A value to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    Number(f64),
    Bool(bool),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<Entry>),
}

/// One key of an object to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    key: String,
    value: Yaml,
    /// Comments that stand above the key.
    above: Vec<String>,
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

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            _ => None,
        }
    }

    /// The object with the keys of `other` that it has not.
    pub fn merged(mut self, other: &Yaml) -> Self {
        if let Self::Map(others) = other {
            for entry in others {
                if self.get(&entry.key).is_none() {
                    if let Self::Map(entries) = &mut self {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// The value on one line, if it has no comments.
    fn flow(&self) -> Option<String> {
        Some(match self {
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) => scalar(text),
            Self::List(items) => {
                let items: Option<Vec<String>> = items.iter().map(Self::flow).collect();
                format!("[{}]", items?.join(", "))
            }
            Self::Map(entries) => {
                let entries: Option<Vec<String>> = entries
                    .iter()
                    .map(|entry| {
                        let plain = entry.above.is_empty();
                        plain.then(|| {
                            Some(format!("{}: {}", scalar(&entry.key), entry.value.flow()?))
                        })?
                    })
                    .collect();
                format!("{{{}}}", entries?.join(", "))
            }
        })
    }

    /// The comments above an object's first key.
    fn lead(&self) -> &[String] {
        match self {
            Self::Map(entries) => entries.first().map_or(&[], |entry| &entry.above),
            _ => &[],
        }
    }

    /// Writes the value behind a key or a dash that stands at `indent`.
    fn write(&self, indent: usize, out: &mut String) {
        let short = self.flow().filter(|line| indent + line.len() <= LINE);
        match (self, short) {
            (Self::Map(entries), None) => entries.iter().for_each(|entry| entry.write(indent, out)),
            (Self::List(items), None) => items.iter().enumerate().for_each(|(position, item)| {
                if !out.ends_with('\n') || (position > 0 && item.lead().len() > 1) {
                    out.push('\n');
                }
                item.lead().iter().for_each(|line| comment(line, indent, out));
                pad(indent, out);
                out.push_str("- ");
                item.write(indent + 2, out);
            }),
            (_, Some(line)) => {
                out.push_str(&line);
                out.push('\n');
            }
            (_, None) => {
                out.push_str(&self.flow().unwrap_or_default());
                out.push('\n');
            }
        }
    }
}

impl Entry {
    fn write(&self, indent: usize, out: &mut String) {
        // Behind a dash the comments have been written above it.
        if !out.ends_with("- ") {
            self.above.iter().for_each(|line| comment(line, indent, out));
            pad(indent, out);
        }
        let _ = write!(out, "{}:", scalar(&self.key));
        let below = match &self.value {
            Yaml::Map(_) | Yaml::List(_) => {
                self.value.flow().is_none_or(|line| indent + self.key.len() + line.len() > LINE)
            }
            _ => false,
        };
        if below {
            out.push('\n');
            self.value.write(indent + 2, out);
        } else {
            out.push(' ');
            out.push_str(&self.value.flow().unwrap_or_default());
            out.push('\n');
        }
    }
}

/// A whole document, comments above it first.
pub fn document(value: &Yaml) -> String {
    let mut out = String::new();
    match value {
        Yaml::Map(entries) => entries.iter().for_each(|entry| entry.write(0, &mut out)),
        other => other.write(0, &mut out),
    }
    out
}

/// `text` as comment lines of a readable length.
pub fn comment(text: &str, indent: usize, out: &mut String) {
    let mut line = String::new();
    let mut hanging = "";
    for word in text.split(' ') {
        if !line.is_empty() && indent + line.len() + word.len() > LINE + 6 {
            pad(indent, out);
            let _ = writeln!(out, "# {hanging}{}", line.trim_end());
            line.clear();
            hanging = if text.starts_with("- ") { "  " } else { "" };
        }
        line.push_str(word);
        line.push(' ');
    }
    pad(indent, out);
    let _ = writeln!(out, "{}", format!("# {hanging}{}", line.trim_end()).trim_end());
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A text as YAML: without quotes where every reader takes it for the same text.
fn scalar(text: &str) -> String {
    let safe = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        && !text.ends_with(['-', '.']);
    let same = yaml::read(text).is_ok_and(|nodes| {
        nodes.first().is_some_and(|node| matches!(&node.data, Data::Text(read, _) if read == text))
    });
    if safe && same {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
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
mod tests {
    use super::*;

    #[test]
    fn text_that_a_reader_takes_for_something_else_is_quoted() {
        let all: Vec<String> =
            ["v1", "on", "1", "1.2.3", "a: b", "", "^x$", "/cart", "null", "2026-11-21"]
                .into_iter()
                .map(scalar)
                .collect();
        let expected = [
            "v1",
            "\"on\"",
            "\"1\"",
            "1.2.3",
            "\"a: b\"",
            "\"\"",
            "\"^x$\"",
            "/cart",
            "\"null\"",
            "2026-11-21",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = "x".repeat(60);
        let conditions: Vec<Yaml> =
            (0..3).map(|n| Yaml::one("path", Yaml::one("prefix", format!("/{long}{n}")))).collect();
        let item =
            Yaml::map().noted("name", "a", &["first"]).noted("match", conditions, &["second"]);
        let text = document(&Yaml::one("rollouts", vec![item.clone(), item]));
        let read = yaml::read(&text).unwrap();
        let rollouts = read[0].get("rollouts").unwrap().items();
        assert_eq!(rollouts.len(), 2, "{text}");
        assert_eq!(rollouts[1].get("match").unwrap().items().len(), 3, "{text}");
        assert_eq!(rollouts[1].at_keys(&["name"]).unwrap().text(), Some("a"));
    }
}
