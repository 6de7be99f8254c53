//! What one worker does with configurations, requests and answers: each test natively and in the module.
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

use support::*;

on_both_rigs!(a_user_gets_a_version_and_the_route_header_says_which);

const MINIMAL: &str = r#"{"rollouts": [{
  "name": "checkout",
  "versions": [{"name": "stable"}, {"name": "canary", "weight": 5}],
  "hashKey": [{"header": "x-user-id"}, {"cookie": "uid"}]
}]}"#;

fn a_user_gets_a_version_and_the_route_header_says_which<R: Rig>() {
    let mut worker = Worker::<R>::with(MINIMAL);
    let seen = worker.send(get("/").user("user-1"));
    assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("stable"));
    println!("{}\n{:?} {:?} fuel {}", worker.world.metrics(), worker.world.take_counts(), seen, worker.rig.fuel());
}
