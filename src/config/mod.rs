//! Bytes to a configuration that cannot be wrong, or every problem with its path (design.md section 2).
//!
//! The files mirror the configuration's own tree: what `$.rollouts[0].pin.cookie` may hold is in
//! `pin.rs` and `cookie.rs`. Each object is declared once, with `shape!`: one reader walks the
//! declarations, and the JSON Schema is made from them. What was read, a tree of nodes, then goes to the
//! `check` of each file, which sees to what its keys mean together. Both go on after a problem.

mod analysis;
mod condition;
mod cookie;
mod guard;
mod hash_key;
mod health;
mod inherit;
mod lists;
mod output;
mod overrides;
mod pattern;
mod pin;
#[cfg(not(target_arch = "wasm32"))]
mod policy;
mod ramp;
mod rollout;
mod rule;
mod shared;
mod text;
mod version;

pub use analysis::{Check, OnNoData};
pub use condition::Condition;
pub use guard::{Count, Guard, Latency};
pub use hash_key::KeySource;
pub use health::Health;
pub use inherit::Inherit;
pub use lists::{Content, CookieUse, Write};
pub use output::Output;
pub use overrides::{Overrides, Require, SecretHeader};
pub use pin::Pin;
#[cfg(not(target_arch = "wasm32"))]
pub use policy::{admission_policy, AdmissionPolicy};
pub use ramp::{Ramp, Step};
pub use rollout::{Mode, Rollout};
pub use rule::{Choice, Rule};
pub use version::Version;

pub use crate::document::{
    parse_duration, parse_instant, Millis, Path, PathSegment, Problem, Ratio, Value,
};

use crate::document::node::{Node, Problems, Read};
use crate::document::numbers;
use crate::document::read;
use crate::document::read_struct;
use crate::document::shape::{shape, Kind};

use condition::{any_of, CONDITIONS};
use rollout::ROLLOUT;
use shared::Shared;
use text::SEGMENT_NAME;

/// The JSON Schema of the configuration.
#[cfg(not(target_arch = "wasm32"))]
pub fn schema() -> serde_json::Value {
    crate::document::schema("Cohort configuration", &CONFIG)
}

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
    CONFIG, ConfigKeys: "Config", "an object with rollouts" {
        /// Conditions under a name, which rules refer to; any of a name's conditions is enough.
        segments = "segments": optional Kind::Map(&SEGMENT_NAME, &CONDITIONS, 0),
        /// The rollouts; every one that matches a request is decided, in order.
        rollouts = "rollouts": required Kind::List(&Kind::Object(&ROLLOUT), 0),
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
                allowed: CONFIG.allowed.to_owned(),
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
        Self::from_json(bytes).or_else(|problems| match read_struct(bytes) {
            Some(value) if !bytes.is_empty() => Self::from_struct(value),
            _ => Err(problems),
        })
    }

    /// Reads a document that was a `google.protobuf.Struct`. Envoy's YAML makes text of a fraction there,
    /// so numeric text is taken for a number, as nowhere else.
    ///
    /// # Errors
    /// Every problem, in the order of the document; at least one.
    pub fn from_struct(mut value: Value<'_>) -> Result<Self, Vec<Problem>> {
        numbers::from_text(&Kind::Object(&CONFIG), &mut value);
        Self::from_value(&value)
    }

    /// Reads a document that was JSON, or can be.
    ///
    /// # Errors
    /// Every problem, in the order of the document; at least one.
    pub fn from_value(value: &Value<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::new(value);
        let top = read::read(&Kind::Object(&CONFIG), value, &mut problems);
        let config = Self::check(&top, &mut problems);
        let problems = problems.into_sorted();
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    fn check(top: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let keys = ConfigKeys::of(top);
        let mut segments = Vec::new();
        let mut names = rule::Segments::default();
        for entry in keys.segments.entries() {
            let any = any_of(entry, problems).unwrap_or_default();
            segments.push(Segment { name: entry.key.to_owned(), any });
            names.add(entry.key);
        }
        // Nothing can be said about references to segments where those cannot be read.
        let known = !matches!(keys.segments.read, Read::Bad);
        let names = known.then_some(&names);

        let list = keys.rollouts;
        let mut rollouts = Vec::new();
        let mut shared = Shared::default();
        let mut taken = Vec::with_capacity(list.entries().len());
        for (index, node) in list.entries().iter().enumerate().filter(|(_, node)| node.is_given()) {
            rollouts.extend(rollout::check(node, names, problems, |parts, problems| {
                taken.push((node, shared.note(index, node, parts, problems)));
            }));
        }
        for (node, taken) in &taken {
            shared.check(node, taken, problems);
        }
        list.is_given().then_some(Self { segments, rollouts })
    }
}
