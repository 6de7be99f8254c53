//! One decision in nanoseconds, for each kind of configuration: reading the request, asking every rollout
//! that can match its host, deciding; and what the guard takes for a look, and for a user. Without a proxy:
//! `make bench` prints both.

use std::cell::Cell;
use std::net::IpAddr;

use cohort::config::Config;
use cohort::engine::guard::{Heard, Moment, Recent, Record};
use cohort::engine::{decide, Plan, Request, Standing, Surroundings};
use cohort::http::Headers;
use divan::{black_box, Bencher};

fn main() {
    divan::main();
}

struct Nowhere;

impl Surroundings for Nowhere {
    fn client_address(&self) -> Option<IpAddr> {
        Some(IpAddr::from([10, 1, 2, 3]))
    }

    fn random(&self) -> Option<[u8; 16]> {
        Some([7; 16])
    }
}

fn plan(config: &str) -> Plan {
    Plan::new(
        Config::from_json(config.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}")),
    )
}

fn rollout(name: &str, more: &str) -> String {
    format!(
        r#"{{"name": "{name}", "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 5}}],
            "hashKey": [{{"header": "x-user-id"}}]{more}}}"#
    )
}

fn request(cookies: &str) -> Headers {
    [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "shop-500.example.com"),
        (":path", "/checkout/cart?step=2"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "7f2c1a55-3f0e-4f8b-9d62-0d8d6a0d7c11"),
        ("x-user-id", "user-4711"),
        ("cookie", cookies),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .into_iter()
    .collect()
}

/// Decides every rollout that matches.
fn decide_all(plan: &Plan, headers: &Headers) -> usize {
    let request = Request::new(plan, headers, &Nowhere);
    let turn = Cell::new(0);
    let mut decided = 0;
    for rollout in plan.candidates(|| request.host()).filter_map(|at| plan.rollouts().get(at)) {
        if rollout.applies(&request) {
            let standing = Standing { split: &rollout.split, holds: &[], turn: &turn };
            black_box(decide(plan.config(), rollout, &standing, &request, &mut ()));
            decided += 1;
        }
    }
    decided
}

fn run(bencher: Bencher, config: &str, cookies: &str) {
    let (plan, headers) = (plan(config), request(cookies));
    assert!(decide_all(&plan, &headers) > 0, "the benchmark decides nothing");
    bencher.bench_local(|| decide_all(black_box(&plan), black_box(&headers)));
}

#[divan::bench]
fn minimal(bencher: Bencher) {
    run(bencher, &format!(r#"{{"rollouts": [{}]}}"#, rollout("checkout", "")), "a=1");
}

#[divan::bench]
fn everything_on(bencher: Bencher) {
    let config = include_str!("../tests/cases/full.json")
        .replace("shop.example.com", "shop-500.example.com");
    run(bencher, &config, "plan=free; uid=42; canary=no");
}

#[divan::bench]
fn a_signed_pin(bencher: Bencher) {
    let pin = r#", "pin": {"cookie": {"name": "p"}, "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ=="}"#;
    run(bencher, &format!(r#"{{"rollouts": [{}]}}"#, rollout("checkout", pin)), "p=stable..AAAA");
}

#[divan::bench(args = [1, 10, 100, 1000])]
fn rollouts_of_other_hosts(bencher: Bencher, count: usize) {
    let one = |n: usize| {
        let host = format!(r#", "match": [{{"host": {{"exact": "shop-{n}.example.com"}}}}]"#);
        rollout(&format!("shop-{n}"), &host)
    };
    let rollouts: Vec<String> = (0..count).map(|n| one(500 + n)).collect();
    run(bencher, &format!(r#"{{"rollouts": [{}]}}"#, rollouts.join(",")), "a=1");
}

#[divan::bench(args = [1, 10, 100])]
fn rules_that_do_not_hold(bencher: Bencher, count: usize) {
    let rules: Vec<String> = (0..count)
        .map(|n| {
            format!(
                r#"{{"name": "r{n}", "match": [{{"cookie": {{"plan": {{"exact": "p{n}"}}}}}}], "version": "canary"}}"#
            )
        })
        .collect();
    let rules = format!(r#", "rules": [{}]"#, rules.join(","));
    run(
        bencher,
        &format!(r#"{{"rollouts": [{}]}}"#, rollout("checkout", &rules)),
        "a=1; plan=free",
    );
}

#[divan::bench(args = [2, 5, 10, 20])]
fn versions(bencher: Bencher, count: usize) {
    let versions: Vec<String> =
        (1..count).map(|n| format!(r#"{{"name": "v{n}", "weight": 5}}"#)).collect();
    let config = format!(
        r#"{{"rollouts": [{{"name": "checkout", "versions": [{{"name": "stable"}},{}],
            "hashKey": [{{"header": "x-user-id"}}]}}]}}"#,
        versions.join(",")
    );
    run(bencher, &config, "a=1");
}

#[divan::bench(args = [64, 512, 4096])]
fn bytes_of_cookies(bencher: Bencher, length: usize) {
    let mut cookies = "uid=42".to_owned();
    while cookies.len() < length {
        cookies.push_str(&format!("; cookie-{}=0123456789abcdef", cookies.len()));
    }
    let config = format!(r#"{{"rollouts": [{}]}}"#, rollout("checkout", ""))
        .replace(r#"{"header": "x-user-id"}"#, r#"{"cookie": "uid"}"#);
    run(bencher, &config, &cookies);
}

/// A look of one worker at one guarded version, four a second: twenty answers of it, and two hundred of stable.
#[divan::bench(args = ["", r#""slowerThan": "1s", "maxSlowRatio": 0.05"#])]
fn guard_look(bencher: Bencher, more: &str) {
    let config = rollout("checkout", &format!(r#", "guard": {{{more}}}"#));
    let config = Config::from_json(format!(r#"{{"rollouts": [{config}]}}"#).as_bytes());
    let guard = config.ok().and_then(|mut it| it.rollouts.pop()).and_then(|it| it.guard);
    let guard = guard.expect("it has a guard");
    let mut heard = Heard::default();
    heard.answered.version.answers = 20;
    heard.answered.stable.answers = 200;
    let (record, now) = (Cell::new(Some(Record::new(&guard, 0))), Cell::new(0));
    bencher.bench_local(|| {
        now.set(now.get() + 250);
        let mut one = record.take().expect("it is put back");
        one.add(&guard, black_box(&heard), now.get());
        let moment = Moment { now: now.get(), wall: now.get(), known_for: 0, alone: false };
        let change = one.look(&guard, &moment);
        record.set(Some(one));
        change.is_some()
    });
}

/// Whether an answer is the first of its user in ten seconds.
#[divan::bench]
fn guard_user(bencher: Bencher) {
    let (mut recent, mut user) = (Recent::default(), 0_u32);
    bencher.bench_local(|| {
        user = user.wrapping_add(7_919) % 10_000;
        recent.counts(black_box(user), 250)
    });
}
