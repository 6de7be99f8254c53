//! YAML, and so JSON, to trees with positions.
//!
//! Scalars are read as the reader of the file reads them, which is Kubernetes's (YAML 1.1 by
//! `sigs.k8s.io/yaml`) or Envoy's (`yaml-cpp`, then `parseYamlNode` of its `utility.cc`). Both take `yes`,
//! `on`, `n` ... for booleans and `010` for 8.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use crate::document::numbers::number;

use super::tree::{Data, Member, Node, Position, Style};

/// How deep lists and objects may stand in each other.
const DEPTH_LIMIT: usize = 100;

/// How many values a file may have once its aliases are followed, so that a small file cannot ask for
/// all the memory. What an anchor is on counts twice.
const NODE_LIMIT: usize = 1_000_000;

/// How much text, once aliases are followed.
const TEXT_LIMIT: usize = 64 << 20;

/// Who reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Kubernetes,
    Envoy,
}

/// What is wrong with a text, in words that follow "found", and where.
#[derive(Debug)]
pub struct Fault {
    pub at: Position,
    pub what: String,
}

/// Every document of `text` as Kubernetes reads it; a document without content is left out.
pub fn read(text: &str) -> Result<Vec<Node>, Fault> {
    read_as(Dialect::Kubernetes, text)
}

/// Every document of `text`; a document without content is left out.
pub fn read_as(dialect: Dialect, text: &str) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader {
        dialect,
        events: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
        anchors: HashMap::new(),
        size: Size::default(),
    };
    let mut documents = Vec::new();
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => {
                reader.anchors.clear();
                let document = reader.node(event, span, 0)?;
                if !matches!(document.data, Data::Null) {
                    documents.push(document);
                }
            }
        }
    }
}

struct Reader<'a> {
    dialect: Dialect,
    events: Parser<'a, StrInput<'a>>,
    /// What an anchor stands for, and how large that is.
    anchors: HashMap<usize, (Node, Size)>,
    size: Size,
}

/// How much there is of a document.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    text: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Fault {
                at: position(error.marker()),
                what: format!("text that is not YAML ({})", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::empty(Marker::default()))),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let at = position(&span.start);
        let before = self.size;
        self.count(at, Size { values: 1, text: 0 })?;
        if depth > DEPTH_LIMIT {
            return Err(Fault { at, what: format!("more than {DEPTH_LIMIT} levels") });
        }
        let (data, anchor) = match event {
            Event::Alias(anchor) => {
                let (_, size) = self
                    .anchors
                    .get(&anchor)
                    .ok_or_else(|| Fault { at, what: "an alias inside its own anchor".into() })?;
                // Before the copy is made, so that what is too much is never there.
                self.count(at, *size)?;
                let copy = self.anchors.get(&anchor).map(|(node, _)| node.clone());
                return Ok(copy.unwrap_or(Node { at, data: Data::Null }));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at, Size { values: 0, text: text.len() })?;
                let core = tag.as_ref().filter(|tag| tag.is_yaml_core_schema());
                let core = core.map(|tag| tag.suffix.as_str());
                let is_text = tag.is_some() && core.is_none();
                let data = if is_text || self.is_text(style, core) {
                    Data::Text(text.into_owned(), written(style))
                } else {
                    self.plain(&text)
                };
                (data, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd | Event::StreamEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Data::List(items), anchor)
            }
            Event::MappingStart(anchor, _) => (Data::Object(self.members(depth)?), anchor),
            _ => (Data::Null, 0),
        };
        let node = Node { at, data };
        if anchor > 0 {
            let size = Size {
                values: self.size.values - before.values,
                text: self.size.text - before.text,
            };
            self.count(at, size)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    /// Whether a scalar is a text, whatever it looks like.
    fn is_text(&self, style: ScalarStyle, core: Option<&str>) -> bool {
        let is_quoted = style != ScalarStyle::Plain;
        match (self.dialect, core) {
            (_, None) => is_quoted,
            (Dialect::Kubernetes, Some(tag)) => !["int", "float", "bool", "null"].contains(&tag),
            // Envoy does not ask which tag it is.
            (Dialect::Envoy, Some(_)) => false,
        }
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member>, Fault> {
        let mut members: Vec<Member> = Vec::new();
        let mut merged: HashMap<String, usize> = HashMap::new();
        let mut replaced: HashSet<usize> = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                let mut position = 0..;
                members.retain(|_| !position.next().is_some_and(|at| replaced.contains(&at)));
                return Ok(members);
            }
            // A key's own text, whatever it would mean as a value: `on:` is the key `on`.
            let written = match &event {
                Event::Scalar(text, style, ..) => Some((text.to_string(), *style)),
                _ => None,
            };
            let key = self.node(event, span, depth + 1)?;
            let (text, style) = match (written, &key.data) {
                (Some(written), _) => written,
                (None, Data::Text(text, _)) => (text.clone(), ScalarStyle::DoubleQuoted),
                _ => {
                    let what = "a key that is a list or an object".into();
                    return Err(Fault { at: key.at, what });
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let merges = text == "<<" && style == ScalarStyle::Plain;
            if merges && self.dialect == Dialect::Kubernetes {
                merge(value, key.at, &mut members, &mut merged)?;
            } else {
                replaced.extend(merged.remove(&text));
                members.push(Member { key: text, at: key.at, value });
            }
        }
    }

    fn count(&mut self, at: Position, more: Size) -> Result<(), Fault> {
        self.size.values += more.values;
        self.size.text += more.text;
        let what = if self.size.values > NODE_LIMIT {
            format!("more than {NODE_LIMIT} values, with those that aliases stand for")
        } else if self.size.text > TEXT_LIMIT {
            format!("more than {} MiB of text, with what aliases stand for", TEXT_LIMIT >> 20)
        } else {
            return Ok(());
        };
        Err(Fault { at, what })
    }

    /// What a scalar without quotes stands for.
    fn plain(&self, text: &str) -> Data {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
            "true" | "True" | "TRUE" => return Data::Bool(true),
            "false" | "False" | "FALSE" => return Data::Bool(false),
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
                return Data::Word(true, text.into());
            }
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
                return Data::Word(false, text.into());
            }
            _ => {}
        }
        let number = match self.dialect {
            Dialect::Kubernetes => kubernetes_number(text),
            Dialect::Envoy => match envoy_integer(text) {
                Some(number) if i32::try_from(number).is_ok() => Some(number as f64),
                Some(number) => return Data::Text(number.to_string(), Style::Plain),
                None => None,
            },
        };
        match number {
            Some(number) => Data::Number(number),
            None => Data::Text(text.into(), Style::Plain),
        }
    }
}

/// Takes in what a merge key stands for: an object, or a list of them of which the first counts. A key
/// that stands in the object itself counts more if it comes later; of one that comes before, readers make
/// different things, and so it is there twice.
fn merge(
    value: Node,
    at: Position,
    members: &mut Vec<Member>,
    merged: &mut HashMap<String, usize>,
) -> Result<(), Fault> {
    let sources = match value.data {
        Data::List(items) => items,
        _ => vec![value],
    };
    for source in sources {
        let Data::Object(source) = source.data else {
            return Err(Fault { at, what: "a merge key << of something that is no object".into() });
        };
        for member in source {
            if let Entry::Vacant(entry) = merged.entry(member.key.clone()) {
                entry.insert(members.len());
                members.push(member);
            }
        }
    }
    Ok(())
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn written(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted => Style::Single,
        ScalarStyle::DoubleQuoted => Style::Double,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
    }
}

/// A number to Kubernetes's reader, if JSON can carry it: `.inf` and `.nan` reach no filter.
fn kubernetes_number(text: &str) -> Option<f64> {
    let begins = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    if !begins {
        return None;
    }
    let plain: String = text.chars().filter(|letter| *letter != '_').collect();
    let (sign, digits) = signed(&plain);
    let lower = digits.to_ascii_lowercase();
    if lower.starts_with(['+', '-']) {
        return None;
    }
    let radix = |prefix: &str, radix| {
        let digits = lower.strip_prefix(prefix)?;
        let digits = Some(digits).filter(|digits| !digits.starts_with(['+', '-']))?;
        u64::from_str_radix(digits, radix).ok()
    };
    let whole = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2));
    if let Some(whole) = whole.or_else(|| radix("0", 8)) {
        return Some(sign * whole as f64);
    }
    // With zeros in front and a digit above 7 it is no octal, and so decimal.
    let digits = if number(&lower).is_some() { &lower } else { lower.trim_start_matches('0') };
    number(digits)?;
    // The grammar is that of the filter; the value is exact to the last bit.
    let size: f64 = digits.parse().ok()?;
    Some(sign * size)
}

/// A whole number to Envoy's reader: decimal, `0x` and hexadecimal, or `0` and octal.
fn envoy_integer(text: &str) -> Option<i64> {
    let (sign, digits) = signed(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let size = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) if !digits.starts_with('+') => i128::from_str_radix(digits, 16),
        (None, Some(octal)) if !octal.is_empty() => i128::from_str_radix(octal, 8),
        _ => digits.parse(),
    };
    let size = size.ok()?;
    i64::try_from(if sign < 0.0 { -size } else { size }).ok()
}

fn signed(text: &str) -> (f64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        read(text).unwrap().remove(0)
    }

    #[test]
    fn scalars_mean_what_kubernetes_and_envoy_take_them_for() {
        let text = "[1, 1.50, -2e3, 0x1F, 0o17, .inf, true, on, NO, ~, '1', 1.2.3, 2026-11-21, v1, ., +, 1e, \
                    010, 08, -010, 1_0, 0b11, 5., .5, 3000000000, !!str 5, !!int '5', ! 5]";
        let kinds = |dialect| kinds(&read_as(dialect, text).unwrap()[0]);
        let kubernetes = [
            "1",
            "1.5",
            "-2000",
            "31",
            "15",
            "text .inf",
            "true",
            "on",
            "NO",
            "null",
            "text 1",
            "text 1.2.3",
            "text 2026-11-21",
            "text v1",
            "text .",
            "text +",
            "text 1e",
            "8",
            "8",
            "-8",
            "10",
            "3",
            "5",
            "0.5",
            "3000000000",
            "text 5",
            "5",
            "text 5",
        ];
        assert_eq!(kinds(Dialect::Kubernetes), kubernetes);
        // What a real Envoy 1.40 shows of such a Struct (tests/proxy/test_yaml.py).
        let envoy = [
            "1",
            "text 1.50",
            "text -2e3",
            "31",
            "text 0o17",
            "text .inf",
            "true",
            "on",
            "NO",
            "null",
            "text 1",
            "text 1.2.3",
            "text 2026-11-21",
            "text v1",
            "text .",
            "text +",
            "text 1e",
            "8",
            "text 08",
            "-8",
            "text 1_0",
            "text 0b11",
            "text 5.",
            "text .5",
            "text 3000000000",
            "5",
            "5",
            "text 5",
        ];
        assert_eq!(kinds(Dialect::Envoy), envoy);
    }

    fn kinds(node: &Node) -> Vec<String> {
        let kind = |item: &Node| match &item.data {
            Data::Text(text, _) => format!("text {text}"),
            _ => item.brief(),
        };
        node.items().iter().map(kind).collect()
    }

    #[test]
    fn a_merge_key_stands_for_the_keys_of_its_object_to_kubernetes_and_for_itself_to_envoy() {
        let text =
            "[&b {a: 1, b: 2}, &c {b: 3, c: 4}, {<<: *b, b: 5}, {<<: [*b, *c]}, {a: 6, <<: *b}]";
        let shown = |dialect| -> Vec<String> {
            read_as(dialect, text).unwrap()[0].items()[2..].iter().map(Node::brief).collect()
        };
        assert_eq!(
            shown(Dialect::Kubernetes),
            ["{a: 1, b: 5}", "{a: 1, b: 2, c: 4}", "{a: 6, a: 1, b: 2}"]
        );
        assert_eq!(shown(Dialect::Envoy)[0], "{<<: {a: 1, b: 2}, b: 5}");
        assert_eq!(one("{'<<': 1}").members()[0].key, "<<");
        assert!(read("{<<: 1}").unwrap_err().what.contains("of something that is no object"));
    }

    #[test]
    fn json_with_tabs_has_positions() {
        let node =
            one("{\n\t\"rollouts\":[\n\t\t{\"name\":\"a\",\n\t\t\"n\\u0061me\":\t\"b\"}]\n}");
        let rollout = &node.get("rollouts").unwrap().items()[0];
        let keys: Vec<(&str, Position)> =
            rollout.members().iter().map(|member| (member.key.as_str(), member.at)).collect();
        let expected =
            [("name", Position { line: 3, column: 4 }), ("name", Position { line: 4, column: 3 })];
        assert_eq!(keys, expected);
    }

    #[test]
    fn documents_are_separate_and_empty_ones_are_left_out() {
        let documents = read("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].members()[0].at, Position { line: 7, column: 1 });
    }

    #[test]
    fn aliases_stand_for_their_anchor_and_cannot_grow_without_end() {
        assert_eq!(one("a: &x [1, 2]\nb: *x").get("b").unwrap().items().len(), 2);
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
        }
        let what = "more than 1000000 values, with those that aliases stand for";
        assert_eq!(read(&bomb).unwrap_err().what, what);
        let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 4000].join(", "));
        let what = "more than 64 MiB of text, with what aliases stand for";
        assert_eq!(read(&long).unwrap_err().what, what);
        let nested: String = (0..90).map(|level| format!("[&a{level} ")).collect();
        let nested = format!("{nested}[{}]{}", ["1"; 20_000].join(","), "]".repeat(90));
        assert!(read(&nested).unwrap_err().what.contains("more than 1000000 values"));
    }

    #[test]
    fn a_deep_text_is_a_fault_and_no_crash() {
        let fault = read(&"[".repeat(200)).unwrap_err();
        assert_eq!(fault.what, "more than 100 levels");
    }

    #[test]
    fn broken_text_is_a_fault_with_its_place() {
        let fault = read("a: 1\nb: [1, 2\n").unwrap_err();
        assert_eq!(fault.at.line, 3, "{fault:?}");
    }
}
