//! Text comparisons: what stands under `host`, `path`, and the names of `header`, `cookie` and `query`.

use crate::http::pattern::{compile, Needle, Test};
use crate::http::semver::Comparison;
use crate::http::Pattern;

use super::text::ANY;
use crate::document::node::{Node, Problems};
use crate::document::read::exactly_one;
use crate::document::shape::{shape, Kind, Scalar, Text};
use crate::document::value::shortened;

shape! {
    /// A comparison of a text: exactly one of exact, prefix, suffix, contains, regex, in, present and semver.
    PATTERN, PatternKeys: "Pattern", "an object with exactly one of exact, prefix, suffix, contains, regex, in, present, semver" {
        /// The whole text.
        exact = "exact": optional Kind::Text(&ANY),
        /// How the text starts.
        prefix = "prefix": optional Kind::Text(&ANY),
        /// How the text ends.
        suffix = "suffix": optional Kind::Text(&ANY),
        /// What stands anywhere in the text.
        contains = "contains": optional Kind::Text(&ANY),
        /// A regular expression that matches anywhere in the text, in linear time; at most 1,000 characters.
        regex = "regex": optional Kind::Text(&ANY),
        /// The whole text is one of these.
        among = "in": optional Kind::List(&Kind::Text(&ANY), 1),
        /// Whether there is a value at all.
        present = "present": optional Kind::Flag,
        /// The text is a version that these comparisons all hold for, such as ">=2.3.0 <3", by semver.org's
        /// precedence; of a header, a cookie or a query parameter.
        semver = "semver": optional Kind::Text(&VERSIONS),
        /// Whether ASCII letters of either case are the same.
        ignore_case = "ignoreCase": default Kind::Flag => Scalar::Flag(false),
    }
    also r#"{"oneOf": [{"required": ["exact"]}, {"required": ["prefix"]}, {"required": ["suffix"]},
        {"required": ["contains"]}, {"required": ["regex"]}, {"required": ["in"]}, {"required": ["present"]},
        {"required": ["semver"]}]}"#
}

/// Comparisons of a version.
static VERSIONS: Text = Text::new(
    "comparisons of a version by =, >, >=, < and <=, such as >=2.3.0 <3",
    "^ *([<>]=?|=)? *[0-9]",
    |text| Comparison::parse(text).is_some(),
);

/// A comparison of any text.
pub(super) fn check(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Pattern> {
    check_part(node, &Compared { fold: false, is_version: true, wrong: |_| None }, problems)
}

/// A comparison of a host: in lower case, without port.
pub(super) fn check_host(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Pattern> {
    check_part(node, &Compared { fold: true, is_version: false, wrong: wrong_host }, problems)
}

/// A comparison of a path: without the query string.
pub(super) fn check_path(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Pattern> {
    check_part(node, &Compared { fold: false, is_version: false, wrong: wrong_path }, problems)
}

/// The part of a request that is compared.
struct Compared {
    /// Whether it is in lower case, whatever the request says.
    fold: bool,
    /// Whether it can be a version.
    is_version: bool,
    wrong: Wrong,
}

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

impl Compared {
    /// The text at `node` as the compared part would have it.
    fn bytes(
        &self,
        node: &Node<'_>,
        is_start: bool,
        problems: &mut Problems<'_>,
    ) -> Option<Box<[u8]>> {
        let text = node.text()?;
        if let Some(allowed) = (self.wrong)(Part { text, is_start }) {
            problems.add(node, &shortened(text), allowed);
        }
        let text = if self.fold { text.to_ascii_lowercase() } else { text.to_owned() };
        Some(text.into_bytes().into_boxed_slice())
    }
}

fn check_part(
    node: &Node<'_>,
    compared: &Compared,
    problems: &mut Problems<'_>,
) -> Option<Pattern> {
    let PatternKeys { exact, prefix, suffix, contains, regex, among, present, semver, ignore_case } =
        PatternKeys::of(node);
    exactly_one(node, &[exact, prefix, suffix, contains, regex, among, present, semver], problems);
    let ignore_case = ignore_case.flag()? || compared.fold;
    let test = if exact.is_given() {
        Test::Exact(compared.bytes(exact, true, problems)?)
    } else if prefix.is_given() {
        Test::Prefix(compared.bytes(prefix, true, problems)?)
    } else if suffix.is_given() {
        Test::Suffix(compared.bytes(suffix, false, problems)?)
    } else if contains.is_given() {
        Test::Contains(Needle::new(compared.bytes(contains, false, problems)?, ignore_case))
    } else if among.is_given() {
        let mut texts = Vec::with_capacity(among.entries().len());
        for entry in among.entries() {
            texts.extend(compared.bytes(entry, true, problems));
        }
        Test::In(texts)
    } else if let Some(text) = regex.text() {
        match compile(text, ignore_case) {
            Ok(regex) => Test::Regex(Box::new(regex)),
            Err(found) => {
                let allowed = "a regular expression of at most 1000 characters, without look-around and back-references";
                problems.add(regex, &found, allowed);
                return None;
            }
        }
    } else if let Some(text) = semver.text() {
        if !compared.is_version {
            let allowed =
                "another comparison: only a header, a cookie or a query parameter is a version";
            problems.add(semver, &shortened(text), allowed);
        }
        Test::Semver(Comparison::parse(text)?)
    } else {
        Test::Present(present.flag()?)
    };
    // Host names have no case, and exact ones are in lower case as the request's is.
    let exact = matches!(test, Test::Exact(_) | Test::In(_));
    Some(Pattern::new(test, ignore_case && !(compared.fold && exact)))
}
