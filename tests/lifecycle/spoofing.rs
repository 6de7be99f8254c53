//! A client's own copies of our headers reach nobody.

use crate::support::*;

on_both_rigs!(
    a_client_s_copy_of_any_of_our_headers_goes_in_every_spelling,
    a_client_s_copy_goes_where_no_rollout_matches,
    a_client_s_copy_goes_in_shadow_mode_and_where_disabled,
    a_client_s_copy_in_the_trailers_goes,
    a_repeated_copy_is_replaced_by_one_line,
    a_trusted_peer_keeps_its_route_header_where_the_rollout_does_not_match,
    a_trusted_peer_may_bring_no_other_header_of_ours,
    a_trusted_peer_may_bring_no_other_spelling,
    headers_that_only_look_alike_stay,
);

const ALL: &str = r#"
    "name": "checkout",
    "versions": [{"name": "stable", "cluster": "v1"},
                 {"name": "canary", "weight": 50, "cluster": "v2", "requestHeaders": {"x-new-cart": "on"}}],
    "hashKey": [{"header": "x-user-id"}],
    "overrides": {"cookie": "c", "require": {"secretHeader": "x-secret",
        "secretSha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}},
    "inherit": {"addresses": ["10.0.0.0/8"], "baggage": true},
    "output": {"routeHeader": "x-route", "clusterHeader": "x-to", "responseHeader": "x-got",
               "reasonHeader": "x-why", "baggage": true}"#;

const OURS: [&str; 6] = ["x-route", "x-to", "x-got", "x-why", "x-new-cart", "x-secret"];

fn with<R: Rig>(rest: &str) -> Worker<R> {
    Worker::with(&format!(r#"{{"rollouts": [{{{ALL}{rest}}}]}}"#))
}

/// Every name of ours in every spelling, each with the value `forged`.
fn forged(request: Exchange) -> Exchange {
    OURS.iter().fold(request, |request, name| {
        request
            .header(name, "forged")
            .header(&name.replace('-', "_"), "forged")
            .header(&name.replace('-', "."), "forged")
            .header(&name.to_ascii_uppercase(), "forged")
            .header(name, "forged")
    })
}

fn assert_nothing_forged(seen: &Seen) {
    let left: Vec<String> = seen
        .request
        .iter()
        .filter(|(_, value)| value.windows(6).any(|part| part == b"forged"))
        .map(|(name, _)| text(name))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

fn a_client_s_copy_of_any_of_our_headers_goes_in_every_spelling<R: Rig>() {
    let mut worker = with::<R>("");
    for (user, version) in [(canary_user(), "canary"), (stable_user(), "stable")] {
        let seen = worker.send(forged(get("/").user(&user)).header("x-mine", "1"));
        assert_nothing_forged(&seen);
        assert_eq!(seen.request("x-route").unwrap(), version);
        assert_eq!(seen.request("x-mine").unwrap(), "1");
    }
}

fn a_client_s_copy_goes_where_no_rollout_matches<R: Rig>() {
    for rule in ["\"host\": {\"exact\": \"other\"}", "\"path\": {\"exact\": \"/other\"}"] {
        let mut worker = with::<R>(&format!(r#","match": [{{{rule}}}]"#));
        let request = forged(get("/").user(&canary_user()));
        let seen = worker.send(request.header("baggage", "a=1,cohort-checkout=forged"));
        assert_nothing_forged(&seen);
        assert_eq!(seen.request_names(), ["x-user-id", "baggage"]);
        assert_eq!(seen.request("baggage").unwrap(), "a=1");
    }
}

fn a_client_s_copy_goes_in_shadow_mode_and_where_disabled<R: Rig>() {
    for rest in [r#","mode": "shadow""#, r#","enabled": false"#] {
        let mut worker = with::<R>(rest);
        let request = forged(get("/").user(&canary_user()));
        let seen = worker.send(request.header("baggage", "cohort-checkout=forged"));
        assert_nothing_forged(&seen);
    }
}

fn a_client_s_copy_in_the_trailers_goes<R: Rig>() {
    let mut worker = with::<R>("");
    let request = OURS.iter().fold(get("/").user("u"), |request, name| {
        request.trailer(name, "forged").trailer(&name.replace('-', "_"), "forged")
    });
    let request = request
        .trailer("baggage", "a=1,cohort-checkout=canary")
        .trailer("x-checksum", "1")
        .trailer("x-checksum", "2");
    let seen = worker.send(request);
    let names: Vec<String> = seen.request_trailers.iter().map(|(name, _)| text(name)).collect();
    assert_eq!(names, ["x-checksum", "x-checksum"]);
}

fn a_repeated_copy_is_replaced_by_one_line<R: Rig>() {
    let mut worker = with::<R>("");
    let request = get("/").user(&canary_user()).header("x-route", "stable").header("x-route", "b");
    let seen = worker.send(request);
    assert_eq!(seen.request("x-route").unwrap(), "canary");
}

fn a_trusted_peer_keeps_its_route_header_where_the_rollout_does_not_match<R: Rig>() {
    let mut worker = with::<R>(r#","match": [{"path": {"exact": "/other"}}]"#);
    let request = get("/").from("10.0.0.7:1").header("x-route", "canary");
    let request = request.header("baggage", "cohort-checkout=canary");
    let seen = worker.send(request.clone());
    assert_eq!(seen.request("x-route").unwrap(), "canary");
    assert_eq!(seen.request("baggage").unwrap(), "cohort-checkout=canary");
    let seen = worker.send(request.from("11.0.0.7:1"));
    assert_eq!((seen.request("x-route"), seen.request("baggage")), (None, None));
}

fn a_trusted_peer_may_bring_no_other_header_of_ours<R: Rig>() {
    let mut worker = with::<R>(r#","match": [{"path": {"exact": "/other"}}]"#);
    let request = OURS
        .iter()
        .filter(|name| **name != "x-route")
        .fold(get("/").from("10.0.0.7:1"), |request, name| request.header(name, "forged"));
    assert_nothing_forged(&worker.send(request));
}

fn a_trusted_peer_may_bring_no_other_spelling<R: Rig>() {
    let mut worker = with::<R>("");
    let request = get("/").user("u").from("10.0.0.7:1");
    let seen = worker.send(request.header("x_route", "forged").header("x.route", "forged"));
    assert_nothing_forged(&seen);
}

fn headers_that_only_look_alike_stay<R: Rig>() {
    let mut worker = with::<R>("");
    let names = ["x-routes", "xx-route", "x-rout", "xroute", "x--route", "route"];
    let request = names.iter().fold(get("/"), |request, name| request.header(name, "1"));
    let seen = worker.send(request);
    for name in names {
        assert_eq!(seen.request(name).as_deref(), Some("1"), "{name}");
    }
}
