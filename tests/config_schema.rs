//! The JSON Schema says what the reader does.

#[path = "mutations/generate.rs"]
mod generate;

use std::sync::LazyLock;

use cohort::config::schema;
use regex_lite::Regex;
use serde_json::Value;

const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cohort.schema.json");

#[test]
fn the_copy_among_the_docs_is_the_schema() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("COHORT_BLESS").is_some() {
        std::fs::write(COPY, &text).unwrap();
    }
    let copy = std::fs::read_to_string(COPY).unwrap_or_default();
    assert!(
        copy == text,
        "docs/cohort.schema.json is not the schema: run this test with COHORT_BLESS=1"
    );
}

#[test]
fn the_examples_of_the_design_are_valid() {
    for text in
        [include_str!("cases/minimal.json"), include_str!("cases/full.json"), r#"{"rollouts": []}"#]
    {
        assert_eq!(validate(text), Ok(()));
    }
}

#[test]
fn an_unknown_key_or_a_wrong_type_anywhere_is_not_valid() {
    for mutation in generate::mutations() {
        if ["misspelled", "mistyped"].contains(&mutation.kind) {
            let valid = validate(&mutation.document);
            assert!(valid.is_err(), "{} {} is valid", mutation.kind, mutation.path);
        }
    }
}

#[test]
fn what_needs_no_look_elsewhere_is_not_valid_either() {
    // Left are references, sums, and what two values mean together.
    let (mut caught, mut left) = (0, 0);
    for mutation in generate::mutations() {
        if ["removed", "out of range"].contains(&mutation.kind) {
            match validate(&mutation.document) {
                Ok(()) => left += 1,
                Err(_) => caught += 1,
            }
        }
    }
    assert!(caught > 2 * left, "{caught} caught, {left} left to the reader");
}

#[test]
fn every_key_is_described() {
    let schema = schema();
    for (name, object) in schema["$defs"].as_object().unwrap() {
        assert_eq!(object["additionalProperties"], false, "{name}");
        for (key, property) in object["properties"].as_object().unwrap() {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(
                description.len() > 10 && description.ends_with('.'),
                "{name}.{key}: {description}"
            );
        }
    }
    assert_eq!(schema["$defs"]["Guard"]["properties"]["window"]["default"], "30s");
    assert_eq!(schema["$defs"]["Guard"]["properties"]["oneFalseTripIn"]["default"], "365d");
    assert_eq!(schema["$defs"]["Cookie"]["properties"]["httpOnly"]["default"], true);
}

/// Holds `text` against the schema; the error names the place and the keyword.
fn validate(text: &str) -> Result<(), String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(schema);
    Validator { root: &SCHEMA }.check(&SCHEMA, &serde_json::from_str(text).unwrap(), "$")
}

/// As much of JSON Schema as ours uses; another keyword is a failure of the test.
struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (keyword, argument) in schema.as_object().unwrap() {
            if !self.holds(schema, keyword, argument, value, at)? {
                return Err(format!("{at}: {keyword}"));
            }
        }
        Ok(())
    }

    fn holds(
        &self,
        schema: &Value,
        keyword: &str,
        argument: &Value,
        value: &Value,
        at: &str,
    ) -> Result<bool, String> {
        let number = || argument.as_f64().unwrap();
        let names = |argument: &Value| -> Vec<String> {
            argument
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        };
        let fits = |schema: &&Value| self.check(schema, value, at).is_ok();
        Ok(match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => {
                let pointer = argument.as_str().unwrap().trim_start_matches('#');
                self.check(self.root.pointer(pointer).unwrap(), value, at)?;
                true
            }
            "type" => match argument.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
                other => panic!("unknown type {other}"),
            },
            "enum" => argument.as_array().unwrap().contains(value),
            "const" => argument == value,
            "pattern" => {
                let regex =
                    Regex::new(&argument.as_str().unwrap().replace("\\u00", "\\x")).unwrap();
                value.as_str().is_none_or(|text| regex.is_match(text))
            }
            "minimum" => value.as_f64().is_none_or(|value| value >= number()),
            "maximum" => value.as_f64().is_none_or(|value| value <= number()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as f64 >= number()),
            "minProperties" => {
                value.as_object().is_none_or(|object| object.len() as f64 >= number())
            }
            "maxProperties" => {
                value.as_object().is_none_or(|object| object.len() as f64 <= number())
            }
            "required" => value
                .as_object()
                .is_none_or(|object| names(argument).iter().all(|name| object.contains_key(name))),
            "dependentRequired" => value.as_object().is_none_or(|object| {
                let mut rules = argument.as_object().unwrap().iter();
                rules.all(|(key, needs)| {
                    !object.contains_key(key)
                        || names(needs).iter().all(|name| object.contains_key(name))
                })
            }),
            "anyOf" => argument.as_array().unwrap().iter().any(|schema| fits(&schema)),
            "oneOf" => argument.as_array().unwrap().iter().filter(fits).count() == 1,
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(argument, value, &format!("{at}[{index}]"))?;
                }
                true
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    self.check(argument, &Value::from(key.as_str()), at)?;
                }
                true
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = argument.get(key) {
                        self.check(schema, value, &format!("{at}.{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let known =
                        schema.get("properties").is_some_and(|known| known.get(key).is_some());
                    match argument {
                        _ if known => {}
                        Value::Bool(allowed) if *allowed => {}
                        Value::Bool(_) => return Ok(false),
                        schema => self.check(schema, value, &format!("{at}.{key}"))?,
                    }
                }
                true
            }
            other => panic!("the schema uses {other}, which this test does not know"),
        })
    }
}
