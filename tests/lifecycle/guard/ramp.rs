//! Weights that follow the clock.

use super::*;

on_both_rigs!(a_ramp_follows_the_clock, a_trip_ends_the_ramp, two_proxies_agree_on_the_ramp,);

const RAMP: &str = r#""ramp": {"start": "2026-11-21T10:01:00Z", "steps": [
    {"after": "0s", "weights": {"canary": 5}}, {"after": "10m", "weights": {"canary": 25}},
    {"after": "1h", "weights": {"canary": 100}}]}"#;

fn a_ramp_follows_the_clock<R: Rig>() {
    let mut worker = Worker::<R>::with(&checkout(RAMP));
    let user = user_in("checkout", 20_000..25_000);
    for (at, canary, wanted) in [
        (0, 50_000, "canary"),
        (59_999, 50_000, "canary"),
        (60_000, 5_000, "stable"),
        (659_999, 5_000, "stable"),
        (660_000, 25_000, "canary"),
        (3_659_999, 25_000, "canary"),
        (3_660_000, 100_000, "canary"),
        (99_999_999, 100_000, "canary"),
    ] {
        worker.world.state().now = (START + at) * 1_000_000;
        let seen = worker.send(get("/").user(&user));
        assert_eq!(seen.request("x-cohort-checkout").unwrap(), wanted, "at {at}, before any tick");
        worker.tick();
        assert_eq!(
            (weight(&worker, "canary"), weight(&worker, "stable")),
            (canary, 100_000 - canary)
        );
    }
}

fn a_trip_ends_the_ramp<R: Rig>() {
    let config = retrying().replacen(r#""guard""#, &format!(r#"{RAMP}, "guard""#), 1);
    let mut worker = Worker::<R>::with(&config);
    worker.pass(61_000);
    let canary = user_in("checkout", 0..5_000);
    for _ in 0..5 {
        drive(&mut worker, STABLE, 10, 200);
        drive(&mut worker, 0..5_000, 12, 500);
        worker.pass(250);
    }
    assert_eq!(weight(&worker, "canary"), 0);
    // Out, probing and back in: the weights stay those of the step at which it tripped.
    worker.world.advance(300_000);
    worker.tick();
    assert_eq!(weight(&worker, "canary"), 500);
    worker.world.advance(400_000);
    worker.tick();
    assert_eq!(weight(&worker, "canary"), 5_000);
    worker.world.advance(7_200_000);
    worker.tick();
    assert_eq!(weight(&worker, "canary"), 5_000);
    // Also for a worker that starts later, and after a reload.
    let mut late = Worker::<R>::start(&worker.world);
    assert!(late.configure(&config));
    let user = user_in("checkout", 5_000..25_000);
    is(&late.send(get("/").user(&user)), "stable", "HASH");
    is(&late.send(get("/").user(&canary)), "canary", "HASH");
}

fn two_proxies_agree_on_the_ramp<R: Rig>() {
    let mut one = Worker::<R>::with(&checkout(RAMP));
    let mut two = Worker::<R>::with(&checkout(RAMP));
    let mut dice = Dice(1);
    for _ in 0..100 {
        let now = (START + dice.below(4_000_000)) * 1_000_000 + dice.below(1_000_000);
        let user = format!("user-{}", dice.below(1000));
        let versions = [&mut one, &mut two].map(|worker| {
            worker.world.state().now = now;
            worker.send(get("/").user(&user)).request("x-cohort-checkout")
        });
        assert_eq!(versions[0], versions[1]);
    }
}
