//! Which configuration is in force, and what the gauges say of it, while a proxy takes configurations up,
//! refuses them, drops them and takes them up again.

use crate::support::*;

on_both_rigs!(
    a_configuration_that_the_proxy_refuses_after_all_leaves_no_trace,
    a_throw_away_machine_sets_no_gauge,
    a_plugin_that_is_removed_takes_its_gauges_along,
    a_removed_configuration_does_not_come_back_with_a_bad_one,
    an_older_configuration_taken_up_again_is_in_force_on_every_worker,
    old_connections_do_not_bring_an_older_configuration_back,
    after_taking_up_again_a_bad_update_keeps_what_is_in_force,
    a_refused_configuration_is_counted_once_for_all_workers,
    plugins_share_neither_series_nor_records,
    a_name_is_cut_where_istio_appends_to_it,
    a_gauge_says_what_is_in_force_beside_a_parent_process,
);

const WEIGHT: &str = r#"cohort_version_weight{rollout="checkout",rollout_version="canary"}"#;
const HELD_OUT: &str = r#"cohort_version_held_out{rollout="checkout",rollout_version="canary"}"#;
const TRIPS: &str =
    r#"cohort_guard_trips_total{rollout="checkout",rollout_version="canary",cause="failures"}"#;
const INVALID: &str = "cohort_config_invalid";
const REJECTED: &str = "cohort_config_rejected_total";
const BAD: &str = r#"{"rollouts": [{"name": "checkout", "versions": []}]}"#;

/// A rollout at `weight` percent.
fn weighted(weight: u32) -> String {
    checkout("").replace(r#""weight": 50"#, &format!(r#""weight": {weight}"#))
}

/// A rollout at `weight` percent with a guard that needs few answers.
fn guarded(weight: u32) -> String {
    format!(
        r#"{{"rollouts": [{{"name": "checkout", "hashKey": [{{"header": "x-user-id"}}],
            "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": {weight}}}],
            "guard": {{"maxFailureRatio": 0.05}}}}]}}"#
    )
}

/// Lets the canary fail and stable answer well until the guard has had time to see it.
fn break_canary<R: Rig>(worker: &mut Worker<R>) {
    for user in 0..400 {
        let user = format!("user-{user}");
        let open = worker.begin(get("/").user(&user));
        let canary = worker.seen(&open).request("x-cohort-checkout").as_deref() == Some("canary");
        worker.end(open);
        worker.send(get("/").user(&user).answered(if canary { 500 } else { 200 }));
        worker.pass(25);
    }
    worker.pass(2_000);
}

fn a_configuration_that_the_proxy_refuses_after_all_leaves_no_trace<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded(50));
    worker.pass(50);
    break_canary(&mut worker);
    assert_eq!((worker.world.metric(HELD_OUT), worker.world.metric(TRIPS)), (1, 1));
    let open = worker.begin(get("/").user("user-1"));
    assert!(worker.configure(guarded(80)));
    worker.drop_newest();
    worker.pass(5_000);
    worker.finish(open);
    assert_eq!((worker.world.metric(WEIGHT), worker.world.metric(HELD_OUT)), (0, 1));
    for user in 0..50 {
        let seen = worker.send(get("/").user(&format!("user-{user}")));
        assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("stable"));
    }
    worker.pass(2_000);
    assert_eq!(worker.world.metric(TRIPS), 1);
}

fn a_throw_away_machine_sets_no_gauge<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(5));
    worker.pass(50);
    let mut trial = Worker::<R>::start(&worker.world);
    assert!(trial.configure(weighted(50)));
    assert_eq!(worker.world.metric(WEIGHT), 5_000);
    worker.pass(2_000);
    assert_eq!(worker.world.metric(WEIGHT), 5_000);
}

fn a_plugin_that_is_removed_takes_its_gauges_along<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded(50));
    break_canary(&mut worker);
    assert_eq!(worker.world.metric(HELD_OUT), 1);
    worker.drop_newest();
    let left: Vec<String> = worker.world.metrics().lines().map(str::to_owned).collect();
    let gauges = left.iter().filter(|line| {
        ["version_weight", "held_out", "config_invalid"].iter().any(|name| line.contains(name))
    });
    for line in gauges {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

fn a_removed_configuration_does_not_come_back_with_a_bad_one<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    worker.pass(1_000);
    worker.drop_newest();
    assert!(worker.configure(BAD));
    let seen = worker.send(get("/").user("u"));
    assert_eq!(seen.request("x-cohort-checkout"), None);
    worker.pass(50);
    assert_eq!(worker.world.metric(INVALID), 1);
}

fn an_older_configuration_taken_up_again_is_in_force_on_every_worker<R: Rig>() {
    let mut one = Worker::<R>::with(&weighted(25));
    let mut main = Worker::<R>::start(&one.world);
    assert!(main.configure(weighted(25)));
    let (old, idle) =
        (one.begin(get("/").user("u").connection(7)), main.begin(get("/").user("u").connection(7)));
    one.pass(1_000);
    for worker in [&mut one, &mut main] {
        assert!(worker.configure(weighted(10)));
        worker.pass(1_000);
    }
    let second = one.begin(get("/").user("u").connection(8));
    one.end(second);
    assert_eq!(one.world.metric(WEIGHT), 10_000);
    // A connection that is newer than all before comes under the older configuration.
    let again = one.begin_under(0, get("/").user("u").connection(9));
    one.end(again);
    for _ in 0..20 {
        one.pass(250);
        main.tick();
    }
    assert_eq!(one.world.metric(WEIGHT), 25_000);
    one.end(old);
    main.end(idle);
}

fn old_connections_do_not_bring_an_older_configuration_back<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(25));
    worker.pass(1_000);
    let old = worker.begin(get("/").user("u").connection(7));
    worker.pass(1_000);
    assert!(worker.configure(weighted(10)));
    for _ in 0..20 {
        let kept_alive = worker.begin_under(0, get("/").user("u").connection(7));
        worker.end(kept_alive);
        worker.pass(250);
        assert_eq!(worker.world.metric(WEIGHT), 10_000);
    }
    worker.end(old);
}

fn after_taking_up_again_a_bad_update_keeps_what_is_in_force<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(100));
    let old = worker.begin(get("/").user("u").connection(7));
    worker.pass(1_000);
    assert!(worker.configure(weighted(0)));
    let second = worker.begin(get("/").user("u").connection(8));
    worker.pass(1_000);
    let again = worker.begin_under(0, get("/").user("u").connection(9));
    worker.end(again);
    // It is not taken, and what it stands for is the configuration in force.
    assert!(worker.configure(BAD));
    let seen = worker.send(get("/").user("u").connection(10));
    assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("canary"));
    worker.end(old);
    worker.end(second);
}

fn a_refused_configuration_is_counted_once_for_all_workers<R: Rig>() {
    let mut one = Worker::<R>::start(&World::new());
    let mut two = Worker::<R>::start(&one.world);
    assert!(one.configure(BAD) && two.configure(BAD));
    assert_eq!(one.world.metric(REJECTED), 1);
    assert!(one.configure(weighted(5)) && two.configure(weighted(5)));
    one.pass(60_000);
    assert!(!Worker::<R>::start(&one.world).configure(BAD), "an update");
    assert_eq!(one.world.metric(REJECTED), 2);
    assert!(!Worker::<R>::start(&one.world).configure("{}"), "another one");
    assert_eq!(one.world.metric(REJECTED), 3);
}

fn plugins_share_neither_series_nor_records<R: Rig>() {
    let mut team_a = Worker::<R>::with(&guarded(50));
    team_a.world.state().plugin_name = "team-b.cohort".into();
    let mut team_b = Worker::<R>::start(&team_a.world);
    assert!(team_b.configure(guarded(50)));
    team_a.world.state().plugin_name = "default.cohort".into();
    break_canary(&mut team_a);
    team_b.pass(2_000);
    let held_out = |plugin: &str| {
        team_a.world.metric(&format!(
            r#"cohort_version_held_out{{plugin="{plugin}",rollout="checkout",rollout_version="canary"}}"#
        ))
    };
    assert_eq!((held_out("default.cohort"), held_out("team-b.cohort")), (1, 0));
}

fn a_name_is_cut_where_istio_appends_to_it<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    worker.world.state().plugin_name = "shop.cohort~istio-translated-wasmplugin".into();
    assert!(worker.configure(weighted(5)));
    worker.pass(50);
    let gauge = r#"cohort_version_weight{plugin="shop.cohort",rollout="checkout",rollout_version="canary"}"#;
    assert_eq!(worker.world.metric(gauge), 5_000);
}

fn a_gauge_says_what_is_in_force_beside_a_parent_process<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted(5));
    let mut another = Worker::<R>::start(&worker.world);
    assert!(another.configure(weighted(5)));
    let pass = |one: &mut Worker<R>, another: &mut Worker<R>| {
        for _ in 0..4 {
            one.pass(500);
            another.tick();
        }
    };
    let parents = |worker: &Worker<R>, value| worker.world.state().metrics.have_parents(value);
    pass(&mut worker, &mut another);
    // Less than ours, more than ours, and gone.
    for value in [2_000, 95_000, 0] {
        parents(&worker, value);
        assert_ne!(worker.world.metric(WEIGHT), 5_000, "{value}");
        pass(&mut worker, &mut another);
        assert_eq!(worker.world.metric(WEIGHT), 5_000, "{value}");
        assert_eq!(worker.world.metric("cohort_config_invalid"), 0, "{value}");
    }
    // A change beside a parent.
    parents(&worker, 95_000);
    pass(&mut worker, &mut another);
    assert!(worker.configure(weighted(7)) && another.configure(weighted(7)));
    pass(&mut worker, &mut another);
    assert_eq!(worker.world.metric(WEIGHT), 7_000);
}
