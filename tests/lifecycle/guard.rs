//! A bad version leaves traffic by itself.

use std::cell::Cell;
use std::ops::Range;

use crate::support::*;

mod probing;
mod ramp;
mod workers;

on_both_rigs!(
    a_failing_version_is_held_out,
    six_failures_are_enough_where_nothing_is_said,
    one_user_however_busy_takes_nothing_out,
    without_keys_a_client_is_a_user,
    a_person_who_looks_at_a_version_without_weight_trips_nothing,
    of_two_rollouts_with_one_cluster_header_the_first_is_judged,
    answers_of_other_filters_hide_nothing,
    both_machines_come_to_the_same_record,
    failures_before_the_first_tick_count,
    a_pinned_user_falls_back_and_an_override_does_not,
    a_slow_version_is_held_out,
    what_is_slow_everywhere_is_nobody_s_fault,
    what_fails_everywhere_is_nobody_s_fault,
    fewer_than_min_requests_are_not_enough,
    client_errors_and_aborts_are_not_enough,
    old_failures_are_forgotten_with_the_window,
    a_rollout_in_shadow_mode_or_disabled_never_trips,
    the_last_of_many_rollouts_is_guarded_from_its_first_request_on,
    the_guard_s_fallback_gets_the_users,
    a_fallback_that_is_out_itself_leaves_stable,
    the_log_tells_a_person_what_to_do,
);

const GUARD: &str = r#""guard": {"window": "30s", "minRequests": 50, "maxFailureRatio": 0.05RETRY},
    "output": {"reasonHeader": "x-why"}, "pin": {"cookie": {"name": "p"}}, "overrides": {"header": "x-canary"}"#;

fn guarded() -> String {
    checkout(&GUARD.replace("RETRY", ""))
}

fn retrying() -> String {
    checkout(&GUARD.replace("RETRY", r#", "retryAfter": "5m""#))
}

/// The buckets whose users get the canary, and those whose users get stable.
const CANARY: Range<u32> = 0..50_000;
const STABLE: Range<u32> = 50_000..100_000;

thread_local! {
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

/// A user of these buckets of `checkout` whom no test has had before: of each the guard counts one answer.
fn newcomer(buckets: &Range<u32>) -> String {
    loop {
        let user = format!("newcomer-{}", NEXT.replace(NEXT.get() + 1));
        if buckets.contains(&cohort::hash::Scheme::Cohort.bucket(b"checkout", user.as_bytes())) {
            return user;
        }
    }
}

/// `count` answers with `status`, each to a user of its own.
fn drive<R: Rig>(worker: &mut Worker<R>, buckets: Range<u32>, count: u32, status: u16) {
    for _ in 0..count {
        worker.send(get("/").user(&newcomer(&buckets)).answered(status));
    }
}

/// Five looks: fifty good answers of stable and `bad` bad ones of the canary.
fn fails<R: Rig>(worker: &mut Worker<R>, bad: u32) {
    for look in 0..5 {
        drive(worker, STABLE, 10, 200);
        drive(worker, CANARY, (bad + look) / 5, 500);
        worker.pass(250);
    }
}

/// After a first tick, fifty good answers of stable and fifty bad ones of the canary.
fn fail<R: Rig>(worker: &mut Worker<R>) {
    worker.pass(250);
    fails(worker, 50);
}

/// A worker whose canary has just tripped.
fn tripped<R: Rig>(config: &str) -> Worker<R> {
    let mut worker = Worker::<R>::with(config);
    fail(&mut worker);
    assert_eq!(held_out(&worker), 1, "{}", worker.world.metrics());
    worker
}

fn held_out<R: Rig>(worker: &Worker<R>) -> u64 {
    worker.world.metric(r#"cohort_version_held_out{rollout="checkout",rollout_version="canary"}"#)
}

fn weight<R: Rig>(worker: &Worker<R>, version: &str) -> u64 {
    worker.world.metric(&format!(
        r#"cohort_version_weight{{rollout="checkout",rollout_version="{version}"}}"#
    ))
}

fn trips<R: Rig>(worker: &Worker<R>, cause: &str) -> u64 {
    worker.world.metric(&format!(
        r#"cohort_guard_trips_total{{rollout="checkout",rollout_version="canary",cause="{cause}"}}"#
    ))
}

fn is(seen: &Seen, version: &str, reason: &str) {
    let got = (seen.request("x-cohort-checkout").unwrap(), seen.response("x-why").unwrap());
    assert_eq!(got, (version.to_owned(), reason.to_owned()));
}

fn evidence<R: Rig>(worker: &Worker<R>) -> u64 {
    worker.world.metric(r#"cohort_guard_evidence{rollout="checkout",rollout_version="canary"}"#)
}

fn a_failing_version_is_held_out<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    assert_eq!(evidence(&worker), 0);
    fails(&mut worker, 49);
    assert_eq!((held_out(&worker), evidence(&worker)), (0, 1000), "only minRequests is in the way");
    let canary = newcomer(&CANARY);
    is(&worker.send(get("/").user(&canary).answered(500)), "canary", "HASH");
    worker.pass(250);
    let seen = worker.send(get("/").user(&canary));
    is(&seen, "stable", "FALLBACK");
    assert_eq!(seen.cookies(), Vec::<String>::new(), "a fallback is not remembered");
    is(&worker.send(get("/").user(&stable_user())), "stable", "HASH");
    assert_eq!(
        (held_out(&worker), trips(&worker, "failures"), trips(&worker, "latency")),
        (1, 1, 0)
    );
    assert_eq!((weight(&worker, "canary"), weight(&worker, "stable")), (0, 100_000));
    assert_eq!(evidence(&worker), 1000);
}

fn failures_before_the_first_tick_count<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    fails(&mut worker, 50);
    assert_eq!(held_out(&worker), 1);
}

fn six_failures_are_enough_where_nothing_is_said<R: Rig>() {
    let config = checkout(r#""guard": {}, "output": {"reasonHeader": "x-why"}"#);
    let mut worker = Worker::<R>::with(&config);
    let mut failed = 0;
    while held_out(&worker) == 0 {
        drive(&mut worker, STABLE, 9, 200);
        drive(&mut worker, CANARY, 1, 500);
        failed += 1;
        worker.pass(1_000);
        assert!(failed <= 6);
    }
    assert!(failed >= 3, "{failed}");
}

fn one_user_however_busy_takes_nothing_out<R: Rig>() {
    let config = checkout(r#""guard": {}, "output": {"reasonHeader": "x-why"}"#);
    let mut worker = Worker::<R>::with(&config);
    let (mut other, one) = (Worker::<R>::start(&worker.world), newcomer(&CANARY));
    assert!(other.configure(&config));
    for _ in 0..200 {
        drive(&mut worker, STABLE, 9, 200);
        for _ in 0..10 {
            worker.send(get("/").user(&one).answered(500));
            other.send(get("/").user(&one).answered(500));
        }
        worker.pass(250);
        other.tick();
    }
    assert_eq!(held_out(&worker), 0, "4,000 requests of one user on two workers");
    // The same where every request counts.
    let config = config.replace(r#""guard": {}"#, r#""guard": {"count": "requests"}"#);
    let mut worker = Worker::<R>::with(&config);
    for _ in 0..10 {
        drive(&mut worker, STABLE, 9, 200);
        worker.send(get("/").user(&one).answered(500));
        worker.pass(250);
    }
    assert_eq!(held_out(&worker), 1);
}

fn without_keys_a_client_is_a_user<R: Rig>() {
    // Only a rule gives a version to users without a key.
    let config = checkout(
        r#""guard": {}, "rules": [{"name": "all", "match": [{"header": {"x-all": {"present": true}}}], "version": "canary"}]"#,
    );
    for (clients, wanted) in [(1, 0), (8, 1)] {
        let mut worker = Worker::<R>::with(&config);
        for look in 0..40 {
            drive(&mut worker, STABLE, 9, 200);
            let address = format!("203.0.113.{}:{look}", look % clients);
            let request = get("/").from(&address).header("x-all", "1").answered(500);
            worker.send(request);
            worker.pass(250);
        }
        assert_eq!(held_out(&worker), wanted, "{clients} clients");
    }
}

fn a_person_who_looks_at_a_version_without_weight_trips_nothing<R: Rig>() {
    let config = guarded().replace(r#""weight": 50"#, r#""weight": 0"#);
    let mut worker = Worker::<R>::with(&config);
    for _ in 0..20 {
        drive(&mut worker, STABLE, 10, 200);
        for _ in 0..10 {
            let looks = get("/").user(&newcomer(&CANARY)).header("x-canary", "canary");
            worker.send(looks.answered(500));
        }
        worker.pass(250);
    }
    assert_eq!((held_out(&worker), trips(&worker, "failures")), (0, 0));
}

fn of_two_rollouts_with_one_cluster_header_the_first_is_judged<R: Rig>() {
    let one = |name: &str| {
        format!(
            r#"{{"name": "{name}", "versions": [{{"name": "stable", "cluster": "{name}-1"}}, {{"name": "canary", "weight": 50, "cluster": "{name}-2"}}],
                "hashKey": [{{"header": "x-user-id"}}], "guard": {{}}, "output": {{"clusterHeader": "x-cluster"}}}}"#
        )
    };
    let config = format!(r#"{{"rollouts": [{}, {}]}}"#, one("checkout"), one("second"));
    let mut worker = Worker::<R>::with(&config);
    for _ in 0..40 {
        for buckets in [STABLE, CANARY] {
            drive(&mut worker, buckets.clone(), 5, if buckets == CANARY { 500 } else { 200 });
        }
        worker.pass(250);
    }
    let held = |name: &str| {
        let gauge = "cohort_version_held_out";
        worker.world.metric(&format!(r#"{gauge}{{rollout="{name}",rollout_version="canary"}}"#))
    };
    assert_eq!((held("checkout"), held("second")), (1, 0));
}

fn answers_of_other_filters_hide_nothing<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    for _ in 0..6 {
        drive(&mut worker, STABLE, 10, 200);
        drive(&mut worker, CANARY, 10, 500);
        for _ in 0..240 {
            let denied = Reply::new(403).details(details::DENIED);
            worker.send(get("/").user(&newcomer(&CANARY)).reply(denied));
        }
        worker.pass(250);
    }
    assert_eq!(held_out(&worker), 1, "24 denials to one failure");
    // And they take nothing out.
    let mut worker = Worker::<R>::with(&guarded());
    for _ in 0..20 {
        drive(&mut worker, STABLE, 10, 200);
        for _ in 0..10 {
            let denied = Reply::new(503).details(details::DENIED);
            worker.send(get("/").user(&newcomer(&CANARY)).reply(denied));
        }
        worker.pass(250);
    }
    assert_eq!((held_out(&worker), evidence(&worker)), (0, 0));
}

fn both_machines_come_to_the_same_record<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""guard": {"maxFailureRatio": 0.2, "slowerThan": "500ms", "maxSlowRatio": 0.3, "timesWorseThanStable": 1.7}"#,
    ));
    for look in 0..60_u16 {
        drive(&mut worker, STABLE, 7, if look % 5 == 0 { 503 } else { 200 });
        drive(&mut worker, CANARY, 2, if look % 4 == 1 { 500 } else { 200 });
        worker.pass(250 + u64::from(look % 3) * 250);
    }
    let state = worker.world.state();
    let (_, (record, _)) = state
        .shared
        .iter()
        .find(|(key, _)| key.windows(7).any(|it| it == b"/guard/"))
        .expect("a record");
    // What stands before it says of which configuration it is, and its length.
    let record = &record[10..];
    let hash = cohort::hash::fingerprint(record);
    // Logarithms and powers come to the same bits natively and in the module.
    assert_eq!(format!("{hash:016x} of {}", record.len()), SAME_RECORD);
}

/// Written by the first machine that this ran on.
const SAME_RECORD: &str = "60e8e6206bc6aeb7 of 169";

fn a_pinned_user_falls_back_and_an_override_does_not<R: Rig>() {
    let mut worker = tripped::<R>(&guarded());
    let seen = worker.send(get("/").user(&stable_user()).cookie("p=canary"));
    is(&seen, "stable", "FALLBACK");
    assert_eq!(seen.cookies(), Vec::<String>::new(), "the pin is not taken away");
    let seen = worker.send(get("/").user(&stable_user()).header("x-canary", "canary"));
    is(&seen, "canary", "OVERRIDE");
}

/// Twenty looks at versions whose answers take these times.
fn slow<R: Rig>(stable: u64, canary: u64) -> Worker<R> {
    let mut worker =
        Worker::<R>::with(&checkout(r#""guard": {"slowerThan": "500ms", "maxSlowRatio": 0.2}"#));
    for _ in 0..20 {
        for (buckets, takes) in [(STABLE, stable), (CANARY, canary)] {
            for _ in 0..2 {
                worker.send(get("/").user(&newcomer(&buckets)).takes(takes));
            }
        }
        worker.pass(250);
    }
    worker
}

fn a_slow_version_is_held_out<R: Rig>() {
    let worker = slow::<R>(10, 600);
    assert_eq!((held_out(&worker), trips(&worker, "latency")), (1, 1));
    let worker = slow::<R>(10, 500);
    assert_eq!(held_out(&worker), 0);
}

fn what_is_slow_everywhere_is_nobody_s_fault<R: Rig>() {
    let worker = slow::<R>(600, 600);
    assert_eq!((held_out(&worker), trips(&worker, "latency")), (0, 0));
}

fn what_fails_everywhere_is_nobody_s_fault<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    for _ in 0..100 {
        drive(&mut worker, STABLE, 1, 500);
        drive(&mut worker, CANARY, 1, 500);
        worker.pass(250);
    }
    assert_eq!((held_out(&worker), trips(&worker, "failures")), (0, 0));
}

fn fewer_than_min_requests_are_not_enough<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    fails(&mut worker, 49);
    drive(&mut worker, STABLE, 1000, 200);
    worker.pass(29_000);
    assert_eq!(held_out(&worker), 0);
}

fn client_errors_and_aborts_are_not_enough<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    for _ in 0..10 {
        drive(&mut worker, STABLE, 20, 200);
        drive(&mut worker, CANARY, 20, 404);
        for _ in 0..20 {
            worker.send(get("/").user(&newcomer(&CANARY)).aborted());
        }
        worker.pass(250);
    }
    assert_eq!(held_out(&worker), 0);
}

fn old_failures_are_forgotten_with_the_window<R: Rig>() {
    let mut worker = Worker::<R>::with(&guarded());
    worker.pass(250);
    fails(&mut worker, 49);
    worker.pass(31_000);
    fails(&mut worker, 49);
    worker.pass(1_000);
    assert_eq!(held_out(&worker), 0);
}

fn a_rollout_in_shadow_mode_or_disabled_never_trips<R: Rig>() {
    for mode in [r#""mode": "shadow","#, r#""enabled": false,"#] {
        let config =
            guarded().replace(r#""name": "checkout","#, &format!(r#""name": "checkout", {mode}"#));
        let mut worker = Worker::<R>::with(&config);
        fail(&mut worker);
        assert_eq!(held_out(&worker), 0);
    }
}

fn the_last_of_many_rollouts_is_guarded_from_its_first_request_on<R: Rig>() {
    let guard = r#""guard": {"minRequests": 50, "maxFailureRatio": 0.05}, "hashKey""#;
    let config = growth::for_hosts(150).replace(r#""hashKey""#, guard);
    let mut worker = Worker::<R>::with(&config);
    let mut failing = (0..)
        .map(|number| format!("user-{number}"))
        .filter(|user| cohort::hash::Scheme::Cohort.bucket(b"r149", user.as_bytes()) < 50_000);
    let request = |user: &str| get("/").host("h149.example").user(user);
    for look in 0..5 {
        for number in 0..10 {
            worker.send(request(&failing.next().unwrap()).answered(500));
            let from = 50_000 + (look * 10 + number) * 1_000;
            worker.send(request(&user_in("r149", from..from + 1_000)));
        }
        worker.pass(250);
    }
    let user = user_in("r149", 0..50_000);
    assert_eq!(worker.send(request(&user)).request("x-cohort-r149").as_deref(), Some("a"));
    for (metric, value) in [
        (r#"cohort_version_held_out{rollout="r149",rollout_version="b"}"#, 1),
        (r#"cohort_version_weight{rollout="r149",rollout_version="b"}"#, 0),
        (r#"cohort_failures_total{rollout="r149",rollout_version="b"}"#, 50),
    ] {
        assert_eq!(worker.world.metric(metric), value, "{metric}");
    }
}

const THREE: &str = r#"{"rollouts": [{"name": "checkout",
    "versions": [{"name": "stable"}, {"name": "canary", "weight": 50}, {"name": "spare", "weight": 10}],
    "hashKey": [{"header": "x-user-id"}], "output": {"reasonHeader": "x-why"},
    "guard": {"minRequests": 10, "maxFailureRatio": 0.05, "fallback": "spare"}}]}"#;

fn the_guard_s_fallback_gets_the_users<R: Rig>() {
    let mut worker = Worker::<R>::with(THREE);
    fail(&mut worker);
    is(&worker.send(get("/").user(&canary_user())), "spare", "FALLBACK");
    let weights = ["stable", "canary", "spare"].map(|version| weight(&worker, version));
    assert_eq!(weights, [40_000, 0, 60_000]);
}

fn a_fallback_that_is_out_itself_leaves_stable<R: Rig>() {
    let mut worker = Worker::<R>::with(THREE);
    for _ in 0..5 {
        drive(&mut worker, 50_000..90_000, 10, 200);
        drive(&mut worker, CANARY, 10, 500);
        drive(&mut worker, 90_000..100_000, 10, 500);
        worker.pass(250);
    }
    is(&worker.send(get("/").user(&canary_user())), "stable", "FALLBACK");
    let spare = user_in("checkout", 90_000..100_000);
    is(&worker.send(get("/").user(&spare)), "stable", "FALLBACK");
    let weights = ["stable", "canary", "spare"].map(|version| weight(&worker, version));
    assert_eq!(weights, [100_000, 0, 0]);
}

fn the_log_tells_a_person_what_to_do<R: Rig>() {
    let mut worker = tripped::<R>(&retrying());
    worker.world.advance(300_000);
    worker.tick();
    let log = worker.world.take_log(3);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "rollout checkout: version canary is held out of traffic (failures): of 50 answers in 1.5 s \
             50 failed; stable: 0 of 50; by chance less than once in 365 d; its users get stable; \
             it is tried again in 300 s",
            "rollout checkout: version canary is tried again with a tenth of its users",
        ]
    );
}
