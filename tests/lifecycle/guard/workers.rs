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
    counters_that_the_proxy_leaves_out_or_resets_are_not_the_guard_s,
    another_revision_lifts_a_hold_out_and_starts_anew,
    an_older_look_of_another_worker_undoes_nothing,
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
    fails(&mut first, 60);
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
    for _ in 0..5 {
        for worker in [&mut one, &mut two] {
            drive(worker, STABLE, 5, 200);
            drive(worker, CANARY, 5, 500);
        }
        one.pass(250);
        two.tick();
    }
    one.pass(250);
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
        let begin = |worker: &mut Worker<R>| {
            let request = get("/").user(&newcomer(&CANARY)).answered(500);
            worker.begin(request)
        };
        let mut open: Vec<Open> = (0..50).map(|_| begin(&mut worker)).collect();
        assert!(worker.configure(later));
        while !open.is_empty() {
            drive(&mut worker, STABLE, 10, 200);
            for open in open.drain(..10) {
                worker.finish(open);
            }
            worker.pass(250);
        }
        assert_eq!(held_out(&worker), 1);
    }
}

fn what_one_worker_saw_holds_in_one_that_saw_nothing<R: Rig>() {
    let mut one = Worker::<R>::with(&guarded());
    let mut other = Worker::<R>::start(&one.world);
    assert!(other.configure(guarded()));
    fails(&mut one, 50);
    other.tick();
    is(&other.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    assert_eq!(trips(&one, "failures"), 1);
}

fn counters_that_the_proxy_leaves_out_or_resets_are_not_the_guard_s<R: Rig>() {
    let world = World::new();
    world.state().metrics.left_out = vec!["cohort_responses_total", "cohort_failures_total"];
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(guarded()));
    fail(&mut worker);
    is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    assert!(!world.take_log(3).contains("stats matcher"));
    // As by POST /reset_counters, in the middle of it.
    let world = World::new();
    let mut one = Worker::<R>::start(&world);
    let mut two = Worker::<R>::start(&world);
    assert!(one.configure(guarded()) && two.configure(guarded()));
    fails(&mut one, 30);
    world.state().metrics.reset_counters();
    fails(&mut two, 30);
    two.pass(250);
    is(&two.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    assert_eq!(trips(&one, "failures"), 1);
}

fn each_worker_guards_itself<R: Rig>() {
    let world = World::new();
    world.state().has_shared = false;
    let mut one = Worker::<R>::start(&world);
    assert!(one.configure(retrying()));
    fail(&mut one);
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

fn another_revision_lifts_a_hold_out_and_starts_anew<R: Rig>() {
    let running = |revision: &str| {
        guarded().replace(r#""weight": 50"#, &format!(r#""weight": 50, "revision": "{revision}""#))
    };
    let mut worker = tripped::<R>(&running("1"));
    // What the old image still fails says nothing of the new one.
    let mut open: Vec<Open> = (0..60)
        .map(|_| {
            let request =
                get("/").user(&newcomer(&CANARY)).header("x-canary", "canary").answered(500);
            worker.begin(request)
        })
        .collect();
    assert!(worker.configure(running("2")));
    is(&worker.send(get("/").user(&canary_user())), "canary", "HASH");
    while !open.is_empty() {
        drive(&mut worker, STABLE, 10, 200);
        drive(&mut worker, CANARY, 10, 200);
        for open in open.drain(..10) {
            worker.finish(open);
        }
        worker.pass(250);
    }
    is(&worker.send(get("/").user(&canary_user())), "canary", "HASH");
    assert_eq!((held_out(&worker), evidence(&worker), trips(&worker, "failures")), (0, 0, 1));
    fails(&mut worker, 100);
    assert_eq!((held_out(&worker), trips(&worker, "failures")), (1, 2));
}

fn an_older_look_of_another_worker_undoes_nothing<R: Rig>() {
    // The second worker's clock was read some milliseconds before the first one wrote.
    for behind in [1, 30, 59_000] {
        let mut one = Worker::<R>::with(&retrying());
        let mut two = Worker::<R>::start(&one.world);
        assert!(two.configure(retrying()));
        one.pass(60_000);
        fails(&mut one, 60);
        assert_eq!(held_out(&one), 1);
        let now = one.world.state().monotonic;
        one.world.state().monotonic = now - behind * 1_000_000;
        two.tick();
        one.world.state().monotonic = now;
        one.pass(1_000);
        two.tick();
        for worker in [&mut one, &mut two] {
            is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
        }
        assert_eq!((held_out(&one), weight(&one, "canary")), (1, 0), "{behind} ms behind");
    }
}
