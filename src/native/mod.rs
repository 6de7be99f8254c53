//! The edge to Envoy without a VM: the filter as a dynamic module, a library that Envoy loads as it is (a preview).
//!
//! `hooks` is what Envoy calls and `abi` what it can be asked; `host` is the filter's [`Host`] on top. The filter's
//! plugin lives once in each thread (`worker`), what Wasm has shared data for lives once in the process (`process`),
//! and a thread for each configuration (`settings`) has the main thread tick. docs/native.md is the user's side.
//!
//! [`Host`]: crate::filter::Host

mod abi;
mod hooks;
mod host;
mod metrics;
mod process;
mod settings;
mod ticker;
mod worker;
