//! One mistake anywhere in the full example is refused, and the message says where it is.

mod generate;

use cohort::config::{Config, Value};
use generate::{full, json, mutations};

#[test]
fn every_mistake_in_the_full_example_is_refused_where_it_is() {
    let mutations = mutations();
    assert!(mutations.len() >= 200, "only {} mutations", mutations.len());
    for mutation in mutations {
        let (kind, path) = (mutation.kind, &mutation.path);
        let Err(problems) = Config::from_json(mutation.document.as_bytes()) else {
            panic!("{kind} {path} is accepted");
        };
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let start = format!("{path}: found ");
        assert!(
            lines.iter().any(|line| line.starts_with(&start)),
            "{kind} {path} is told as {lines:#?}"
        );
    }
}

#[test]
fn every_kind_of_mistake_is_among_them() {
    for kind in ["misspelled", "mistyped", "duplicated", "removed", "out of range"] {
        let count = mutations().iter().filter(|mutation| mutation.kind == kind).count();
        assert!(count >= 40, "only {count} {kind}");
    }
}

#[test]
fn no_message_has_a_rust_type_or_a_secret_in_it() {
    for mutation in mutations() {
        for problem in Config::from_json(mutation.document.as_bytes()).unwrap_err() {
            let line = problem.to_string();
            for word in [
                "Option", "Vec<", "struct", "enum", "::", "f64", "u32", "usize", "c2l4", "2bb80d",
                "Some(", "None)",
            ] {
                // An IPv6 address is no Rust path.
                assert!(!line.replace("\"::1", "").contains(word), "{word} in {line}");
            }
        }
    }
}

#[test]
fn the_full_example_itself_is_good_however_it_is_written() {
    let text = json(&full());
    assert_eq!(Value::from_json(text.as_bytes()).unwrap(), full());
    assert!(Config::from_json(text.as_bytes()).is_ok());
}

/// Writes the mutations, one JSON object a line, to the file that `COHORT_MUTATIONS` names, for tests
/// that put them through a real proxy.
#[test]
fn the_mutations_can_be_written_to_a_file() {
    let lines: Vec<String> = mutations()
        .iter()
        .map(|it| {
            serde_json::json!({"kind": it.kind, "path": it.path, "document": it.document})
                .to_string()
        })
        .collect();
    for line in &lines {
        assert!(!line.contains('\n'));
    }
    if let Ok(file) = std::env::var("COHORT_MUTATIONS") {
        std::fs::write(file, lines.join("\n") + "\n").unwrap();
    }
}
