//! The HTTP text that we touch, as bytes: headers, cookies, baggage, query strings, patterns.
//!
//! Nothing here assumes UTF-8: Envoy lets the bytes 0x80 to 0xff through in header values.

pub mod address;
pub mod baggage;
pub mod cache;
pub mod cookie;
pub mod headers;
pub mod pattern;
pub mod query;
pub mod semver;

pub use address::Network;
pub use cookie::SetCookie;
pub use headers::{fold, length_bit, HeaderName, Headers};
pub use pattern::Pattern;
