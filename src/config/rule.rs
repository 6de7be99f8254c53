//! `$.rollouts[].rules[]`: who gets a version by what they are.

use crate::bucket::{Split, VersionIndex};

use super::condition::{any_of, CONDITIONS};
use super::shared::Firsts;
use super::text::{NAME, REFERENCE};
use super::version::{one_of, Versions, WEIGHTS};
use super::Condition;
use crate::document::node::{stated, Node, Problems};
use crate::document::read::exactly_one;
use crate::document::shape::{shape, Kind};
use crate::document::value::shortened;

/// A condition and what follows from it. Both the segment and the conditions hold where both stand.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    /// A position in [`super::Config::segments`].
    pub segment: Option<usize>,
    /// Any of these is enough.
    pub matches: Option<Vec<Condition>>,
    pub choice: Choice,
}

/// What a rule decides.
#[derive(Debug)]
pub enum Choice {
    Version(VersionIndex),
    /// By the rule's own weights, on the user's same bucket. A version that is not named has none.
    Weights(Split),
}

shape! {
    /// Who gets a version by what they are: a segment, conditions, or both, and a version or weights.
    RULE, RuleKeys: "Rule", "an object with name, segment or match, and version or weights" {
        /// The rule's name, unique in its rollout.
        name = "name": required Kind::Text(&NAME),
        /// The name of a segment.
        segment = "segment": optional Kind::Text(&REFERENCE),
        /// Conditions, any of which is enough.
        matches = "match": optional CONDITIONS,
        /// The version these users get.
        version = "version": optional Kind::Text(&REFERENCE),
        /// How these users are divided; a version that is not named has no weight.
        weights = "weights": optional WEIGHTS,
    }
    also r#"{"anyOf": [{"required": ["segment"]}, {"required": ["match"]}],
        "oneOf": [{"required": ["version"]}, {"required": ["weights"]}]}"#
}

/// The segments of a configuration, as rules refer to them.
#[derive(Default)]
pub(super) struct Segments<'a> {
    names: Vec<&'a str>,
    firsts: Firsts,
}

impl<'a> Segments<'a> {
    pub(super) fn add(&mut self, name: &'a str) {
        self.firsts.note(name, self.names.len());
        self.names.push(name);
    }
}

/// `segments` are those of the configuration, where they are known.
pub(super) fn check(
    node: &Node<'_>,
    segments: Option<&Segments<'_>>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Rule> {
    let keys = RuleKeys::of(node);
    exactly_one(node, &[keys.version, keys.weights], problems);
    let (segment, matches, version) = (keys.segment, keys.matches, keys.version);
    if segment.is_absent() && matches.is_absent() && !node.has_unknown_keys {
        problems.add(node, "neither segment nor match", "one of them or both");
    }
    let matches = stated(matches, |matches| any_of(matches, problems));
    let segment = match (segment.text(), segments) {
        (Some(name), Some(segments)) => {
            let position = segments.firsts.find(name);
            if position.is_none() {
                unknown_segment(name, segment, &segments.names, problems);
            }
            position
        }
        _ => None,
    };
    let version = version.text().and_then(|name| versions.find(name, version, problems));
    let weights = versions.split(keys.weights, problems);
    Some(Rule {
        name: keys.name.string()?,
        segment,
        matches: matches?,
        choice: version.map(Choice::Version).or(weights.map(Choice::Weights))?,
    })
}

fn unknown_segment(name: &str, node: &Node<'_>, segments: &[&str], problems: &mut Problems<'_>) {
    if segments.is_empty() {
        problems.add(node, &shortened(name), "the name of a segment, of which there is none");
    } else {
        one_of(name, node, segments.iter().copied(), problems);
    }
}
