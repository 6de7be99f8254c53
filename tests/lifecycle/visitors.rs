//! A visitor is one person: parallel first requests, several hops, caches.

use crate::support::*;

on_both_rigs!(
    requests_of_one_client_that_come_together_share_an_id,
    an_id_is_shared_for_ten_seconds_and_over_a_new_configuration,
    a_request_that_the_proxy_redirected_itself_brings_its_id_to_the_browser,
    no_cookie_on_an_answer_that_a_shared_cache_may_keep,
    the_cookies_of_one_answer_are_bounded,
    an_answer_that_forges_ours_is_cleaned_in_shadow_too,
    what_another_instance_decided_stays_where_there_is_no_configuration,
);

const ANONYMOUS: &str = r#""anonymousId": {"cookie": {"name": "anon"}}"#;

fn requests_of_one_client_that_come_together_share_an_id<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(ANONYMOUS));
    let of = |connection: u64, address: &str, forwarded: &str, agent: &str| {
        let request = get("/").on_connection(connection).from(address);
        request.header("x-forwarded-for", forwarded).header("user-agent", agent)
    };
    let clients = [
        (1, "203.0.113.9:1", "a", "b"),
        (2, "203.0.113.9:1", "a", "b"),
        (1, "203.0.113.8:1", "a", "b"),
        (1, "203.0.113.9:1", "c", "b"),
        (1, "203.0.113.9:1", "a", "c"),
        (1, "203.0.113.9:1", "ab", ""),
    ];
    let mut ids = Vec::new();
    // All requests come before any answer.
    let open: Vec<_> = (0..18)
        .map(|number| {
            let (connection, address, forwarded, agent) = clients[number % 6];
            worker.begin(of(connection, address, forwarded, agent))
        })
        .collect();
    for open in open {
        ids.push(worker.finish(open).cookie("anon").expect("an id"));
    }
    let mut different: Vec<&String> = ids[..6].iter().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 6, "as many as clients: {ids:?}");
    assert!(ids[..6] == ids[6..12] && ids[..6] == ids[12..], "{ids:?}");
}

fn an_id_is_shared_for_ten_seconds_and_over_a_new_configuration<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(ANONYMOUS));
    let id = |worker: &mut Worker<R>| worker.send(get("/")).cookie("anon").expect("an id");
    let first = id(&mut worker);
    worker.pass(5_000);
    assert!(worker.configure(checkout(&format!(r#"{ANONYMOUS}, "salt": "other""#))));
    assert_eq!(id(&mut worker), first);
    worker.pass(4_999);
    assert_eq!(id(&mut worker), first);
    worker.pass(1);
    assert_ne!(id(&mut worker), first, "no request keeps it longer");
}

fn a_request_that_the_proxy_redirected_itself_brings_its_id_to_the_browser<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(ANONYMOUS));
    let first = worker.begin(get("/"));
    let cookie = worker.seen(&first).request("cookie").expect("the id");
    // The first pass ends without an answer, and the second begins with what the first left.
    worker.end(first);
    let second = worker.send(get("/").header("cookie", cookie.clone()));
    let id = second.cookie("anon").expect("handed out now");
    assert_eq!(cookie, format!("anon={id}"));
    let again = || get("/").header("cookie", cookie.clone());
    assert_eq!(worker.send(again()).cookies(), Vec::<String>::new(), "once");
    // On another connection it is a visitor who has the id.
    let first = worker.begin(get("/").on_connection(7));
    let cookie = worker.seen(&first).request("cookie").expect("the id");
    let other = worker.send(get("/").on_connection(8).header("cookie", cookie));
    assert_eq!(other.cookies(), Vec::<String>::new());
    worker.finish(first);
}

fn no_cookie_on_an_answer_that_a_shared_cache_may_keep<R: Rig>() {
    let rest = format!(
        r#"{ANONYMOUS}, "pin": {{"cookie": {{"name": "p"}}, "versions": ["stable", "canary"]}}"#
    );
    let mut worker = Worker::<R>::with(&checkout(&rest));
    for (status, control, count) in [
        (200, &["public"][..], 0),
        (200, &["no-transform", "max-age=1, S-MAXAGE=0"], 0),
        (200, &["immutable"], 0),
        (304, &[], 0),
        (301, &[], 0),
        (200, &[], 2),
        (200, &["private, max-age=60"], 2),
        (302, &[], 2),
    ] {
        let headers = control.iter().map(|line| ("cache-control", *line));
        let reply =
            headers.fold(Reply::new(status), |reply, (name, line)| reply.header(name, line));
        let seen = worker.send(get("/").reply(reply));
        assert_eq!(seen.cookies().len(), count, "{status} {control:?}");
    }
}

fn the_cookies_of_one_answer_are_bounded<R: Rig>() {
    let rollouts: Vec<String> = (0..50)
        .map(|number| {
            format!(
                r#"{{"name": "r{number}", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 100}}],
                    "hashKey": [{{"header": "x-user-id"}}], "pin": {{"cookie": {{"name": "p{number}"}}}}, {ANONYMOUS}}}"#
            )
        })
        .collect();
    let config = format!(r#"{{"rollouts": [{}]}}"#, rollouts.join(", "));
    let mut worker = Worker::<R>::with(&config);
    worker.world.take_log(0);
    let mut jar: Vec<String> = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..4 {
        let seen = worker.send(get("/").header("cookie", jar.join("; ")));
        let pairs =
            seen.cookies().into_iter().map(|line| line.split(';').next().unwrap().to_owned());
        let pairs: Vec<String> = pairs.collect();
        counts.push(pairs.len());
        assert!(!jar.is_empty() || pairs.iter().any(|pair| pair.starts_with("anon=")));
        jar.extend(pairs);
    }
    assert_eq!(counts, [20, 20, 11, 0]);
    let said = worker.world.take_log(3);
    assert_eq!(said.matches("51 cookies were to go out on one answer").count(), 1, "{said}");
    assert_eq!(said.lines().count(), 1, "once: {said}");
}

fn an_answer_that_forges_ours_is_cleaned_in_shadow_too<R: Rig>() {
    let output = r#""output": {"responseHeader": "x-got", "reasonHeader": "x-why"}"#;
    for mode in ["shadow", "enforce"] {
        let rest = format!(r#"{output}, "mode": "{mode}""#);
        let mut worker = Worker::<R>::with(&checkout(&rest));
        let forged = Reply::new(200).header("x-got", "b").header("x_why", "b").header("x-app", "1");
        let seen = worker.send(get("/").user(&canary_user()).reply(forged));
        let got = (mode == "enforce").then(|| "canary".to_owned());
        assert_eq!(seen.response("x-got"), got, "{mode}");
        assert_eq!(seen.response("x-app").unwrap(), "1");
        if mode == "shadow" {
            assert_eq!(seen.response("x_why"), None);
        }
    }
}

fn what_another_instance_decided_stays_where_there_is_no_configuration<R: Rig>() {
    let mut worker = Worker::<R>::start(&World::new());
    assert!(worker.configure("{"), "it starts without rollouts");
    let request = get("/")
        .header("x-cohort-checkout", "canary")
        .header("x-cohort-other", "canary")
        .header("x_cohort_third", "canary")
        .header("baggage", "a=1;p,cohort-checkout=canary,%63ohort-other=canary")
        .header("baggage", "cohort-other=x,b=2");
    let seen = worker.send(request.clone());
    for name in ["x-cohort-checkout", "x-cohort-other", "x_cohort_third"] {
        assert_eq!(seen.request(name), None, "{name}");
    }
    assert_eq!(seen.request("baggage").unwrap(), "a=1;p,b=2");
    let marked = request.marked("x-cohort-checkout").marked("baggage").marked("cohort-checkout");
    let seen = worker.send(marked);
    assert_eq!(seen.request("x-cohort-checkout").unwrap(), "canary");
    assert_eq!((seen.request("x-cohort-other"), seen.request("x_cohort_third")), (None, None));
    assert_eq!(seen.request("baggage").unwrap(), "a=1;p,cohort-checkout=canary,b=2");
    // What a good configuration decides is marked, where another plugin may be on the stream.
    worker.world.state().plugin_name = "default.another".into();
    assert!(worker.configure(checkout(r#""output": {"baggage": true}"#)));
    let open = worker.begin(get("/").user(&canary_user()));
    let marks: Vec<String> = {
        let state = worker.world.state();
        let stream = state.streams.values().next().expect("the stream");
        stream.marks.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(marks, ["cohort.baggage", "cohort.cohort-checkout", "cohort.x-cohort-checkout"]);
    worker.finish(open);
}
