//! The bytes of a file, and what is wrong with them before anything is read in them.

use std::io::Read;

use super::tree::Position;
use super::yaml::Fault;
use super::Unreadable;

/// The largest file that is read as a configuration or as metrics.
const LIMIT: u64 = 64 << 20;

/// What a template is called, in words that follow "found".
pub const TEMPLATE: &str = "a template: render it first, helm template ... | cohort validate -";

/// The bytes of a file, or of standard input for `-`.
pub fn bytes(file: &str) -> Result<Vec<u8>, Unreadable> {
    bytes_up_to(LIMIT, file)
}

/// The bytes of a file that has no more than `limit`; a device or a pipe may have no end.
pub fn bytes_up_to(limit: u64, file: &str) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    let read = if file == "-" {
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(limit + 1).read_to_end(&mut bytes))
    };
    match read {
        Err(error) => Err(Unreadable::Io(words(&error))),
        Ok(_) if bytes.len() as u64 > limit => Err(Unreadable::Io(format!(
            "found more than {} MiB, allowed: a file up to that size",
            limit >> 20
        ))),
        Ok(_) => Ok(bytes),
    }
}

/// An error of the system in its words, without its number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_lowercase()
}

/// What bytes that are no UTF-8 are, in words that follow "found", if that can be told.
pub fn other_encoding(bytes: &[u8]) -> Option<String> {
    let name = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "text in UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "text in UTF-16",
        _ => return None,
    };
    Some(name.into())
}

/// Whether `text` has what a template engine would replace.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "${"].iter().any(|mark| text.contains(mark))
}

/// Where the first thing that a template engine would replace is in a text that is not YAML.
pub fn template(text: &str) -> Option<Position> {
    let first = ["{{", "{%"].into_iter().filter_map(|mark| text.find(mark)).min()?;
    let has_end = text.get(first..)?.contains("}}") || text.get(first..)?.contains("%}");
    // In flow style an object in an object may begin so too, but with a key or a quote.
    let inside = text.get(first + 2..)?.trim_start_matches(['-', '~', ' ', '\t']);
    let is_flow = inside.starts_with(['"', '\'', '{', '}']) && !inside.contains("}}{{");
    let line_start = text.get(..first)?.rfind('\n').map_or(0, |end| end + 1);
    let position = Position {
        line: text.get(..first)?.matches('\n').count() + 1,
        column: text.get(line_start..first)?.chars().count() + 1,
    };
    (has_end && !is_flow).then_some(position)
}

/// What is wrong with a text is often a tab in its indentation, about which the reader complains elsewhere:
/// that tab, if there is one on the line of the fault or above it in the same block.
pub fn tab(text: &str, fault: Fault) -> Fault {
    let mut near = None;
    for (number, line) in text.lines().enumerate().take(fault.at.line + 1) {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - content.len();
        let tab = line.get(..indent).and_then(|indent| indent.find('\t'));
        if let Some(column) = tab.filter(|_| !content.is_empty() && !content.starts_with('#')) {
            near.get_or_insert(Position { line: number + 1, column: column + 1 });
        }
    }
    match near {
        Some(at) => Fault { at, what: "a tab in the indentation, where YAML takes spaces".into() },
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_told_from_an_object_in_an_object() {
        for template in [
            "a: {{ .Values.a }}\n",
            "{{- if .Values.on }}\na: 1\n{{- end }}\n",
            "{% if on %}\n- a\n{% endif %}",
        ] {
            assert!(super::template(template).is_some(), "{template}");
        }
        for other in ["a: [1", "a: {{\"b\": 1}", "a: b\n c: d", "{{"] {
            assert_eq!(super::template(other), None, "{other}");
        }
        let at = super::template("a: 1\nb: {{ x }}").unwrap();
        assert_eq!(at, Position { line: 2, column: 4 });
    }
}
