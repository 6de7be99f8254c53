//! What is written is read back.

use proptest::prelude::*;

use super::*;
use crate::cli::source::yaml;

/// What is read back of a value that was written.
fn back(value: &Yaml) -> Yaml {
    let text = document(value);
    let read = yaml::read(&text).unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
    // A document without content is no document.
    read.first().map_or(Yaml::Null, Yaml::from)
}

/// Values of every shape, with texts and keys of every length and character.
fn values() -> impl Strategy<Value = Yaml> {
    let text = prop_oneof![
        any::<String>(),
        "[a-z0-9:#'\"\\\\,\\[\\]{}&*!|>%@` .-]{0,8}",
        "[ -~]{85,95}",
        "\\PC{0,40}",
        "[\u{0}-\u{9f}\u{2028}\u{feff}\u{e000}\u{202e}]{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Yaml::Null),
        any::<bool>().prop_map(Yaml::from),
        (-1_000_000i32..1_000_000).prop_map(|number| Yaml::from(f64::from(number) / 1000.0)),
        text.clone().prop_map(Yaml::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop_oneof![text.clone(), "[a-z]{1,8}", "x{990,1100}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Yaml::from),
            prop::collection::btree_map(
                key,
                (inner, prop::collection::vec(any::<String>(), 0..3)),
                0..6
            )
            .prop_map(|map| {
                let entries = map.into_iter();
                Yaml::Map(
                    entries.map(|(key, (value, above))| Entry { key, value, above }).collect(),
                )
            }),
        ]
    })
}

/// The value without its comments.
fn bare(value: &Yaml) -> Yaml {
    match value {
        Yaml::List(items) => Yaml::List(items.iter().map(bare).collect()),
        Yaml::Map(entries) => Yaml::Map(
            entries
                .iter()
                .map(|entry| Entry {
                    key: entry.key.clone(),
                    value: bare(&entry.value),
                    above: Vec::new(),
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in values()) {
        prop_assert_eq!(back(&value), bare(&value));
    }

    #[test]
    fn a_value_of_any_length_stands_under_its_key(length in 0usize..130, depth in 0usize..6) {
        let mut value = Yaml::from(vec![Yaml::one("host", Yaml::one("in", vec![Yaml::text("x".repeat(length)); 2]))]);
        for _ in 0..depth {
            value = Yaml::one("key", value);
        }
        prop_assert_eq!(back(&value), value);
    }

    #[test]
    fn a_comment_is_a_comment_whatever_it_says(text in any::<String>(), value in any::<String>()) {
        let text = format!("{text} {}", shown(&value));
        let page = document(&Yaml::map().noted("a", 1.0, &[&text]));
        prop_assert!(page.lines().all(|line| line.starts_with('#') || line == "a: 1"), "{}", page);
        prop_assert_eq!(yaml::read(&page).unwrap().len(), 1);
    }
}

#[test]
fn a_comment_does_not_tear_a_value() {
    let value = "two words ".repeat(20);
    let mut out = String::new();
    comment(&format!("- spec.key: {} is named", shown(&value)), 4, &mut out);
    assert!(out.contains(&value), "{out}");
    assert!(out.lines().count() > 1, "{out}");
}
