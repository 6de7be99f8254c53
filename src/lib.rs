//! Cohort: sticky, weighted, self-healing releases for Envoy and Istio.
//!
//! One crate, two products. For `wasm32` it is the proxy-wasm filter `cohort.wasm`; for everything
//! else it is the command `cohort`, which checks, explains and simulates the same configuration with
//! the same code.
//!
//! # The floors
//!
//! A module names only modules on floors below its own (`tests/floors.rs` holds this).
//!
//! | floor | module | its one job |
//! |---|---|---|
//! | 0 | [`hash`], [`http`], [`index`] | bytes to a number, the same for ever; the HTTP text we touch, as bytes; names, found fast |
//! | 1 | [`bucket`] | a number and weights to a version |
//! | 2 | [`document`] | text to values with places, held against declarations: what is read, or every problem with its path |
//! | 3 | [`config`] | the declarations, and what the keys mean together: a configuration that cannot be wrong |
//! | 4 | [`engine`] | a configuration and a request to a decision; guard, health and ramp over a clock they are handed |
//! | 5 | [`filter`] | a decision to effects on one HTTP stream, against a [`filter::Host`] |
//! | 6 | `wasm` (wasm32, on the proxy-wasm SDK), `native` (a library for Envoy), `cli` (native) | the edges |
//!
//! # The path of one request
//!
//! 1. The proxy hands the stream to `wasm`, which calls [`filter::Stream::on_request_headers`].
//! 2. The filter reads the whole header map in one host call into [`http::Headers`].
//! 3. [`engine::Plan::candidates`] names the rollouts that can match the request's host; the `match`
//!    of each is asked, in the configuration's order.
//! 4. [`engine::decide`] walks design steps 1 to 7 (DISABLED … DEFAULT, then FALLBACK) and answers
//!    with an [`engine::Decision`]: a version and the reason.
//! 5. The filter removes whatever the client forged, sets the route header (the proxy then selects the
//!    route anew), and remembers what belongs on the response.
//! 6. On the response headers it adds cookies; when the stream ends it counts the outcome in the
//!    per-version metrics that the guard reads back.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod bucket;
pub mod config;
pub mod document;
pub mod engine;
pub mod filter;
pub mod hash;
pub mod http;
pub mod index;

#[cfg(all(feature = "command", not(target_arch = "wasm32")))]
pub mod cli;
#[cfg(all(any(feature = "native", test), not(target_arch = "wasm32")))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;
