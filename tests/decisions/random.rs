//! Configurations and requests made at random: the module does what the library does.

use std::fmt::Write;

use serde_json::{json, Value};

use super::merge;
use super::support::*;

/// The same requests, the same answers, the same counts and the same host calls: with configurations and
/// requests made at random, natively and in the module.
#[test]
fn the_module_decides_as_the_library_does() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let config = random_config(&mut dice).to_string();
        let mut native = Worker::<Native>::with(&config);
        let mut module = Worker::<Wasm>::with(&config);
        for number in 0..25 {
            let request = random_request(&mut dice);
            let about = format!("seed {seed}, request {number}: {request:?}\nof {config}");
            let (by_native, by_module) = (native.send(request.clone()), module.send(request));
            assert_eq!(by_native, by_module, "{about}");
            let pass = dice.below(400);
            native.pass(pass);
            module.pass(pass);
        }
        assert_eq!(native.world.metrics(), module.world.metrics(), "seed {seed} of {config}");
        assert_eq!(native.world.take_log(0), module.world.take_log(0), "seed {seed}");
        let mut counts = module.world.take_counts();
        counts.remove("proxy_get_buffer_bytes");
        assert_eq!(native.world.take_counts(), counts, "seed {seed} of {config}");
    }
}

/// Any good configuration of one to four rollouts.
fn random_config(dice: &mut Dice) -> Value {
    let rollouts: Vec<Value> =
        (0..=dice.below(3)).map(|number| random_rollout(dice, number)).collect();
    json!({
        "segments": {"s": [random_condition(dice, 2), random_condition(dice, 0)]},
        "rollouts": rollouts
    })
}

fn random_rollout(dice: &mut Dice, number: u64) -> Value {
    let name = format!("r{number}");
    let clusters = dice.falls(1, 3);
    let scheme = *dice.pick(&["cohort", "cohort", "unleash", "flagd"]);
    let mut versions: Vec<Value> = (0..1 + dice.below(3))
        .map(|version| json!({"name": format!("v{version}"), "weight": dice.below(34)}))
        .collect();
    versions.insert(dice.below(versions.len() as u64 + 1) as usize, json!({"name": "stable"}));
    for version in &mut versions {
        if clusters {
            merge(version, json!({"cluster": format!("c-{}", version["name"].as_str().unwrap())}));
        }
        if dice.falls(1, 4) {
            merge(version, json!({"requestHeaders": {"x-feature": version["name"]}}));
        }
    }
    let mut rollout = json!({"name": name, "versions": versions, "hashScheme": scheme});
    let sources = [
        json!({"header": "x-user-id"}),
        json!({"cookie": "uid"}),
        json!({"query": "uid"}),
        json!({"address": true}),
    ];
    let mut may = |part: u64, make: &mut dyn FnMut(&mut Dice) -> Value| {
        if dice.falls(part, 10) {
            let rest = make(dice);
            merge(&mut rollout, rest);
        }
    };
    may(10, &mut |dice| json!({"hashKey": [dice.pick(&sources), dice.pick(&sources[..2])]}));
    may(2, &mut |_| json!({"mode": "shadow"}));
    may(1, &mut |_| json!({"enabled": false}));
    may(4, &mut |dice| json!({"match": [random_condition(dice, 1), random_condition(dice, 1)]}));
    may(3, &mut |_| json!({"anonymousId": {"cookie": {"name": "anon"}}}));
    may(5, &mut |dice| {
        let mut pin = json!({"cookie": {"name": format!("pin-{number}")}});
        if dice.falls(1, 2) {
            merge(&mut pin, json!({"signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ=="}));
        }
        json!({"pin": pin})
    });
    may(
        4,
        &mut |_| json!({"overrides": {"header": "x-canary", "query": "canary", "cookie": "canary"}}),
    );
    may(4, &mut |_| json!({"inherit": {"addresses": ["10.0.0.0/8"], "baggage": true}}));
    may(5, &mut |dice| {
        json!({"rules": [
            {"name": "one", "match": [random_condition(dice, 2)], "version": "v0"},
            {"name": "two", "segment": "s", "weights": {"v0": dice.below(101)}}
        ]})
    });
    may(4, &mut |_| {
        json!({"guard": {"window": "5s", "minRequests": 3, "maxFailureRatio": 0.2,
        "slowerThan": "100ms", "maxSlowRatio": 0.5, "retryAfter": "2s"}})
    });
    may(2, &mut |_| json!({"health": {"v0": {"cluster": "c"}}}));
    may(2, &mut |_| {
        json!({"ramp": {"start": "2026-11-21T10:00:01Z", "steps": [
        {"after": "0s", "weights": {"v0": 10}}, {"after": "2s", "weights": {"v0": 90}}]}})
    });
    let cluster = clusters.then(|| json!({"clusterHeader": "x-to"})).unwrap_or(json!({}));
    let mut output =
        json!({"reasonHeader": format!("x-why-{number}"), "baggage": dice.falls(1, 2)});
    merge(&mut output, cluster);
    merge(&mut rollout, json!({"output": output}));
    rollout
}

const WORDS: [&str; 8] = ["a", "b", "v0", "v1", "stable", "user-7", "\u{e9}", ""];

fn random_condition(dice: &mut Dice, depth: u32) -> Value {
    let word = *dice.pick(&WORDS);
    let text = match dice.below(7) {
        0 => json!({"exact": word}),
        1 => json!({"prefix": word, "ignoreCase": dice.falls(1, 2)}),
        2 => json!({"suffix": word}),
        3 => json!({"contains": word}),
        4 => json!({"in": [word, "c"]}),
        5 => json!({"regex": "^[a-v]"}),
        _ => json!({"present": dice.falls(1, 2)}),
    };
    let mut condition = match dice.below(6) {
        0 => json!({"header": {"x-a": text}}),
        1 => json!({"cookie": {"uid": text}}),
        2 => json!({"query": {"uid": text}}),
        3 => json!({"method": ["GET"]}),
        4 => json!({"address": ["10.0.0.0/8"]}),
        _ => json!({"host": {"exact": "shop.example.com"}}),
    };
    if depth > 0 && dice.falls(1, 3) {
        merge(&mut condition, json!({"not": random_condition(dice, depth - 1)}));
    }
    condition
}

fn random_request(dice: &mut Dice) -> Exchange {
    let mut target = "/".to_owned();
    if dice.falls(1, 2) {
        write!(target, "?uid={}&canary={}", dice.pick(&WORDS), dice.pick(&WORDS)).unwrap();
    }
    let mut request = get(&target);
    for _ in 0..dice.below(8) {
        let name = *dice.pick(&[
            "x-user-id",
            "x-a",
            "x-canary",
            "x-cohort-r0",
            "x-cohort-r1",
            "x_cohort_r0",
            "x-to",
            "x-why-0",
            "x-feature",
            "cookie",
            "cookie",
            "baggage",
            "content-type",
            "x-forwarded-proto",
            "x-other",
        ]);
        let word = *dice.pick(&WORDS);
        let value = match name {
            "cookie" => {
                let name = *dice.pick(&["uid", "anon", "pin-0", "pin-1", "canary"]);
                format!("x=1; {name}={word}; {name}=z")
            }
            "baggage" => format!("a=1,cohort-r0={word},%63ohort-r1={word};p"),
            "content-type" => "application/grpc".into(),
            "x-forwarded-proto" => "https".into(),
            _ => word.into(),
        };
        let value =
            if dice.falls(1, 12) { [value.as_bytes(), b"\xff\x80"].concat() } else { value.into() };
        request = request.header(name, value);
    }
    let address = *dice.pick(&["10.1.2.3:44", "203.0.113.9:1", "[2001:db8::1]:2", "socket"]);
    let request = request.from(address);
    let status = *dice.pick(&[200, 200, 200, 404, 500, 503]);
    let request = request.answered(status).takes(dice.below(200));
    match dice.below(8) {
        0 => request.aborted(),
        1 => request.reply(Reply::new(200).trailer("grpc-status", "14")),
        2 => request.trailer("x-cohort-r0", "v0").trailer("t", "1"),
        _ => request,
    }
}
