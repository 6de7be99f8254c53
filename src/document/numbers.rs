//! Numbers that come as text: Envoy's own YAML makes a text of every fraction in a `Struct`, so that
//! `weight: 0.5` reaches the filter as `"0.5"`.

use super::shape::Kind;
use super::value::Value;

/// Puts a number in place of each text that is one, where a number is declared.
pub(crate) fn from_text(kind: &Kind, value: &mut Value<'_>) {
    match (kind, value) {
        (Kind::Number(_) | Kind::Real, value) => {
            if let Value::String(text) = value {
                if let Some(number) = number(text) {
                    *value = Value::Number(number);
                }
            }
        }
        (Kind::List(entry, _), Value::List(values)) => {
            values.iter_mut().for_each(|value| from_text(entry, value));
        }
        (Kind::Map(_, entry, _), Value::Object(entries)) => {
            entries.iter_mut().for_each(|(_, value)| from_text(entry, value));
        }
        (Kind::Object(object), Value::Object(entries)) => {
            for (key, value) in entries {
                let field = object.fields.iter().find(|field| field.key == key);
                if let Some(field) = field {
                    from_text(&field.kind, value);
                }
            }
        }
        _ => {}
    }
}

/// A decimal number as YAML writes it: `5`, `+0.5`, `.5`, `5.`, `1e1`. Not `05`, which is another number
/// to each reader, and not what has a prefix, an underscore or a percent sign.
pub(crate) fn number(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = digits(rest);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    let is_exponent = rest.is_empty() || rest.starts_with(['e', 'E']);
    if whole.len() + fraction.len() == 0 || !is_exponent {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    // JSON's grammar sees to the rest. Read as any value: asking for a number alone would bring the texts
    // of `serde_json` for what is none, and with them 20 KB of code that writes fractions.
    match Value::from_json([sign, whole, ".", fraction, rest].concat().as_bytes()) {
        Ok(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// The digits that `text` begins with, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_number_if_it_is_decimal_and_means_the_same_to_everybody() {
        for (text, value) in [
            ("5", 5.0),
            ("0", 0.0),
            ("-1", -1.0),
            ("+5", 5.0),
            ("0.5", 0.5),
            ("12.125", 12.125),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e1", 10.0),
            ("1.5E-1", 0.15),
            ("3000000000", 3e9),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in [
            "", ".", "+", "-", "e1", ".e1", "05", "010", "0x10", "0o17", "0b11", "1_0", "5%", " 5",
            "5 ", "5\n", "1e", "1.2.3", "--5", "+-5", "inf", ".inf", "nan", "1e999", "٣", "5,0",
        ] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_weight_is_as_exact_as_in_json() {
        for thousandths in 0..=100_000u32 {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            assert_eq!(number(&text), serde_json::from_str(&text).ok(), "{text}");
        }
    }
}
