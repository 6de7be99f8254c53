//! What the guard holds in simulated time, from fixed seeds: it does not mind chance, and sees what is no chance.
//! `make bench WHAT=guard` plays more of the same, and prints it.

#[path = "../examples/guard_vs_flagger.rs"]
#[allow(dead_code)]
mod guard_vs_flagger;

use guard_vs_flagger::fall;
use guard_vs_flagger::simulation::plays::{alike, at_the_edge, recovery, situations};
use guard_vs_flagger::simulation::scenarios::{alarms, Scenario};
use guard_vs_flagger::simulation::{Guarded, Rule};

/// The guard alone, with its default limit of 5 %.
fn guarded() -> [Box<dyn Rule>; 1] {
    [Box::new(Guarded::limit(0.05))]
}

#[test]
fn a_version_that_fails_as_stable_does_is_never_taken_out() {
    for (rate, weight, base) in situations() {
        let trips = alike(rate, weight, base, 1, &mut guarded());
        assert_eq!(trips, [0], "{rate} requests a second, weight {weight}, {base} of both fail");
    }
}

/// The bound is 2.85 of 1,000 rollouts that are an hour old; the specification allows 8.
#[test]
fn at_the_edge_of_what_is_allowed_it_is_taken_out_as_seldom_as_the_bound_says() {
    for (weight, rate, stable) in [(0.1, 20.0, 0.03), (0.5, 20.0, 0.2), (0.5, 200.0, 0.03)] {
        let trips = at_the_edge(weight, rate, stable, 40);
        assert!(trips <= 1, "weight {weight}, {rate} requests a second, {stable}: {trips} of 40");
    }
}

#[test]
fn what_both_versions_suffer_from_takes_nothing_out() {
    for (name, scenario, most) in [
        ("drift", Scenario::Drift, 0),
        ("outages", Scenario::Outage { earlier: 0 }, 0),
        ("outages, felt 0.25 s earlier", Scenario::Outage { earlier: 1 }, 0),
        ("outages, felt 0.5 s earlier", Scenario::Outage { earlier: 2 }, 0),
        ("outages, felt 1 s earlier", Scenario::Outage { earlier: 4 }, 1),
        ("batches", Scenario::Batches { spread: false }, 0),
        ("a hang", Scenario::Hang, 1),
    ] {
        let [trips] = alarms(scenario, 200.0, 0.1, 5, &mut guarded())[..] else {
            panic!("one rule")
        };
        assert!(trips <= most, "{name}: {trips} trips in 5 hours");
    }
}

#[test]
fn a_version_that_fails_too_much_seldom_returns_and_one_that_does_not_returns() {
    // A trial is a tenth of 10 or 20 requests a second for 30 s and longer.
    for rate in [100.0, 200.0] {
        let ended = |share, plays: u64| {
            let hours = (0..plays).map(|play| recovery(share, 0.1, rate, play));
            hours.fold((0, 0), |(trials, returns), hour| {
                (trials + hour.trials, returns + hour.returns)
            })
        };
        let (trials, returns) = ended(0.1, 30);
        println!("{rate} requests a second, 10 % fail: {returns} of {trials} trials ended well");
        assert!(trials > 200 && returns * 20 <= trials, "{returns} of {trials}");
        let (trials, returns) = ended(0.03, 12);
        assert!(trials >= 12 && returns * 10 >= trials * 9, "{returns} of {trials}");
    }
}

/// Median seconds until the last of two workers let go, and mean users who met an error, over 41 plays.
fn typical_fall(weight: u64, rate: u64, failure: f64) -> (f64, f64) {
    let plays: Vec<_> = (0..41).map(|seed| fall(weight, rate, 0.001, failure, seed)).collect();
    let mut out: Vec<_> = plays.iter().map(|play| play.out_after).collect();
    out.sort_unstable();
    let met = plays.iter().map(|play| play.met_with_guard).sum::<u64>();
    (out[out.len() / 2] as f64 / 1_000.0, met as f64 / plays.len() as f64)
}

/// The specification's medians, and a quarter of them and one more look of 250 ms for the other worker.
#[test]
fn a_failing_version_is_out_as_soon_as_the_specification_says() {
    for (weight, rate, failure, seconds, users) in [
        (10, 200, 1.0, 0.8, 25.0),
        (10, 200, 0.5, 1.0, 25.0),
        (10, 200, 0.2, 2.0, 25.0),
        (10, 200, 0.1, 8.5, 50.0),
        (50, 200, 1.0, 0.8, 120.0),
        (5, 20, 1.0, 4.5, 6.5),
        (5, 5, 1.0, 18.0, 6.5),
        (10, 2000, 1.0, 0.8, 200.0),
    ] {
        let (out, met) = typical_fall(weight, rate, failure);
        println!("weight {weight}, {rate} rps, {failure}: out after {out:.2} s, {met:.1} users");
        let allowed = seconds * 1.25 + 0.25;
        assert!(out <= allowed, "weight {weight}, {rate} rps, {failure}: {out} s");
        assert!(met <= users, "weight {weight}, {rate} rps, {failure}: {met} users");
    }
}
