//! From a request to a version, and what is written on the request.

use sha2::{Digest, Sha256};

use crate::support::*;

on_both_rigs!(
    the_route_header_names_the_version,
    the_first_key_that_is_not_empty_decides,
    a_key_is_bytes,
    a_request_without_a_key_gets_stable,
    the_cluster_header_names_the_cluster,
    request_headers_of_a_version_are_set_for_that_version_only,
    every_rollout_that_matches_is_decided_and_the_first_writes_a_shared_header,
    a_disabled_rollout_gives_everyone_stable,
    a_shadow_rollout_counts_and_changes_nothing,
    a_rule_decides_before_the_hash,
    an_override_is_read_from_header_query_and_cookie_in_that_order,
    an_unknown_override_is_ignored_and_counted,
    an_override_needs_every_requirement,
    the_secret_header_reaches_no_upstream,
    a_trusted_peer_brings_its_decision,
    a_peer_that_is_not_trusted_brings_nothing,
    a_trusted_peer_that_names_no_version_is_ignored,
    a_request_that_no_rollout_matches_keeps_its_headers,
    a_request_without_pseudo_headers_is_decided,
);

fn route<R: Rig>(worker: &mut Worker<R>, request: Exchange) -> Option<String> {
    worker.send(request).request("x-cohort-checkout")
}

fn the_route_header_names_the_version<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    assert_eq!(route(&mut worker, get("/").user(&canary_user())).unwrap(), "canary");
    assert_eq!(route(&mut worker, get("/").user(&stable_user())).unwrap(), "stable");
    let seen = worker.send(get("/").user(&canary_user()).header("x-other", "1"));
    assert_eq!(seen.request_names(), ["x-user-id", "x-other", "x-cohort-checkout"]);
    assert_eq!(seen.response, [(b":status".to_vec(), b"200".to_vec())]);
}

/// An address whose bucket in `checkout` is in `buckets`.
fn address_in(buckets: std::ops::Range<u32>) -> String {
    let bucket = |key: &String| cohort::hash::Scheme::Cohort.bucket(b"checkout", key.as_bytes());
    let mut addresses = (1..255).map(|last| format!("192.0.2.{last}"));
    addresses.find(|address| buckets.contains(&bucket(address))).expect("an address")
}

fn the_first_key_that_is_not_empty_decides<R: Rig>() {
    let keys = r#""hashKey": [{"header": "x-id"}, {"cookie": "uid"}, {"query": "uid"}, {"address": true}]"#;
    let mut worker =
        Worker::<R>::with(&checkout("").replace(r#""hashKey": [{"header": "x-user-id"}]"#, keys));
    let (canary, stable) = (canary_user(), stable_user());
    let (near, far) = (address_in(0..50_000), address_in(50_000..100_000));
    for (header, cookie, target, address, wanted) in [
        (
            &*canary,
            format!("uid={stable}"),
            format!("/?uid={stable}"),
            format!("{far}:1"),
            "canary",
        ),
        ("", format!("a=1; uid={canary}"), format!("/?uid={stable}"), format!("{far}:1"), "canary"),
        ("", "uid=; uid=later".into(), format!("/?a&uid={canary}"), format!("{far}:1"), "canary"),
        ("", String::new(), "/?uid=".into(), format!("{near}:1"), "canary"),
        ("", String::new(), "/".into(), format!("{far}:1"), "stable"),
        ("", String::new(), "/".into(), format!("[::ffff:{near}]:0"), "canary"),
    ] {
        let request = get(&target).header("x-id", header).cookie(&cookie).from(&address);
        assert_eq!(
            route(&mut worker, request).unwrap(),
            wanted,
            "{header} {cookie} {target} {address}"
        );
    }
}

fn a_key_is_bytes<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(""));
    let bucket = |key: &[u8]| cohort::hash::Scheme::Cohort.bucket(b"checkout", key);
    for last in 0x80..=0xffu8 {
        let key = [b"caf", [last].as_slice()].concat();
        let wanted = if bucket(&key) < 50_000 { "canary" } else { "stable" };
        assert_eq!(route(&mut worker, get("/").header("x-user-id", &key)).unwrap(), wanted);
    }
}

fn a_request_without_a_key_gets_stable<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(r#""output": {"reasonHeader": "x-why"}"#));
    let seen = worker.send(get("/"));
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "stable");
    assert_eq!(seen.response("x-why").unwrap(), "DEFAULT");
    let seen = worker.send(get("/").user(""));
    assert_eq!(seen.response("x-why").unwrap(), "DEFAULT");
}

const CLUSTERS: &str = r#"{"rollouts": [{
    "name": "checkout",
    "versions": [{"name": "stable", "cluster": "v1"},
                 {"name": "canary", "weight": 50, "cluster": "v2",
                  "requestHeaders": {"x-new-cart": "on", "x-theme": "dark"}}],
    "hashKey": [{"header": "x-user-id"}],
    "output": {"clusterHeader": "x-cohort-cluster"}
}]}"#;

fn the_cluster_header_names_the_cluster<R: Rig>() {
    let mut worker = Worker::<R>::with(CLUSTERS);
    for (user, cluster) in [(canary_user(), "v2"), (stable_user(), "v1")] {
        let seen = worker.send(get("/").user(&user).header("x-cohort-cluster", "evil"));
        assert_eq!(seen.request("x-cohort-cluster").unwrap(), cluster);
    }
}

fn request_headers_of_a_version_are_set_for_that_version_only<R: Rig>() {
    let mut worker = Worker::<R>::with(CLUSTERS);
    let request = |user: &str| get("/").user(user).header("x-new-cart", "off");
    let seen = worker.send(request(&canary_user()));
    assert_eq!(seen.request("x-new-cart").unwrap(), "on");
    assert_eq!(seen.request("x-theme").unwrap(), "dark");
    let seen = worker.send(request(&stable_user()));
    assert_eq!(seen.request("x-new-cart"), None);
    assert_eq!(seen.request("x-theme"), None);
}

fn every_rollout_that_matches_is_decided_and_the_first_writes_a_shared_header<R: Rig>() {
    let mut worker = Worker::<R>::with(
        r#"{"rollouts": [
        {"name": "one", "versions": [{"name": "a"}, {"name": "b", "weight": 100}],
         "hashKey": [{"header": "x-user-id"}], "match": [{"path": {"prefix": "/one"}}],
         "output": {"routeHeader": "x-route", "responseHeader": "x-got"}},
        {"name": "two", "versions": [{"name": "c"}, {"name": "d", "weight": 100}],
         "hashKey": [{"header": "x-user-id"}],
         "output": {"routeHeader": "x-route", "responseHeader": "x-got"}},
        {"name": "three", "versions": [{"name": "e"}, {"name": "f", "weight": 100}],
         "hashKey": [{"header": "x-user-id"}]}
    ]}"#,
    );
    let seen = worker.send(get("/one").user("u"));
    assert_eq!(seen.request("x-route").unwrap(), "b");
    assert_eq!(seen.response("x-got").unwrap(), "b");
    assert_eq!(seen.request("x-cohort-three").unwrap(), "f");
    let seen = worker.send(get("/other").user("u"));
    assert_eq!(seen.request("x-route").unwrap(), "d");
    let requests = |rollout: &str, version: &str| {
        worker.world.metric(&format!(
            "cohort_requests_total{{rollout=\"{rollout}\",rollout_version=\"{version}\",reason=\"HASH\"}}"
        ))
    };
    assert_eq!((requests("one", "b"), requests("two", "d"), requests("three", "f")), (1, 2, 2));
}

fn a_disabled_rollout_gives_everyone_stable<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""enabled": false, "overrides": {"header": "x-canary"}, "output": {"reasonHeader": "x-why"},
           "pin": {"cookie": {"name": "p"}}"#,
    ));
    let request = get("/").user(&canary_user()).header("x-canary", "canary").cookie("p=canary");
    let seen = worker.send(request);
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "stable");
    assert_eq!(seen.response("x-why").unwrap(), "DISABLED");
    assert_eq!(seen.cookies(), Vec::<String>::new());
}

fn a_shadow_rollout_counts_and_changes_nothing<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""mode": "shadow", "pin": {"cookie": {"name": "p"}},
           "anonymousId": {"cookie": {"name": "anon"}},
           "output": {"reasonHeader": "x-why", "responseHeader": "x-got", "baggage": true}"#,
    ));
    worker.world.state().log_level = 1;
    worker.tick();
    let canary = canary_user();
    let seen = worker.send(get("/").user(&canary).header("x-cohort-checkout", "canary"));
    assert_eq!(seen.request_names(), ["x-user-id"]);
    assert_eq!(seen.response, [(b":status".to_vec(), b"200".to_vec())]);
    let requests =
        r#"cohort_requests_total{rollout="checkout",rollout_version="canary",reason="HASH"}"#;
    assert_eq!(worker.world.metric(requests), 1);
    assert!(worker.world.take_log(1).ends_with("rollout checkout (shadow): canary, HASH"));
    let seen = worker.send(get("/"));
    assert_eq!(seen.cookies(), Vec::<String>::new(), "no anonymous id either");
}

fn a_rule_decides_before_the_hash<R: Rig>() {
    let config = checkout(
        r#""output": {"reasonHeader": "x-why"},
           "rules": [{"name": "staff", "segment": "staff", "version": "canary"},
                     {"name": "us", "match": [{"header": {"x-country": {"exact": "US"}}}], "weights": {"canary": 0}},
                     {"name": "gb", "match": [{"header": {"x-country": {"exact": "GB"}}}], "weights": {"canary": 100}}]"#,
    );
    let config =
        config.replacen('{', r#"{"segments": {"staff": [{"address": ["10.0.0.0/8"]}]},"#, 1);
    let mut worker = Worker::<R>::with(&config);
    let (canary, stable) = (canary_user(), stable_user());
    for (request, version, reason) in [
        (get("/").user(&stable).from("10.1.2.3:1"), "canary", "RULE"),
        (get("/").user(&stable).from("11.1.2.3:1"), "stable", "HASH"),
        (get("/").user(&canary).header("x-country", "US"), "stable", "RULE"),
        (get("/").user(&stable).header("x-country", "GB"), "canary", "RULE"),
        (get("/").header("x-country", "GB"), "stable", "RULE"),
        (get("/").user(&canary).header("x-country", "FR"), "canary", "HASH"),
    ] {
        let seen = worker.send(request);
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), version);
        assert_eq!(seen.response("x-why").unwrap(), reason);
    }
}

const OVERRIDES: &str = r#""output": {"reasonHeader": "x-why"},
    "overrides": {"header": "x-canary", "query": "canary", "cookie": "canary",
                  "values": {"always": "canary", "never": "stable"}}"#;

fn an_override_is_read_from_header_query_and_cookie_in_that_order<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OVERRIDES));
    for (request, version) in [
        (get("/?canary=never").header("x-canary", "always").cookie("canary=never"), "canary"),
        (get("/?canary=always").cookie("canary=never"), "canary"),
        (get("/").cookie("canary=never"), "stable"),
        (get("/").cookie("canary=canary"), "canary"),
        (get("/?canary=stable"), "stable"),
        (get("/?canary=nonsense").cookie("canary=canary"), "canary"),
    ] {
        let seen = worker.send(request.user("user-1"));
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), version);
        assert_eq!(seen.response("x-why").unwrap(), "OVERRIDE");
    }
}

const IGNORED: &str = r#"cohort_ignored_total{rollout="checkout",what="override"}"#;

fn an_unknown_override_is_ignored_and_counted<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(OVERRIDES));
    let seen = worker.send(get("/").user(&canary_user()).header("x-canary", "Always"));
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "canary");
    assert_eq!(seen.response("x-why").unwrap(), "HASH");
    assert_eq!(worker.world.metric(IGNORED), 1);
    let seen = worker.send(get("/").user(&stable_user()).header("x-canary", [0xff, 0xfe]));
    assert_eq!(seen.response("x-why").unwrap(), "HASH");
    assert_eq!(worker.world.metric(IGNORED), 2);
}

/// Overrides for clients in 10.0.0.0/8 that know the word `sesame`.
fn require() -> String {
    let hash = Sha256::digest(b"sesame");
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    checkout(&format!(
        r#""output": {{"reasonHeader": "x-why"}},
           "overrides": {{"header": "x-canary", "require": {{"addresses": ["10.0.0.0/8"],
               "secretHeader": "x-secret", "secretSha256": "{hash}"}}}}"#
    ))
}

fn an_override_needs_every_requirement<R: Rig>() {
    let mut worker = Worker::<R>::with(&require());
    let request = || get("/").user(&stable_user()).header("x-canary", "canary");
    for (request, reason) in [
        (request().from("10.0.0.1:5").header("x-secret", "sesame"), "OVERRIDE"),
        (request().from("11.0.0.1:5").header("x-secret", "sesame"), "HASH"),
        (request().from("10.0.0.1:5").header("x-secret", "Sesame"), "HASH"),
        (request().from("10.0.0.1:5").header("x-secret", ""), "HASH"),
        (request().from("10.0.0.1:5"), "HASH"),
    ] {
        assert_eq!(worker.send(request).response("x-why").unwrap(), reason);
    }
    assert_eq!(worker.world.metric(IGNORED), 4);
}

fn the_secret_header_reaches_no_upstream<R: Rig>() {
    let mut worker = Worker::<R>::with(&require());
    for name in ["x-secret", "X-Secret", "x_secret", "x.secret"] {
        let seen = worker.send(get("/").user("u").header(name, "sesame"));
        assert_eq!(seen.request_names(), ["x-user-id", "x-cohort-checkout"], "{name}");
    }
    let log = worker.world.take_log(0);
    assert!(!log.contains("sesame"), "{log}");
}

const INHERIT: &str = r#""output": {"reasonHeader": "x-why"},
    "inherit": {"addresses": ["10.0.0.0/8", "2001:db8::/32"], "baggage": true}"#;

fn a_trusted_peer_brings_its_decision<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(INHERIT));
    let stable = stable_user();
    for request in [
        get("/").from("10.9.9.9:1").header("x-cohort-checkout", "canary"),
        get("/").from("[2001:db8::7]:1").header("x-cohort-checkout", "canary"),
        get("/").from("10.9.9.9:1").header("baggage", "a=1,cohort-checkout=canary;ttl=3"),
        get("/")
            .from("10.9.9.9:1")
            .header("baggage", "a=1")
            .header("baggage", "cohort-checkout = canary"),
        get("/")
            .from("10.9.9.9:1")
            .header("x-cohort-checkout", "canary")
            .header("baggage", "cohort-checkout=stable"),
    ] {
        let seen = worker.send(request.user(&stable));
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), "canary");
        assert_eq!(seen.response("x-why").unwrap(), "INHERITED");
    }
}

fn a_peer_that_is_not_trusted_brings_nothing<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(INHERIT));
    let stable = stable_user();
    for request in [
        get("/").from("11.9.9.9:1").header("x-cohort-checkout", "canary"),
        get("/").from("11.9.9.9:1").header("baggage", "cohort-checkout=canary"),
        get("/").from("/var/run/socket").header("x-cohort-checkout", "canary"),
    ] {
        let seen = worker.send(request.user(&stable));
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), "stable");
        assert_eq!(seen.response("x-why").unwrap(), "HASH");
        assert_eq!(seen.request("baggage"), None);
    }
    let ignored = r#"cohort_ignored_total{rollout="checkout",what="inherit"}"#;
    assert_eq!(worker.world.metric(ignored), 3);
}

fn a_trusted_peer_that_names_no_version_is_ignored<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(INHERIT));
    let request = get("/").user(&stable_user()).from("10.9.9.9:1");
    let seen = worker.send(request.header("x-cohort-checkout", "nonsense"));
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "stable");
    assert_eq!(seen.response("x-why").unwrap(), "HASH");
}

fn a_request_that_no_rollout_matches_keeps_its_headers<R: Rig>() {
    let mut worker =
        Worker::<R>::with(&checkout(r#""match": [{"host": {"exact": "other.example.com"}}]"#));
    worker.world.take_counts();
    let seen = worker.send(get("/").user("u").header("x-other", "1"));
    assert_eq!(seen.request_names(), ["x-user-id", "x-other"]);
    let counts = worker.world.take_counts();
    assert!(!counts.contains_key("proxy_replace_header_map_value"), "{counts:?}");
    assert!(!counts.contains_key("proxy_increment_metric"), "{counts:?}");
    let seen = worker.send(get("/").user("u").host("Other.Example.COM:8443"));
    assert!(seen.request("x-cohort-checkout").is_some());
}

fn a_request_without_pseudo_headers_is_decided<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""match": [{"not": {"host": {"exact": "a"}, "path": {"prefix": "/"}, "method": ["GET"]}}]"#,
    ));
    let mut request = get("/").user(&canary_user());
    request.state.request.retain(|(name, _)| !name.starts_with(b":"));
    request.state.address = None;
    assert_eq!(route(&mut worker, request).unwrap(), "canary");
}
