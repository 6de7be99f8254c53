//! Bytes to a configuration that cannot be wrong, or every problem with its path (design.md section 2).
//!
//! The files mirror the configuration's own tree: what `$.rollouts[0].pin.cookie` may hold is in
//! `pin.rs` and `cookie.rs`.

mod condition;
mod cookie;
mod guard;
mod hash_key;
mod health;
mod inherit;
mod output;
mod overrides;
mod pin;
mod ramp;
mod rollout;
mod rule;
mod scalar;
mod version;

pub use condition::Condition;
pub use guard::{Guard, Latency};
pub use hash_key::KeySource;
pub use health::Health;
pub use inherit::Inherit;
pub use output::Output;
pub use overrides::{Overrides, Require, SecretHeader};
pub use pin::Pin;
pub use ramp::{Ramp, Step};
pub use rollout::{Mode, Rollout};
pub use rule::{Choice, Rule};
pub use scalar::{Millis, Ratio};
pub use version::Version;

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
