//! Checks against a metrics server: what answers say, and when a version goes out and comes back.

use cohort::config::{Check, Config};
use cohort::engine::{Answer, CheckEvent, CheckState, Hold, Look, Unusable};
use proptest::prelude::*;

/// The first check of a rollout that has these, beside the usual keys.
fn check(more: &str) -> Check {
    let config = format!(
        r#"{{"rollouts": [{{"name": "r", "hashKey": [{{"cookie": "u"}}],
            "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 5}}],
            "analysis": [{{"name": "orders", "version": "canary", "cluster": "prometheus",
                "query": "x", {more}}}]}}]}}"#
    );
    let config =
        Config::from_json(config.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    config.rollouts[0].analysis[0].clone()
}

fn refused(analysis: &str) -> Vec<String> {
    let config = format!(
        r#"{{"rollouts": [{{"name": "r", "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 5}}],
            "analysis": {analysis}}}]}}"#
    );
    let problems = Config::from_json(config.as_bytes()).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

fn vector(values: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{values}]}}}}"#)
}

fn sample(value: &str) -> String {
    vector(&format!(r#"{{"metric":{{}},"value":[1795255200.1,"{value}"]}}"#))
}

#[test]
fn an_answer_is_one_number_no_data_or_of_no_use() {
    let answer = |body: &str| Answer::of(Some(200), Some(body.as_bytes()));
    assert_eq!(answer(&sample("0.25")), Answer::Number(0.25));
    assert_eq!(answer(&sample("-3e2")), Answer::Number(-300.0));
    assert_eq!(answer(&sample("+Inf")), Answer::Number(f64::INFINITY));
    assert_eq!(answer(&sample("-Inf")), Answer::Number(f64::NEG_INFINITY));
    assert_eq!(answer(&sample("NaN")), Answer::NoData);
    assert_eq!(answer(&vector("")), Answer::NoData);
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
    assert_eq!(answer(scalar), Answer::Number(7.0));
    let two =
        vector(r#"{"metric":{"pod":"a"},"value":[1,"1"]},{"metric":{"pod":"b"},"value":[1,"2"]}"#);
    assert_eq!(answer(&two), Answer::Unusable(Unusable::Several(2)));
    assert_eq!(answer(&two).told(), "a vector of 2 elements, where one number is needed");
    assert_eq!(Answer::of(Some(200), None), Answer::Unusable(Unusable::TooLong));
    for body in [
        "",
        "<html>",
        "{}",
        "[]",
        r#"{"status":"error","errorType":"bad_data","error":"x"}"#,
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[]}]}}"#,
        r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"value":[1,2]}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
    ] {
        assert!(matches!(answer(body), Answer::Unusable(_)), "{body}");
    }
    assert!(matches!(answer(&sample("nought")), Answer::Unusable(_)));
    for status in [None, Some(204), Some(400), Some(503)] {
        assert!(matches!(Answer::of(status, Some(sample("1").as_bytes())), Answer::Unusable(_)));
    }
}

#[test]
fn a_number_outside_the_limits_is_bad_and_one_on_a_limit_is_good() {
    let check = check(r#""min": 0.05, "max": 2"#);
    let look = |number| check.look(Answer::Number(number));
    for good in [0.05, 1.0, 2.0] {
        assert_eq!(look(good), Look::Good, "{good}");
    }
    for bad in [0.049, 2.001, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(look(bad), Look::Bad, "{bad}");
    }
    let infinity = Answer::Number(f64::INFINITY);
    assert_eq!(self::check(r#""min": 1"#).look(infinity), Look::Good);
}

#[test]
fn no_data_says_nothing_unless_it_is_to_fail() {
    assert_eq!(check(r#""min": 1"#).look(Answer::NoData), Look::Nothing);
    assert_eq!(check(r#""min": 1, "onNoData": "fail""#).look(Answer::NoData), Look::Bad);
    let unusable = Answer::Unusable(Unusable::NoAnswer);
    assert_eq!(check(r#""min": 1, "onNoData": "fail""#).look(unusable), Look::Nothing);
}

#[test]
fn so_many_bad_looks_in_a_row_take_the_version_out() {
    let check = check(r#""min": 1, "failures": 3"#);
    let mut state = CheckState::default();
    for look in [Look::Bad, Look::Bad, Look::Good, Look::Bad, Look::Nothing, Look::Bad] {
        let (next, event) = state.after(&check, look, 1_000);
        assert_eq!((next.hold, event), (Hold::In, None));
        state = next;
    }
    let (state, event) = state.after(&check, Look::Bad, 2_000);
    assert_eq!((state.hold, event), (Hold::Out, Some(CheckEvent::Tripped)));
    assert_eq!(state.first_trip, Some(2_000));
    // A good look brings nobody back before it is tried again.
    assert_eq!(state.after(&check, Look::Good, 3_000).0.hold, Hold::Out);
}

#[test]
fn a_version_is_tried_again_after_a_while_and_one_look_decides() {
    let check = check(r#""min": 1, "failures": 1"#);
    let (out, _) = CheckState::default().after(&check, Look::Bad, 1_000);
    assert_eq!(out.retry(&check, None, Millis::MAX, 0), None);
    assert_eq!(out.retry(&check, Some(60_000), 59_999, 0), None);
    let probing = out.retry(&check, Some(60_000), 60_000, 70_000).expect("tried again");
    assert_eq!((probing.hold, probing.next), (Hold::Probing, 100_000));
    assert_eq!(probing.after(&check, Look::Nothing, 1).0.hold, Hold::Probing);
    let (back, event) = probing.after(&check, Look::Good, 2_000);
    assert_eq!((back.hold, event), (Hold::In, Some(CheckEvent::Returned)));
    let (again, event) = probing.after(&check, Look::Bad, 2_000);
    assert_eq!((again.hold, event), (Hold::Out, Some(CheckEvent::Tripped)));
    assert_eq!(again.first_trip, Some(1_000), "the first trip of all");
}

type Millis = u64;

#[test]
fn one_worker_asks_in_each_interval_and_a_clock_that_goes_back_stops_nobody() {
    let check = check(r#""min": 1, "interval": "10s""#);
    let asked = CheckState::default().ask(&check, 100_000).expect("due");
    assert_eq!(asked.next, 110_000);
    assert_eq!(asked.ask(&check, 109_999), None);
    assert!(asked.ask(&check, 110_000).is_some());
    assert_eq!(asked.ask(&check, 99_000), None, "a worker that is a little behind");
    assert!(asked.ask(&check, 50_000).is_some(), "the clock went back");
}

#[test]
fn what_cannot_be_a_check_is_refused_with_its_place() {
    let one = |more: &str| {
        refused(&format!(r#"[{{"name": "a", "cluster": "p", "query": "q", {more}}}]"#))
    };
    assert_eq!(
        one(r#""version": "canary""#),
        ["$.rollouts[0].analysis[0]: found neither min nor max, allowed: one of them or both"]
    );
    assert_eq!(
        one(r#""version": "stable", "max": 1"#),
        ["$.rollouts[0].analysis[0].version: found \"stable\", allowed: a version other than stable"]
    );
    assert_eq!(
        one(r#""version": "canary", "min": 2, "max": 1"#),
        ["$.rollouts[0].analysis[0].min: found 2, allowed: a number of at most max"]
    );
    let interval = one(r#""version": "canary", "max": 1, "interval": "1s""#);
    assert!(interval[0].contains("a duration from 5s to 1h"), "{interval:?}");
    let secret = one(
        r#""version": "canary", "max": 1, "requestHeaders": {"authorization": "Bearer s3cr3t\n"}"#,
    );
    assert!(!secret.is_empty() && !secret[0].contains("s3cr3t"), "{secret:?}");
}

#[test]
fn a_token_is_not_shown_by_debug() {
    let check = check(r#""max": 1, "requestHeaders": {"authorization": "Bearer s3cr3t"}"#);
    assert!(!format!("{check:?}").contains("s3cr3t"));
}

#[test]
fn the_last_number_is_kept_in_thousandths_and_an_answer_of_no_use_changes_nothing_else() {
    let check = check(r#""max": 1"#);
    let heard = |state: CheckState, answer: Answer| state.heard(&check, state.round, answer, 1).0;
    let mut state = CheckState::default();
    for (number, value) in
        [(0.25, 250), (1.0006, 1001), (-3.0, 0), (f64::INFINITY, u64::MAX), (2.0, 2000)]
    {
        state = heard(state, Answer::Number(number));
        assert_eq!((state.value, state.unusable), (value, false), "{number}");
    }
    assert!(state.is_failing());
    let unusable = heard(state, Answer::Unusable(Unusable::NoAnswer));
    assert_eq!(unusable, CheckState { unusable: true, ..state });
    assert_eq!(heard(unusable, Answer::NoData), state);
}

#[test]
fn an_answer_to_a_question_of_an_earlier_round_does_not_decide() {
    let check = check(r#""max": 1, "failures": 1"#);
    let (out, _) = CheckState::default().after(&check, Look::Bad, 1_000);
    let probing = out.retry(&check, Some(1), 1, 0).expect("tried again");
    let late = probing.heard(&check, out.round, Answer::Number(0.5), 2_000);
    assert_eq!((late.0.hold, late.1), (Hold::Probing, None));
}

#[test]
fn an_answer_and_its_limit_are_told_in_numbers() {
    let check = check(r#""min": 0.05, "max": 2"#);
    for (answer, told, limit) in [
        (Answer::Number(0.012), "0.012", "below min 0.05"),
        (Answer::Number(2.5), "2.5", "above max 2"),
        (Answer::Number(f64::INFINITY), "+Inf", "above max 2"),
        (Answer::NoData, "no data", "onNoData is fail"),
    ] {
        assert_eq!((answer.told().as_str(), check.limit(answer).as_str()), (told, limit));
    }
}

#[test]
fn a_header_that_frames_a_message_does_not_go_with_a_question() {
    for name in ["host", "Content-Length", "transfer-encoding", "connection", "te", ":path"] {
        let check = format!(
            r#"[{{"name": "a", "version": "canary", "cluster": "p", "query": "q", "max": 1,
                "requestHeaders": {{"{name}": "5"}}}}]"#
        );
        let refused = refused(&check);
        assert!(refused.len() == 1 && refused[0].contains("a header name"), "{name}: {refused:?}");
    }
}

#[test]
fn a_limit_in_quotes_is_refused_with_what_was_meant() {
    let text = r#"{"rollouts": [{"name": "r", "versions": [{"name": "stable"}, {"name": "canary", "weight": 5}],
        "analysis": [{"name": "a", "version": "canary", "cluster": "p", "query": "q", "max": "0.5"}]}]}"#;
    let refused = Config::from_json(text.as_bytes()).expect_err("a text in JSON");
    assert_eq!(
        refused[0].to_string(),
        r#"$.rollouts[0].analysis[0].max: found a string "0.5", allowed: a number (did you mean 0.5?)"#
    );
}

proptest! {
    #[test]
    fn a_state_reads_back_as_it_was_written(bad: u32, round: u32, next: u64, trip: u64, value: u64, unusable: bool, hold in 0..3_usize) {
        let hold = [Hold::In, Hold::Probing, Hold::Out][hold];
        let first_trip = Some(trip).filter(|at| *at > 0);
        let state = CheckState { hold, bad, next, round, first_trip, value, unusable };
        prop_assert_eq!(CheckState::from_bytes(&state.to_bytes()), Some(state));
    }

    #[test]
    fn no_answer_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Answer::of(Some(200), Some(&noise));
    }
}
