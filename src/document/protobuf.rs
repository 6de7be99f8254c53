//! A `google.protobuf.Struct` as the proxy hands it on: Envoy gives a filter the bytes of whatever
//! message its `configuration` is, and only those of a `StringValue` are JSON.
//!
//! Source: google/protobuf/struct.proto; the wire format is that of protobuf.dev/programming-guides/encoding.

use std::borrow::Cow;

use super::value::Value;

/// The deepest nesting that is read, as for JSON.
const DEPTH: usize = 128;

/// Reads the bytes of a `Struct`; `None` if they are not one.
pub(crate) fn read_struct(bytes: &[u8]) -> Option<Value<'_>> {
    object(bytes, DEPTH)
}

/// What a field of a message holds.
enum Field<'a> {
    Varint(u64),
    Fixed(f64),
    Bytes(&'a [u8]),
}

/// `Struct { map<string, Value> fields = 1; }`
fn object(mut bytes: &[u8], depth: usize) -> Option<Value<'_>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (1, Field::Bytes(entry)) = field(&mut bytes)? else { return None };
        entries.push(map_entry(entry, depth)?);
    }
    Some(Value::Object(entries))
}

/// `{ string key = 1; Value value = 2; }`
fn map_entry(mut bytes: &[u8], depth: usize) -> Option<(Cow<'_, str>, Value<'_>)> {
    let (mut key, mut content) = (Cow::Borrowed(""), Value::Null);
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Field::Bytes(text)) => key = string(text)?,
            (2, Field::Bytes(message)) => content = value(message, depth.checked_sub(1)?)?,
            _ => return None,
        }
    }
    Some((key, content))
}

/// `Value { oneof { null = 1; number = 2; string = 3; bool = 4; Struct = 5; ListValue = 6; } }`
fn value(mut bytes: &[u8], depth: usize) -> Option<Value<'_>> {
    let mut content = Value::Null;
    while !bytes.is_empty() {
        content = match field(&mut bytes)? {
            (1, Field::Varint(_)) => Value::Null,
            (2, Field::Fixed(number)) => Value::Number(number),
            (3, Field::Bytes(text)) => Value::String(string(text)?),
            (4, Field::Varint(truth)) => Value::Bool(truth != 0),
            (5, Field::Bytes(message)) => object(message, depth)?,
            (6, Field::Bytes(message)) => list(message, depth)?,
            _ => return None,
        };
    }
    Some(content)
}

/// `ListValue { repeated Value values = 1; }`
fn list(mut bytes: &[u8], depth: usize) -> Option<Value<'_>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (1, Field::Bytes(message)) = field(&mut bytes)? else { return None };
        values.push(value(message, depth.checked_sub(1)?)?);
    }
    Some(Value::List(values))
}

/// Takes the next field off a message: its number and what it holds.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(bytes)?;
    let content = match tag & 7 {
        0 => Field::Varint(varint(bytes)?),
        1 => {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            *bytes = rest;
            Field::Fixed(f64::from_le_bytes(*number))
        }
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            let (content, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Field::Bytes(content)
        }
        _ => return None,
    };
    Some((tag >> 3, content))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn string(bytes: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message field with bytes in it.
    fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = content.len();
        while length > 0x7f {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(content);
        field
    }

    /// Writes what `read_struct` reads.
    fn message(value: &Value<'_>) -> Vec<u8> {
        match value {
            Value::Null => vec![1 << 3, 0],
            Value::Number(number) => [vec![2 << 3 | 1], number.to_le_bytes().to_vec()].concat(),
            Value::String(text) => bytes_field(3, text.as_bytes()),
            Value::Bool(truth) => vec![4 << 3, u8::from(*truth)],
            Value::Object(_) => bytes_field(5, &fields(value)),
            Value::List(values) => bytes_field(
                6,
                &values
                    .iter()
                    .flat_map(|value| bytes_field(1, &message(value)))
                    .collect::<Vec<_>>(),
            ),
        }
    }

    fn fields(value: &Value<'_>) -> Vec<u8> {
        let Value::Object(entries) = value else { panic!("{value:?} is no object") };
        let entry = |(key, value): &(Cow<'_, str>, Value<'_>)| {
            bytes_field(
                1,
                &[bytes_field(1, key.as_bytes()), bytes_field(2, &message(value))].concat(),
            )
        };
        entries.iter().flat_map(entry).collect()
    }

    fn full() -> Value<'static> {
        Value::from_json(include_bytes!("../../tests/cases/full.json"))
            .expect("the full example is JSON")
    }

    #[test]
    fn a_struct_says_what_the_json_says() {
        assert_eq!(read_struct(&fields(&full())), Some(full()));
    }

    #[test]
    fn what_is_cut_short_is_no_struct_and_never_a_panic() {
        let bytes = fields(&full());
        let whole = read_struct(&bytes);
        for end in 0..bytes.len() {
            assert_ne!(read_struct(&bytes[..end]), whole, "cut at {end}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut value = Value::Null;
        for _ in 0..1000 {
            value = Value::List(vec![value]);
        }
        assert_eq!(read_struct(&fields(&Value::Object(vec![("a".into(), value)]))), None);
    }

    #[test]
    fn json_text_is_no_struct() {
        assert_eq!(read_struct(b"{\"rollouts\": []}"), None);
        assert_eq!(read_struct(b"\n{\"rollouts\": []}"), None);
    }
}
