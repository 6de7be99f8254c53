//! Places in a text that is itself a value of a file: the JSON in a `StringValue`.

use super::tree::{Position, Style};

/// A file, and where its lines begin.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect() }
    }

    /// The text from a line on, which is counted from 1.
    fn from(&self, line: usize) -> &'a str {
        let start = self.starts.get(line.saturating_sub(1)).copied();
        start.and_then(|start| self.text.get(start..)).unwrap_or_default()
    }
}

/// Where the places of an embedded text are in its file.
#[derive(Debug)]
pub struct Places {
    /// In rising order of `inner`, the first at 1:1.
    anchors: Vec<Anchor>,
}

/// From `inner` on, up to the next anchor, a text stands in the file as it is.
#[derive(Debug)]
struct Anchor {
    inner: Position,
    outer: Position,
    /// `false`: where the rest of the text stands is not known, so `outer` is as near as it gets.
    exact: bool,
}

impl Places {
    /// The places of a text which begins at `at` of `source`, opening quote included.
    pub fn new(source: &Lines<'_>, at: Position, text: &str, style: Style) -> Self {
        let anchors = match style {
            Style::Literal => literal(source, at, text),
            Style::Double => Walk::new(source, at, 1).double(),
            Style::Single => Walk::new(source, at, 1).single(),
            Style::Plain => Walk::new(source, at, 0).plain(),
            Style::Folded => Vec::new(),
        };
        if anchors.is_empty() {
            Self { anchors: vec![Anchor { inner: Position::START, outer: at, exact: false }] }
        } else {
            Self { anchors }
        }
    }

    /// Where `inner` of the text is in the file, or what is known to stand before it.
    pub fn outer(&self, inner: Position) -> Position {
        let after = self.anchors.partition_point(|anchor| anchor.inner <= inner);
        let Some(anchor) = self.anchors.get(after.saturating_sub(1)) else { return inner };
        if anchor.exact && anchor.inner.line == inner.line {
            let column = anchor.outer.column + inner.column.saturating_sub(anchor.inner.column);
            Position { line: anchor.outer.line, column }
        } else {
            anchor.outer
        }
    }
}

/// One anchor for each line of a block, behind the block's indentation.
///
/// The block is found by its first line with content, which stands near `at`.
fn literal(source: &Lines<'_>, at: Position, text: &str) -> Vec<Anchor> {
    let Some((blank, first)) = text.lines().enumerate().find(|(_, line)| !line.trim().is_empty())
    else {
        return Vec::new();
    };
    let near = at.line.saturating_sub(2);
    let found = source.from(near + 1).lines().enumerate().find_map(|(line, written)| {
        let indent = written.strip_suffix(first)?;
        indent.trim().is_empty().then(|| (near + line, indent.chars().count()))
    });
    let Some((line, indent)) = found else { return Vec::new() };
    (0..text.lines().count())
        .filter_map(|inner| {
            Some(Anchor {
                inner: Position { line: inner + 1, column: 1 },
                outer: Position {
                    line: (line + inner + 1).checked_sub(blank)?,
                    column: indent + 1,
                },
                exact: true,
            })
        })
        .collect()
}

/// A walk over a scalar as it is written, along with the text that it stands for.
struct Walk<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    outer: Position,
    inner: Position,
    anchors: Vec<Anchor>,
}

impl<'a> Walk<'a> {
    /// A walk from `at`, past `skip` characters of quotes.
    fn new(source: &Lines<'a>, at: Position, skip: usize) -> Self {
        let mut rest = source.from(at.line).chars().peekable();
        for _ in 1..at.column + skip {
            rest.next();
        }
        let outer = Position { line: at.line, column: at.column + skip };
        let mut walk = Self { rest, outer, inner: Position::START, anchors: Vec::new() };
        walk.anchor(true);
        walk
    }

    fn anchor(&mut self, exact: bool) {
        self.anchors.push(Anchor { inner: self.inner, outer: self.outer, exact });
    }

    fn step(&mut self, written: usize, meant: usize) {
        self.outer.column += written;
        self.inner.column += meant;
    }

    fn double(mut self) -> Vec<Anchor> {
        while let Some(char) = self.rest.next() {
            match char {
                '"' => break,
                '\n' | '\r' => {
                    self.anchor(false);
                    break;
                }
                '\\' => self.escape(),
                _ => self.step(1, 1),
            }
        }
        self.anchors
    }

    fn escape(&mut self) {
        let kind = self.rest.next().unwrap_or('\\');
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        for _ in 0..digits {
            self.rest.next();
        }
        match kind {
            'n' => {
                self.step(2, 1);
                self.inner = Position { line: self.inner.line + 1, column: 1 };
            }
            // The text goes on at the first character of the next line that is not white space.
            '\n' => {
                self.outer = Position { line: self.outer.line + 1, column: 1 };
                while self.rest.next_if(|char| matches!(char, ' ' | '\t')).is_some() {
                    self.step(1, 0);
                }
            }
            _ => self.step(2 + digits, 1),
        }
        self.anchor(true);
    }

    fn single(mut self) -> Vec<Anchor> {
        while let Some(char) = self.rest.next() {
            match char {
                '\'' if self.rest.next_if_eq(&'\'').is_some() => {
                    self.step(2, 1);
                    self.anchor(true);
                }
                '\'' => break,
                '\n' | '\r' => {
                    self.anchor(false);
                    break;
                }
                _ => self.step(1, 1),
            }
        }
        self.anchors
    }

    /// A text without quotes ends at the end of its line; whether it goes on below does not matter, for
    /// what is below is not known to be part of it.
    fn plain(mut self) -> Vec<Anchor> {
        while self.rest.next_if(|char| !matches!(char, '\n' | '\r')).is_some() {
            self.step(1, 1);
        }
        self.anchor(false);
        self.anchors
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    /// Where `needle` of the text under `value` is in `source`, by way of the map.
    fn found(source: &str, needle: &str) -> Position {
        let node = yaml::read(source).unwrap().remove(0);
        let value = node.get("value").unwrap();
        let super::super::tree::Data::Text(text, style) = &value.data else { panic!("no text") };
        let at = text.find(needle).unwrap();
        let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let inner = Position {
            line: text[..at].matches('\n').count() + 1,
            column: text[line_start..at].chars().count() + 1,
        };
        Places::new(&Lines::of(source), value.at, text, *style).outer(inner)
    }

    #[test]
    fn a_place_in_a_block_is_found() {
        let source = "a: 1\nvalue: |\n\n    {\"x\": 1,\n      \"y\": 2}\n";
        assert_eq!(found(source, "\"y\""), Position { line: 5, column: 7 });
    }

    #[test]
    fn a_place_in_a_json_string_is_found_behind_its_escapes() {
        let source = r#"{"value": "{\"é\": \"\u0041\",\n  \"y\": 2}"}"#;
        let column = source.chars().collect::<String>().find("\\\"y").unwrap();
        let column = source[..column].chars().count() + 1;
        assert_eq!(found(source, "\"y\""), Position { line: 1, column });
    }

    #[test]
    fn a_place_in_single_quotes_is_found_behind_doubled_ones() {
        let source = "value: '{\"it''s\": 1, \"y\": 2}'\n";
        assert_eq!(found(source, "\"y\""), Position { line: 1, column: 22 });
    }

    #[test]
    fn a_place_without_quotes_is_found_and_one_in_folded_text_is_near() {
        assert_eq!(found("value: abc y\n", "y"), Position { line: 1, column: 12 });
        assert_eq!(found("value: >\n  abc\n  y\n", "y"), Position { line: 2, column: 3 });
        assert_eq!(found("value: 'abc\n  y'\n", "y"), Position { line: 1, column: 12 });
    }
}
