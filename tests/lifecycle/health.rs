//! Health checks: polling, thresholds, hold-out and return.

use crate::support::*;

on_both_rigs!(
    a_cluster_is_polled_as_configured,
    a_version_is_in_traffic_before_the_first_answer,
    the_first_answer_decides_at_once,
    a_cluster_that_was_never_well_is_held_out_and_no_trip,
    later_answers_decide_by_the_thresholds,
    an_answer_without_a_status_is_a_bad_one,
    redirections_are_good_and_client_errors_are_bad,
    a_cluster_that_the_proxy_does_not_know_is_unhealthy,
    one_worker_polls_for_all,
    a_status_outlives_a_reload_also_of_a_changed_rollout,
    stable_may_be_polled_too,
    an_answer_that_comes_after_a_reload_is_lost_and_the_next_counts,
    the_log_and_the_gauges_tell_of_it,
);

const HEALTH: &str = r#""output": {"reasonHeader": "x-why"},
    "health": {"canary": {"cluster": "checkout-v2", "path": "/ready?deep=1", "host": "checkout",
                          "interval": "5s", "timeout": "800ms",
                          "unhealthyThreshold": 3, "healthyThreshold": 2}}"#;

/// Answers every poll that comes in the next `millis`.
fn answering<R: Rig>(worker: &mut Worker<R>, millis: u64, status: Option<u16>) -> usize {
    let mut answered = 0;
    for _ in 0..millis / 250 {
        worker.pass(250);
        for call in worker.world.take_calls() {
            worker.answer(&call, status);
            answered += 1;
        }
    }
    answered
}

fn version<R: Rig>(worker: &mut Worker<R>) -> String {
    worker.send(get("/").user(&canary_user())).request("x-cohort-checkout").unwrap()
}

fn a_cluster_is_polled_as_configured<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    worker.pass(250);
    let calls = worker.world.take_calls();
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((call.cluster.as_str(), call.timeout), ("checkout-v2", 800));
    assert_eq!(call.header(":method"), Some("GET"));
    assert_eq!(call.header(":path"), Some("/ready?deep=1"));
    assert_eq!(call.header(":authority"), Some("checkout"));
    assert_eq!(answering(&mut worker, 50_000, Some(200)), 10);
}

fn a_version_is_in_traffic_before_the_first_answer<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    worker.pass(500);
    assert_eq!(version(&mut worker), "canary");
}

fn the_first_answer_decides_at_once<R: Rig>() {
    for (status, wanted) in [(503, "stable"), (200, "canary")] {
        let mut worker = Worker::<R>::with(&checkout(HEALTH));
        answering(&mut worker, 250, Some(status));
        assert_eq!(version(&mut worker), wanted);
    }
}

fn later_answers_decide_by_the_thresholds<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    answering(&mut worker, 250, Some(200));
    for (status, wanted) in [
        (500, "canary"),
        (500, "canary"),
        (200, "canary"),
        (500, "canary"),
        (500, "canary"),
        (500, "stable"),
        (200, "stable"),
        (500, "stable"),
        (200, "stable"),
        (200, "canary"),
    ] {
        assert_eq!(answering(&mut worker, 5_000, Some(status)), 1);
        assert_eq!(version(&mut worker), wanted, "after {status}");
    }
}

fn an_answer_without_a_status_is_a_bad_one<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    answering(&mut worker, 250, None);
    assert_eq!(version(&mut worker), "stable");
}

fn redirections_are_good_and_client_errors_are_bad<R: Rig>() {
    for (status, wanted) in
        [(204, "canary"), (302, "canary"), (399, "canary"), (400, "stable"), (199, "stable")]
    {
        let mut worker = Worker::<R>::with(&checkout(HEALTH));
        answering(&mut worker, 250, Some(status));
        assert_eq!(version(&mut worker), wanted, "{status}");
    }
}

fn a_cluster_that_the_proxy_does_not_know_is_unhealthy<R: Rig>() {
    let world = World::new();
    world.state().unknown_clusters.push("checkout-v2".into());
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(checkout(HEALTH)));
    worker.pass(250);
    assert_eq!(version(&mut worker), "stable");
    world.state().unknown_clusters.clear();
    answering(&mut worker, 10_000, Some(200));
    assert_eq!(version(&mut worker), "canary");
}

fn one_worker_polls_for_all<R: Rig>() {
    let mut workers = vec![Worker::<R>::with(&checkout(HEALTH))];
    for _ in 0..2 {
        let mut worker = Worker::<R>::start(&workers[0].world);
        assert!(worker.configure(checkout(HEALTH)));
        workers.push(worker);
    }
    let world = std::sync::Arc::clone(&workers[0].world);
    let mut polls = 0;
    for _ in 0..40 {
        world.advance(250);
        for worker in &mut workers {
            worker.tick();
        }
        for call in world.take_calls() {
            polls += 1;
            let worker = workers.iter_mut().find(|worker| worker.id() == call.worker).unwrap();
            worker.answer(&call, Some(503));
        }
    }
    assert_eq!(polls, 2, "in ten seconds, for three workers");
    for worker in &mut workers {
        assert_eq!(version(worker), "stable");
    }
    assert_eq!(world.take_log(3).matches("is held out of traffic").count(), 1);
}

fn a_status_outlives_a_reload_also_of_a_changed_rollout<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    answering(&mut worker, 250, Some(503));
    assert!(worker.configure(checkout(HEALTH).replace(r#""weight": 50"#, r#""weight": 60"#)));
    assert_eq!(version(&mut worker), "stable");
    // Another cluster is another question.
    assert!(worker.configure(checkout(HEALTH).replace("checkout-v2", "checkout-v3")));
    assert_eq!(version(&mut worker), "canary");
}

fn stable_may_be_polled_too<R: Rig>() {
    let config = checkout(
        r#""health": {"stable": {"cluster": "v1"}}, "output": {"reasonHeader": "x-why"},
           "guard": {"maxFailureRatio": 0.1, "fallback": "canary"}"#,
    );
    let mut worker = Worker::<R>::with(&config);
    answering(&mut worker, 250, Some(503));
    let seen = worker.send(get("/").user(&stable_user()));
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "canary");
    assert_eq!(seen.response("x-why").unwrap(), "FALLBACK");
}

fn an_answer_that_comes_after_a_reload_is_lost_and_the_next_counts<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    worker.pass(250);
    let open = worker.begin(get("/").user("u"));
    let calls = worker.world.take_calls();
    assert!(worker.configure(checkout(HEALTH)));
    for call in calls {
        worker.answer(&call, Some(503));
    }
    worker.finish(open);
    answering(&mut worker, 20_000, Some(503));
    assert_eq!(version(&mut worker), "stable");
}

/// The first poll may come before the cluster's endpoints do.
fn a_cluster_that_was_never_well_is_held_out_and_no_trip<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    answering(&mut worker, 250, Some(503));
    assert_eq!(version(&mut worker), "stable");
    let trips =
        r#"cohort_guard_trips_total{rollout="checkout",rollout_version="canary",cause="health"}"#;
    assert_eq!(worker.world.metric(trips), 0);
}

fn the_log_and_the_gauges_tell_of_it<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(HEALTH));
    answering(&mut worker, 250, Some(200));
    for _ in 0..3 {
        answering(&mut worker, 5_000, Some(503));
    }
    let gauge = r#"cohort_version_held_out{rollout="checkout",rollout_version="canary"}"#;
    let trips =
        r#"cohort_guard_trips_total{rollout="checkout",rollout_version="canary",cause="health"}"#;
    assert_eq!((worker.world.metric(gauge), worker.world.metric(trips)), (1, 1));
    for _ in 0..2 {
        answering(&mut worker, 10_000, Some(200));
    }
    assert_eq!((worker.world.metric(gauge), worker.world.metric(trips)), (0, 1));
    let log = worker.world.take_log(3);
    let lines: Vec<&str> = log.lines().collect();
    let [out, back] = lines.as_slice() else { panic!("{log}") };
    for (line, facts) in [
        (out, ["version canary is held out of traffic (health)", "503", "its users get stable"]),
        (back, ["version canary is back in traffic", "200", "2 in a row"]),
    ] {
        for fact in facts.into_iter().chain(["rollout checkout", "checkout-v2", "/ready?deep=1"]) {
            assert!(line.contains(fact), "no {fact} in: {line}");
        }
    }
}
