//! A fake proxy, and the filter in it twice over: as a library and as the built module.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

pub mod exchange;
pub mod faults;
pub mod growth;
pub mod metrics;
pub mod module;
pub mod native;
pub mod rig;
pub mod world;

pub use exchange::{details, get, text, Ending, Exchange, Reply, Seen};
pub use faults::{Dice, Faults, Statuses};
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

/// The name of a user whose bucket in the rollout `salt` is in `buckets`.
pub fn user_in(salt: &str, buckets: std::ops::Range<u32>) -> String {
    let bucket =
        |user: &String| cohort::hash::Scheme::Cohort.bucket(salt.as_bytes(), user.as_bytes());
    let mut users = (0..1_000_000).map(|number| format!("user-{number}"));
    users.find(|user| buckets.contains(&bucket(user))).expect("a user in these buckets")
}

/// A configuration of one rollout, `checkout`: half of the users get the canary. `rest` are more keys.
pub fn checkout(rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!(
        r#"{{"rollouts": [{{
            "name": "checkout",
            "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 50}}],
            "hashKey": [{{"header": "x-user-id"}}]{comma}
            {rest}
        }}]}}"#
    )
}

/// A user of `checkout` who gets the canary, and one who gets stable.
pub fn canary_user() -> String {
    user_in("checkout", 0..50_000)
}

pub fn stable_user() -> String {
    user_in("checkout", 50_000..100_000)
}

/// Compares with a file in `tests/`; `COHORT_BLESS=1` writes it instead.
pub fn golden(path: &str, actual: &str) {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    if std::env::var_os("COHORT_BLESS").is_some() {
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("the folder");
        std::fs::write(&place, actual).expect("the golden file");
        return;
    }
    let wanted = std::fs::read_to_string(&place)
        .unwrap_or_else(|error| panic!("tests/{path}: {error}; COHORT_BLESS=1 makes it"));
    assert!(
        wanted == actual,
        "tests/{path} differs; COHORT_BLESS=1 rewrites it. It is now:\n{actual}"
    );
}
