//! What a file costs grows with its length, whatever it is full of.

use std::fs;
use std::path::Path;

use super::configurations::read;
use super::*;

/// A rollout with `more`.
fn rollout(name: usize, more: &str) -> String {
    format!(
        r#"{{"name": "a{name}", "versions": [{{"name": "s"}}, {{"name": "c", "weight": 5}}], "hashKey": [{{"header": "x"}}]{more}}}"#
    )
}

fn list(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

fn rollouts(text: &str) -> String {
    format!(r#"{{"rollouts": [{text}]}}"#)
}

/// Of one rollout, with versions beside the first.
fn of_versions(versions: &str, more: &str) -> String {
    rollouts(&format!(
        r#"{{"name": "a", "versions": [{{"name": "s"}}, {versions}], "hashKey": [{{"header": "x"}}]{more}}}"#
    ))
}

type Make = fn(usize) -> String;

/// Files full of one thing, and how much of it is little.
const FULL: [(&str, usize, Make); 10] = [
    ("rollouts", 400, |count| rollouts(&list(count, |n| rollout(n, "")))),
    ("unknown keys", 400, |count| {
        format!(r#"{{{}, "rollouts": []}}"#, list(count, |n| format!(r#""rollout{n}": 0"#)))
    }),
    ("numbers", 400, |count| rollouts(&list(count, |_| "0".into()))),
    ("rules", 400, |count| {
        let rules = list(count, |n| {
            format!(
                r#"{{"name": "r{n}", "match": [{{"header": {{"x-a": {{"exact": "{n}"}}}}}}], "version": "c"}}"#
            )
        });
        rollouts(&rollout(0, &format!(r#", "rules": [{rules}]"#)))
    }),
    ("versions, and rules for the last of them", 400, |count| {
        let rules = list(count, |n| {
            format!(
                r#"{{"name": "r{n}", "match": [{{"path": {{"prefix": "/"}}}}], "version": "v{}"}}"#,
                count - 1
            )
        });
        let versions = list(count, |n| format!(r#"{{"name": "v{n}", "weight": 0}}"#));
        of_versions(&versions, &format!(r#", "rules": [{rules}]"#))
    }),
    ("rules for versions that there are not", 100, |count| {
        let rules = list(count, |n| {
            format!(
                r#"{{"name": "r{n}", "match": [{{"path": {{"prefix": "/"}}}}], "version": "w{n}"}}"#
            )
        });
        let versions = list(count, |n| format!(r#"{{"name": "v{n}", "weight": 0}}"#));
        of_versions(&versions, &format!(r#", "rules": [{rules}]"#))
    }),
    ("pinned versions", 400, |count| {
        let pinned = list(count, |n| format!(r#""v{n}""#));
        let pin = format!(r#", "pin": {{"cookie": {{"name": "p"}}, "versions": [{pinned}]}}"#);
        of_versions(&list(count, |n| format!(r#"{{"name": "v{n}", "weight": 0}}"#)), &pin)
    }),
    ("segments, and rules for the last of them", 400, |count| {
        let segments = list(count, |n| format!(r#""s{n}": [{{"path": {{"prefix": "/"}}}}]"#));
        let rules = list(count, |n| {
            format!(r#"{{"name": "r{n}", "segment": "s{}", "version": "c"}}"#, count - 1)
        });
        let one = rollout(0, &format!(r#", "rules": [{rules}]"#));
        format!(r#"{{"segments": {{{segments}}}, "rollouts": [{one}]}}"#)
    }),
    ("headers of a version", 400, |count| {
        let headers = list(count, |n| format!(r#""x-{:07}": "1""#, count - n));
        of_versions(
            &format!(r#"{{"name": "c", "weight": 5, "requestHeaders": {{{headers}}}}}"#),
            "",
        )
    }),
    ("keys", 400, |count| {
        let keys = list(count, |n| format!(r#"{{"cookie": "c{:07}"}}"#, count - n));
        rollouts(&format!(
            r#"{{"name": "a", "versions": [{{"name": "s"}}, {{"name": "c", "weight": 5}}], "hashKey": [{keys}]}}"#
        ))
    }),
];

#[test]
fn a_configuration_costs_the_filter_what_its_length_says() {
    for (name, few, make) in FULL {
        let [few, many] = [few, 8 * few].map(|count| read(&make(count)).2);
        println!("{name}: {few:.0} fuel a byte, of eight times as many {many:.0}");
        assert!(many < 1.5 * few, "{name}: {few}, {many}");
    }
}

/// Allocations and allocated bytes of the command for each byte of a file of that text.
fn spent(text: &str) -> [f64; 2] {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("what-a-file-costs");
    fs::write(&file, text).unwrap();
    let counts = || [&ALLOCATIONS, &ALLOCATED].map(|count| count.with(Cell::get));
    let before = counts();
    let (mut out, mut err) = (std::io::sink(), std::io::sink());
    cohort::cli::run_with(&["cohort", "validate", file.to_str().unwrap()], &mut out, &mut err)
        .unwrap();
    let after = counts();
    fs::remove_file(file).unwrap();
    [0, 1].map(|of| (after[of] - before[of]) as f64 / text.len() as f64)
}

#[test]
fn a_file_costs_the_command_what_its_length_says() {
    // Many filters of one Envoy configuration, each with a text of its own.
    let filters: Make = |count| {
        let one = |n| {
            format!(
                r#"{{"name": "f{n}", "typed_config": {{"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {{"vm_config": {{"runtime": "v8", "code": {{"local": {{"filename": "cohort.wasm"}}}}}},
                    "configuration": {{"@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": "{{\"rollouts\": []}}"}}}}}}}}"#
            )
        };
        format!(r#"{{"http_filters": [{}]}}"#, list(count, one))
    };
    for (name, few, make) in FULL.into_iter().chain([("filters", 400, filters)]) {
        let [few, many] = [few, 8 * few].map(|count| spent(&make(count)));
        println!("{name}: allocations and bytes of each byte {few:.2?}, of eight times as many {many:.2?}");
        for (few, many) in few.into_iter().zip(many) {
            assert!(many < 1.5 * few, "{name}: {few}, {many}");
        }
    }
}
