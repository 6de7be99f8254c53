//! A bad version leaves traffic by itself, over all workers of a proxy.

use crate::support::*;

on_both_rigs!(
    a_failing_version_is_held_out,
    failures_before_the_first_tick_count,
    every_worker_holds_it_out_within_a_second,
    workers_trip_on_what_they_saw_together_and_once,
    a_pinned_user_falls_back_and_an_override_does_not,
    a_slow_version_is_held_out,
    what_fails_everywhere_is_nobody_s_fault,
    a_handful_of_errors_is_not_enough,
    client_errors_and_aborts_are_not_enough,
    old_failures_are_forgotten_with_the_window,
    a_rollout_in_shadow_mode_or_disabled_never_trips,
    without_retry_after_it_stays_out,
    after_retry_after_a_tenth_of_the_users_probe,
    a_probe_that_goes_well_brings_it_back,
    a_probe_that_fails_takes_it_out_again,
    users_without_a_key_probe_every_tenth_time,
    a_trip_outlives_a_reload_of_an_unchanged_rollout,
    a_trip_outlives_the_worker_that_saw_it,
    a_changed_rollout_forgets_a_trip,
    a_stream_that_began_before_a_reload_still_counts,
    what_one_worker_saw_holds_in_one_that_saw_nothing,
    the_last_of_many_rollouts_is_guarded_from_its_first_request_on,
    counters_that_the_proxy_leaves_out_are_said_and_each_worker_guards_itself,
    without_shared_data_each_worker_guards_itself,
    the_guard_s_fallback_gets_the_users,
    a_fallback_that_is_out_itself_leaves_stable,
    a_ramp_follows_the_clock,
    a_trip_ends_the_ramp,
    two_proxies_agree_on_the_ramp,
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

/// A worker whose canary has just tripped.
fn tripped<R: Rig>(config: &str) -> Worker<R> {
    let mut worker = Worker::<R>::with(config);
    worker.pass(250);
    drive(&mut worker, &stable_user(), 50, 200);
    drive(&mut worker, &canary_user(), 50, 500);
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

fn every_worker_holds_it_out_within_a_second<R: Rig>() {
    let mut one = tripped::<R>(&guarded());
    let mut two = Worker::<R>::start(&one.world);
    assert!(two.configure(guarded()));
    is(&two.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    // One that was there before.
    let mut first = Worker::<R>::with(&guarded());
    let mut second = Worker::<R>::start(&first.world);
    assert!(second.configure(guarded()));
    first.pass(250);
    second.tick();
    drive(&mut first, &stable_user(), 50, 200);
    drive(&mut first, &canary_user(), 60, 500);
    first.pass(250);
    is(&second.send(get("/").user(&canary_user())), "canary", "HASH");
    second.pass(250);
    is(&second.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    assert_eq!(trips(&first, "failures"), 1);
    one.tick();
}

fn workers_trip_on_what_they_saw_together_and_once<R: Rig>() {
    let mut one = Worker::<R>::with(&guarded());
    let mut two = Worker::<R>::start(&one.world);
    assert!(two.configure(guarded()));
    one.tick();
    two.tick();
    for worker in [&mut one, &mut two] {
        drive(worker, &stable_user(), 25, 200);
        drive(worker, &canary_user(), 25, 500);
    }
    one.pass(250);
    two.tick();
    for worker in [&mut one, &mut two] {
        is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    }
    for _ in 0..20 {
        one.pass(250);
        two.tick();
    }
    assert_eq!(trips(&one, "failures"), 1);
    assert_eq!(one.world.take_log(3).matches("is held out of traffic").count(), 1);
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

fn without_retry_after_it_stays_out<R: Rig>() {
    let mut worker = tripped::<R>(&guarded());
    for _ in 0..48 {
        worker.world.advance(3_600_000);
        worker.tick();
        is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    }
}

/// The canary's users that reach it, of `users` asked, and are answered with `status`.
fn probing<R: Rig>(worker: &mut Worker<R>, users: u32, status: u16) -> Vec<u32> {
    let mut through = Vec::new();
    let mut number = 0;
    let mut asked = 0;
    while asked < users {
        let user = format!("probe-{number}");
        number += 1;
        if cohort::hash::Scheme::Cohort.bucket(b"checkout", user.as_bytes()) >= 50_000 {
            continue;
        }
        asked += 1;
        let mut open = worker.begin(get("/").user(&user));
        if worker.seen(&open).request("x-cohort-checkout").unwrap() == "canary" {
            through.push(number);
            open.exchange = open.exchange.answered(status);
            worker.finish(open);
        } else {
            is(&worker.finish(open), "stable", "FALLBACK");
        }
    }
    through
}

fn after_retry_after_a_tenth_of_the_users_probe<R: Rig>() {
    let mut worker = tripped::<R>(&retrying());
    worker.world.advance(299_000);
    worker.tick();
    assert!(probing(&mut worker, 100, 200).is_empty(), "not before its time");
    worker.world.advance(1_000);
    worker.tick();
    let first = probing(&mut worker, 500, 200);
    assert!((25..=75).contains(&first.len()), "{} of 500", first.len());
    assert_eq!(probing(&mut worker, 500, 200), first, "the same users each time");
    assert_eq!((weight(&worker, "canary"), weight(&worker, "stable")), (5_000, 95_000));
    assert_eq!(held_out(&worker), 0);
}

fn a_probe_that_goes_well_brings_it_back<R: Rig>() {
    let mut worker = tripped::<R>(&retrying());
    worker.world.advance(300_000);
    worker.tick();
    for _ in 0..30 {
        probing(&mut worker, 20, 200);
        worker.pass(1_000);
    }
    worker.pass(1_000);
    is(&worker.send(get("/").user(&canary_user())), "canary", "HASH");
    assert_eq!(weight(&worker, "canary"), 50_000);
    assert!(worker.world.take_log(3).contains("version canary is back in traffic"));
    worker.pass(60_000);
    assert_eq!((held_out(&worker), trips(&worker, "failures")), (0, 1));
}

fn a_probe_that_fails_takes_it_out_again<R: Rig>() {
    let mut worker = tripped::<R>(&retrying());
    for round in 2..5 {
        worker.world.advance(300_000);
        worker.tick();
        probing(&mut worker, 200, 500);
        worker.pass(1_000);
        assert_eq!((held_out(&worker), trips(&worker, "failures")), (1, round));
        assert!(probing(&mut worker, 100, 200).is_empty());
    }
}

fn users_without_a_key_probe_every_tenth_time<R: Rig>() {
    // Only a rule gives a version to users without a key.
    let config = retrying().replace(
        r#""guard""#,
        r#""rules": [{"name": "all", "match": [{"header": {"x-all": {"present": true}}}], "version": "canary"}], "guard""#,
    );
    let mut worker = tripped::<R>(&config);
    worker.world.advance(300_000);
    worker.tick();
    let versions: Vec<bool> = (0..100)
        .map(|_| {
            let seen = worker.send(get("/").header("x-all", "1"));
            seen.request("x-cohort-checkout").unwrap() == "canary"
        })
        .collect();
    assert_eq!(versions.iter().filter(|canary| **canary).count(), 10);
}

fn a_trip_outlives_a_reload_of_an_unchanged_rollout<R: Rig>() {
    let mut worker = tripped::<R>(&guarded());
    let other = r#"{"name": "other", "versions": [{"name": "a"}, {"name": "b", "weight": 1}], "hashKey": [{"cookie": "c"}]}"#;
    let beside = guarded().replacen(r#"{"rollouts": ["#, &format!(r#"{{"rollouts": [{other},"#), 1);
    // The same in another spelling: keys in another order, a number with a point.
    let respelled = guarded().replace(r#""weight": 50}"#, r#""weight": 50.0}"#);
    let respelled = respelled.replace(
        r#""window": "30s", "minRequests": 50"#,
        r#""minRequests": 50.0, "window": "30s""#,
    );
    assert_ne!(respelled, guarded());
    for config in [guarded(), beside, respelled] {
        assert!(worker.configure(&config), "{config}");
        is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
        worker.pass(20_000);
        is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
        assert_eq!(held_out(&worker), 1);
    }
    assert_eq!(trips(&worker, "failures"), 1);
}

fn a_trip_outlives_the_worker_that_saw_it<R: Rig>() {
    let worker = tripped::<R>(&guarded());
    let world = std::sync::Arc::clone(&worker.world);
    drop(worker);
    let mut next = Worker::<R>::start(&world);
    assert!(next.configure(guarded()));
    is(&next.send(get("/").user(&canary_user())), "stable", "FALLBACK");
}

fn a_changed_rollout_forgets_a_trip<R: Rig>() {
    let mut worker = tripped::<R>(&guarded());
    let changed = guarded().replace(r#""weight": 50"#, r#""weight": 49"#);
    assert!(worker.configure(changed));
    let user = user_in("checkout", 0..49_000);
    is(&worker.send(get("/").user(&user)), "canary", "HASH");
    worker.pass(60_000);
    is(&worker.send(get("/").user(&user)), "canary", "HASH");
    assert_eq!((held_out(&worker), trips(&worker, "failures")), (0, 1));
}

fn a_stream_that_began_before_a_reload_still_counts<R: Rig>() {
    // Of an unchanged rollout, and of one with another limit.
    for later in [guarded(), guarded().replace("0.05", "0.06")] {
        let mut worker = Worker::<R>::with(&guarded());
        worker.pass(250);
        let canary = canary_user();
        let open: Vec<Open> =
            (0..50).map(|_| worker.begin(get("/").user(&canary).answered(500))).collect();
        assert!(worker.configure(later));
        for open in open {
            worker.finish(open);
        }
        worker.pass(500);
        assert_eq!(held_out(&worker), 1);
    }
}

fn what_one_worker_saw_holds_in_one_that_saw_nothing<R: Rig>() {
    let mut one = Worker::<R>::with(&guarded());
    let mut other = Worker::<R>::start(&one.world);
    assert!(other.configure(guarded()));
    drive(&mut one, &canary_user(), 50, 500);
    one.pass(250);
    other.tick();
    is(&other.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    assert_eq!(trips(&one, "failures"), 1);
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

fn counters_that_the_proxy_leaves_out_are_said_and_each_worker_guards_itself<R: Rig>() {
    let world = World::new();
    world.state().metrics.left_out = vec!["cohort_responses_total", "cohort_failures_total"];
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(guarded()));
    worker.pass(250);
    drive(&mut worker, &stable_user(), 50, 200);
    drive(&mut worker, &canary_user(), 50, 500);
    worker.pass(500);
    is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    let log = world.take_log(3);
    assert_eq!(log.matches("its stats matcher leaves them out").count(), 1, "{log}");
    worker.pass(60_000);
    assert!(!world.take_log(3).contains("stats matcher"), "said once");
}

fn without_shared_data_each_worker_guards_itself<R: Rig>() {
    let world = World::new();
    world.state().has_shared = false;
    let mut one = Worker::<R>::start(&world);
    assert!(one.configure(retrying()));
    one.pass(250);
    drive(&mut one, &stable_user(), 50, 200);
    drive(&mut one, &canary_user(), 50, 500);
    one.pass(250);
    is(&one.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    one.pass(1_000);
    is(&one.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    // An unchanged reload forgets nothing here either.
    assert!(one.configure(retrying()));
    is(&one.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    one.pass(1_000);
    is(&one.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    one.world.advance(300_000);
    one.tick();
    assert_eq!(weight(&one, "canary"), 5_000, "it probes");
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

const RAMP: &str = r#""ramp": {"start": "2026-11-21T10:01:00Z", "steps": [
    {"after": "0s", "weights": {"canary": 5}}, {"after": "10m", "weights": {"canary": 25}},
    {"after": "1h", "weights": {"canary": 100}}]}"#;

fn a_ramp_follows_the_clock<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(RAMP));
    let user = user_in("checkout", 20_000..25_000);
    for (at, canary, wanted) in [
        (0, 50_000, "canary"),
        (59_999, 50_000, "canary"),
        (60_000, 5_000, "stable"),
        (659_999, 5_000, "stable"),
        (660_000, 25_000, "canary"),
        (3_659_999, 25_000, "canary"),
        (3_660_000, 100_000, "canary"),
        (99_999_999, 100_000, "canary"),
    ] {
        worker.world.state().now = (START + at) * 1_000_000;
        let seen = worker.send(get("/").user(&user));
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), wanted, "at {at}, before any tick");
        worker.tick();
        assert_eq!(
            (weight(&worker, "canary"), weight(&worker, "stable")),
            (canary, 100_000 - canary)
        );
    }
}

fn a_trip_ends_the_ramp<R: Rig>() {
    let config = retrying().replacen(r#""guard""#, &format!(r#"{RAMP}, "guard""#), 1);
    let mut worker = Worker::<R>::with(&config);
    worker.pass(61_000);
    let canary = user_in("checkout", 0..5_000);
    drive(&mut worker, &stable_user(), 50, 200);
    drive(&mut worker, &canary, 50, 500);
    worker.pass(250);
    assert_eq!(weight(&worker, "canary"), 0);
    // Out, probing and back in: the weights stay those of the step at which it tripped.
    worker.world.advance(300_000);
    worker.tick();
    assert_eq!(weight(&worker, "canary"), 500);
    worker.world.advance(400_000);
    worker.tick();
    assert_eq!(weight(&worker, "canary"), 5_000);
    worker.world.advance(7_200_000);
    worker.tick();
    assert_eq!(weight(&worker, "canary"), 5_000);
    // Also for a worker that starts later, and after a reload.
    let mut late = Worker::<R>::start(&worker.world);
    assert!(late.configure(&config));
    let user = user_in("checkout", 5_000..25_000);
    is(&late.send(get("/").user(&user)), "stable", "HASH");
    is(&late.send(get("/").user(&canary)), "canary", "HASH");
}

fn two_proxies_agree_on_the_ramp<R: Rig>() {
    let mut one = Worker::<R>::with(&checkout(RAMP));
    let mut two = Worker::<R>::with(&checkout(RAMP));
    let mut dice = Dice(1);
    for _ in 0..100 {
        let now = (START + dice.below(4_000_000)) * 1_000_000 + dice.below(1_000_000);
        let user = format!("user-{}", dice.below(1000));
        let versions = [&mut one, &mut two].map(|worker| {
            worker.world.state().now = now;
            worker.send(get("/").user(&user)).request("x-cohort-checkout")
        });
        assert_eq!(versions[0], versions[1]);
    }
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
