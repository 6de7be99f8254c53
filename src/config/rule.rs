//! `$.rollouts[].rules[]`: who gets a version by what they are.

use crate::bucket::{Split, VersionIndex};

use super::place::{Place, Problems};
use super::read::{exactly_one, Field, List};
use super::shape::shape;
use super::text::{Name, Reference};
use super::value::shortened;
use super::version::{one_of, Versions, Weights};
use super::Condition;

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
    RuleShape: "an object with name, segment or match, and version or weights" {
        /// The rule's name, unique in its rollout.
        "name" name: required Name,
        /// The name of a segment.
        "segment" segment: optional Reference,
        /// Conditions, any of which is enough.
        "match" matches: optional List<Condition, 1>,
        /// The version these users get.
        "version" version: optional Reference,
        /// How these users are divided; a version that is not named has no weight.
        "weights" weights: optional Weights,
    }
    also r#"{"anyOf": [{"required": ["segment"]}, {"required": ["match"]}],
        "oneOf": [{"required": ["version"]}, {"required": ["weights"]}]}"#
}

impl RuleShape {
    pub(super) fn check(
        self,
        at: &Place<'_>,
        segments: Option<&[&str]>,
        versions: &Versions,
        problems: &mut Problems,
    ) -> Option<Rule> {
        exactly_one(at, &["version", "weights"], self.odd, problems);
        if self.segment.is_absent() && self.matches.is_absent() && !self.odd {
            let found = "neither segment nor match".to_owned();
            problems.add(at, found, "one of them or both".to_owned());
        }
        let segment = match (&self.segment, segments) {
            (Field::Given(name), Some(segments)) => {
                let position = segments.iter().position(|segment| *segment == name.0);
                if position.is_none() {
                    unknown_segment(&name.0, &at.at("segment"), segments, problems);
                }
                position
            }
            _ => None,
        };
        let version = self
            .version
            .given()
            .and_then(|name| versions.find(&name.0, &at.at("version"), problems));
        let weights = self
            .weights
            .given()
            .and_then(|weights| versions.split(weights, &at.at("weights"), problems));
        Some(Rule {
            name: self.name.given()?.0,
            segment,
            matches: self.matches.given().and_then(List::whole),
            choice: version.map(Choice::Version).or(weights.map(Choice::Weights))?,
        })
    }
}

fn unknown_segment(name: &str, at: &Place<'_>, segments: &[&str], problems: &mut Problems) {
    if segments.is_empty() {
        let allowed = "the name of a segment, of which there is none".to_owned();
        problems.add(at, shortened(name), allowed);
    } else {
        one_of(name, at, segments, problems);
    }
}
