//! Cookies: pins and anonymous ids.

use std::collections::BTreeSet;

use crate::support::*;

on_both_rigs!(
    a_pin_is_handed_out_for_a_hash_and_kept,
    a_pin_outlives_a_change_of_weights,
    a_pin_to_a_version_without_weight_is_replaced,
    a_pin_to_a_version_that_drains_stays,
    a_new_generation_makes_every_pin_worthless,
    a_signed_pin_is_worth_nothing_to_anybody_else,
    an_edited_signed_pin_is_ignored_and_counted,
    a_pin_that_names_nothing_is_ignored_and_counted,
    a_pin_is_a_parsed_cookie_and_the_first_of_its_name,
    no_pin_is_handed_out_for_other_reasons,
    every_attribute_of_a_cookie_is_written,
    a_cookie_is_secure_where_the_request_was,
    an_application_s_own_cookies_stay,
    a_new_visitor_keeps_the_version_of_the_first_request,
    no_anonymous_id_where_there_is_a_key,
    no_anonymous_id_where_nothing_asks_for_a_key,
    two_rollouts_share_the_anonymous_id_of_one_cookie,
    without_randomness_a_visitor_gets_stable_and_no_cookie,
    an_anonymous_visitor_s_pin_is_signed_for_the_id_just_issued,
);

const PIN: &str = r#""pin": {"versions": ["stable", "canary"], "cookie": {"name": "p"}}, "output": {"reasonHeader": "x-why"}"#;

fn why(seen: &Seen) -> (String, String) {
    (seen.request("x-cohort-checkout").unwrap(), seen.response("x-why").unwrap())
}

fn is(seen: &Seen, version: &str, reason: &str) {
    assert_eq!(why(seen), (version.to_owned(), reason.to_owned()));
}

fn a_pin_is_handed_out_for_a_hash_and_kept<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(PIN));
    for (user, version) in [(canary_user(), "canary"), (stable_user(), "stable")] {
        let seen = worker.send(get("/").user(&user));
        assert_eq!(seen.cookies(), [format!("p={version}; Path=/; HttpOnly; SameSite=Lax")]);
        let seen = worker.send(get("/").user(&user).cookie(format!("p={version}")));
        is(&seen, version, "PINNED");
        assert_eq!(seen.cookies(), Vec::<String>::new(), "only where it changes something");
    }
}

fn weighted(weight: &str, drain: bool) -> String {
    checkout(PIN).replace(r#""weight": 50"#, &format!(r#""weight": {weight}, "drain": {drain}"#))
}

fn a_pin_outlives_a_change_of_weights<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted("0.001", false));
    is(&worker.send(get("/").user("anybody").cookie("p=canary")), "canary", "PINNED");
    assert!(worker.configure(weighted("100", false)));
    // Stable's remainder is nothing now: nobody stays there.
    let seen = worker.send(get("/").user("anybody").cookie("p=stable"));
    is(&seen, "canary", "HASH");
    assert_eq!(seen.cookie("p").unwrap(), "canary");
}

fn a_pin_to_a_version_without_weight_is_replaced<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted("0", false));
    let seen = worker.send(get("/").user("anybody").cookie("p=canary"));
    is(&seen, "stable", "HASH");
    assert_eq!(seen.cookie("p").unwrap(), "stable");
    // Without a key there is nothing new to remember.
    let seen = worker.send(get("/").cookie("p=canary"));
    is(&seen, "stable", "DEFAULT");
    assert_eq!(seen.cookies(), Vec::<String>::new());
    let ignored = r#"cohort_ignored_total{rollout="checkout",what="pin"}"#;
    assert_eq!(worker.world.metric(ignored), 0, "it was a good pin once");
}

fn a_pin_to_a_version_that_drains_stays<R: Rig>() {
    let mut worker = Worker::<R>::with(&weighted("0", true));
    is(&worker.send(get("/").user("anybody").cookie("p=canary")), "canary", "PINNED");
    is(&worker.send(get("/").user("anybody")), "stable", "HASH");
}

fn a_new_generation_makes_every_pin_worthless<R: Rig>() {
    let of = |generation: &str| {
        checkout(&PIN.replace("}}", &format!(r#"}}, "generation": "{generation}"}}"#)))
    };
    let mut worker = Worker::<R>::with(&of("one"));
    let user = stable_user();
    is(&worker.send(get("/").user(&user).cookie("p=canary.one")), "canary", "PINNED");
    assert!(worker.configure(of("two")));
    for old in ["p=canary.one", "p=canary", "p=canary."] {
        let seen = worker.send(get("/").user(&user).cookie(old));
        is(&seen, "stable", "HASH");
        assert_eq!(seen.cookie("p").unwrap(), "stable.two");
    }
    is(&worker.send(get("/").user(&user).cookie("p=canary.two")), "canary", "PINNED");
}

const SIGNED: &str = r#""pin": {"cookie": {"name": "p"}, "versions": ["stable", "canary"], "generation": "g",
    "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ=="},
    "output": {"reasonHeader": "x-why"}"#;

fn a_signed_pin_is_worth_nothing_to_anybody_else<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(SIGNED));
    let pin = worker.send(get("/").user(&canary_user())).cookie("p").unwrap();
    assert!(pin.starts_with("canary.g."), "{pin}");
    let other = stable_user();
    let with = |user: &str| get("/").user(user).cookie(format!("p={pin}"));
    is(&worker.send(with(&canary_user())), "canary", "PINNED");
    is(&worker.send(with(&other)), "stable", "HASH");
    is(&worker.send(get("/").cookie(format!("p={pin}"))), "stable", "DEFAULT");
    // Nor under another rollout's name, with the same key.
    let renamed = checkout(SIGNED).replace(r#""name": "checkout""#, r#""name": "billing""#);
    let renamed =
        renamed.replace("\"name\": \"billing\"", "\"name\": \"billing\", \"salt\": \"checkout\"");
    let mut worker = Worker::<R>::with(&renamed);
    let seen = worker.send(with(&canary_user()));
    assert_eq!(seen.response("x-why").unwrap(), "HASH");
}

fn an_edited_signed_pin_is_ignored_and_counted<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(SIGNED));
    let user = stable_user();
    let pin = worker.send(get("/").user(&user)).cookie("p").unwrap();
    let mac = pin.rsplit('.').next().unwrap();
    let forged = [
        format!("canary.g.{mac}"),
        format!("stable.h.{mac}"),
        format!("stable..{mac}"),
        "stable.g.".into(),
        "stable.g".into(),
        "stable".into(),
        format!("stable.g.{mac}="),
        format!("stable.g.{}", &mac[..mac.len() - 1]),
        format!("stable.g.{mac}.x"),
        format!("stable.g.{}", "A".repeat(43)),
    ];
    for (count, pin) in forged.iter().enumerate() {
        let seen = worker.send(get("/").user(&user).cookie(format!("p={pin}")));
        assert_eq!(seen.response("x-why").unwrap(), "HASH", "{pin}");
        assert!(seen.cookie("p").is_some(), "a good one takes its place");
        let ignored = r#"cohort_ignored_total{rollout="checkout",what="pin"}"#;
        assert_eq!(worker.world.metric(ignored), count as u64 + 1, "{pin}");
    }
}

fn a_pin_that_names_nothing_is_ignored_and_counted<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(PIN));
    let user = stable_user();
    let worthless: [&[u8]; 5] = [b"p=nonsense", b"p=", b"p=Canary", b"p=canary.g.x", b"p=\xff\xfe"];
    for (count, pin) in worthless.iter().enumerate() {
        is(&worker.send(get("/").user(&user).cookie(pin)), "stable", "HASH");
        let ignored = r#"cohort_ignored_total{rollout="checkout",what="pin"}"#;
        assert_eq!(worker.world.metric(ignored), count as u64 + 1);
    }
}

fn a_pin_is_a_parsed_cookie_and_the_first_of_its_name<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(PIN));
    let user = stable_user();
    for (request, reason) in [
        (get("/").cookie("a=1; p=canary; b=2"), "PINNED"),
        (get("/").cookie("a=1;p=canary;b=2"), "PINNED"),
        (get("/").cookie("a=1").cookie("p=\"canary\""), "PINNED"),
        (get("/").cookie("p=canary; p=stable"), "PINNED"),
        (get("/").cookie("xp=canary; P=canary; p.x=canary; ap=p=canary"), "HASH"),
        (get("/").cookie("note=\"p=canary\""), "HASH"),
    ] {
        let lines = format!("{:?}", request.state.request.last().map(|(_, line)| text(line)));
        let seen = worker.send(request.user(&user));
        assert_eq!(seen.response("x-why").unwrap(), reason, "{lines}");
    }
}

fn no_pin_is_handed_out_for_other_reasons<R: Rig>() {
    let rest = format!(
        r#"{PIN}, "overrides": {{"header": "x-canary"}},
           "rules": [{{"name": "us", "match": [{{"header": {{"x-country": {{"exact": "US"}}}}}}], "weights": {{"canary": 50}}}}]"#
    );
    let mut worker = Worker::<R>::with(&checkout(&rest));
    let user = canary_user();
    for (request, reason) in [
        (get("/").user(&user).header("x-canary", "canary"), "OVERRIDE"),
        (get("/").user(&user).header("x-country", "US"), "RULE"),
        (get("/"), "DEFAULT"),
    ] {
        let seen = worker.send(request);
        assert_eq!(seen.response("x-why").unwrap(), reason);
        assert_eq!(seen.cookies(), Vec::<String>::new());
    }
}

fn every_attribute_of_a_cookie_is_written<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(
        r#""pin": {"cookie": {"name": "p", "path": "/shop", "domain": "example.com", "maxAge": "1d",
            "secure": true, "httpOnly": false, "sameSite": "None", "partitioned": true}}"#,
    ));
    assert_eq!(
        worker.send(get("/").user(&canary_user())).cookies(),
        ["p=canary; Path=/shop; Domain=example.com; Max-Age=86400; Secure; SameSite=None; Partitioned"]
    );
}

fn a_cookie_is_secure_where_the_request_was<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(PIN));
    let user = canary_user();
    let secure = "p=canary; Path=/; Secure; HttpOnly; SameSite=Lax";
    for request in [get("/").https(), get("/").header("x-forwarded-proto", "https")] {
        assert_eq!(worker.send(request.user(&user)).cookies(), [secure]);
    }
    let seen = worker.send(get("/").https().header("x-forwarded-proto", "http").user(&user));
    assert_eq!(seen.cookies(), ["p=canary; Path=/; HttpOnly; SameSite=Lax"]);
}

fn an_application_s_own_cookies_stay<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(PIN));
    let reply = Reply::new(200).header("set-cookie", "a=1").header("set-cookie", "b=2");
    let seen = worker.send(get("/").user(&canary_user()).reply(reply));
    assert_eq!(seen.cookies()[..2], ["a=1", "b=2"]);
    assert_eq!(seen.cookies().len(), 3);
}

const ANONYMOUS: &str = r#""anonymousId": {"cookie": {"name": "anon", "maxAge": "365d"}},
    "output": {"reasonHeader": "x-why"}"#;

fn a_new_visitor_keeps_the_version_of_the_first_request<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(ANONYMOUS));
    let (mut ids, mut canaries) = (BTreeSet::new(), 0);
    for visitor in 0..400 {
        let first = worker.send(get("/").on_connection(visitor));
        let id = first.cookie("anon").expect("an id");
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let version = first.request("x-cohort-checkout").unwrap();
        is(&first, &version, "HASH");
        canaries += u64::from(version == "canary");
        let bucket = cohort::hash::Scheme::Cohort.bucket(b"checkout", id.as_bytes());
        assert_eq!(version == "canary", bucket < 50_000, "the id issued is the id used");
        let second = worker.send(get("/").cookie(format!("anon={id}")));
        is(&second, &version, "HASH");
        assert_eq!(second.cookies(), Vec::<String>::new());
        assert!(ids.insert(id), "an id came twice");
    }
    assert!((140..260).contains(&canaries), "{canaries} of 400");
}

fn no_anonymous_id_where_there_is_a_key<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(ANONYMOUS));
    let seen = worker.send(get("/").user(&canary_user()));
    assert_eq!(seen.cookies(), Vec::<String>::new());
    assert_eq!(worker.world.take_counts().get("random_get"), None);
}

fn no_anonymous_id_where_nothing_asks_for_a_key<R: Rig>() {
    let rest = format!(r#"{ANONYMOUS}, "overrides": {{"header": "x-canary"}}"#);
    let mut worker = Worker::<R>::with(&checkout(&rest));
    let seen = worker.send(get("/").header("x-canary", "canary"));
    is(&seen, "canary", "OVERRIDE");
    assert_eq!(seen.cookies(), Vec::<String>::new());
}

fn two_rollouts_share_the_anonymous_id_of_one_cookie<R: Rig>() {
    let rollout = |name: &str| {
        format!(
            r#"{{"name": "{name}", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 50}}],
                "anonymousId": {{"cookie": {{"name": "anon"}}}}}}"#
        )
    };
    let config = format!(r#"{{"rollouts": [{}, {}]}}"#, rollout("one"), rollout("two"));
    let mut worker = Worker::<R>::with(&config);
    let seen = worker.send(get("/"));
    let id = seen.cookie("anon").unwrap();
    assert_eq!(seen.cookies().len(), 1);
    for name in ["one", "two"] {
        let bucket = cohort::hash::Scheme::Cohort.bucket(name.as_bytes(), id.as_bytes());
        let wanted = if bucket < 50_000 { "b" } else { "a" };
        assert_eq!(seen.request(&format!("x-cohort-{name}")).unwrap(), wanted);
    }
}

fn without_randomness_a_visitor_gets_stable_and_no_cookie<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(ANONYMOUS));
    worker.world.state().random = None;
    let seen = worker.send(get("/"));
    is(&seen, "stable", "DEFAULT");
    assert_eq!(seen.cookies(), Vec::<String>::new());
}

fn an_anonymous_visitor_s_pin_is_signed_for_the_id_just_issued<R: Rig>() {
    let rest = format!(r#"{SIGNED}, "anonymousId": {{"cookie": {{"name": "anon"}}}}"#);
    let mut worker = Worker::<R>::with(&checkout(&rest));
    let first = worker.send(get("/"));
    let (id, pin) = (first.cookie("anon").unwrap(), first.cookie("p").unwrap());
    let version = why(&first).0;
    let seen = worker.send(get("/").cookie(format!("anon={id}; p={pin}")));
    is(&seen, &version, "PINNED");
    assert_eq!(seen.cookies(), Vec::<String>::new());
    let seen = worker.send(get("/").on_connection(2).cookie(format!("p={pin}")));
    assert_eq!(seen.response("x-why").unwrap(), "HASH", "another visitor with this pin");
}
