//! What becomes of a version that was held out, by `retryAfter`.

use super::*;

on_both_rigs!(
    without_retry_after_it_stays_out,
    after_retry_after_a_tenth_of_the_users_probe,
    a_probe_that_goes_well_brings_it_back,
    a_probe_that_fails_takes_it_out_again,
    a_probe_is_seen_from_its_first_second_on_however_long_the_window,
    a_probe_that_only_failed_does_not_bring_it_back_and_one_that_nobody_asked_for_does,
    a_probe_of_many_answers_is_decided_by_them_and_ends_all_the_same,
    a_step_of_the_wall_clock_shortens_no_hold_out,
    a_broken_version_with_few_and_busy_users_never_comes_back,
    users_without_a_key_probe_every_tenth_time,
);

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
    probing_from(0, worker, users, status)
}

/// The same, of the users from number `from` on.
fn probing_from<R: Rig>(from: u32, worker: &mut Worker<R>, users: u32, status: u16) -> Vec<u32> {
    let mut through = Vec::new();
    let mut number = from;
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
    // The window has to pass, and some sixty good answers to come.
    for part in 0..30 {
        probing_from(part * 1_000, &mut worker, 40, 200);
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
        for part in 0..4 {
            probing_from(part * 1_000, &mut worker, 60, 500);
            worker.pass(250);
        }
        assert_eq!((held_out(&worker), trips(&worker, "failures")), (1, round));
        assert!(probing(&mut worker, 100, 200).is_empty());
    }
}

fn a_probe_is_seen_from_its_first_second_on_however_long_the_window<R: Rig>() {
    for window in ["1s", "30s", "1h"] {
        let guard = format!(
            r#""guard": {{"window": "{window}", "retryAfter": "5m"}}, "output": {{"reasonHeader": "x-why"}}"#
        );
        let mut worker = tripped::<R>(&checkout(&guard));
        worker.world.advance(300_000);
        worker.tick();
        for part in 0..4 {
            probing_from(part * 1_000, &mut worker, 60, 500);
            worker.pass(250);
        }
        assert_eq!((held_out(&worker), trips(&worker, "failures")), (1, 2), "{window}");
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

fn a_probe_that_only_failed_does_not_bring_it_back_and_one_that_nobody_asked_for_does<R: Rig>() {
    for (failures, wanted) in [(1, 5_000), (0, 50_000)] {
        let mut worker = tripped::<R>(&retrying());
        worker.pass(300_000);
        assert_eq!(weight(&worker, "canary"), 5_000, "on trial");
        let (mut failed, mut asked) = (0, 0);
        while failed < failures {
            failed += probing_from(asked * 1_000, &mut worker, 1, 500).len();
            asked += 1;
        }
        worker.pass(400_000);
        assert_eq!(weight(&worker, "canary"), wanted, "after {failures} failures");
    }
}

/// Six failures of 110 answers say neither that it is well nor that it is not.
fn a_probe_of_many_answers_is_decided_by_them_and_ends_all_the_same<R: Rig>() {
    let mut worker = tripped::<R>(&checkout(
        r#""guard": {"retryAfter": "5m"}, "output": {"reasonHeader": "x-why"}"#,
    ));
    worker.world.advance(300_000);
    worker.tick();
    let (mut answered, mut failed) = (0, 0);
    for part in 0..2_000 {
        let fails = answered / 16 > failed;
        let through = probing_from(part * 1_000, &mut worker, 1, if fails { 500 } else { 200 });
        failed += if fails { through.len() } else { 0 };
        answered += through.len();
        if answered == 110 {
            break;
        }
    }
    worker.pass(250);
    assert_eq!((answered, failed, weight(&worker, "canary")), (110, 6, 5_000), "on trial");
    worker.world.advance(2_999_000);
    worker.pass(500);
    assert_eq!(weight(&worker, "canary"), 5_000, "longer than a trial of few answers would be");
    worker.pass(1_000);
    assert_eq!(weight(&worker, "canary"), 50_000, "nobody asks any more");
}

fn a_step_of_the_wall_clock_shortens_no_hold_out<R: Rig>() {
    for step in [3_600_000_000_000_i64, -3_600_000_000_000, -20_000_000] {
        let mut worker = tripped::<R>(&retrying());
        let wall = worker.world.state().now;
        worker.world.state().now = wall.wrapping_add_signed(step);
        for _ in 0..40 {
            worker.pass(1_000);
            assert!(probing(&mut worker, 20, 200).is_empty(), "not before its time");
        }
    }
}

/// The users of one trial are those of the last, and each counts once in ten seconds.
fn a_broken_version_with_few_and_busy_users_never_comes_back<R: Rig>() {
    let config = checkout(
        r#""guard": {"window": "1s", "retryAfter": "1s"}, "output": {"reasonHeader": "x-why"}"#,
    );
    let mut worker = tripped::<R>(&config);
    for _ in 0..400 {
        probing(&mut worker, 60, 500);
        worker.pass(250);
        assert_ne!(weight(&worker, "canary"), 50_000, "{}", worker.world.take_log(3));
    }
    let trips = trips(&worker, "failures");
    assert!(trips >= 5, "{trips} trips in 100 s");
}
