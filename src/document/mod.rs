//! Documents: values and their places, what may stand where, and every problem with its path.
//!
//! The readers know nothing of rollouts. `shape` declares objects, `read` walks a [`Value`] by the
//! declarations and leaves `node::Node`s and [`Problem`]s, and `schema` makes a JSON Schema of the same
//! declarations. `config` says what is declared and what the keys mean together.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod cel;
pub(crate) mod node;
pub(crate) mod numbers;
mod problem;
mod protobuf;
pub(crate) mod read;
pub(crate) mod scalar;
#[cfg(not(target_arch = "wasm32"))]
mod schema;
pub(crate) mod shape;
pub(crate) mod suggest;
pub(crate) mod value;

#[cfg(all(feature = "command", not(target_arch = "wasm32")))]
pub(crate) use problem::is_hidden;
pub use problem::{Path, PathSegment, Problem};
pub(crate) use protobuf::read_struct;
pub use scalar::{parse_duration, parse_instant, Millis, Ratio};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use schema::schema;
pub use value::Value;
