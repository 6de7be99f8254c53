//! A decision to effects on one HTTP stream, against a [`Host`].
//!
//! [`Plugin`] is one configuration in one worker; [`Stream`] is one request. Neither knows
//! proxy-wasm: the host is a parameter, so that the same code runs in Envoy and under a fake.

mod baggage;
mod cookies;
mod gauge;
mod heard;
mod host;
mod identity;
mod loaded;
pub mod metrics;
mod neighbours;
mod outcome;
mod plugin;
mod registry;
mod rollout;
mod series;
mod stream;
mod strip;
mod tick;
mod visitors;

pub use host::{Call, Host, MetricId, MetricKind, Shared};
pub use identity::Identity;
pub use loaded::LoadedConfig;
pub use plugin::Plugin;
pub use series::CodeClass;
pub use stream::Stream;
