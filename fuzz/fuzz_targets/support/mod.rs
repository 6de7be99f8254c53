//! The parts of the tests' fake proxy that need no interpreter.
#![allow(dead_code, reason = "the tests use the rest")]

#[path = "../../../tests/support/exchange.rs"]
pub mod exchange;
#[path = "../../../tests/support/faults.rs"]
pub mod faults;
#[path = "../../../tests/support/metrics.rs"]
pub mod metrics;
#[path = "../../../tests/support/native.rs"]
pub mod native;
#[path = "../../../tests/support/rig.rs"]
pub mod rig;
#[path = "../../../tests/support/world.rs"]
pub mod world;
