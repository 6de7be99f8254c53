//! The `baggage` header: our members among those of others.

use crate::support::*;

on_both_rigs!(
    a_decision_is_a_member_beside_those_of_others,
    a_decision_alone_is_a_new_header,
    several_lines_become_one_in_order,
    every_spelling_of_our_member_is_replaced,
    baggage_that_is_not_ours_is_not_touched,
    our_member_is_left_out_where_it_would_pass_the_limits,
    a_rollout_without_baggage_output_still_takes_a_client_s_member_out,
    two_rollouts_write_two_members,
    a_trusted_peer_s_member_is_replaced_by_the_decision,
);

fn baggage<R: Rig>(worker: &mut Worker<R>, lines: &[&str]) -> Option<String> {
    let request = get("/").user(&canary_user());
    let request = lines.iter().fold(request, |request, line| request.header("baggage", line));
    worker.send(request).request("baggage")
}

const OUT: &str = r#""output": {"baggage": true}"#;
const OURS: &str = "cohort-checkout=canary";

fn a_decision_is_a_member_beside_those_of_others<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OUT));
    let line = "userId=alice;meta=1 ; other , serverNode=DF%2028 ,isProduction=false";
    assert_eq!(
        baggage(&mut worker, &[line]).unwrap(),
        format!("userId=alice;meta=1 ; other,serverNode=DF%2028,isProduction=false,{OURS}")
    );
}

fn a_decision_alone_is_a_new_header<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OUT));
    assert_eq!(baggage(&mut worker, &[]).unwrap(), OURS);
    assert_eq!(baggage(&mut worker, &[""]).unwrap(), OURS);
    assert_eq!(baggage(&mut worker, &[" , ,"]).unwrap(), OURS);
}

fn several_lines_become_one_in_order<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OUT));
    assert_eq!(baggage(&mut worker, &["a=1,b=2", "c=3"]).unwrap(), format!("a=1,b=2,c=3,{OURS}"));
}

fn every_spelling_of_our_member_is_replaced<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OUT));
    for member in [
        "cohort-checkout=stable",
        " cohort-checkout = stable ;ttl=1",
        "%63ohort-checkout=stable",
        "cohort%2dcheckout=stable",
        "cohort%2Dcheckout=stable",
        "cohort-checkout",
        "cohort-checkout;p",
        "cohort-checkout=stable,cohort-checkout=stable",
        "%20cohort-checkout%20=stable",
    ] {
        let line = format!("a=1,{member},b=2");
        assert_eq!(baggage(&mut worker, &[&line]).unwrap(), format!("a=1,b=2,{OURS}"), "{member}");
    }
}

fn baggage_that_is_not_ours_is_not_touched<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    for line in
        ["a=1 , b=2;x", "cohort-billing=x", "Cohort-checkout=x", "xcohort-checkout=x", " ,,a"]
    {
        assert_eq!(baggage(&mut worker, &[line]).unwrap(), line);
    }
}

fn our_member_is_left_out_where_it_would_pass_the_limits<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OUT));
    // 8,192 bytes in all, a comma and ours among them.
    let room = 8192 - OURS.len() - 1;
    let line = format!("a={}", "x".repeat(room - 2));
    assert_eq!(baggage(&mut worker, &[&line]).unwrap(), format!("{line},{OURS}"));
    let line = format!("a={}", "x".repeat(room - 1));
    assert_eq!(baggage(&mut worker, &[&line]).unwrap(), line);
    // 64 members in all.
    let members = |count: usize| {
        (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",")
    };
    assert_eq!(baggage(&mut worker, &[&members(63)]).unwrap(), format!("{},{OURS}", members(63)));
    assert_eq!(baggage(&mut worker, &[&members(64)]).unwrap(), members(64));
    // A client's own copy makes room, and goes also where ours does not fit.
    let line = format!("cohort-checkout=stable,{}", members(63));
    assert_eq!(baggage(&mut worker, &[&line]).unwrap(), format!("{},{OURS}", members(63)));
    let line = format!("cohort-checkout=stable,{}", members(64));
    assert_eq!(baggage(&mut worker, &[&line]).unwrap(), members(64));
}

fn a_rollout_without_baggage_output_still_takes_a_client_s_member_out<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    assert_eq!(baggage(&mut worker, &["cohort-checkout=canary"]), None);
    assert_eq!(baggage(&mut worker, &["a=1", "cohort-checkout=canary"]).unwrap(), "a=1");
}

fn two_rollouts_write_two_members<R: Rig>() {
    let rollout = |name: &str| {
        format!(
            r#"{{"name": "{name}", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 100}}],
                "hashKey": [{{"header": "x-user-id"}}], {OUT}}}"#
        )
    };
    let config = format!(r#"{{"rollouts": [{}, {}]}}"#, rollout("one"), rollout("two"));
    let mut worker = Worker::<R>::with(&config);
    assert_eq!(baggage(&mut worker, &["x=y"]).unwrap(), "x=y,cohort-one=b,cohort-two=b");
}

fn a_trusted_peer_s_member_is_replaced_by_the_decision<R: Rig>() {
    let rest = format!(r#"{OUT}, "inherit": {{"addresses": ["10.0.0.0/8"], "baggage": true}}"#);
    let mut worker = Worker::<R>::with(&checkout(&rest));
    let request = get("/").from("10.0.0.1:1").user(&canary_user());
    let seen = worker.send(request.header("baggage", "cohort-checkout=stable;p=1,a=1"));
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "stable");
    assert_eq!(seen.request("baggage").unwrap(), "a=1,cohort-checkout=stable");
}
