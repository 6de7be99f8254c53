//! The guard over all workers of a proxy, and over reloads.

use super::*;

on_both_rigs!(
    every_worker_holds_it_out_within_a_second,
    workers_trip_on_what_they_saw_together_and_once,
    what_one_worker_saw_holds_in_one_that_saw_nothing,
    a_trip_outlives_a_reload_of_an_unchanged_rollout,
    a_trip_outlives_the_worker_that_saw_it,
    a_changed_rollout_forgets_a_trip,
    a_stream_that_began_before_a_reload_still_counts,
    counters_that_the_proxy_leaves_out_are_said_and_each_worker_guards_itself,
);

/// Natively alone: a host that answers a call with Unimplemented ends the module (docs/design.md).
#[test]
fn without_shared_data_each_worker_guards_itself() {
    each_worker_guards_itself::<Native>();
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

fn counters_that_the_proxy_leaves_out_are_said_and_each_worker_guards_itself<R: Rig>() {
    let world = World::new();
    world.state().metrics.left_out = vec!["cohort_responses_total", "cohort_failures_total"];
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(guarded()));
    fail(&mut worker);
    worker.pass(500);
    is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    let log = world.take_log(3);
    assert_eq!(log.matches("its stats matcher leaves them out").count(), 1, "{log}");
    worker.pass(60_000);
    assert!(!world.take_log(3).contains("stats matcher"), "said once");
}

fn each_worker_guards_itself<R: Rig>() {
    let world = World::new();
    world.state().has_shared = false;
    let mut one = Worker::<R>::start(&world);
    assert!(one.configure(retrying()));
    fail(&mut one);
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
