//! A new configuration takes the place of an older one.

use crate::support::*;

on_both_rigs!(
    a_stream_ends_with_the_configuration_it_began_with,
    an_old_configuration_goes_with_its_last_stream,
    counters_go_on_over_a_reload,
    the_gauges_are_those_of_the_new_configuration,
    an_old_configuration_with_a_stream_does_not_set_the_gauges,
    a_rollout_that_went_away_decides_nothing_more,
    hundreds_of_configurations_leave_nothing_behind,
    a_hundred_guarded_configurations_leave_no_record_behind,
);

fn weighted(weight: u32) -> String {
    checkout(r#""output": {"responseHeader": "x-got", "reasonHeader": "x-why"}"#)
        .replace(r#""weight": 50"#, &format!(r#""weight": {weight}"#))
}

fn a_stream_ends_with_the_configuration_it_began_with<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    let open = worker.begin(get("/").user("u"));
    assert_eq!(worker.seen(&open).request("x-cohort-checkout").unwrap(), "canary");
    assert!(worker.configure(weighted(0)));
    let seen = worker.send(get("/").user("u"));
    assert_eq!(seen.response("x-got").unwrap(), "stable");
    worker.pass(60_000);
    let seen = worker.finish(open);
    assert_eq!(seen.response("x-got").unwrap(), "canary");
    let canary =
        r#"cohort_requests_total{rollout="checkout",rollout_version="canary",reason="HASH"}"#;
    assert_eq!(worker.world.metric(canary), 1);
}

fn an_old_configuration_goes_with_its_last_stream<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    let open = worker.begin(get("/").user("u"));
    assert!(worker.configure(weighted(50)));
    assert!(worker.configure(weighted(0)));
    worker.pass(6_000);
    // Long replaced: it asks for the time and leaves it at that.
    worker.world.take_counts();
    worker.pass(10_000);
    let counts = worker.world.take_counts();
    assert_eq!(counts["proxy_set_shared_data"], 40, "{counts:?}");
    assert_eq!(counts["proxy_get_current_time_nanoseconds"], 80, "{counts:?}");
    worker.finish(open);
    worker.pass(1_000);
}

fn counters_go_on_over_a_reload<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    for round in 1..=5 {
        worker.send(get("/").user("u"));
        assert!(worker.configure(weighted(100 - round)));
    }
    let canary =
        r#"cohort_requests_total{rollout="checkout",rollout_version="canary",reason="HASH"}"#;
    assert_eq!(worker.world.metric(canary), 5);
}

const WEIGHT: &str = r#"cohort_version_weight{rollout="checkout",rollout_version="canary"}"#;

fn the_gauges_are_those_of_the_new_configuration<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    for weight in [5, 50, 0] {
        assert!(worker.configure(weighted(weight)));
        worker.pass(50);
        assert_eq!(worker.world.metric(WEIGHT), u64::from(weight) * 1000);
        worker.pass(3_000);
        assert_eq!(worker.world.metric(WEIGHT), u64::from(weight) * 1000);
    }
}

fn an_old_configuration_with_a_stream_does_not_set_the_gauges<R: Rig>() {
    let ramp = checkout(
        r#""ramp": {"start": "2026-11-21T10:00:00Z", "steps": [
            {"after": "0s", "weights": {"canary": 5}}, {"after": "2s", "weights": {"canary": 25}}]}"#,
    );
    let mut worker = Worker::<R>::with(&ramp);
    let open = worker.begin(get("/").user("u"));
    worker.pass(50);
    assert_eq!(worker.world.metric(WEIGHT), 5_000);
    assert!(worker.configure(weighted(10)));
    worker.pass(10_000);
    assert_eq!(worker.world.metric(WEIGHT), 10_000);
    worker.finish(open);
}

fn a_rollout_that_went_away_decides_nothing_more<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    assert!(worker.configure(r#"{"rollouts": []}"#));
    let seen = worker.send(get("/").user("u"));
    assert_eq!(seen.request("x-cohort-checkout"), None);
}

fn hundreds_of_configurations_leave_nothing_behind<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(1));
    for round in 0..300 {
        let open = worker.begin(get("/").user("u"));
        match round % 3 {
            0 => assert!(worker.configure("{}")),
            _ => assert!(worker.configure(weighted(round % 100))),
        }
        worker.pass(250);
        let seen = worker.finish(open);
        assert!(seen.request("x-cohort-checkout").is_some());
    }
    worker.world.take_counts();
    worker.tick();
    let counts = worker.world.take_counts();
    assert_eq!(counts["proxy_set_shared_data"], 1, "one configuration lives: {counts:?}");
}

fn a_hundred_guarded_configurations_leave_no_record_behind<R: Rig>() {
    let watched = |round: u32| {
        weighted(round % 100).replace(
            r#""hashKey""#,
            &format!(
                r#""guard": {{"maxFailureRatio": 0.05}},
                "health": {{"canary": {{"cluster": "v2", "interval": "{}s"}}}},
                "analysis": [{{"name": "errors", "version": "canary", "cluster": "prometheus",
                               "query": "up", "max": 1, "interval": "10s"}}], "hashKey""#,
                1 + round % 50
            ),
        )
    };
    // Two workers that take each configuration one after the other, as those of a proxy do.
    let mut first = Worker::<R>::with(&watched(0));
    let mut second = Worker::<R>::start(&first.world);
    assert!(second.configure(watched(0)));
    let mut sizes = Vec::new();
    for round in 1..=100 {
        let open = first.begin(get("/").user("u"));
        assert!(first.configure(watched(round)));
        first.pass(250);
        second.tick();
        assert!(second.configure(watched(round)));
        second.pass(250);
        first.finish(open);
        let state = first.world.state();
        sizes.push(
            state.shared.iter().map(|(key, (value, _))| key.len() + value.len()).sum::<usize>(),
        );
    }
    let (early, late) = sizes.split_at(50);
    assert_eq!(early.iter().max(), late.iter().max(), "{sizes:?}");
}
