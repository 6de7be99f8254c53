//! How what a request costs grows with the configuration: with its rollouts, versions and rules.

use super::support::growth::{by_cookie, jar, rules, versions};
use super::*;

#[test]
fn a_thousand_rollouts_cost_a_request_at_most_a_fifth_more_than_one() {
    let one = fuel(&for_hosts(1), &browser("/").host("h0.example"));
    let thousand = fuel(&for_hosts(1000), &browser("/").host("h999.example"));
    let elsewhere = fuel(&for_hosts(1000), &browser("/").host("nobody.example"));
    println!("1 rollout: {one}; 1,000: {thousand}; 1,000 of which none matches: {elsewhere}");
    assert!(thousand * 10 <= one * 12, "{thousand} of {one}");
    assert!(elsewhere <= one, "{elsewhere} of {one}");
}

/// `count` rollouts, each with six conditions on the host.
fn on_hosts(count: usize, host: &str) -> String {
    let condition = |path| format!(r#"{{"host": {host}, "path": {{"prefix": "/{path}"}}}}"#);
    let conditions: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(condition).into();
    let matched = format!(r#""match": [{}], "hashKey""#, conditions.join(","));
    for_any_host(count).replace(r#""hashKey""#, &matched)
}

/// The third figure shows that this one would notice: hosts that cannot be listed beforehand are asked one by one.
#[test]
fn a_request_for_another_host_costs_hardly_more_among_a_thousand_rollouts_than_among_ten() {
    let request = browser("/").host("nobody.example");
    let listed = r#"{"in": ["one.example", "two.example"]}"#;
    let [ten, thousand] = [10, 1000].map(|count| fuel(&on_hosts(count, listed), &request));
    let one_by_one = fuel(&on_hosts(1000, r#"{"regex": "^(one|two)[.]example$"}"#), &request);
    println!("10 rollouts: {ten}; 1,000: {thousand}; 1,000 asked one by one: {one_by_one}");
    assert!(thousand * 20 <= ten * 21, "{thousand} of {ten}");
    assert!(one_by_one > ten * 2, "{one_by_one} of {ten}");
}

#[test]
fn versions_rules_and_cookies_cost_by_what_they_are() {
    let request = browser("/");
    let figures = [
        ("2 versions", fuel(&versions(2), &request)),
        ("20 versions", fuel(&versions(20), &request)),
        ("1 rule", fuel(&rules(1), &request)),
        ("100 rules", fuel(&rules(100), &request)),
        ("a small cookie header", fuel(&by_cookie(), &jar(64))),
        ("4 KiB of cookies", fuel(&by_cookie(), &jar(4096))),
    ];
    println!("{figures:?}");
    let of = |name: &str| figures.iter().find(|(known, _)| *known == name).expect("a figure").1;
    assert!(of("20 versions") * 10 <= of("2 versions") * 12);
    assert!(of("100 rules") - of("1 rule") <= 99 * ceiling(RULE), "{figures:?}");
    assert!(
        of("4 KiB of cookies") - of("a small cookie header") <= 4032 * ceiling(COOKIE_BYTE),
        "{figures:?}"
    );
}

/// Fuel for one more rule that does not hold.
const RULE: u64 = 660;

/// Fuel for one more byte of cookies.
const COOKIE_BYTE: u64 = 16;

/// `count` rollouts that take over what the baggage says.
fn inheriting(count: usize) -> String {
    let inherit = r#""inherit": {"addresses": ["10.0.0.0/8"], "baggage": true}, "hashKey""#;
    for_any_host(count).replace(r#""hashKey""#, inherit)
}

#[test]
fn baggage_costs_the_same_however_many_rollouts_inherit() {
    for from in ["10.1.2.3:40000", "203.0.113.9:40000"] {
        let of = |count, bytes: usize| {
            fuel(
                &inheriting(count),
                &browser("/").from(from).header("baggage", "a=,".repeat(bytes / 3)),
            )
        };
        let more = |count| of(count, 8192) - of(count, 64);
        let (one, thirty) = (more(1), more(30));
        println!("8 KiB of baggage from {from}: {one} fuel with one rollout, {thirty} with thirty");
        assert!(thirty * 10 <= one * 12, "{one}, {thirty}");
    }
}
