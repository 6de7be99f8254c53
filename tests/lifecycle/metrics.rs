//! Every metric with its value after a scenario, whole: an extra label or series fails.

use crate::support::*;

on_both_rigs!(
    the_smallest_configuration_s_metrics,
    a_full_configuration_s_metrics,
    a_disabled_rollout_s_metrics,
    metrics_of_a_rollout_that_nobody_asks_for,
    many_rollouts_tell_what_is_in_force_over_the_first_ticks,
    one_store_for_all_workers,
    a_step_of_the_machine_s_clock_changes_no_duration,
);

fn the_smallest_configuration_s_metrics<R: Rig>() {
    let mut worker = Worker::<R>::with(include_str!("../cases/minimal.json"));
    for number in 0..100 {
        worker.send(get("/").user(&format!("user-{number}")).takes(number));
    }
    worker.send(get("/"));
    worker.send(get("/").cookie("uid=user-7").answered(500));
    worker.send(get("/").user("user-8").aborted());
    worker.pass(1_000);
    golden("lifecycle/metrics/minimal.txt", &worker.world.metrics());
}

fn a_full_configuration_s_metrics<R: Rig>() {
    let mut worker = Worker::<R>::with(include_str!("../cases/full.json"));
    for call in worker.world.take_calls() {
        worker.answer(&call, Some(200));
    }
    for number in 0..200 {
        let request = get("/checkout/pay").user(&format!("user-{number}")).takes(number * 5);
        let request = match number % 10 {
            0 => request.header("x-employee", "yes"),
            1 => request.header("x-country", "US"),
            2 => request.header("x-canary", "nonsense"),
            3 => request.from("10.0.0.1:1").header("x-cohort-checkout", "canary"),
            4 => request.header("x-cohort-checkout", "canary"),
            5 => request.cookie("cohort-checkout=canary.forged"),
            6 => request.answered(404),
            7 => request.answered(502),
            8 => request.aborted(),
            _ => request,
        };
        worker.send(request);
        worker.pass(50);
    }
    worker.send(get("/elsewhere").user("user-1"));
    golden("lifecycle/metrics/full.txt", &worker.world.metrics());
}

fn a_disabled_rollout_s_metrics<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""enabled": false, "pin": {"cookie": {"name": "p"}}, "guard": {"maxFailureRatio": 0.1}"#,
    ));
    worker.send(get("/").user(&canary_user()));
    worker.pass(1_000);
    golden("lifecycle/metrics/disabled.txt", &worker.world.metrics());
}

fn metrics_of_a_rollout_that_nobody_asks_for<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(r#""match": [{"host": {"exact": "other"}}]"#));
    worker.send(get("/").user("u"));
    worker.pass(1_000);
    golden("lifecycle/metrics/unasked.txt", &worker.world.metrics());
}

fn many_rollouts_tell_what_is_in_force_over_the_first_ticks<R: Rig>() {
    let mut worker = Worker::<R>::with(&growth::for_hosts(250));
    let told = |worker: &Worker<R>| {
        worker.world.metrics().lines().filter(|line| line.ends_with("\"b\"} 50000")).count()
    };
    let period = |worker: &Worker<R>| worker.world.state().tick_periods.values().copied().last();
    assert_eq!((told(&worker), period(&worker)), (0, Some(50)));
    worker.pass(50);
    assert_eq!((told(&worker), period(&worker)), (100, Some(250)));
    worker.pass(250);
    assert_eq!((told(&worker), period(&worker)), (200, Some(250)));
    worker.pass(250);
    assert_eq!((told(&worker), period(&worker)), (250, Some(1_000)));
    let log = worker.world.metrics();
    worker.pass(10_000);
    assert_eq!(worker.world.metrics(), log);
}

fn a_step_of_the_machine_s_clock_changes_no_duration<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    for hours in [1, -1i64] {
        let open = worker.begin(get("/").user(&canary_user()).takes(40));
        let now = worker.world.state().now;
        worker.world.state().now = now.wrapping_add_signed(hours * 3_600_000_000_000);
        worker.finish(open);
    }
    let metrics = worker.world.metrics();
    assert!(metrics.contains(" 2 values, sum 80\n"), "{metrics}");
}

fn one_store_for_all_workers<R: Rig>() {
    let mut one = Worker::<R>::with(&checkout(""));
    let mut two = Worker::<R>::start(&one.world);
    assert!(two.configure(checkout("")));
    let user = canary_user();
    for _ in 0..3 {
        one.send(get("/").user(&user));
        two.send(get("/").user(&user));
    }
    let requests =
        r#"cohort_requests_total{rollout="checkout",rollout_version="canary",reason="HASH"}"#;
    assert_eq!(one.world.metric(requests), 6);
}
