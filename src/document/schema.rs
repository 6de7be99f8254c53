//! The JSON Schema (2020-12) of a document, from the very declarations that read it.

use serde_json::{json, Map};

use super::shape::{Kind, Need, Object, Scalar, Text};

use serde_json::Value as Json;

/// The JSON Schema of documents that are a `top`.
pub(crate) fn schema(title: &str, top: &Object) -> Json {
    let mut definitions = Map::new();
    let top = object(top, &mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": top.get("$ref"),
        "$defs": definitions,
    })
}

fn kind(kind: &Kind, definitions: &mut Map<String, Json>) -> Json {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::True => json!({"const": true}),
        Kind::Text(kind) => text(kind),
        Kind::Word(words) => json!({"enum": words}),
        Kind::Number(number) => {
            let name = if number.decimals == 0 { "integer" } else { "number" };
            json!({"type": name, "minimum": number.least, "maximum": number.most})
        }
        Kind::Real => json!({"type": "number"}),
        Kind::Span(_) => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
        Kind::List(entry, least) => list(self::kind(entry, definitions), *least),
        Kind::Map(name, entry, least) => map(text(name), self::kind(entry, definitions), *least),
        Kind::Object(object) => self::object(object, definitions),
    }
}

/// A reference to `object`, which is described if it has not been: an object can hold itself.
fn object(object: &Object, definitions: &mut Map<String, Json>) -> Json {
    if !definitions.contains_key(object.name) {
        definitions.insert(object.name.to_owned(), Json::Null);
        let description = describe(object, definitions);
        definitions.insert(object.name.to_owned(), description);
    }
    json!({"$ref": format!("#/$defs/{}", object.name)})
}

fn describe(object: &Object, definitions: &mut Map<String, Json>) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in object.fields {
        let Json::Object(mut schema) = kind(&field.kind, definitions) else { continue };
        schema.insert("description".to_owned(), prose(field.about).into());
        match field.need {
            Need::Default(value) => drop(schema.insert("default".to_owned(), plain(value))),
            Need::Required => required.push(field.key),
            Need::Optional => {}
        }
        properties.insert(field.key.to_owned(), Json::Object(schema));
    }
    let mut schema = match serde_json::from_str(object.also) {
        Ok(Json::Object(also)) => also,
        _ => Map::new(),
    };
    schema.insert("description".to_owned(), prose(object.about).into());
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), Json::Object(properties));
    schema.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    Json::Object(schema)
}

/// The lines of a doc comment as one.
fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A default, with whole numbers written as such.
fn plain(value: Scalar<'_>) -> Json {
    match value {
        Scalar::Flag(value) => json!(value),
        Scalar::Number(number) => json!(number as u64),
        Scalar::Text(text) => json!(text),
    }
}

fn text(text: &Text) -> Json {
    match text.pattern {
        "" => json!({"type": "string"}),
        pattern => json!({"type": "string", "pattern": pattern}),
    }
}

fn list(items: Json, least: usize) -> Json {
    match least {
        0 => json!({"type": "array", "items": items}),
        _ => json!({"type": "array", "items": items, "minItems": least}),
    }
}

fn map(names: Json, values: Json, least: usize) -> Json {
    match least {
        0 => json!({"type": "object", "propertyNames": names, "additionalProperties": values}),
        _ => {
            json!({"type": "object", "propertyNames": names, "additionalProperties": values, "minProperties": least})
        }
    }
}
