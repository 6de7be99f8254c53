//! What the guard holds in simulated time, from fixed seeds: it does not mind chance, and sees what is no chance.
//! `make bench WHAT=guard` plays more of the same, and prints it.

#[path = "../examples/guard_vs_flagger.rs"]
#[allow(dead_code)]
mod guard_vs_flagger;

use guard_vs_flagger::simulation::plays::{
    alike, at_the_edge, recovery, situations, slow_together,
};
use guard_vs_flagger::simulation::scenarios::{alarms, Scenario};
use guard_vs_flagger::simulation::{Guarded, Rule};
use guard_vs_flagger::{Canary, Fall};

/// The guard alone, with its default limit of 5 %.
fn guarded() -> [Box<dyn Rule>; 1] {
    [Box::new(Guarded::limit(0.05))]
}

#[test]
fn a_version_that_fails_as_stable_does_is_never_taken_out() {
    for (rate, weight, base) in situations() {
        let trips = alike(rate, weight, base, 20, &mut guarded());
        assert_eq!(trips, [0], "{rate} requests a second, weight {weight}, {base} of both fail");
    }
}

/// The bound is 2.85 of 1,000 rollouts that are an hour old; the specification allows 8.
#[test]
fn at_the_edge_of_what_is_allowed_it_is_taken_out_as_seldom_as_the_bound_says() {
    let situations = [(0.1, 20.0, 0.03), (0.5, 20.0, 0.2), (0.5, 200.0, 0.03)];
    let trips = situations.map(|(weight, rate, stable)| at_the_edge(weight, rate, stable, 334));
    println!("{trips:?} of 334 starts each");
    assert!(trips.iter().sum::<u64>() <= 8, "{trips:?} of 334 starts each");
}

#[test]
fn what_both_versions_suffer_from_takes_nothing_out() {
    for (name, scenario, most) in [
        ("drift", Scenario::Drift, 0),
        ("outages", Scenario::Outage { earlier: 0 }, 0),
        ("outages, felt 0.25 s earlier", Scenario::Outage { earlier: 1 }, 0),
        ("outages, felt 0.5 s earlier", Scenario::Outage { earlier: 2 }, 0),
        ("outages, felt 1 s earlier", Scenario::Outage { earlier: 4 }, 5),
        ("batches", Scenario::Batches { spread: false }, 0),
        ("a hang", Scenario::Hang, 5),
    ] {
        let [trips] = alarms(scenario, 200.0, 0.1, 100, &mut guarded())[..] else {
            panic!("one rule")
        };
        assert!(trips <= most, "{name}: {trips} trips in 100 hours");
    }
    assert_eq!(slow_together(0.1, 200.0, 100), 0, "both are slow at times");
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

/// The specification's means: seconds until the last of two workers lets go, and users who met an error. Of 20 plays, but
/// where a tenth fails of 200: some of those last long, and a mean of 20 is off by a fifth.
#[test]
fn a_failing_version_is_out_as_soon_as_the_specification_says() {
    let from_the_start =
        |weight, rate, more: f64| Canary::new(weight, rate, 0.001, (0.001 + more).min(1.0));
    let later = |failure| Canary { onset: 600_000, ..from_the_start(10, 200, failure) };
    let strict = Canary { limit: 0.01, ..from_the_start(10, 200, 0.1) };
    let any = f64::INFINITY;
    for (name, canary, plays, seconds, users) in [
        ("all fail", from_the_start(10, 200, 1.0), 20, 1.2, 25.0),
        ("half fail", from_the_start(10, 200, 0.5), 20, 1.5, any),
        ("a fifth fails", from_the_start(10, 200, 0.2), 20, 3.2, any),
        ("a tenth fails", from_the_start(10, 200, 0.1), 200, 12.0, any),
        ("a tenth fails, limit 1 %", strict, 200, 4.5, any),
        ("all of half of the traffic fail", from_the_start(50, 200, 1.0), 20, 1.2, any),
        ("all of one request a second fail", from_the_start(5, 20, 1.0), 20, 6.0, 6.0),
        ("all of one request in four seconds fail", from_the_start(5, 5, 1.0), 20, 25.0, any),
        ("all of 200 a second fail", from_the_start(10, 2000, 1.0), 20, 1.2, any),
        ("all fail, ten minutes later", later(1.0), 20, 2.0, any),
        ("half fail, ten minutes later", later(0.5), 20, 2.5, any),
        ("a fifth fails, ten minutes later", later(0.2), 20, 6.0, any),
    ] {
        let plays: Vec<_> = (0..plays).map(|seed| canary.fall(seed)).collect();
        let mean =
            |of: fn(&Fall) -> u64| plays.iter().map(of).sum::<u64>() as f64 / plays.len() as f64;
        let (out, met) = (mean(|play| play.out_after) / 1_000.0, mean(|play| play.met_with_guard));
        println!("{name}: out after {out:.2} s, {met:.1} users");
        assert!(out <= seconds && met <= users, "{name}: {out} s, {met} users");
    }
}
