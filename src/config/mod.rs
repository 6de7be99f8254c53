//! Bytes to a configuration that cannot be wrong, or every problem with its path (design.md section 2).
//!
//! The files mirror the configuration's own tree: what `$.rollouts[0].pin.cookie` may hold is in
//! `pin.rs` and `cookie.rs`. Each object is declared once, with `shape!`, for the reader and for the
//! JSON Schema; `check` then sees to what its keys mean together. Both go on after a problem.

mod condition;
mod cookie;
mod guard;
mod hash_key;
mod health;
mod inherit;
mod output;
mod overrides;
mod pattern;
mod pin;
mod place;
mod problem;
mod protobuf;
mod ramp;
mod read;
mod rollout;
mod rule;
mod scalar;
#[cfg(not(target_arch = "wasm32"))]
mod schema;
mod shape;
mod shared;
mod suggest;
mod text;
mod value;
mod version;

pub use condition::Condition;
pub use guard::{Guard, Latency};
pub use hash_key::KeySource;
pub use health::Health;
pub use inherit::Inherit;
pub use output::Output;
pub use overrides::{Overrides, Require, SecretHeader};
pub use pin::Pin;
pub use problem::{Path, PathSegment, Problem};
pub use ramp::{Ramp, Step};
pub use rollout::{Mode, Rollout};
pub use rule::{Choice, Rule};
pub use scalar::{parse_duration, parse_instant, Millis, Ratio};
#[cfg(not(target_arch = "wasm32"))]
pub use schema::schema;
pub use value::Value;
pub use version::Version;

use place::{Place, Problems};
use read::{Field, List, Map, Read};
use rollout::RolloutShape;
use shape::shape;
use text::Label;

/// A whole configuration, checked: what it says can be done as it says it.
#[derive(Debug, Default)]
pub struct Config {
    /// Names of conditions that rules refer to by position.
    pub segments: Vec<Segment>,
    /// In the configuration's order, which is the order of decisions.
    pub rollouts: Vec<Rollout>,
}

/// Conditions under a name, any of which is enough.
#[derive(Debug)]
pub struct Segment {
    pub name: String,
    pub any: Vec<Condition>,
}

shape! {
    /// What Cohort does with requests: Istio's pluginConfig, Envoy's configuration.
    ConfigShape: "an object with rollouts" {
        /// Conditions under a name, which rules refer to; any of a name's conditions is enough.
        "segments" segments: optional Map<Label, List<Condition, 1>, 0>,
        /// The rollouts; every one that matches a request is decided, in order.
        "rollouts" rollouts: required List<RolloutShape, 0>,
    }
}

impl Config {
    /// Reads JSON text.
    ///
    /// ```
    /// let config = cohort::config::Config::from_json(br#"{"rollouts": []}"#).unwrap();
    /// assert!(config.rollouts.is_empty());
    ///
    /// let problems = cohort::config::Config::from_json(b"").unwrap_err();
    /// assert_eq!(problems[0].to_string(), "$: found nothing, allowed: an object with rollouts");
    /// ```
    ///
    /// # Errors
    /// Every problem, in the order of the document; at least one.
    pub fn from_json(text: &[u8]) -> Result<Self, Vec<Problem>> {
        if text.trim_ascii().is_empty() {
            return Err(vec![Problem {
                path: Path::default(),
                found: "nothing".to_owned(),
                allowed: ConfigShape::allowed(),
                hint: None,
            }]);
        }
        Self::from_value(&Value::from_json(text).map_err(|problem| vec![problem])?)
    }

    /// Reads what a proxy hands on as the plugin configuration: JSON text, or the bytes of a
    /// `google.protobuf.Struct`, which is what an Envoy configuration in YAML all the way becomes.
    ///
    /// # Errors
    /// Every problem, in the order of the document; at least one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        Self::from_json(bytes).or_else(|problems| match protobuf::read_struct(bytes) {
            Some(value) if !bytes.is_empty() => Self::from_value(&value),
            _ => Err(problems),
        })
    }

    /// Reads a document that was JSON, or can be.
    ///
    /// # Errors
    /// Every problem, in the order of the document; at least one.
    pub fn from_value(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let config = Self::read(&Place::top(value), &mut problems);
        let problems = problems.into_sorted();
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        let shape = ConfigShape::read(at, problems)?;
        // Nothing can be said about references to segments where those cannot be read.
        let segments_known = !matches!(shape.segments, Field::Bad);
        let segments: Vec<Segment> = shape
            .segments
            .given()
            .map_or_else(Vec::new, |map| map.0)
            .into_iter()
            .map(|(name, list)| Segment {
                name: name.0,
                any: list.and_then(List::whole).unwrap_or_default(),
            })
            .collect();
        let names: Vec<&str> = segments.iter().map(|segment| segment.name.as_str()).collect();

        let rollouts_at = at.at("rollouts");
        let mut rollouts = Vec::new();
        for (index, rollout) in shape.rollouts.given()?.0.into_iter().enumerate() {
            let known = segments_known.then_some(names.as_slice());
            rollouts
                .extend(rollout.and_then(|it| it.check(&rollouts_at.nth(index), known, problems)));
        }
        shared::check(&rollouts_at, problems);
        Some(Self { segments, rollouts })
    }
}
