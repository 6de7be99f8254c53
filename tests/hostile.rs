//! A host that answers any call with an error at any time, and clients that send anything: nothing traps,
//! nothing that may not be written is written, and once the host behaves again so does the filter.
//!
//! The library takes any status of any call. The module takes those that the SDK lists for a call
//! (docs/design.md says what that loses).

#[macro_use]
mod support;

use support::*;

on_both_rigs!(
    a_host_that_fails_at_random_kills_nothing,
    a_host_that_fails_always_kills_nothing,
    header_blocks_of_64_kib_are_read,
    ten_thousand_cookies_are_read,
    raw_bytes_in_every_place_are_let_through,
    callbacks_in_any_order_kill_nothing,
    shared_data_that_somebody_else_wrote_is_no_record,
    a_flood_of_polls_that_are_never_answered_is_forgotten,
);

const FULL: &str = include_str!("cases/full.json");

/// Every kind of thing at once, short enough to trip, probe, return and poll in a few seconds.
fn busy() -> String {
    FULL.replace(r#""window": "30s", "minRequests": 50"#, r#""window": "2s", "minRequests": 2"#)
        .replace(r#""retryAfter": "5m""#, r#""retryAfter": "1s""#)
        .replace(
            r#""interval": "5s", "timeout": "1s""#,
            r#""interval": "500ms", "timeout": "100ms""#,
        )
}

/// A request with anything in it that a proxy lets through, and some that it does not.
fn anything(dice: &mut Dice) -> Exchange {
    let targets: [&[u8]; 7] = [
        b"/",
        b"/checkout",
        b"/checkout?canary=always&uid=1",
        b"*",
        b"",
        b"/checkout?\xff",
        b"/checkout?canary",
    ];
    let mut exchange = get("/").replace(":path", dice.pick(&targets));
    let names = [
        "x-user-id",
        "cookie",
        "cookie",
        "baggage",
        "x-cohort-checkout",
        "x_cohort_checkout",
        "x-cohort-cluster",
        "x-canary",
        "x-canary-secret",
        "x-employee",
        "x-country",
        "content-type",
        "x-forwarded-proto",
        "x-feature-new-cart",
        "\u{7f}",
        "",
        "x-\u{e9}",
        ":odd",
        "x-other",
    ];
    for _ in 0..dice.below(20) {
        let name = *dice.pick(&names);
        let value = noise(dice);
        exchange = exchange.header(name, value);
    }
    if dice.falls(1, 8) {
        exchange.state.request.retain(|(name, _)| !name.starts_with(b":"));
    }
    if dice.falls(1, 3) {
        let (name, value) = (*dice.pick(&names), noise(dice));
        exchange = exchange.trailer(name, value);
    }
    let address = noise(dice);
    let addresses: [&[u8]; 5] = [b"10.0.0.1:80", b"[::1]:0", b"", b"@", &address];
    exchange.state.address = dice.falls(9, 10).then(|| dice.pick(&addresses).to_vec());
    let status = *dice.pick(&[0, 100, 101, 200, 204, 304, 404, 500, 503, 65_535]);
    let mut reply = Reply::new(status);
    if dice.falls(1, 2) {
        reply = reply
            .header("grpc-status", "-1")
            .header(":status", "again")
            .header("set-cookie", "a=b");
    }
    if dice.falls(1, 3) {
        reply = reply.trailer("grpc-status", "99999999999999999999");
    }
    if dice.falls(1, 4) {
        let known = [
            details::UPSTREAM,
            details::RESET_AFTER_HEADERS,
            details::IDLE,
            details::CLIENT_WENT,
            details::DENIED,
            "",
        ];
        reply = reply.broken_off(known[dice.below(known.len() as u64) as usize]);
    }
    let exchange = exchange.reply(reply).takes(dice.below(2_000));
    match dice.below(10) {
        0 => exchange.aborted(),
        1 => Exchange { ending: Ending::NeverBegan, ..exchange },
        _ => exchange,
    }
}

/// A header's value: words that mean something, bytes that mean nothing, and both.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let pieces: [&[u8]; 24] = [
        b"cohort-checkout=canary",
        b"canary",
        b"stable",
        b"always",
        b"cohort-checkout=canary.2026-11-21.",
        b"%63ohort-checkout=x",
        b"uid=",
        b"cohort-id=",
        b"=",
        b";",
        b",",
        b" ",
        b"\t",
        b"\"",
        b"%",
        b"%ff",
        b"\xff\xfe",
        b"\x80",
        b"a",
        b"application/grpc",
        b"2",
        b".",
        b"AAAA",
        b"\xc3\xa9",
    ];
    (0..dice.below(12)).flat_map(|_| dice.pick(&pieces).to_vec()).collect()
}

/// Sequences of streams, ticks, answers and configurations while the host does what `faults` say.
fn live<R: Rig>(seed: u64, percent: u64, clock: bool, steps: u32) -> Worker<R> {
    let mut dice = Dice(seed);
    let world = World::new();
    world.state().log_level = 0;
    let mut worker = Worker::<R>::start(&world);
    assert!(worker.configure(busy()));
    let dice_of_the_host = Dice(seed ^ 0xface);
    let statuses = R::STATUSES;
    world.state().faults = Some(Faults { dice: dice_of_the_host, percent, clock, statuses });
    let mut open = Vec::new();
    for _ in 0..steps {
        match dice.below(12) {
            0..=4 => {
                worker.send(anything(&mut dice));
            }
            5 => open.push(worker.begin(anything(&mut dice))),
            6 if !open.is_empty() => {
                let at = dice.below(open.len() as u64) as usize;
                worker.finish(open.swap_remove(at));
            }
            7 | 8 => worker.pass(dice.below(1_500)),
            9 => {
                for call in world.take_calls() {
                    if dice.falls(2, 3) && worker.knows(&call) {
                        worker.answer(&call, [None, Some(200), Some(503)][dice.below(3) as usize]);
                    }
                }
            }
            10 => {
                worker.configure(
                    busy().replace("\"weight\": 5", &format!("\"weight\": {}", dice.below(50))),
                );
            }
            _ => {
                worker.configure(*dice.pick(&["", "{", "{\"rollouts\": []}", FULL]));
            }
        }
    }
    world.state().faults = None;
    for stream in open {
        worker.finish(stream);
    }
    worker
}

/// The filter does what it should.
fn assert_well<R: Rig>(worker: &mut Worker<R>, about: &str) {
    worker.world.state().now = START * 1_000_000;
    assert!(worker.configure(checkout("")), "{about}: {}", worker.world.take_log(3));
    for (user, version) in [(canary_user(), "canary"), (stable_user(), "stable")] {
        let seen = worker.send(get("/").user(&user).header("x-cohort-checkout", "forged"));
        assert_eq!(seen.request("x-cohort-checkout").as_deref(), Some(version), "{about}");
    }
}

fn a_host_that_fails_at_random_kills_nothing<R: Rig>() {
    let (sequences, steps) = (*ASKED / R::SLOWER, 40);
    for seed in 0..sequences {
        let percent = [2, 10, 30, 60][seed as usize % 4];
        let mut worker = live::<R>(seed, percent, seed.is_multiple_of(3), steps);
        assert_well(&mut worker, &format!("seed {seed}"));
    }
}

/// How many random sequences, a twentieth of them in the module; more where somebody asks for it:
/// `COHORT_SEQUENCES=50000 cargo test --test hostile`.
static ASKED: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
    std::env::var("COHORT_SEQUENCES").ok().and_then(|asked| asked.parse().ok()).unwrap_or(1_000)
});

fn a_host_that_fails_always_kills_nothing<R: Rig>() {
    for seed in 0..10 {
        let mut worker = live::<R>(seed, 100, false, 60);
        assert_well(&mut worker, &format!("seed {seed}"));
    }
    // From the first call on.
    let world = World::new();
    world.state().faults =
        Some(Faults { dice: Dice(1), percent: 100, clock: true, statuses: R::STATUSES });
    let mut worker = Worker::<R>::start(&world);
    worker.configure(FULL);
    world.state().faults = None;
    assert_well(&mut worker, "a start without any host");
}

fn header_blocks_of_64_kib_are_read<R: Rig>() {
    let mut worker = Worker::<R>::with(&busy());
    let small = (0..1_000).fold(get("/checkout").user("u"), |exchange, number| {
        exchange.header(&format!("x-header-{number}"), vec![b'v'; 48])
    });
    let large = get("/checkout").user("u").header("x-large", vec![0xff; 65_536]);
    let forged = (0..3_000).fold(get("/checkout").user("u"), |exchange, _| {
        exchange.header("x-cohort-checkout", "canary").header("x_cohort_checkout", "canary")
    });
    let long_key = get("/checkout").header("x-user-id", vec![b'k'; 65_536]);
    let baggage = get("/checkout").user("u").header("baggage", b"a=1,".repeat(16_000));
    let query = get(&format!("/checkout?{}uid=1", "x=y&".repeat(16_000)));
    for exchange in [small, large, forged, long_key, baggage, query] {
        let seen = worker.send(exchange);
        let version = seen.request("x-cohort-checkout").expect("a decision");
        assert!(["stable", "canary"].contains(&version.as_str()), "{version}");
        assert!(!seen.request_names().contains(&"x_cohort_checkout".to_owned()));
    }
}

fn ten_thousand_cookies_are_read<R: Rig>() {
    let by_cookie = checkout("").replace(r#"{"header": "x-user-id"}"#, r#"{"cookie": "uid"}"#);
    let mut worker = Worker::<R>::with(&by_cookie);
    let jar: String = (0..10_000).map(|number| format!("c{number}={number}; ")).collect();
    let user = canary_user();
    for exchange in [
        get("/").cookie(format!("{jar}uid={user}")),
        get("/").cookie(&jar).cookie(format!("uid={user}")),
        (0..10_000)
            .fold(get("/"), |exchange, _| exchange.cookie("a=1"))
            .cookie(format!("uid={user}")),
        get("/").cookie(";".repeat(65_000)).cookie(format!("uid={user}")),
        get("/").cookie("=".repeat(65_000)).cookie(format!("uid={user}")),
    ] {
        assert_eq!(worker.send(exchange).request("x-cohort-checkout").unwrap(), "canary");
    }
}

fn raw_bytes_in_every_place_are_let_through<R: Rig>() {
    let mut worker = Worker::<R>::with(&busy());
    for byte in (0x01..=0xffu8).filter(|byte| !b"\r\n".contains(byte)) {
        let raw = [b"a", [byte].as_slice(), b"b"].concat();
        let cookie =
            [b"uid=".as_slice(), &raw, b"; cohort-checkout=", &raw, b"; canary=", &raw].concat();
        let exchange = get("/checkout")
            .header("x-user-id", &raw)
            .header("x-country", &raw)
            .header("x-canary", &raw)
            .header("x-canary-secret", &raw)
            .header("baggage", [&raw, b"=".as_slice(), &raw].concat())
            .header("x-cohort-checkout", &raw)
            .header("x-forwarded-proto", &raw)
            .header("content-type", &raw)
            .header("x-mine", &raw)
            .cookie(cookie)
            .replace(":method", &raw)
            .replace(":authority", &raw)
            .replace(":path", [b"/checkout?canary=".as_slice(), &raw].concat());
        let seen = worker.send(exchange);
        let mine = seen.request.iter().find(|(name, _)| name == b"x-mine").expect("mine");
        assert_eq!(mine.1, raw, "what is not ours is not touched");
    }
}

fn callbacks_in_any_order_kill_nothing<R: Rig>() {
    let events = [
        Event::RequestHeaders,
        Event::RequestTrailers,
        Event::ResponseHeaders { end: false },
        Event::ResponseHeaders { end: true },
        Event::ResponseBody { size: 1000, end: false },
        Event::ResponseBody { size: 0, end: true },
        Event::ResponseTrailers,
    ];
    let mut dice = Dice(11);
    let mut worker = Worker::<R>::with(&busy());
    for _ in 0..*ASKED / R::SLOWER {
        let mut exchange = anything(&mut dice);
        exchange.ending = Ending::NeverBegan;
        let open = worker.begin(exchange);
        for _ in 0..dice.below(10) {
            worker.on(&open, *dice.pick(&events));
        }
        worker.end(open);
    }
    assert_well(&mut worker, "after callbacks in any order");
}

fn shared_data_that_somebody_else_wrote_is_no_record<R: Rig>() {
    let mut dice = Dice(5);
    let mut worker = Worker::<R>::with(&busy());
    worker.pass(250);
    let keys: Vec<Vec<u8>> = worker.world.state().shared.keys().cloned().collect();
    assert!(!keys.is_empty());
    for _ in 0..200 {
        for key in &keys {
            let bytes: Vec<u8> = (0..dice.below(30)).map(|_| dice.next() as u8).collect();
            let cas = 1 + dice.below(1 << 30) as u32;
            worker.world.state().shared.insert(key.clone(), (bytes, cas));
        }
        worker.pass(500);
        worker.send(anything(&mut dice));
        for call in worker.world.take_calls() {
            worker.answer(&call, Some(200));
        }
    }
    // It writes its own again, and goes on.
    worker.pass(5_000);
    assert_well(&mut worker, "after other people's records");
}

fn a_flood_of_polls_that_are_never_answered_is_forgotten<R: Rig>() {
    let mut worker = Worker::<R>::with(&busy());
    for _ in 0..12_000 {
        worker.world.advance(500);
        worker.tick();
    }
    assert!(worker.world.take_calls().len() > 10_000);
    assert_well(&mut worker, "after polls without answers");
}
