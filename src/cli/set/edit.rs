//! Changes of a text at the places where its values stand, so that every comment and blank is kept.

use crate::cli::source::tree::{Data, Node, Position, Style};

/// A change: what stands from `start` up to `end`, in bytes, becomes `text`.
#[derive(Debug, PartialEq, Eq)]
pub struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// A file's text and how values are written at the places of one configuration in it.
pub struct Text<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// How the text is quoted that the configuration stands in; `None` where it stands in the file itself.
    quotes: Option<Style>,
}

impl<'a> Text<'a> {
    pub fn new(text: &'a str, quotes: Option<Style>) -> Self {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = vec![text.len() - body.len()];
        lines.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { text, lines, quotes }
    }

    fn offset(&self, at: Position) -> Option<usize> {
        let start = *self.lines.get(at.line.checked_sub(1)?)?;
        let line = self.text.get(start..)?;
        let column = at.column.checked_sub(1)?;
        let (within, _) = line.char_indices().nth(column).unwrap_or((line.len(), ' '));
        Some(start + within)
    }

    fn from(&self, start: usize) -> &'a str {
        self.text.get(start..).unwrap_or_default()
    }

    /// The scalar at `node` replaced by a number, `true` or `false`; in quotes where it has some.
    pub fn replace_word(&self, node: &Node, word: &str) -> Option<Edit> {
        let start = self.offset(node.at)?;
        let rest = self.from(start);
        if let Some(quote) = rest.chars().next().filter(|first| ['"', '\''].contains(first)) {
            let content = rest.get(1..)?.find(quote)?;
            return Some(Edit { start: start + 1, end: start + 1 + content, text: word.into() });
        }
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || "+-._".contains(letter);
        let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        (length > 0).then(|| Edit { start, end: start + length, text: word.into() })
    }

    /// The text at `node` replaced by another, in double quotes.
    pub fn replace_text(&self, node: &Node, text: &str) -> Option<Edit> {
        let start = self.offset(node.at)?;
        let end = self.end_of_text(node)?;
        Some(Edit { start, end, text: self.written(&json(text)) })
    }

    /// A new key behind the member `after` of the object `node`, on the same line in flow style and on the
    /// next one in block style. `value` is JSON.
    pub fn insert(&self, node: &Node, after: &str, key: &str, value: &str) -> Option<Edit> {
        let member = node.members().iter().find(|member| member.key == after)?;
        let end = self.end_of_text(&member.value)?;
        let begins = self.from(self.offset(member.at)?);
        let is_flow = self.quotes.is_some() || self.from(self.offset(node.at)?).starts_with('{');
        if is_flow {
            let is_bare = self.quotes.is_none() && !begins.starts_with(['"', '\'']);
            let key = if is_bare { key.to_owned() } else { json(key) };
            let text = self.written(&format!(", {key}: {value}"));
            return Some(Edit { start: end, end, text });
        }
        let line = self.from(end).find('\n').map_or(self.text.len(), |length| end + length);
        let is_crlf = self.text.get(..line)?.ends_with('\r');
        let (at, newline) = if is_crlf { (line - 1, "\r\n") } else { (line, "\n") };
        let indent = " ".repeat(member.at.column.checked_sub(1)?);
        Some(Edit { start: at, end: at, text: format!("{newline}{indent}{key}: {value}") })
    }

    /// Where the one-line text at `node` ends.
    fn end_of_text(&self, node: &Node) -> Option<usize> {
        let start = self.offset(node.at)?;
        let Data::Text(content, _) = &node.data else {
            // A plain scalar that is no text to the reader: a revision such as 2.4.
            return self.replace_word(node, "").map(|edit| edit.end);
        };
        let json = self.written(&json(content));
        let single = format!("'{}'", content.replace('\'', "''"));
        let forms = [json.as_str(), single.as_str(), content.as_str()];
        let form =
            forms.iter().find(|form| !form.is_empty() && self.from(start).starts_with(**form))?;
        Some(start + form.len())
    }

    /// JSON as it stands in the quotes of the text that the configuration is in.
    fn written(&self, text: &str) -> String {
        match self.quotes {
            Some(Style::Double) => {
                let quoted = json(text);
                quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
            }
            Some(Style::Single) => text.replace('\'', "''"),
            _ => text.to_owned(),
        }
    }
}

/// `text` as JSON, which YAML reads too.
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `text` with every edit made; `None` where two of them overlap or leave it.
pub fn apply(text: &str, mut edits: Vec<Edit>) -> Option<String> {
    edits.sort_by_key(|edit| (edit.start, edit.end));
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for edit in edits {
        out.push_str(text.get(at..edit.start)?);
        out.push_str(&edit.text);
        at = edit.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}
