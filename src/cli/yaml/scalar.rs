//! Text as a YAML scalar that every reader takes for the same text.

use std::fmt::Write;

/// `text` as YAML on one line: without quotes where every reader takes that for the same text, in single
/// quotes where that saves escapes, in double quotes else.
pub fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let single = text.contains(['\\', '"'])
        && !text.contains('\'')
        && text.chars().all(|letter| is_printable(letter) && letter != '\u{a0}');
    if single {
        format!("'{text}'")
    } else {
        quoted(text)
    }
}

/// `text` in double quotes, with everything escaped that a person or a reader might not see as it is.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ => push_printable(letter, &mut out),
        }
    }
    out.push('"');
    out
}

/// `text` with escapes for what is not printable, so that it stays on its line and moves no cursor.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|letter| push_printable(letter, &mut out));
    out
}

fn push_printable(letter: char, out: &mut String) {
    match letter {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if is_printable(letter) => out.push(letter),
        _ => {
            let code = u32::from(letter);
            // Writing to a String cannot fail.
            let _ = if code > 0xffff {
                write!(out, "\\U{code:08x}")
            } else {
                write!(out, "\\u{code:04x}")
            };
        }
    }
}

/// Whether a letter is seen as what it is: no control character, no line break of Unicode's, nothing
/// invisible, and nothing that changes the direction of the text around it.
fn is_printable(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{e000}'..='\u{f8ff}' | '\u{1fffe}'..='\u{1ffff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Whether `text` needs no quotes in any reader of YAML 1.1 or 1.2, in a list, in an object and as a key.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        && !text.ends_with(['-', '.'])
        && !is_word(text)
        && !is_number(text)
        && !is_date(text)
}

/// The words that some reader takes for a boolean, for null or for a number.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 13] = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity", "t",
    ];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)) || text.eq_ignore_ascii_case("f")
}

/// Whether some reader takes `text` for a number: `1_000`, `0x1F`, `1e3`, `0b1`, `1.5`.
fn is_number(text: &str) -> bool {
    let digits: String = text.chars().filter(|letter| *letter != '_').collect();
    let lower = digits.to_ascii_lowercase();
    let radix = ["0x", "0o", "0b"].iter().any(|prefix| {
        lower
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    radix || digits.parse::<f64>().is_ok()
}

/// Whether `text` begins as a date does, which YAML 1.1 makes an instant of.
fn is_date(text: &str) -> bool {
    let mut bytes = text.bytes();
    (0..4).all(|_| bytes.next().is_some_and(|byte| byte.is_ascii_digit()))
        && bytes.next() == Some(b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_a_reader_takes_for_something_else_is_quoted() {
        let all: Vec<String> = [
            "v1",
            "on",
            "1",
            "1.2.3",
            "a: b",
            "",
            "^x$",
            "/cart",
            "null",
            "2026-11-21",
            "1_0",
            "0x1F",
            "90s",
            "a-",
            ".inf",
            "^\\d+$",
            "it's \\",
            "a\nb",
            "\u{85}",
            "\u{202e}x",
            "\u{1f600}",
        ]
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
            "\"2026-11-21\"",
            "\"1_0\"",
            "\"0x1F\"",
            "90s",
            "\"a-\"",
            "\".inf\"",
            "'^\\d+$'",
            "\"it's \\\\\"",
            "\"a\\nb\"",
            "\"\\u0085\"",
            "\"\\u202ex\"",
            "\"\u{1f600}\"",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_a_person_reads_has_no_control_characters() {
        assert_eq!(escaped("a\n- b\u{1b}[2J\u{2028}"), "a\\n- b\\u001b[2J\\u2028");
    }
}
