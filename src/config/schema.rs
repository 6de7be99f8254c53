//! The JSON Schema (2020-12) of the configuration, from the very declarations that read it.

use serde_json::{json, Map};

use super::value::Value;

pub(super) use serde_json::Value as Json;

/// The JSON Schema of the configuration.
pub fn schema() -> Json {
    let mut definitions = Definitions::default();
    let top = <super::ConfigShape as super::read::Read>::schema(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cohort configuration",
        "$ref": top.get("$ref"),
        "$defs": definitions.named,
    })
}

/// The objects that the schema describes, by name; an object can hold itself.
#[derive(Default)]
pub(super) struct Definitions {
    named: Map<String, Json>,
}

impl Definitions {
    /// A reference to the object called `name`, which `describe` describes if it has not been.
    pub(super) fn object(
        &mut self,
        name: &str,
        about: &[&str],
        describe: impl FnOnce(&mut ObjectSchema, &mut Self),
    ) -> Json {
        let name = name.trim_end_matches("Shape");
        if !self.named.contains_key(name) {
            self.named.insert(name.to_owned(), Json::Null);
            let mut object = ObjectSchema::default();
            describe(&mut object, self);
            self.named.insert(name.to_owned(), object.finish(about));
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }
}

/// The schema of one object, under construction.
#[derive(Default)]
pub(super) struct ObjectSchema {
    properties: Map<String, Json>,
    required: Vec<String>,
    also: Map<String, Json>,
}

impl ObjectSchema {
    pub(super) fn property(
        &mut self,
        key: &str,
        doc: &[&str],
        schema: Json,
        required: bool,
        default: Option<Value>,
    ) {
        let Json::Object(mut schema) = schema else { return };
        schema.insert("description".to_owned(), prose(doc).into());
        if let Some(default) = default {
            schema.insert("default".to_owned(), plain(&default));
        }
        self.properties.insert(key.to_owned(), Json::Object(schema));
        if required {
            self.required.push(key.to_owned());
        }
    }

    /// Merges `text`, a JSON object.
    pub(super) fn also(&mut self, text: &str) {
        if let Ok(Json::Object(also)) = serde_json::from_str(text) {
            self.also.extend(also);
        }
    }

    fn finish(self, about: &[&str]) -> Json {
        let mut schema = self.also;
        schema.insert("description".to_owned(), prose(about).into());
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), Json::Object(self.properties));
        schema.insert("additionalProperties".to_owned(), false.into());
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), self.required.into());
        }
        Json::Object(schema)
    }
}

/// The lines of a doc comment as one.
fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A default, with whole numbers written as such.
fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Number(number) => json!(*number as u64),
        Value::String(text) => json!(text),
        Value::Null | Value::List(_) | Value::Object(_) => Json::Null,
    }
}

pub(super) fn text(pattern: &str, words: &[&str]) -> Json {
    match (pattern, words) {
        ("", []) => json!({"type": "string"}),
        (_, []) => json!({"type": "string", "pattern": pattern}),
        _ => json!({"enum": words}),
    }
}

pub(super) fn list(items: Json, least: usize) -> Json {
    match least {
        0 => json!({"type": "array", "items": items}),
        _ => json!({"type": "array", "items": items, "minItems": least}),
    }
}

pub(super) fn map(names: Json, values: Json, least: usize) -> Json {
    match least {
        0 => json!({"type": "object", "propertyNames": names, "additionalProperties": values}),
        _ => {
            json!({"type": "object", "propertyNames": names, "additionalProperties": values, "minProperties": least})
        }
    }
}
