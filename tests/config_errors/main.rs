//! What the reader of the configuration says: documents to exact lines.

use cohort::config::{Config, Value};

mod http;
mod versions;

/// The lines that `text` is refused with; none if it is good.
pub fn lines(text: &str) -> Vec<String> {
    match Config::from_json(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// A good rollout with `more` in it.
pub fn rollout(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        r#"{{"name": "shop", "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 5}}],
            "hashKey": [{{"header": "x-user"}}]{comma}{more}}}"#
    )
}

/// A good configuration with `more` in its only rollout.
pub fn config(more: &str) -> String {
    format!(r#"{{"rollouts": [{}]}}"#, rollout(more))
}

/// Whether `more` is refused with exactly `expected`, where `~` is `$.rollouts[0]`.
#[track_caller]
pub fn says(more: &str, expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|line| line.replacen('~', "$.rollouts[0]", 1)).collect();
    assert_eq!(lines(&config(more)), expected, "{more}");
}

#[track_caller]
pub fn good(more: &str) {
    says(more, &[]);
}

#[test]
fn the_examples_of_the_design_are_good() {
    assert!(lines(include_str!("../cases/minimal.json")).is_empty());
    assert!(lines(include_str!("../cases/full.json")).is_empty());
    assert!(lines(r#"{"rollouts": []}"#).is_empty());
    good("");
}

#[test]
fn the_lines_of_the_design_come_out_as_they_stand_there() {
    let text = r#"{"rollouts": [{"name": "shop", "hashkey": [], "versions": [{"name": "blue"}, {"name": "red", "weight": 105}, {"name": "green"}]}]}"#;
    assert_eq!(
        lines(text),
        [
            "$.rollouts[0].hashkey: found an unknown key, allowed: name, enabled, mode, match, versions, hashKey, \
             salt, hashScheme, anonymousId, pin, overrides, inherit, rules, ramp, guard, analysis, health, output \
             (did you mean hashKey?)",
            "$.rollouts[0].versions: found two versions without a weight (blue, green), allowed: exactly one, \
             which is stable",
            "$.rollouts[0].versions[1].weight: found 105, allowed: a percentage from 0 to 100 with at most three \
             decimals",
        ]
    );
}

#[test]
fn what_is_no_configuration_at_all_is_one_problem() {
    for text in ["", " \n\t"] {
        assert_eq!(lines(text), ["$: found nothing, allowed: an object with rollouts"]);
    }
    for (text, found) in
        [("null", "null"), ("[]", "an empty list"), ("\"x\"", "a string"), ("true", "a boolean")]
    {
        assert_eq!(lines(text), [format!("$: found {found}, allowed: an object with rollouts")]);
    }
    assert_eq!(lines("{}"), ["$: found no rollouts, allowed: the key rollouts, which is a list"]);
    assert_eq!(
        lines("{\"rollouts\": [}"),
        ["$: found invalid JSON at line 1 column 15 (expected value), allowed: a JSON document"]
    );
}

#[test]
fn every_problem_is_told_at_once_in_document_order() {
    let text = r#"{
        "rollouts": [
            {"salt": "", "versions": [{"weight": 1}, {"name": "b", "drain": 1, "drain": true}], "colour": "red",
             "name": "A", "guard": {"window": "30"}, "rules": [{"name": "r", "segment": "beta", "version": "c"}]},
            7
        ],
        "segments": {"beta ": []}
    }"#;
    assert_eq!(
        lines(text),
        [
            "$.rollouts[0].salt: found \"\", allowed: a string that is not empty",
            "$.rollouts[0].versions[0]: found no name, allowed: the key name, which is 1 to 63 lower-case letters, \
             digits and hyphens, with a letter or digit at either end",
            "$.rollouts[0].versions[1].drain: found 1, allowed: true or false",
            "$.rollouts[0].versions[1].drain: found a duplicate key, allowed: each key once",
            "$.rollouts[0].colour: found an unknown key, allowed: name, enabled, mode, match, versions, hashKey, \
             salt, hashScheme, anonymousId, pin, overrides, inherit, rules, ramp, guard, analysis, health, output",
            "$.rollouts[0].name: found \"A\", allowed: 1 to 63 lower-case letters, digits and hyphens, with a \
             letter or digit at either end",
            "$.rollouts[0].guard.window: found \"30\", allowed: a duration from 1s to 1h, such as 30s, 10m or 1h",
            "$.rollouts[0].rules[0].segment: found \"beta\", allowed: beta  (did you mean beta ?)",
            "$.rollouts[1]: found a number, allowed: an object with name and versions",
            "$.segments[\"beta \"]: found an empty list, allowed: a list with one entry or more",
        ]
    );
}

#[test]
fn a_misspelled_key_is_not_missing_too() {
    assert_eq!(
        lines(r#"{"rollout": []}"#),
        ["$.rollout: found an unknown key, allowed: segments, rollouts (did you mean rollouts?)"]
    );
    says(
        r#""inherit": {"adresses": ["10.0.0.0/8"]}"#,
        &["~.inherit.adresses: found an unknown key, allowed: addresses, principals, baggage (did you mean addresses?)"],
    );
    says(
        r#""match": [{"path": {"prefx": "/a"}}]"#,
        &["~.match[0].path.prefx: found an unknown key, allowed: exact, prefix, suffix, contains, regex, in, \
           present, semver, ignoreCase (did you mean prefix?)"],
    );
}

#[test]
fn a_secret_is_never_shown() {
    says(
        r#""pin": {"cookie": {"name": "a"}, "signingKey": "c2VjcmV0"}"#,
        &["~.pin.signingKey: found a key of 6 bytes, allowed: 16 bytes or more in base64"],
    );
    for (key, found) in [
        ("\"hunter2!\"", "a string that is not base64"),
        ("12345678", "a number"),
        ("[\"hunter2\"]", "a list"),
    ] {
        says(
            &format!(r#""pin": {{"cookie": {{"name": "a"}}, "signingKey": {key}}}"#),
            &[&format!("~.pin.signingKey: found {found}, allowed: 16 bytes or more in base64")],
        );
    }
    says(
        r#""overrides": {"header": "a", "require": {"secretHeader": "x-s", "secretSha256": "hunter2"}}"#,
        &["~.overrides.require.secretSha256: found a string of 7 characters, allowed: 64 hexadecimal digits"],
    );
    let text =
        config(r#""pin": {"cookie": {"name": "a"}, "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3Jl"}"#);
    let shown = format!("{:?}", Config::from_json(text.as_bytes()).unwrap());
    assert!(shown.contains("signed: true") && !shown.contains("signing_key"));
}

#[test]
fn rollouts_do_not_take_each_others_names_and_cookies() {
    let one =
        rollout(r#""pin": {"cookie": {"name": "p"}}, "anonymousId": {"cookie": {"name": "id"}}"#);
    let two = rollout(r#""pin": {"cookie": {"name": "p"}}"#);
    let three = rollout(r#""pin": {"cookie": {"name": "id"}}"#).replace("shop", "other");
    assert_eq!(
        lines(&format!(r#"{{"rollouts": [{one}, {two}, {three}]}}"#)),
        [
            "$.rollouts[1].name: found \"shop\" again, allowed: each name once",
            "$.rollouts[1].pin.cookie.name: found \"p\", which $.rollouts[0] uses too, allowed: a cookie of its own",
            "$.rollouts[2].pin.cookie.name: found \"id\", which $.rollouts[0] uses too, allowed: a cookie of its own",
        ]
    );
}

#[test]
fn the_same_content_has_the_same_fingerprint() {
    let fingerprint =
        |text: &str| Config::from_json(text.as_bytes()).unwrap().rollouts[0].fingerprint;
    let one = r#"{"rollouts": [{"name": "a", "versions": [{"name": "a"}, {"name": "b", "weight": 50}]}]}"#;
    let same = r#"{"rollouts": [{"versions": [{"name": "a"}, {"weight": 50.0, "name": "b"}], "name": "a"}]}"#;
    let other = r#"{"rollouts": [{"name": "a", "versions": [{"name": "a"}, {"name": "b", "weight": 51}]}]}"#;
    assert_eq!(fingerprint(one), fingerprint(same));
    assert_ne!(fingerprint(one), fingerprint(other));
}

#[test]
fn a_deep_or_a_large_document_is_read_or_refused() {
    let deep = format!(
        r#""match": [{}{{"method": ["GET"]}}{}]"#,
        r#"{"not": "#.repeat(100),
        "}".repeat(100)
    );
    good(&deep);
    let deeper = format!(
        r#""match": [{}{{"method": ["GET"]}}{}]"#,
        r#"{"not": "#.repeat(200),
        "}".repeat(200)
    );
    assert_eq!(lines(&config(&deeper)).len(), 1);
    let many: Vec<String> =
        (0..1000).map(|index| rollout("").replace("shop", &format!("shop-{index}"))).collect();
    assert!(lines(&format!(r#"{{"rollouts": [{}]}}"#, many.join(","))).is_empty());
}

#[test]
fn a_document_that_came_another_way_is_held_to_the_same() {
    let number = |weight: f64| {
        let object = |entries: Vec<(&'static str, Value<'static>)>| {
            Value::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
        };
        let versions = Value::List(vec![
            object(vec![("name", Value::from("a"))]),
            object(vec![("name", Value::from("b")), ("weight", Value::Number(weight))]),
        ]);
        let rollout = object(vec![("name", Value::from("a")), ("versions", versions)]);
        Config::from_value(&object(vec![("rollouts", Value::List(vec![rollout]))]))
    };
    assert!(number(5.0).is_ok());
    assert!(number(f64::NAN).is_err());
    assert!(number(f64::INFINITY).is_err());
}

/// Every number as the text that Envoy's YAML makes of a fraction.
fn as_text(value: &mut Value<'_>) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string().into()),
        Value::List(values) => values.iter_mut().for_each(as_text),
        Value::Object(entries) => entries.iter_mut().for_each(|(_, value)| as_text(value)),
        _ => {}
    }
}

#[test]
fn a_struct_may_have_numbers_as_text_and_nothing_else_may() {
    let full = include_bytes!("../cases/full.json");
    let number = Value::from_json(full).unwrap();
    let mut text = number.clone();
    as_text(&mut text);
    assert_ne!(number, text);
    let fingerprints = |config: Config| -> Vec<u64> {
        config.rollouts.iter().map(|rollout| rollout.fingerprint).collect()
    };
    let same = fingerprints(Config::from_json(full).unwrap());
    assert_eq!(fingerprints(Config::from_struct(text.clone()).unwrap()), same);
    let refused = Config::from_value(&text).unwrap_err();
    let weight = "$.rollouts[0].versions[1].weight: found a string \"5\", allowed: a percentage from 0 to 100 \
                  with at most three decimals (did you mean 5?)";
    assert_eq!(refused[0].to_string(), weight);
}
