//! YAML 1.2, and so JSON, to trees with positions.
//!
//! Scalars are read as the two readers that matter read them: Kubernetes's and Envoy's both take the
//! YAML 1.1 words (`yes`, `on`, `n` ...) for booleans.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::tree::{Data, Member, Node, Position, Style};

/// How deep lists and objects may stand in each other.
const DEPTH_LIMIT: usize = 100;

/// How many values a file may have once its aliases are followed, so that a small file cannot ask for
/// all the memory.
const NODE_LIMIT: usize = 1_000_000;

/// What is wrong with a text, in words that follow "found", and where.
#[derive(Debug)]
pub struct Fault {
    pub at: Position,
    pub what: String,
}

/// Every document of `text`; a document without content is left out.
pub fn read(text: &str) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader {
        events: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
        anchors: HashMap::new(),
        nodes: 0,
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
    events: Parser<'a, StrInput<'a>>,
    /// What an anchor stands for, and how many values that is.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
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
        let before = self.nodes;
        self.count(at, 1)?;
        if depth > DEPTH_LIMIT {
            return Err(Fault { at, what: format!("more than {DEPTH_LIMIT} levels") });
        }
        let (data, anchor) = match event {
            Event::Alias(anchor) => {
                let (node, size) = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| Fault { at, what: "an alias inside its own anchor".into() })?;
                self.count(at, size)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_ref().filter(|tag| tag.is_yaml_core_schema());
                let data = match (style, tag.map(|tag| tag.suffix.as_str())) {
                    (ScalarStyle::Plain, Some("str")) => {
                        Data::Text(text.into_owned(), Style::Plain)
                    }
                    (ScalarStyle::Plain, _) => plain(&text),
                    (style, _) => Data::Text(text.into_owned(), written(style)),
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
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member>, Fault> {
        let mut members = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(members);
            }
            // A key's own text, whatever it would mean as a value: `on:` is the key `on`.
            let written = match &event {
                Event::Scalar(text, ..) => Some(text.to_string()),
                _ => None,
            };
            let key = self.node(event, span, depth + 1)?;
            let text = match (written, &key.data) {
                (Some(text), _) => text,
                (None, Data::Text(text, _)) => text.clone(),
                _ => {
                    let what = "a key that is a list or an object".into();
                    return Err(Fault { at: key.at, what });
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            members.push(Member { key: text, at: key.at, value });
        }
    }

    fn count(&mut self, at: Position, nodes: usize) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > NODE_LIMIT {
            return Err(Fault { at, what: format!("more than {NODE_LIMIT} values") });
        }
        Ok(())
    }
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

/// What a scalar without quotes stands for (YAML 1.2 core schema, section 10.3.2, and the booleans of
/// YAML 1.1).
fn plain(text: &str) -> Data {
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
    match number(text) {
        Some(number) => Data::Number(number),
        None => Data::Text(text.into(), Style::Plain),
    }
}

/// A number that JSON can carry: `.inf` and `.nan` reach no filter, so they are texts here.
fn number(text: &str) -> Option<f64> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|n| n as f64);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut bytes = unsigned.bytes();
    let first = bytes.next()?;
    let starts = first.is_ascii_digit() || (first == b'.' && bytes.next()?.is_ascii_digit());
    let whole = unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    (starts && whole).then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        read(text).unwrap().remove(0)
    }

    #[test]
    fn scalars_mean_what_kubernetes_and_envoy_take_them_for() {
        let node = one("[1, 1.50, -2e3, 0x1F, 0o17, .inf, true, on, NO, ~, '1', 1.2.3, 2026-11-21, v1, ., +, 1e]");
        let kinds: Vec<String> = node
            .items()
            .iter()
            .map(|item| match &item.data {
                Data::Number(n) => format!("number {n}"),
                Data::Bool(b) => format!("bool {b}"),
                Data::Word(b, word) => format!("word {word} {b}"),
                Data::Text(text, _) => format!("text {text}"),
                other => format!("{other:?}"),
            })
            .collect();
        let expected = [
            "number 1",
            "number 1.5",
            "number -2000",
            "number 31",
            "number 15",
            "text .inf",
            "bool true",
            "word on true",
            "word NO false",
            "Null",
            "text 1",
            "text 1.2.3",
            "text 2026-11-21",
            "text v1",
            "text .",
            "text +",
            "text 1e",
        ];
        assert_eq!(kinds, expected);
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
        assert_eq!(read(&bomb).unwrap_err().what, "more than 1000000 values");
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
