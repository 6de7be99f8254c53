//! Decisions as data, every one natively and in the built module, and what must hold of all of them.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod random;

use serde::Deserialize;
use serde_json::{json, Value};

use support::*;

on_both_rigs!(
    every_condition_holds_where_it_says_so,
    any_condition_of_a_list_is_enough_and_any_of_a_segment,
    every_case_decides_as_it_says,
    the_first_step_that_applies_decides_in_all_combinations,
    a_thousand_rollouts_decide_each_its_own_host,
    shares_are_the_weights_and_raising_one_moves_nobody_out,
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionCase {
    condition: Value,
    holds: Vec<RequestCase>,
    fails: Vec<RequestCase>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RequestCase {
    target: String,
    method: String,
    host: String,
    headers: Vec<(String, String)>,
    from: String,
    principal: Option<String>,
}

impl Default for RequestCase {
    fn default() -> Self {
        Self {
            target: "/".into(),
            method: "GET".into(),
            host: "shop.example.com".into(),
            headers: Vec::new(),
            from: "203.0.113.9:41234".into(),
            principal: None,
        }
    }
}

impl RequestCase {
    fn exchange(&self) -> Exchange {
        let exchange = get("/").replace(":path", latin1(&self.target));
        let exchange = exchange.replace(":method", &self.method).host(&self.host).from(&self.from);
        let exchange = match &self.principal {
            Some(id) => exchange.sent_by(id),
            None => exchange,
        };
        let headers = self.headers.iter();
        headers.fold(exchange, |exchange, (name, value)| {
            exchange.header(name, latin1(&signatures(value)))
        })
    }
}

/// `text` with the signature of a pin to `canary` or `stable`, for the key behind it, in the place of each `@key`.
/// It is computed by the specification alone: each part goes into the HMAC behind its length.
fn signatures(text: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use hmac::Mac;
    let Some((before, rest)) = text.split_once("..@") else { return text.to_owned() };
    let (key, after) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
    let version = if before.ends_with("canary") { "canary" } else { "stable" };
    let mut mac =
        hmac::Hmac::<sha2::Sha256>::new_from_slice(b"sixteen-bytes-or-more-of-random").unwrap();
    for part in ["checkout", version, "", key] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let mac = Base64UrlUnpadded::encode_string(&mac.finalize().into_bytes());
    format!("{before}..{mac}{after}")
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).expect("Latin-1")).collect()
}

fn every_condition_holds_where_it_says_so<R: Rig>() {
    let cases: Vec<ConditionCase> =
        serde_json::from_str(include_str!("../cases/decisions/conditions.json"))
            .expect("the cases");
    for case in cases {
        // As a rule's condition, and as what the whole rollout matches.
        let ruled = rollout(json!({
            "rules": [{"name": "it", "match": [case.condition], "version": "canary"}]
        }));
        let matched = rollout(json!({"match": [case.condition]}));
        let mut ruled = Worker::<R>::with(&ruled);
        let mut matched = Worker::<R>::with(&matched);
        assert!(!case.holds.is_empty() && !case.fails.is_empty(), "{}", case.condition);
        for (requests, holds) in [(&case.holds, true), (&case.fails, false)] {
            for request in requests {
                let about = format!("{} holds: {holds} for {request:?}", case.condition);
                let seen = ruled.send(request.exchange());
                let version = seen.request("x-cohort-checkout");
                assert_eq!(version.as_deref() == Some("canary"), holds, "{about}");
                let seen = matched.send(request.exchange());
                let decided = seen.request("x-cohort-checkout").is_some();
                assert_eq!(decided, holds, "as match: {about}");
            }
        }
    }
}

/// A configuration of the rollout `checkout`, in which nobody has the canary's weight, with more keys.
fn rollout(rest: Value) -> String {
    let mut rollout = json!({
        "name": "checkout",
        "versions": [{"name": "stable"}, {"name": "canary", "weight": 0}],
        "hashKey": [{"header": "x-user-id"}]
    });
    merge(&mut rollout, rest);
    json!({"rollouts": [rollout]}).to_string()
}

fn merge(into: &mut Value, rest: Value) {
    let (Value::Object(into), Value::Object(rest)) = (into, rest) else { panic!("two objects") };
    into.extend(rest);
}

fn any_condition_of_a_list_is_enough_and_any_of_a_segment<R: Rig>() {
    let config = json!({
        "segments": {
            "a-or-b": [{"header": {"x-a": {"present": true}}}, {"header": {"x-b": {"present": true}}}],
            "nobody": [{"path": {"exact": "/nobody"}}]
        },
        "rollouts": [{
            "name": "checkout",
            "versions": [{"name": "stable"}, {"name": "one", "weight": 0}, {"name": "two", "weight": 0}],
            "hashKey": [{"header": "x-user-id"}],
            "rules": [
                {"name": "both", "segment": "a-or-b", "match": [{"method": ["PUT"]}, {"method": ["POST"]}],
                 "version": "one"},
                {"name": "none", "segment": "nobody", "version": "one"},
                {"name": "segment", "segment": "a-or-b", "version": "two"}
            ]
        }]
    });
    let mut worker = Worker::<R>::with(&config.to_string());
    for (header, method, wanted) in [
        ("x-a", "PUT", "one"),
        ("x-b", "POST", "one"),
        ("x-a", "GET", "two"),
        ("x-b", "GET", "two"),
        ("x-c", "PUT", "stable"),
    ] {
        let seen = worker.send(get("/").replace(":method", method).header(header, "1"));
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), wanted, "{header} {method}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionCase {
    about: String,
    config: Value,
    requests: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    request: RequestCase,
    version: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, Option<String>>,
    #[serde(default)]
    cookies: Vec<String>,
}

fn every_case_decides_as_it_says<R: Rig>() {
    let cases: Vec<DecisionCase> =
        serde_json::from_str(include_str!("../cases/decisions/decisions.json")).expect("the cases");
    for case in cases {
        let mut worker = Worker::<R>::with(&case.config.to_string());
        for (number, step) in case.requests.iter().enumerate() {
            let about = format!("{}, request {number}: {:?}", case.about, step.request);
            let before = reasons(&worker);
            let seen = worker.send(step.request.exchange());
            let after = reasons(&worker);
            let counted = after.iter().find(|(name, count)| {
                !before.iter().any(|(earlier, before)| earlier == name && before == count)
            });
            let (version, reason) = match counted {
                Some((name, _)) => name.split_once(' ').map(|(v, r)| (Some(v), Some(r))).unwrap(),
                None => (None, None),
            };
            assert_eq!(version, step.version.as_deref(), "{about}");
            assert_eq!(reason, step.reason.as_deref(), "{about}");
            for (name, value) in &step.headers {
                assert_eq!(seen.request(name), *value, "{name}: {about}");
            }
            let cookies = seen.cookies();
            assert_eq!(cookies.len(), step.cookies.len(), "{cookies:?}: {about}");
            for (cookie, start) in cookies.iter().zip(&step.cookies) {
                assert!(cookie.starts_with(&signatures(start)), "{cookie}: {about}");
            }
        }
    }
}

/// `version reason` of the rollout `checkout`, with how often each was counted.
fn reasons<R: Rig>(worker: &Worker<R>) -> Vec<(String, u64)> {
    let start =
        r#"cohort_requests_total{plugin="default.cohort",rollout="checkout",rollout_version=""#;
    let metrics = worker.world.metrics();
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(start));
    lines
        .filter_map(|line| {
            let (version, rest) = line.split_once("\",reason=\"")?;
            let (reason, count) = rest.split_once("\"} ")?;
            let count: u64 = count.parse().ok()?;
            (count > 0).then(|| (format!("{version} {reason}"), count))
        })
        .collect()
}

/// One version for each way of getting one, so that the version tells the way.
fn the_first_step_that_applies_decides_in_all_combinations<R: Rig>() {
    let config = |enabled: bool| {
        json!({"rollouts": [{
            "name": "checkout",
            "enabled": enabled,
            "versions": [{"name": "stable"}, {"name": "hashed", "weight": 99.996},
                {"name": "overridden", "weight": 0.001}, {"name": "inherited", "weight": 0.001},
                {"name": "ruled", "weight": 0.001}, {"name": "pinned", "weight": 0.001}],
            "hashKey": [{"header": "x-user-id"}],
            "overrides": {"header": "x-canary"},
            "inherit": {"addresses": ["203.0.113.0/24"]},
            "rules": [{"name": "it", "match": [{"header": {"x-rule": {"present": true}}}], "version": "ruled"}],
            "pin": {"cookie": {"name": "p"}}
        }]})
    };
    let user = user_in("checkout", 0..99_996);
    for enabled in [true, false] {
        let mut worker = Worker::<R>::with(&config(enabled).to_string());
        for combination in 0..32u32 {
            let has = |bit: u32| combination & 1 << bit != 0;
            let add = |request: Exchange, bit: u32, name: &str, value: &str| {
                if has(bit) {
                    request.header(name, value)
                } else {
                    request
                }
            };
            let request = add(get("/"), 0, "x-canary", "overridden");
            let request = add(request, 1, "x-cohort-checkout", "inherited");
            let request = add(request, 2, "x-rule", "1");
            let request = add(request, 3, "cookie", "p=pinned");
            let request = add(request, 4, "x-user-id", &user);
            let steps = ["overridden", "inherited", "ruled", "pinned", "hashed"];
            let first = (0..5).find(|bit| has(*bit)).map_or("stable", |bit| steps[bit as usize]);
            let wanted = if enabled { first } else { "stable" };
            let seen = worker.send(request);
            let version = seen.request("x-cohort-checkout").unwrap();
            assert_eq!(version, wanted, "enabled {enabled}, combination {combination:05b}");
        }
        let counted: u64 = reasons(&worker).iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 32, "each request has exactly one reason");
    }
}

fn a_thousand_rollouts_decide_each_its_own_host<R: Rig>() {
    let rollouts: Vec<Value> = (0..1000)
        .map(|number| {
            let mut rollout = json!({
                "name": format!("r{number}"),
                "versions": [{"name": "a"}, {"name": "b", "weight": 100}],
                "hashKey": [{"header": "x-user-id"}]
            });
            // Each hundredth matches any host, and so is decided with every other one's.
            if number % 100 != 99 {
                merge(
                    &mut rollout,
                    json!({"match": [{"host": {"exact": format!("h{number}.example")}}]}),
                );
            }
            rollout
        })
        .collect();
    let mut worker = Worker::<R>::with(&json!({"rollouts": rollouts}).to_string());
    for number in [0, 1, 98, 500, 998] {
        let host = format!("h{number}.example");
        let seen = worker.send(get("/").user("u").host(&host));
        let mut decided: Vec<u32> = (0..10).map(|hundred| hundred * 100 + 99).collect();
        decided.push(number);
        decided.sort_unstable();
        let names: Vec<String> = decided.iter().map(|n| format!("x-cohort-r{n}")).collect();
        let names = [vec!["x-user-id".to_owned()], names].concat();
        assert_eq!(seen.request_names(), names, "{host}: each, in the configuration's order");
    }
    let seen = worker.send(get("/").header("x-cohort-r7", "b").host("h8.example"));
    assert_eq!(seen.request("x-cohort-r7"), None, "another rollout's header, forged");
}

fn shares_are_the_weights_and_raising_one_moves_nobody_out<R: Rig>() {
    let users = 2_000;
    let mut before: Vec<bool> = vec![false; users];
    for weight in [0.0, 1.0, 5.0, 50.0, 100.0] {
        let config = rollout(json!({
            "versions": [{"name": "stable"}, {"name": "canary", "weight": weight}]
        }));
        let mut worker = Worker::<R>::with(&config);
        let now: Vec<bool> = (0..users)
            .map(|user| {
                let seen = worker.send(get("/").user(&format!("user-{user}")));
                seen.request("x-cohort-checkout").unwrap() == "canary"
            })
            .collect();
        assert!(
            before.iter().zip(&now).all(|(before, now)| !before || *now),
            "moved out at {weight}"
        );
        let share = now.iter().filter(|canary| **canary).count() as f64 / users as f64 * 100.0;
        // Four standard errors of a share of 2,000.
        let error = 4.0 * (weight * (100.0 - weight) / users as f64).sqrt();
        assert!((share - weight).abs() <= error, "{share} % at a weight of {weight} %");
        before = now;
    }
}
