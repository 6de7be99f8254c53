//! A fake proxy, and the filter in it twice over: as a library and as the built module.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

pub mod exchange;
pub mod faults;
pub mod metrics;
pub mod module;
pub mod native;
pub mod rig;
pub mod world;

pub use exchange::{flags, get, text, Ending, Exchange, Reply, Seen};
pub use faults::{Dice, Faults};
pub use module::Wasm;
pub use native::{Native, NativeVm};
pub use rig::{Event, Open, Rig, Worker};
pub use world::{Map, SentCall, World, START};

/// Runs each test twice: natively, and in the module.
///
/// A test is a function over `R: Rig`.
#[macro_export]
macro_rules! on_both_rigs {
    ($($test:ident),+ $(,)?) => {
        mod native {
            $(#[test] fn $test() { super::$test::<$crate::support::Native>() })+
        }
        mod module {
            $(#[test] fn $test() { super::$test::<$crate::support::Wasm>() })+
        }
    };
}
