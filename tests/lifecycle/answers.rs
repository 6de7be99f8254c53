//! What is written on an answer, and how an answer is counted.

use crate::support::*;

on_both_rigs!(
    the_answer_names_the_version_and_the_reason,
    an_upstream_cannot_speak_for_us,
    an_answer_to_a_request_that_nothing_decided_is_left_alone,
    a_stream_that_never_had_a_request_is_let_through,
    every_class_of_status_is_counted,
    a_client_that_went_away_is_no_failure,
    a_failure_is_what_the_upstream_did,
    what_another_filter_answers_is_not_the_version_s,
    the_time_that_a_client_takes_is_not_the_version_s,
    a_grpc_status_counts_where_the_request_was_grpc,
    an_upgrade_is_no_failure_and_not_slow,
    a_slow_answer_is_counted_where_the_guard_asks,
    a_status_that_is_no_number_counts_as_no_answer,
);

const NAMED: &str = r#""output": {"responseHeader": "x-got", "reasonHeader": "x-why"},
    "guard": {"maxFailureRatio": 0.5, "slowerThan": "500ms", "maxSlowRatio": 0.5}"#;

fn the_answer_names_the_version_and_the_reason<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let seen = worker.send(get("/").user(&canary_user()));
    assert_eq!(seen.response("x-got").unwrap(), "canary");
    assert_eq!(seen.response("x-why").unwrap(), "HASH");
}

fn an_upstream_cannot_speak_for_us<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let reply = Reply::new(200).header("x-got", "stable").header("x-got", "b");
    let seen = worker.send(get("/").user(&canary_user()).reply(reply));
    assert_eq!(seen.response("x-got").unwrap(), "canary");
}

fn an_answer_to_a_request_that_nothing_decided_is_left_alone<R: Rig>() {
    let config =
        checkout(r#""match": [{"path": {"exact": "/a"}}], "output": {"responseHeader": "x-got"}"#);
    let mut worker = Worker::<R>::with(&config);
    let reply = Reply::new(200).header("x-app", "app").header("x-got", "b").header("X_Got", "b");
    let seen = worker.send(get("/b").user("u").reply(reply));
    assert_eq!(seen.response("x-app").unwrap(), "app");
    // But nobody else says what only we may say.
    assert_eq!((seen.response("x-got"), seen.response("x_got")), (None, None));
}

fn a_stream_that_never_had_a_request_is_let_through<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let before = worker.world.metrics();
    let mut exchange = get("/").user("u");
    exchange.ending = Ending::NeverBegan;
    worker.send(exchange.clone());
    // The proxy's own answer to what it refused: a response without a request.
    let open = worker.begin(exchange);
    for event in [
        Event::ResponseHeaders { end: false },
        Event::ResponseBody { size: 0, end: true },
        Event::ResponseTrailers,
        Event::RequestTrailers,
    ] {
        worker.on(&open, event);
    }
    assert_eq!(worker.end(open).response, []);
    assert_eq!(worker.world.metrics(), before);
}

fn responses<R: Rig>(worker: &Worker<R>, class: &str) -> u64 {
    worker.world.metric(&format!(
        r#"cohort_responses_total{{rollout="checkout",rollout_version="canary",code_class="{class}",source="upstream"}}"#
    ))
}

/// Answers that the proxy, or a filter of it, gave in the version's place.
fn by_proxy<R: Rig>(worker: &Worker<R>, class: &str) -> u64 {
    worker.world.metric(&format!(
        r#"cohort_responses_total{{rollout="checkout",rollout_version="canary",code_class="{class}",source="proxy"}}"#
    ))
}

fn failures<R: Rig>(worker: &Worker<R>) -> u64 {
    worker.world.metric(r#"cohort_failures_total{rollout="checkout",rollout_version="canary"}"#)
}

fn slow<R: Rig>(worker: &Worker<R>) -> u64 {
    let name = r#"cohort_slow_responses_total{rollout="checkout",rollout_version="canary"}"#;
    worker.world.metric(name)
}

fn every_class_of_status_is_counted<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let user = canary_user();
    for (status, class, failed) in [
        (101, "1xx", 0),
        (200, "2xx", 0),
        (299, "2xx", 0),
        (304, "3xx", 0),
        (404, "4xx", 0),
        (429, "4xx", 0),
        (500, "5xx", 1),
        (503, "5xx", 1),
        (599, "5xx", 1),
        (999, "5xx", 1),
    ] {
        let (before, failures_before) = (responses(&worker, class), failures(&worker));
        worker.send(get("/").user(&user).answered(status));
        assert_eq!(responses(&worker, class), before + 1, "{status}");
        assert_eq!(failures(&worker), failures_before + failed, "{status}");
    }
}

fn a_client_that_went_away_is_no_failure<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    worker.send(get("/").user(&canary_user()).aborted().takes(60_000));
    assert_eq!((responses(&worker, "none"), failures(&worker), slow(&worker)), (1, 0, 0));
    let requests =
        r#"cohort_requests_total{rollout="checkout",rollout_version="canary",reason="HASH"}"#;
    assert_eq!(worker.world.metric(requests), 1);
    let durations =
        r#"cohort_request_duration_milliseconds{rollout="checkout",rollout_version="canary"}"#;
    assert_eq!(worker.world.metric(durations), 0);
    // In the middle of an answer.
    let reply = Reply::new(200).broken_off(details::CLIENT_WENT);
    worker.send(get("/").user(&canary_user()).reply(reply));
    assert_eq!((responses(&worker, "2xx"), failures(&worker)), (1, 0));
}

fn a_failure_is_what_the_upstream_did<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let user = canary_user();
    let reply = Reply::new(200).broken_off(details::RESET_AFTER_HEADERS);
    worker.send(get("/").user(&user).reply(reply));
    assert_eq!((responses(&worker, "2xx"), failures(&worker)), (1, 1));
    // It hangs, and the proxy gives it up.
    worker.send(get("/").user(&user).reply(Reply::new(200).broken_off(details::IDLE)));
    assert_eq!(failures(&worker), 2);
    // So much has come that it may be the client who does not read.
    let mut long = Reply::new(200).broken_off(details::IDLE);
    long.size = 70_000;
    worker.send(get("/").user(&user).reply(long));
    assert_eq!(failures(&worker), 2);
    // Complete, whatever came afterwards.
    worker.send(get("/").user(&user).reply(Reply::new(200).details(details::RESET_AFTER_HEADERS)));
    assert_eq!(failures(&worker), 2);
    // An answer that is nothing but headers is complete.
    let mut reply = Reply::new(204).details(details::RESET_AFTER_HEADERS);
    reply.body = false;
    worker.send(get("/").user(&user).reply(reply));
    assert_eq!((responses(&worker, "2xx"), failures(&worker)), (5, 2));
    // What the proxy could not get from the version is the version's answer too.
    worker.send(get("/").user(&user).reply(Reply::new(503).details(details::RESET_BEFORE_HEADERS)));
    assert_eq!((by_proxy(&worker, "5xx"), responses(&worker, "5xx"), failures(&worker)), (0, 1, 3));
}

fn what_another_filter_answers_is_not_the_version_s<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let user = canary_user();
    for (status, class) in [(403, "4xx"), (500, "5xx"), (302, "3xx")] {
        let denied = Reply::new(status).details(details::DENIED);
        worker.send(get("/").user(&user).reply(denied).takes(60_000));
        let counts = (by_proxy(&worker, class), responses(&worker, class));
        assert_eq!((counts, failures(&worker), slow(&worker)), ((1, 0), 0, 0), "{status}");
    }
    let preflight = get("/").user(&user).replace(":method", "OPTIONS");
    worker.send(preflight.clone().reply(Reply::new(200).details("cors_response")));
    assert_eq!((by_proxy(&worker, "2xx"), responses(&worker, "2xx")), (1, 0));
    worker.send(preflight);
    assert_eq!((by_proxy(&worker, "2xx"), responses(&worker, "2xx")), (1, 1));
}

fn the_time_that_a_client_takes_is_not_the_version_s<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let user = canary_user();
    let upload = || get("/").user(&user).replace(":method", "POST").takes(60_000);
    let took = |millis: &str| Reply::new(200).header("x-envoy-upstream-service-time", millis);
    // The proxy's own measure counts from the last byte of the request on.
    worker.send(upload().reply(took("40")));
    // Without it, who took the time cannot be told.
    worker.send(upload());
    assert_eq!(slow(&worker), 0);
    worker.send(upload().reply(took("501")));
    worker.send(get("/").user(&user).takes(60_000));
    assert_eq!(slow(&worker), 2);
}

fn a_grpc_status_counts_where_the_request_was_grpc<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let user = canary_user();
    let grpc = |kind: &str| get("/").user(&user).header("content-type", kind);
    for status in 0..=16u8 {
        let failed = u64::from([2, 4, 13, 14, 15].contains(&status));
        let before = failures(&worker);
        let reply = Reply::new(200).trailer("grpc-status", &status.to_string());
        worker.send(grpc("application/grpc").reply(reply.clone()));
        assert_eq!(failures(&worker), before + failed, "{status} in trailers");
        // Trailers-only: the status is in the headers.
        let mut bare = Reply::new(200).header("grpc-status", &status.to_string());
        bare.body = false;
        worker.send(grpc("application/grpc+proto").reply(bare));
        assert_eq!(failures(&worker), before + 2 * failed, "{status} in headers");
        worker.send(grpc("application/json").reply(reply));
        assert_eq!(failures(&worker), before + 2 * failed, "not gRPC");
    }
    let before = failures(&worker);
    let odd = Reply::new(200).trailer("grpc-status", "fourteen");
    worker.send(grpc("application/grpc").reply(odd));
    assert_eq!(failures(&worker), before);
}

fn an_upgrade_is_no_failure_and_not_slow<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let reply = Reply::new(101).broken_off(details::RESET_AFTER_HEADERS);
    worker.send(get("/").user(&canary_user()).reply(reply).takes(3_600_000));
    assert_eq!((responses(&worker, "1xx"), failures(&worker), slow(&worker)), (1, 0, 0));
    let tunnel = get("/").user(&canary_user()).replace(":method", "CONNECT").takes(3_600_000);
    worker.send(tunnel.reply(Reply::new(200).broken_off(details::RESET_AFTER_HEADERS)));
    assert_eq!((responses(&worker, "2xx"), failures(&worker), slow(&worker)), (1, 0, 0));
    // How long they lasted is nobody's duration.
    let durations =
        r#"cohort_request_duration_milliseconds{rollout="checkout",rollout_version="canary"}"#;
    assert_eq!(worker.world.metric(durations), 0);
}

fn a_slow_answer_is_counted_where_the_guard_asks<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    for (takes, counted) in [(499, 0), (500, 0), (501, 1), (60_000, 2)] {
        worker.send(get("/").user(&canary_user()).takes(takes));
        assert_eq!(slow(&worker), counted, "{takes}");
    }
    let mut worker = Worker::<R>::with(&checkout(r#""guard": {"maxFailureRatio": 0.5}"#));
    worker.send(get("/").user(&canary_user()).takes(60_000));
    assert!(!worker.world.metrics().contains("slow"), "{}", worker.world.metrics());
}

fn a_status_that_is_no_number_counts_as_no_answer<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(NAMED));
    let open = worker.begin(get("/").user(&canary_user()));
    worker.on(&open, Event::ResponseHeaders { end: true });
    worker.end(open);
    assert_eq!(responses(&worker, "none"), 1);
}
