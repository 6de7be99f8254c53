//! What a client may make a request cost by what it sends: at most in proportion to its length.

use super::*;

/// Fuel for one request under `config`, the first of its kind not counted.
fn once(config: &str, request: &Exchange) -> u64 {
    let mut worker = Worker::<Wasm>::with(config);
    let seen = worker.send(browser("/"));
    assert!(seen.request("x-cohort-checkout").is_some(), "the rollout decides");
    let before = worker.rig.fuel();
    worker.send(request.clone());
    worker.rig.fuel() - before
}

/// A rollout that looks at cookies, baggage, pins and overrides.
fn attentive() -> String {
    checkout(
        r#""rules": [{"name": "beta", "match": [{"cookie": {"plan": {"exact": "beta"}}}], "version": "canary"}],
           "pin": {"versions": ["stable", "canary"], "cookie": {"name": "pin"},
                   "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ=="},
           "overrides": {"header": "x-canary", "query": "canary"},
           "inherit": {"addresses": ["10.0.0.0/8"], "baggage": true},
           "output": {"baggage": true}"#,
    )
}

fn joined(count: usize, separator: &str, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(separator)
}

/// A request with `count` of something.
type Flood = fn(usize) -> Exchange;

/// Each with the fuel that one more byte may cost. Nothing that a client names goes into a hash table, so there is
/// nothing to collide in.
const FLOODS: [(&str, u64, Flood); 13] = [
    ("cookies", 30, |n| browser("/").cookie(joined(n, "; ", |i| format!("c{i}={i}")))),
    ("cookies of one name", 52, |n| browser("/").cookie(joined(n, "; ", |_| "plan=x".into()))),
    ("cookie lines", 63, |n| (0..n).fold(browser("/"), |sent, i| sent.cookie(format!("c{i}=1")))),
    ("copies of the pin", 24, |n| {
        browser("/").cookie(joined(n, "; ", |_| "pin=canary.g.AAAA".into()))
    }),
    ("baggage members", 340, |n| {
        browser("/").header("baggage", joined(n, ",", |i| format!("k{i}=v")))
    }),
    ("baggage members of ours", 224, |n| {
        browser("/").header("baggage", joined(n, ",", |_| "cohort%2Dcheckout=canary".into()))
    }),
    ("percent signs in baggage", 138, |n| {
        browser("/").header("baggage", format!("{}=v", "%25".repeat(n)))
    }),
    ("headers", 50, |n| (0..n).fold(browser("/"), |sent, i| sent.header(&format!("x-h{i}"), "v"))),
    ("headers of ours", 102, |n| {
        (0..n).fold(browser("/"), |sent, _| sent.header("x-cohort-checkout", "canary"))
    }),
    ("contradicting overrides", 30, |n| {
        (0..n).fold(browser("/"), |sent, i| sent.header("x-canary", format!("v{i}")))
    }),
    ("parameters", 22, |n| browser(&format!("/?{}", joined(n, "&", |i| format!("p{i}=v"))))),
    ("ampersands", 57, |n| browser(&format!("/?{}", "&".repeat(n)))),
    ("percent signs in the query", 17, |n| browser(&format!("/?{}", "%".repeat(n)))),
];

#[test]
fn a_flood_costs_a_worker_in_proportion_to_its_length() {
    let bytes = |flood: &Exchange| -> u64 {
        flood.state.request.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    };
    let config = attentive();
    let mut over = Vec::new();
    for (name, most, flood) in FLOODS {
        let floods = [0, 1_000, 10_000].map(flood);
        let [none, small, large] = floods.each_ref().map(|flood| once(&config, flood));
        let [before, few, many] = floods.each_ref().map(bytes);
        let each = (large - small) / (many - few);
        println!(
            "{name}: {} fuel for one more byte of a few, {each} of many",
            (small - none) / (few - before)
        );
        if each > ceiling(most) {
            over.push((name, each));
        }
    }
    assert!(over.is_empty(), "{over:?}");
}

/// Those that take a backtracking engine for ever, and what one more byte of a value may cost each.
const EVIL: [(&str, u64); 5] = [
    ("^(a+)+$", 3_050),
    ("^(a|aa)+$", 4_300),
    ("(.*a){20}", 2_350),
    ("^(([a-z])+.)+[A-Z]([a-z])+$", 4_300),
    ("(x+x+)+y", 4_100),
];

#[test]
fn no_value_makes_a_regular_expression_expensive() {
    // And one as large as may be.
    let large = format!("{}{}", "a?".repeat(200), "a".repeat(200));
    for (regex, most) in EVIL.into_iter().chain([(large.as_str(), 217_000)]) {
        let config = checkout(&format!(
            r#""rules": [{{"name": "r", "match": [{{"header": {{"x-text": {{"regex": "{regex}"}}}}}}], "version": "canary"}}]"#
        ));
        for shape in ["a", "x", "aX", "\u{e9}"] {
            let of = |length| {
                let value = format!("{}!", shape.repeat(length / shape.len()));
                once(&config, &browser("/").header("x-text", value))
            };
            let (none, short, long) = (of(0), of(100), of(400));
            println!("{regex:.20} on {shape:?}: {} fuel a byte", (long - none) / 400);
            // Four times as long, at most a little more than four times the fuel.
            assert!(long - none <= 5 * (short - none), "{regex} on {shape}: {none} {short} {long}");
            assert!((long - none) / 400 <= ceiling(most), "{regex} on {shape}: {long}");
        }
    }
}
