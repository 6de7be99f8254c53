//! A JSON document as it was written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::problem::{quoted, write_quoted, Path, Problem};

/// A JSON value that keeps the order of keys, and keys that stand twice. Its text is the document's,
/// where it stands there as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Number(f64),
    String(Cow<'a, str>),
    List(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Value<'a> {
    /// Reads JSON text. Nesting is bounded by `serde_json`'s own limit of 128.
    ///
    /// # Errors
    /// Where the text stops being JSON, as a problem with the whole document.
    pub fn from_json(text: &'a [u8]) -> Result<Self, Problem> {
        serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let text = error.to_string();
            let place = format!(" at line {line} column {column}");
            let what = text.strip_suffix(place.as_str()).unwrap_or(&text);
            Problem {
                path: Path::default(),
                found: format!("invalid JSON at line {line} column {column} ({what})"),
                allowed: "a JSON document".to_owned(),
                hint: None,
            }
        })
    }

    /// The first value of `key`; `None` too where this is no object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The same text for the same content: keys sorted, numbers by value, no white space.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    fn write_canonical(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            // Adding zero makes the two zeroes one.
            Self::Number(number) => out.push_str(&format!("#{:x}", (number + 0.0).to_bits())),
            Self::String(text) => write_quoted(text, out),
            Self::List(values) => {
                out.push('[');
                for value in values {
                    value.write_canonical(out);
                    out.push(',');
                }
                out.push(']');
            }
            Self::Object(entries) => {
                let mut sorted: Vec<&(Cow<'_, str>, Self)> = Vec::with_capacity(entries.len());
                for entry in entries {
                    sorted.insert(sorted.partition_point(|other| other.0 <= entry.0), entry);
                }
                out.push('{');
                for (key, value) in sorted {
                    write_quoted(key, out);
                    out.push(':');
                    value.write_canonical(out);
                    out.push(',');
                }
                out.push('}');
            }
        }
    }

    /// What this is where its type is wrong, in words that follow "found".
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::String(text) => format!("a string {}", shortened(text)),
            _ => self.shown(),
        }
    }

    /// What this is where its type is right, in words that follow "found".
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Number(number) => number_text(*number),
            Self::Bool(true) => "true".to_owned(),
            Self::Bool(false) => "false".to_owned(),
            Self::String(text) => shortened(text),
            _ => self.kind().to_owned(),
        }
    }

    /// What this is, without its content.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(values) if values.is_empty() => "an empty list",
            Self::List(_) => "a list",
            Self::Object(entries) if entries.is_empty() => "an empty object",
            Self::Object(_) => "an object",
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Number(f64::from(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::String(Cow::Borrowed(value))
    }
}

/// `number` in decimal notation, exactly where nine decimals are enough; very large and very small
/// ones by their size. Nothing here needs more, and the general way would double the code of this floor.
pub(crate) fn number_text(number: f64) -> String {
    const SCALE: u64 = 1_000_000_000;
    let sign = if number < 0.0 { "-" } else { "" };
    let size = number.abs();
    if size >= 1e9 {
        return if size < 1e18 && size.trunc() == size {
            format!("{sign}{}", size as u64)
        } else {
            format!(
                "a number {}",
                if number < 0.0 { "below -1000000000" } else { "above 1000000000" }
            )
        };
    }
    let parts = (size * SCALE as f64).round();
    let about = if parts / SCALE as f64 == size { "" } else { "about " };
    let (whole, rest) = (parts as u64 / SCALE, parts as u64 % SCALE);
    let sign = if parts == 0.0 { "" } else { sign };
    let text = format!("{about}{sign}{whole}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `text` quoted, its first 80 characters.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", quoted(text.get(..at).unwrap_or_default())),
        None => quoted(text),
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), value)) = access.next_entry()? {
            entries.push((key, value));
        }
        Ok(Value::Object(entries))
    }
}

/// An object's key.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(key) => Ok(Self(key)),
            _ => Err(serde::de::Error::custom("a key that is no string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value<'_> {
        Value::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_order_of_keys_and_keys_that_stand_twice_are_kept() {
        let value = json(r#"{"b": 1, "a": null, "b": [true, "x"]}"#);
        let entry = |key, value| (Cow::Borrowed(key), value);
        let list = Value::List(vec![Value::Bool(true), Value::from("x")]);
        assert_eq!(
            value,
            Value::Object(vec![
                entry("b", Value::Number(1.0)),
                entry("a", Value::Null),
                entry("b", list)
            ])
        );
        assert_eq!(value.get("b"), Some(&Value::Number(1.0)));
    }

    #[test]
    fn the_order_of_keys_and_the_spelling_of_numbers_do_not_change_the_canonical_text() {
        let one = json(r#"{"a": 50, "b": {"c": 1e-3, "d": -0.0}}"#);
        let other = json(r#"{"b": {"d": 0, "c": 0.001}, "a": 50.0}"#);
        assert_eq!(
            one.canonical(),
            r##"{"a":#4049000000000000,"b":{"c":#3f50624dd2f1a9fc,"d":#0,},}"##
        );
        assert_eq!(one.canonical(), other.canonical());
        assert_ne!(json("[1,[2]]").canonical(), json("[[1],2]").canonical());
        assert_ne!(json(r#"["1"]"#).canonical(), json("[1]").canonical());
    }

    #[test]
    fn a_number_is_told_exactly_or_by_its_size() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (105.0, "105"),
            (-0.001, "-0.001"),
            (33.3333, "33.3333"),
            (0.1 + 0.2, "about 0.3"),
            (1e-12, "about 0"),
            (999_999_999.5, "999999999.5"),
            (1e9, "1000000000"),
            (-1e17, "-100000000000000000"),
            (1e300, "a number above 1000000000"),
            (f64::NEG_INFINITY, "a number below -1000000000"),
        ] {
            assert_eq!(number_text(number), text);
        }
        assert_eq!(number_text(f64::NAN), "about 0");
    }

    #[test]
    fn text_that_is_not_json_says_where_it_stops() {
        let line = |text: &[u8]| Value::from_json(text).unwrap_err().to_string();
        assert_eq!(
            line(b"{\n  \"rollouts\": [,]}"),
            "$: found invalid JSON at line 2 column 16 (expected value), allowed: a JSON document"
        );
        assert!(line(b"{} {}").contains("(trailing characters)"));
        assert!(line(b"{\"a\": \"\xff\"}").contains("(invalid unicode code point)"));
        assert!(line("[".repeat(200).as_bytes()).contains("(recursion limit exceeded)"));
        assert!(line(b"1e999").contains("(number out of range)"));
        assert!(Value::from_json("[".repeat(100_000).as_bytes()).is_err());
    }
}
