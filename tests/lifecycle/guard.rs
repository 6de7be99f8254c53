//! A bad version leaves traffic by itself.

use crate::support::*;

mod probing;
mod ramp;
mod workers;

on_both_rigs!(
    a_failing_version_is_held_out,
    failures_before_the_first_tick_count,
    a_pinned_user_falls_back_and_an_override_does_not,
    a_slow_version_is_held_out,
    what_fails_everywhere_is_nobody_s_fault,
    a_handful_of_errors_is_not_enough,
    client_errors_and_aborts_are_not_enough,
    old_failures_are_forgotten_with_the_window,
    a_rollout_in_shadow_mode_or_disabled_never_trips,
    the_last_of_many_rollouts_is_guarded_from_its_first_request_on,
    the_guard_s_fallback_gets_the_users,
    a_fallback_that_is_out_itself_leaves_stable,
    the_log_tells_a_person_what_to_do,
);

const GUARD: &str = r#""guard": {"window": "30s", "minRequests": 50, "maxFailureRatio": 0.05RETRY},
    "output": {"reasonHeader": "x-why"}, "pin": {"cookie": {"name": "p"}}, "overrides": {"header": "x-canary"}"#;

fn guarded() -> String {
    checkout(&GUARD.replace("RETRY", ""))
}

fn retrying() -> String {
    checkout(&GUARD.replace("RETRY", r#", "retryAfter": "5m""#))
}

/// `count` answers with `status` to `user`.
fn drive<R: Rig>(worker: &mut Worker<R>, user: &str, count: u32, status: u16) {
    for _ in 0..count {
        worker.send(get("/").user(user).answered(status));
    }
}

/// After a first tick, fifty good answers of stable and fifty bad ones of the canary.
fn fail<R: Rig>(worker: &mut Worker<R>) {
    worker.pass(250);
    drive(worker, &stable_user(), 50, 200);
    drive(worker, &canary_user(), 50, 500);
}

/// A worker whose canary has just tripped.
fn tripped<R: Rig>(config: &str) -> Worker<R> {
    let mut worker = Worker::<R>::with(config);
    fail(&mut worker);
    worker.pass(250);
    assert_eq!(held_out(&worker), 1, "{}", worker.world.metrics());
    worker
}

fn held_out<R: Rig>(worker: &Worker<R>) -> u64 {
    worker.world.metric(r#"cohort_version_held_out{rollout="checkout",rollout_version="canary"}"#)
}

fn weight<R: Rig>(worker: &Worker<R>, version: &str) -> u64 {
    worker.world.metric(&format!(
        r#"cohort_version_weight{{rollout="checkout",rollout_version="{version}"}}"#
    ))
}

fn trips<R: Rig>(worker: &Worker<R>, cause: &str) -> u64 {
    worker.world.metric(&format!(
        r#"cohort_guard_trips_total{{rollout="checkout",rollout_version="canary",cause="{cause}"}}"#
    ))
}

fn is(seen: &Seen, version: &str, reason: &str) {
    let got = (seen.request("x-cohort-checkout").unwrap(), seen.response("x-why").unwrap());
    assert_eq!(got, (version.to_owned(), reason.to_owned()));
}

fn a_failing_version_is_held_out<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    let canary = canary_user();
    drive(&mut worker, &stable_user(), 50, 200);
    drive(&mut worker, &canary, 49, 500);
    worker.pass(250);
    is(&worker.send(get("/").user(&canary).answered(500)), "canary", "HASH");
    worker.pass(250);
    let seen = worker.send(get("/").user(&canary));
    is(&seen, "stable", "FALLBACK");
    assert_eq!(seen.cookies(), Vec::<String>::new(), "a fallback is not remembered");
    is(&worker.send(get("/").user(&stable_user())), "stable", "HASH");
    assert_eq!(
        (held_out(&worker), trips(&worker, "failures"), trips(&worker, "latency")),
        (1, 1, 0)
    );
    assert_eq!((weight(&worker, "canary"), weight(&worker, "stable")), (0, 100_000));
}

fn failures_before_the_first_tick_count<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    drive(&mut worker, &stable_user(), 50, 200);
    drive(&mut worker, &canary_user(), 50, 500);
    worker.pass(250);
    assert_eq!(held_out(&worker), 1);
}

fn a_pinned_user_falls_back_and_an_override_does_not<R: Rig>() {
    let mut worker = tripped::<R>(&guarded());
    let seen = worker.send(get("/").user(&stable_user()).cookie("p=canary"));
    is(&seen, "stable", "FALLBACK");
    assert_eq!(seen.cookies(), Vec::<String>::new(), "the pin is not taken away");
    let seen = worker.send(get("/").user(&stable_user()).header("x-canary", "canary"));
    is(&seen, "canary", "OVERRIDE");
}

fn a_slow_version_is_held_out<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""guard": {"minRequests": 10, "slowerThan": "500ms", "maxSlowRatio": 0.2}"#,
    ));
    worker.pass(250);
    let canary = canary_user();
    drive(&mut worker, &canary, 8, 200);
    for _ in 0..2 {
        worker.send(get("/").user(&canary).takes(600));
    }
    worker.tick();
    assert_eq!(held_out(&worker), 0, "two of ten are just allowed");
    worker.send(get("/").user(&canary).takes(600));
    worker.tick();
    assert_eq!((held_out(&worker), trips(&worker, "latency")), (1, 1));
}

fn what_fails_everywhere_is_nobody_s_fault<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    for _ in 0..100 {
        drive(&mut worker, &stable_user(), 1, 500);
        drive(&mut worker, &canary_user(), 1, 500);
        worker.pass(250);
    }
    assert_eq!((held_out(&worker), trips(&worker, "failures")), (0, 0));
}

fn a_handful_of_errors_is_not_enough<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    drive(&mut worker, &stable_user(), 1000, 200);
    drive(&mut worker, &canary_user(), 49, 500);
    worker.pass(29_000);
    assert_eq!(held_out(&worker), 0);
}

fn client_errors_and_aborts_are_not_enough<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    drive(&mut worker, &canary_user(), 200, 404);
    for _ in 0..200 {
        worker.send(get("/").user(&canary_user()).aborted());
    }
    worker.pass(1_000);
    assert_eq!(held_out(&worker), 0);
}

fn old_failures_are_forgotten_with_the_window<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    drive(&mut worker, &stable_user(), 50, 200);
    drive(&mut worker, &canary_user(), 49, 500);
    worker.pass(31_000);
    drive(&mut worker, &canary_user(), 49, 500);
    worker.pass(1_000);
    assert_eq!(held_out(&worker), 0);
}

fn a_rollout_in_shadow_mode_or_disabled_never_trips<R: Rig>() {
    for mode in [r#""mode": "shadow","#, r#""enabled": false,"#] {
        let config =
            guarded().replace(r#""name": "checkout","#, &format!(r#""name": "checkout", {mode}"#));
        let mut worker = Worker::<R>::with(&config);
        worker.pass(250);
        drive(&mut worker, &canary_user(), 100, 500);
        worker.pass(1_000);
        assert_eq!(held_out(&worker), 0);
    }
}

fn the_last_of_many_rollouts_is_guarded_from_its_first_request_on<R: Rig>() {
    let guard = r#""guard": {"minRequests": 50, "maxFailureRatio": 0.05}, "hashKey""#;
    let config = growth::for_hosts(150).replace(r#""hashKey""#, guard);
    let mut worker = Worker::<R>::with(&config);
    let user = user_in("r149", 0..50_000);
    let request = || get("/").host("h149.example").user(&user);
    for _ in 0..50 {
        worker.send(request().answered(500));
    }
    worker.pass(250);
    assert_eq!(worker.send(request()).request("x-cohort-r149").as_deref(), Some("a"));
    for (metric, value) in [
        (r#"cohort_version_held_out{rollout="r149",rollout_version="b"}"#, 1),
        (r#"cohort_version_weight{rollout="r149",rollout_version="b"}"#, 0),
        (r#"cohort_failures_total{rollout="r149",rollout_version="b"}"#, 50),
    ] {
        assert_eq!(worker.world.metric(metric), value, "{metric}");
    }
}

const THREE: &str = r#"{"rollouts": [{"name": "checkout",
    "versions": [{"name": "stable"}, {"name": "canary", "weight": 50}, {"name": "spare", "weight": 10}],
    "hashKey": [{"header": "x-user-id"}], "output": {"reasonHeader": "x-why"},
    "guard": {"minRequests": 10, "maxFailureRatio": 0.05, "fallback": "spare"}}]}"#;

fn the_guard_s_fallback_gets_the_users<R: Rig>() {
    let mut worker = Worker::<R>::with(THREE);
    worker.pass(250);
    drive(&mut worker, &canary_user(), 10, 500);
    worker.pass(250);
    is(&worker.send(get("/").user(&canary_user())), "spare", "FALLBACK");
    let weights = ["stable", "canary", "spare"].map(|version| weight(&worker, version));
    assert_eq!(weights, [40_000, 0, 60_000]);
}

fn a_fallback_that_is_out_itself_leaves_stable<R: Rig>() {
    let mut worker = Worker::<R>::with(THREE);
    worker.pass(250);
    drive(&mut worker, &canary_user(), 10, 500);
    drive(&mut worker, &user_in("checkout", 90_000..100_000), 10, 500);
    worker.pass(250);
    is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    let spare = user_in("checkout", 90_000..100_000);
    is(&worker.send(get("/").user(&spare)), "stable", "FALLBACK");
    let weights = ["stable", "canary", "spare"].map(|version| weight(&worker, version));
    assert_eq!(weights, [100_000, 0, 0]);
}

fn the_log_tells_a_person_what_to_do<R: Rig>() {
    let mut worker = tripped::<R>(&retrying());
    worker.world.advance(300_000);
    worker.tick();
    let log = worker.world.take_log(3);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "rollout checkout: version canary is held out of traffic (failures): of 50 answers in 0.2 s \
             50 failed; stable: 0 of 50 failed; its users get stable; it is tried again in 300 s",
            "rollout checkout: version canary is tried again with a tenth of its users",
        ]
    );
}
