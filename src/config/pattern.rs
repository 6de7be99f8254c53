//! Text comparisons: what stands under `host`, `path`, and the names of `header`, `cookie` and `query`.

use crate::http::pattern::{compile, Test};
use crate::http::Pattern;

use super::place::{Place, Problems};
use super::read::{exactly_one, Field, List};
use super::shape::{read_by_shape, shape};

shape! {
    /// A comparison of a text: exactly one of exact, prefix, suffix, contains, regex, in and present.
    PatternShape: "an object with exactly one of exact, prefix, suffix, contains, regex, in, present" {
        /// The whole text.
        "exact" exact: optional String,
        /// How the text starts.
        "prefix" prefix: optional String,
        /// How the text ends.
        "suffix" suffix: optional String,
        /// What stands anywhere in the text.
        "contains" contains: optional String,
        /// A regular expression that matches anywhere in the text, in linear time; at most 1,000 characters.
        "regex" regex: optional String,
        /// The whole text is one of these.
        "in" one_of: optional List<String, 1>,
        /// Whether there is a value at all.
        "present" present: optional bool,
        /// Whether ASCII letters of either case are the same.
        "ignoreCase" ignore_case: defaulted bool = false,
    }
    also r#"{"oneOf": [{"required": ["exact"]}, {"required": ["prefix"]}, {"required": ["suffix"]},
        {"required": ["contains"]}, {"required": ["regex"]}, {"required": ["in"]}, {"required": ["present"]}]}"#
}

read_by_shape!(Pattern, PatternShape, |shape, at: &Place<'_>, problems: &mut Problems| {
    build(shape, at, false, |_| None, problems)
});

/// A comparison of a host: in lower case, without port.
pub(super) struct HostPattern(pub(super) Pattern);

read_by_shape!(HostPattern, PatternShape, |shape, at: &Place<'_>, problems: &mut Problems| {
    build(shape, at, true, wrong_host, problems).map(HostPattern)
});

/// A comparison of a path: without the query string.
pub(super) struct PathPattern(pub(super) Pattern);

read_by_shape!(PathPattern, PatternShape, |shape, at: &Place<'_>, problems: &mut Problems| {
    build(shape, at, false, wrong_path, problems).map(PathPattern)
});

/// Says what is allowed instead where `text`, of which `key` tells the part, can never be seen.
type Wrong = fn(Part<'_>) -> Option<&'static str>;

/// A text of a comparison, and whether it is how the compared text starts.
struct Part<'a> {
    text: &'a str,
    is_start: bool,
}

fn wrong_host(part: Part<'_>) -> Option<&'static str> {
    // The colons of an IPv6 address stand in brackets.
    let after_address = part.text.rsplit(']').next().unwrap_or_default();
    after_address.contains(':').then_some("a host without a port, for ports are not compared")
}

fn wrong_path(part: Part<'_>) -> Option<&'static str> {
    let starts = part.text.starts_with('/') || part.text == "*";
    let wrong = part.text.contains('?') || part.is_start && !starts;
    wrong.then_some("a path that starts with / and has no query string")
}

fn build(
    shape: PatternShape,
    at: &Place<'_>,
    fold: bool,
    wrong: Wrong,
    problems: &mut Problems,
) -> Option<Pattern> {
    let kinds = ["exact", "prefix", "suffix", "contains", "regex", "in", "present"];
    exactly_one(at, &kinds, shape.odd, problems);
    let ignore_case = shape.ignore_case.given()? || fold;
    let mut bytes = |text: String, is_start: bool, at: &Place<'_>| {
        if let Some(allowed) = wrong(Part { text: &text, is_start }) {
            problems.add(at, super::value::shortened(&text), allowed.to_owned());
        }
        let text = if fold { text.to_ascii_lowercase() } else { text };
        text.into_bytes().into_boxed_slice()
    };
    let test = match shape {
        PatternShape { exact: Field::Given(text), .. } => {
            Test::Exact(bytes(text, true, &at.at("exact")))
        }
        PatternShape { prefix: Field::Given(text), .. } => {
            Test::Prefix(bytes(text, true, &at.at("prefix")))
        }
        PatternShape { suffix: Field::Given(text), .. } => {
            Test::Suffix(bytes(text, false, &at.at("suffix")))
        }
        PatternShape { contains: Field::Given(text), .. } => {
            Test::Contains(bytes(text, false, &at.at("contains")))
        }
        PatternShape { one_of: Field::Given(list), .. } => {
            let list_at = at.at("in");
            let texts = list.0.into_iter().enumerate();
            Test::In(
                texts.filter_map(|(i, text)| Some(bytes(text?, true, &list_at.nth(i)))).collect(),
            )
        }
        PatternShape { regex: Field::Given(text), .. } => match compile(&text, ignore_case) {
            Ok(regex) => Test::Regex(Box::new(regex)),
            Err(found) => {
                let allowed = "a regular expression of at most 1000 characters, without look-around and back-references";
                problems.add(&at.at("regex"), found, allowed.to_owned());
                return None;
            }
        },
        PatternShape { present: Field::Given(present), .. } => Test::Present(present),
        _ => return None,
    };
    // Host names have no case, and exact ones are in lower case as the request's is.
    let exact = matches!(test, Test::Exact(_) | Test::In(_));
    Some(Pattern::new(test, ignore_case && !(fold && exact)))
}
