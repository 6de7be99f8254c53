//! What is wrong with a configuration, and where.

use std::fmt;

/// One thing wrong with a configuration.
///
/// ```
/// use cohort::config::Config;
///
/// let text = br#"{"rollouts": [{"name": "shop", "hashkey": [], "versions": [{"name": "a"}, {"name": "b", "weight": 105}]}]}"#;
/// let lines: Vec<String> = Config::from_json(text).unwrap_err().iter().map(ToString::to_string).collect();
/// assert!(lines[0].starts_with("$.rollouts[0].hashkey: found an unknown key, allowed: name, enabled, "));
/// assert!(lines[0].ends_with(" (did you mean hashKey?)"));
/// assert_eq!(
///     lines[1],
///     "$.rollouts[0].versions[1].weight: found 105, allowed: a percentage from 0 to 100 with at most three decimals"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The value that is wrong; the object where a key is missing or where keys do not go together.
    pub path: Path,
    /// What stands there, in words that follow "found". Never a secret's value.
    pub found: String,
    /// What may stand there, in words that follow "allowed:".
    pub allowed: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, allowed: {}", self.path, self.found, self.allowed)?;
        match &self.hint {
            Some(hint) => write!(f, " (did you mean {hint}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The way from the top of a document, `$`, to a value: `$.rollouts[0].versions[1].weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// From the top down; none is the whole document.
    pub segments: Vec<PathSegment>,
}

/// One step down a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// Into an object.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for segment in &self.segments {
            match segment {
                PathSegment::Index(index) => write!(f, "[{index}]")?,
                PathSegment::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                PathSegment::Key(key) => write!(f, "[{}]", quoted(key))?,
            }
        }
        Ok(())
    }
}

/// Whether RFC 9535 lets `key` stand behind a dot, in its ASCII part.
fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && key.starts_with(|first: char| !first.is_ascii_digit())
}

/// `text` as a JSON string, so that no control character reaches a terminal or a log.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_quoted(text, &mut out);
    out
}

/// Whether a terminal or a log would obey a character, or show what follows in another order or not at all.
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Adds `text` in quotes.
pub(crate) fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        // As most are, at a fraction of the cost.
        out.push_str(text);
    } else {
        for letter in text.chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                _ if is_hidden(letter) => out.push_str(&format!("\\u{:04x}", letter as u32)),
                _ => out.push(letter),
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_document() {
        let key = |key: &str| PathSegment::Key(key.to_owned());
        let segments = vec![
            key("rollouts"),
            PathSegment::Index(0),
            key("be ta"),
            key("x-a"),
            key(""),
            key("0"),
            key("\"\n"),
        ];
        assert_eq!(
            Path { segments }.to_string(),
            r#"$.rollouts[0]["be ta"]["x-a"][""]["0"]["\"\u000a"]"#
        );
        assert_eq!(Path::default().to_string(), "$");
    }
}
