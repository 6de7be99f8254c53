//! Checks against a metrics server: who asks and what, hold-out and return, and answers of no use.

use crate::support::*;

on_both_rigs!(
    a_metrics_server_is_asked_as_configured,
    a_version_goes_out_after_so_many_bad_looks_in_a_row,
    no_data_says_nothing_unless_it_is_to_fail,
    what_is_no_usable_answer_changes_nothing_is_counted_and_told_once,
    a_version_is_tried_again_and_the_next_look_decides,
    one_worker_asks_for_all_and_all_hold_the_version_out,
    an_analysis_and_a_guard_hold_a_version_out_together,
    a_trip_outlives_a_reload_and_ends_with_a_change_of_the_rollout,
    a_trip_ends_the_ramp,
    the_gauges_tell_what_was_heard_and_go_with_the_check,
    a_secret_goes_with_the_question_and_nowhere_else,
    a_question_costs_no_request_anything,
);

/// A rollout with a check that allows at most 0.05, and `more` of the check's keys.
fn checked(more: &str) -> String {
    checkout(&format!(
        r#""guard": {{"maxFailureRatio": 0.5, "retryAfter": "5m"}}, "output": {{"reasonHeader": "x-why"}},
           "analysis": [{{"name": "errors", "version": "canary", "cluster": "prometheus",
                          "query": "sum(rate(a{{b=\"c\"}}[1m])) / 2", "max": 0.05, "interval": "10s" {more}}}]"#
    ))
}

/// What a metrics server answers where the query gives these samples.
fn vector(samples: &[&str]) -> Vec<u8> {
    let element = |value: &&str| format!(r#"{{"metric":{{}},"value":[1795255200.1,"{value}"]}}"#);
    let elements: Vec<String> = samples.iter().map(element).collect();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
        elements.join(",")
    )
    .into_bytes()
}

/// Answers every question that comes in the next `millis`, and says how many there were.
fn answering<R: Rig>(
    worker: &mut Worker<R>,
    millis: u64,
    status: Option<u16>,
    body: &[u8],
) -> usize {
    let mut answered = 0;
    for _ in 0..millis / 250 {
        worker.pass(250);
        for call in worker.world.take_calls() {
            worker.answer_with(&call, status, body);
            answered += 1;
        }
    }
    answered
}

/// The samples of one look after the other, ten seconds apart.
fn looks<R: Rig>(worker: &mut Worker<R>, samples: &[&str]) {
    for sample in samples {
        assert_eq!(answering(worker, 10_000, Some(200), &vector(&[sample])), 1);
    }
}

fn version<R: Rig>(worker: &mut Worker<R>) -> String {
    worker.send(get("/").user(&canary_user())).request("x-cohort-checkout").unwrap()
}

const TRIPS: &str =
    r#"cohort_guard_trips_total{rollout="checkout",rollout_version="canary",cause="analysis"}"#;
const ERRORS: &str = r#"cohort_analysis_errors_total{rollout="checkout",check="errors"}"#;
const VALUE: &str =
    r#"cohort_analysis_value{rollout="checkout",rollout_version="canary",check="errors"}"#;
const FAILING: &str =
    r#"cohort_analysis_failing{rollout="checkout",rollout_version="canary",check="errors"}"#;

fn a_metrics_server_is_asked_as_configured<R: Rig>() {
    let more = r#", "host": "prometheus.monitoring", "timeout": "800ms",
                  "requestHeaders": {"Authorization": "Bearer s3cr3t", "x-scope-orgid": "shop"}"#;
    let mut worker = Worker::<R>::with(&checked(more));
    worker.pass(250);
    let calls = worker.world.take_calls();
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((call.cluster.as_str(), call.timeout), ("prometheus", 800));
    let header = |name, value: &str| (String::from(name), String::from(value));
    assert_eq!(
        call.headers,
        [
            header(":method", "GET"),
            header(
                ":path",
                "/api/v1/query?query=sum%28rate%28a%7Bb%3D%22c%22%7D%5B1m%5D%29%29%20%2F%202"
            ),
            header(":authority", "prometheus.monitoring"),
            header("user-agent", "cohort-analysis"),
            header("authorization", "Bearer s3cr3t"),
            header("x-scope-orgid", "shop"),
        ]
    );
    assert_eq!(answering(&mut worker, 60_000, Some(200), &vector(&["0"])), 6);
    // Its own name for the host, and one line of a header of the user's.
    let mut worker = Worker::<R>::with(&checked(r#", "requestHeaders": {"User-Agent": "me"}"#));
    worker.pass(250);
    let calls = worker.world.take_calls();
    assert_eq!(calls[0].header(":authority"), Some("prometheus"));
    let agents = calls[0].headers.iter().filter(|(name, _)| name == "user-agent");
    assert_eq!(agents.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["me"]);
}

fn a_version_goes_out_after_so_many_bad_looks_in_a_row<R: Rig>() {
    let mut worker = Worker::<R>::with(&checked(""));
    looks(&mut worker, &["0.06", "0.06", "0.05", "0.06", "+Inf"]);
    assert_eq!((version(&mut worker).as_str(), worker.world.metric(TRIPS)), ("canary", 0));
    looks(&mut worker, &["0.0625"]);
    assert_eq!((version(&mut worker).as_str(), worker.world.metric(TRIPS)), ("stable", 1));
    let seen = worker.send(get("/").user(&canary_user()));
    assert_eq!(seen.response("x-why").as_deref(), Some("FALLBACK"));
    let log = worker.world.take_log(3);
    let line = "rollout checkout: version canary is held out of traffic (analysis): check errors gave 0.0625, \
                above max 0.05, 3 in a row; its users get stable; it is tried again in 300 s";
    assert_eq!(log, line);
    // It goes on being asked, and good looks alone bring nobody back.
    looks(&mut worker, &["0", "0", "0", "0"]);
    assert_eq!(version(&mut worker), "stable");
}

fn no_data_says_nothing_unless_it_is_to_fail<R: Rig>() {
    for (more, wanted) in [("", "canary"), (r#", "onNoData": "fail""#, "stable")] {
        let mut worker = Worker::<R>::with(&checked(more));
        looks(&mut worker, &["NaN"]);
        assert_eq!(answering(&mut worker, 20_000, Some(200), &vector(&[])), 2);
        assert_eq!(version(&mut worker), wanted, "{more}");
        assert_eq!(worker.world.metric(ERRORS), 0);
        let log = worker.world.take_log(3);
        assert_eq!(
            log.contains("check errors gave no data, onNoData is fail, 3 in a row"),
            wanted == "stable",
            "{log}"
        );
    }
}

fn what_is_no_usable_answer_changes_nothing_is_counted_and_told_once<R: Rig>() {
    let mut too_long = vector(&["9"]);
    too_long.resize(64 * 1024 + 1, b' ');
    let two = vector(&["9", "9"]);
    for (status, body, why) in [
        (None, &b""[..], "no answer in time"),
        (Some(503), b"", "status 503"),
        (Some(400), b"{}", "status 400"),
        (Some(200), b"<html>", "an answer that is not JSON"),
        (Some(200), b"", "an answer that is not JSON"),
        (Some(200), &too_long, "an answer of more than 65536 bytes"),
        (Some(200), &two, "a vector of 2 elements, where one number is needed"),
    ] {
        let mut worker = Worker::<R>::with(&checked(r#", "onNoData": "fail", "failures": 2"#));
        looks(&mut worker, &["9"]);
        assert_eq!(answering(&mut worker, 40_000, status, body), 4);
        assert_eq!(version(&mut worker), "canary", "{why}");
        assert_eq!((worker.world.metric(ERRORS), worker.world.metric(FAILING)), (4, 1), "{why}");
        let log = worker.world.take_log(3);
        assert_eq!(
            log,
            format!(
                "rollout checkout: check errors has no usable answer from cluster prometheus ({why}); it changes \
                 nothing, and is counted until there is one"
            )
        );
        // What spoke against it before still does.
        looks(&mut worker, &["9"]);
        assert_eq!(version(&mut worker), "stable", "{why}");
    }
    let mut just = vector(&["9"]);
    just.resize(64 * 1024, b' ');
    let mut worker = Worker::<R>::with(&checked(r#", "failures": 1"#));
    answering(&mut worker, 250, Some(200), &just);
    assert_eq!((version(&mut worker).as_str(), worker.world.metric(ERRORS)), ("stable", 0));
    // A cluster that the proxy does not have.
    let world = World::new();
    world.state().unknown_clusters.push("prometheus".into());
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(checked("")));
    worker.pass(20_000);
    assert_eq!((version(&mut worker).as_str(), world.metric(ERRORS)), ("canary", 2));
    let log = world.take_log(3);
    assert!(
        log.contains("does the proxy have one of that name?") && log.lines().count() == 1,
        "{log}"
    );
}

fn a_version_is_tried_again_and_the_next_look_decides<R: Rig>() {
    for (sample, wanted, told) in [
        ("0.06", "stable", "is held out of traffic (analysis): check errors gave 0.06"),
        ("0.04", "canary", "version canary is back in traffic: check errors gave 0.04"),
    ] {
        let mut worker = Worker::<R>::with(&checked(r#", "failures": 1"#));
        looks(&mut worker, &["1"]);
        answering(&mut worker, 289_500, Some(200), &vector(&["0"]));
        assert_eq!(version(&mut worker), "stable");
        worker.world.take_log(3);
        // A look at what was before it was tried again decides nothing.
        answering(&mut worker, 10_000, Some(200), &vector(&[]));
        let weight = r#"cohort_version_weight{rollout="checkout",rollout_version="canary"}"#;
        assert_eq!(worker.world.metric(weight), 5_000, "a tenth of its share");
        let log = worker.world.take_log(3);
        assert_eq!(
            log,
            "rollout checkout: version canary is tried again with a tenth of its users (check errors)"
        );
        looks(&mut worker, &[sample]);
        assert_eq!(version(&mut worker), wanted);
        let log = worker.world.take_log(3);
        assert!(log.contains(told), "{log}");
    }
    // Without a time to try it again it stays out.
    let config = checked(r#", "failures": 1"#).replace(r#", "retryAfter": "5m""#, "");
    let mut worker = Worker::<R>::with(&config);
    looks(&mut worker, &["1"]);
    answering(&mut worker, 1_000_000, Some(200), &vector(&["0"]));
    assert_eq!(version(&mut worker), "stable");
    assert!(worker
        .world
        .take_log(3)
        .ends_with("it stays out until the rollout's configuration changes"));
}

fn one_worker_asks_for_all_and_all_hold_the_version_out<R: Rig>() {
    let mut workers = vec![Worker::<R>::with(&checked(""))];
    for _ in 0..2 {
        let mut worker = Worker::<R>::start(&workers[0].world);
        assert!(worker.configure(checked("")));
        workers.push(worker);
    }
    let world = std::sync::Arc::clone(&workers[0].world);
    let mut questions = 0;
    for _ in 0..100 {
        world.advance(250);
        for worker in &mut workers {
            worker.tick();
        }
        for call in world.take_calls() {
            questions += 1;
            let worker = workers.iter_mut().find(|worker| worker.id() == call.worker).unwrap();
            worker.answer_with(&call, Some(200), &vector(&["1"]));
        }
    }
    assert_eq!(questions, 3, "in 25 seconds, for three workers");
    for worker in &mut workers {
        assert_eq!(version(worker), "stable");
    }
    assert_eq!(world.take_log(3).matches("is held out of traffic").count(), 1);
    assert_eq!(world.metric(TRIPS), 1);
}

fn an_analysis_and_a_guard_hold_a_version_out_together<R: Rig>() {
    // The guard is content, and an analysis needs none.
    let config = checked(r#", "failures": 1"#);
    let alone = config.replace(r#""guard": {"maxFailureRatio": 0.5, "retryAfter": "5m"}, "#, "");
    assert!(!alone.contains("guard"));
    for config in [config, alone] {
        let mut worker = Worker::<R>::with(&config);
        looks(&mut worker, &["1"]);
        assert_eq!(version(&mut worker), "stable");
        let held = r#"cohort_version_held_out{rollout="checkout",rollout_version="canary"}"#;
        assert_eq!((worker.world.metric(held), worker.world.metric(TRIPS)), (1, 1));
    }
}

fn a_trip_outlives_a_reload_and_ends_with_a_change_of_the_rollout<R: Rig>() {
    let config = checked(r#", "failures": 1"#);
    let mut worker = Worker::<R>::with(&config);
    looks(&mut worker, &["1"]);
    assert!(worker.configure(&config));
    assert_eq!(version(&mut worker), "stable");
    let changed = config.replace(r#""weight": 50"#, r#""weight": 60"#);
    assert!(worker.configure(&changed));
    worker.pass(500);
    assert_eq!(version(&mut worker), "canary");
    // What comes back begins anew.
    assert!(worker.configure(&config));
    worker.pass(500);
    assert_eq!(version(&mut worker), "canary");
    worker.world.take_calls();
    looks(&mut worker, &["1"]);
    assert_eq!(version(&mut worker), "stable");
}

fn a_trip_ends_the_ramp<R: Rig>() {
    let ramp = r#""ramp": {"start": "2026-11-21T10:00:00Z",
        "steps": [{"after": "0s", "weights": {"canary": 5}}, {"after": "1m", "weights": {"canary": 100}}]},
        "guard": {"maxFailureRatio": 0.5, "retryAfter": "1m"}"#;
    let config = checked(r#", "failures": 1"#)
        .replace(r#""guard": {"maxFailureRatio": 0.5, "retryAfter": "5m"}"#, ramp);
    let mut worker = Worker::<R>::with(&config);
    looks(&mut worker, &["1"]);
    answering(&mut worker, 90_000, Some(200), &vector(&["0"]));
    let weight = r#"cohort_version_weight{rollout="checkout",rollout_version="canary"}"#;
    assert_eq!(worker.world.metric(weight), 5_000, "the step that was reached before");
}

fn the_gauges_tell_what_was_heard_and_go_with_the_check<R: Rig>() {
    let config = checked("");
    let mut worker = Worker::<R>::with(&config);
    worker.pass(250);
    worker.world.take_calls();
    assert!(worker.world.metrics().contains("cohort_analysis_errors_total"));
    for (sample, value, failing) in
        [("0.0501", 50, 1), ("0.04", 40, 0), ("-1", 0, 0), ("NaN", 0, 0), ("1.5", 1500, 1)]
    {
        looks(&mut worker, &[sample]);
        let told = (worker.world.metric(VALUE), worker.world.metric(FAILING));
        assert_eq!(told, (value, failing), "{sample}");
    }
    assert!(worker.configure(config.replace(r#""name": "errors""#, r#""name": "others""#)));
    worker.pass(500);
    assert_eq!((worker.world.metric(VALUE), worker.world.metric(FAILING)), (0, 0));
}

fn a_secret_goes_with_the_question_and_nowhere_else<R: Rig>() {
    let more = r#", "failures": 1, "requestHeaders": {"authorization": "Bearer s3cr3t"}"#;
    let world = World::new();
    world.state().log_level = 0;
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(checked(more)));
    // Refused, with a line in the log; the one before goes on.
    worker.configure(checked(&more.replace("s3cr3t", "s3cr3t\\n")));
    // A server that tells what it was sent.
    answering(&mut worker, 10_000, Some(400), b"Bearer s3cr3t");
    answering(&mut worker, 10_000, Some(200), br#"{"status": "error", "error": "Bearer s3cr3t"}"#);
    let label = br#"{"status":"success","data":{"resultType":"s3cr3t","result":[]}}"#;
    answering(&mut worker, 10_000, Some(200), label);
    looks(&mut worker, &["1"]);
    assert_eq!(world.metric(TRIPS), 1);
    let log = world.take_log(0);
    assert!(log.contains("a value with other characters"), "{log}");
    assert!(log.contains("no usable answer") && !log.contains("s3cr3t"), "{log}");
    assert!(!world.metrics().contains("s3cr3t"));
    let state = world.state();
    let has_secret = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"s3cr3t");
    assert!(!state.shared.iter().any(|(key, (value, _))| has_secret(key) || has_secret(value)));
}

fn a_question_costs_no_request_anything<R: Rig>() {
    let cost = |config: &str| {
        let mut worker = Worker::<R>::with(config);
        worker.pass(500);
        worker.send(get("/").user("first"));
        worker.world.take_counts();
        for number in 0..20 {
            worker.send(get("/").user(&format!("user-{number}")));
        }
        worker.world.take_counts()
    };
    let guarded = checkout(
        r#""guard": {"maxFailureRatio": 0.5, "retryAfter": "5m"}, "output": {"reasonHeader": "x-why"}"#,
    );
    let counts = cost(&checked(""));
    assert_eq!(counts, cost(&guarded));
    assert_eq!(counts.get("proxy_http_call"), None);
}

/// Natively alone: a host that answers a call with Unimplemented ends the module (docs/design.md).
#[test]
fn without_shared_data_each_worker_asks_for_itself() {
    let world = World::new();
    world.state().has_shared = false;
    let mut worker = Worker::<Native>::start(&world);
    assert!(worker.configure(checked("")));
    looks(&mut worker, &["1", "1", "1"]);
    assert_eq!(version(&mut worker), "stable");
}
