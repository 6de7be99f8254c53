//! The first configuration of a worker, and those that come after it.

use crate::support::*;

on_both_rigs!(
    a_good_configuration_is_in_force_from_the_first_request,
    a_configuration_without_rollouts_touches_nothing,
    a_bad_first_configuration_starts_without_rollouts_and_strips_our_headers,
    no_configuration_at_all_is_a_bad_one,
    a_strict_start_refuses_a_bad_first_configuration,
    a_strict_start_must_be_asked_for_by_a_1,
    a_bad_update_is_refused_by_the_machine_that_tries_it,
    a_bad_update_that_was_not_tried_leaves_the_last_good_one_at_work,
    a_bad_update_is_refused_also_of_a_configuration_without_rollouts,
    a_bad_configuration_long_after_the_last_good_one_is_a_first_one,
    a_good_configuration_after_a_bad_first_one_is_taken,
    the_log_says_what_the_command_says,
);

const BAD: &str = r#"{"rollouts": [{"name": "checkout", "hashkey": [{"cookie": "uid"}],
    "versions": [{"name": "stable"}, {"name": "canary", "weight": 105}]}]}"#;

fn a_good_configuration_is_in_force_from_the_first_request<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    let seen = worker.send(get("/").user(&canary_user()));
    assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("canary"));
    assert_eq!(worker.world.metric("cohort_config_invalid"), 0);
    assert_eq!(worker.world.take_log(2), "1 rollout is in force");
}

fn a_configuration_without_rollouts_touches_nothing<R: Rig>() {
    let mut worker = Worker::<R>::with(r#"{"rollouts": []}"#);
    worker.world.take_counts();
    let seen = worker.send(get("/").header("x-cohort-checkout", "mine").trailer("t", "1"));
    assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("mine"));
    assert_eq!(worker.world.take_counts(), [].into());
    worker.pass(50);
    assert_eq!(worker.world.metrics(), "cohort_config_invalid{plugin=\"default.cohort\"} 0\n");
}

fn a_bad_first_configuration_starts_without_rollouts_and_strips_our_headers<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    assert!(worker.configure(BAD));
    worker.pass(50);
    let said = "cohort_config_invalid{plugin=\"default.cohort\"} 1\n\
                cohort_config_rejected_total{plugin=\"default.cohort\"} 1\n";
    assert_eq!(worker.world.metrics(), said);
    let request = get("/")
        .user("user-1")
        .header("x-cohort-checkout", "canary")
        .header("x-cohort-checkout", "again")
        .header("X-Cohort-Anything", "1")
        .header("x_cohort_checkout", "canary")
        .header("x-cohort", "not ours")
        .header("y-cohort-checkout", "not ours");
    let seen = worker.send(request);
    assert_eq!(seen.request_names(), ["x-user-id", "x-cohort", "y-cohort-checkout"]);
    assert_eq!(seen.response, [(b":status".to_vec(), b"200".to_vec())]);
    worker.pass(60_000);
    assert_eq!(worker.world.metrics(), said);
}

fn no_configuration_at_all_is_a_bad_one<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    assert!(worker.configure(""));
    worker.pass(50);
    assert_eq!(worker.world.metric("cohort_config_invalid"), 1);
    let log = worker.world.take_log(4);
    assert!(log.starts_with("$: found nothing, allowed: an object with rollouts"), "{log}");
}

fn a_strict_start_refuses_a_bad_first_configuration<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    worker.world.set_environment("OTHER", "1");
    worker.world.set_environment("COHORT_STRICT_START", "1");
    assert!(!worker.configure(BAD));
    assert!(worker.world.take_log(4).contains("$.rollouts[0].versions[1].weight: found 105"));
    assert!(worker.configure(checkout("")), "a good one is taken");
}

fn a_strict_start_must_be_asked_for_by_a_1<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    worker.world.set_environment("COHORT_STRICT_START", "0");
    assert!(worker.configure(BAD));
}

fn a_bad_update_is_refused_by_the_machine_that_tries_it<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    for _ in 0..3 {
        worker.pass(30_000);
        // A proxy tries each update in a machine made for the purpose.
        assert!(!Worker::<R>::start(&worker.world).configure(BAD));
        assert_eq!(worker.world.metric("cohort_config_invalid"), 0);
    }
    assert!(worker.world.take_log(4).contains("the last good one stays"));
}

fn a_bad_update_that_was_not_tried_leaves_the_last_good_one_at_work<R: Rig>() {
    // A proxy remembers what it tried by its bytes: a bad configuration that was accepted as a first
    // one comes to the workers untried when it comes again.
    let mut worker = Worker::<R>::with(&guarded_checkout());
    for _ in 0..3 {
        worker.pass(30_000);
        assert!(worker.configure(BAD));
        let seen = worker.send(get("/").user(&canary_user()).header("x-cohort-checkout", "forged"));
        assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("canary"));
        assert_eq!(worker.world.metric("cohort_config_invalid"), 0);
    }
    for look in 0..6 {
        for number in 0..8 {
            let from = (look * 8 + number) * 1_000;
            worker.send(get("/").user(&user_in("checkout", 50_000 + from..51_000 + from)));
            worker.send(get("/").user(&user_in("checkout", from..1_000 + from)).answered(500));
        }
        worker.pass(250);
    }
    let seen = worker.send(get("/").user(&canary_user()));
    assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("stable"), "and guarded");
}

fn guarded_checkout() -> String {
    checkout(r#""guard": {"maxFailureRatio": 0.1}"#)
}

fn a_bad_update_is_refused_also_of_a_configuration_without_rollouts<R: Rig>() {
    let mut worker = Worker::<R>::with(r#"{"rollouts": []}"#);
    worker.pass(60_000);
    assert!(!Worker::<R>::start(&worker.world).configure(BAD));
}

fn a_bad_configuration_long_after_the_last_good_one_is_a_first_one<R: Rig>() {
    let mut gone = Worker::<R>::with(&checkout(""));
    gone.pass(5_000);
    let world = std::sync::Arc::clone(&gone.world);
    drop(gone);
    world.advance(11_000);
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(BAD));
    worker.pass(50);
    assert_eq!(world.metric("cohort_config_invalid"), 1);
}

fn a_good_configuration_after_a_bad_first_one_is_taken<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    assert!(worker.configure(BAD));
    worker.pass(50);
    assert_eq!(worker.world.metric("cohort_config_invalid"), 1);
    let early = worker.begin(get("/").user(&canary_user()));
    assert!(worker.configure(checkout("")));
    worker.pass(2_000);
    assert_eq!(worker.world.metric("cohort_config_invalid"), 0);
    let seen = worker.send(get("/").user(&canary_user()));
    assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some("canary"));
    assert_eq!(worker.finish(early).request("x-cohort-checkout"), None);
    let mut trial = Worker::<R>::start(&worker.world);
    assert!(!trial.configure(BAD), "from now on a bad one is an update");
}

fn the_log_says_what_the_command_says<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    let secret = "c2l4dGVlbi1ieXRl";
    let bad = checkout(&format!(
        r#""pin": {{"cookie": {{"name": "p"}}, "signingKey": "{secret}"}}, "color": 1"#
    ));
    worker.configure(&bad);
    let problems = cohort::config::Config::from_json(bad.as_bytes()).expect_err("a bad one");
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let log = worker.world.take_log(4);
    assert!(lines.len() > 1, "{lines:?}");
    assert!(log.starts_with(&lines.join("\n")), "{log}\n{lines:?}");
    assert!(!log.contains(secret), "{log}");
}
