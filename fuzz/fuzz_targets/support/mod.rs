//! The tests' fake proxy, with the filter in it as a library and as the built module.
#![allow(dead_code, reason = "the tests use the rest, and each target a part")]

#[path = "../../../tests/support/exchange.rs"]
pub mod exchange;
#[path = "../../../tests/support/faults.rs"]
pub mod faults;
pub mod lines;
#[path = "../../../tests/support/metrics.rs"]
pub mod metrics;
#[path = "../../../tests/support/module.rs"]
pub mod module;
#[path = "../../../tests/support/native.rs"]
pub mod native;
#[path = "../../../tests/support/rig.rs"]
pub mod rig;
#[path = "../../../tests/support/world.rs"]
pub mod world;
