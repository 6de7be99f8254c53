//! How soon a failing version is out, in the simulation of the example.

#[path = "../examples/guard_vs_flagger.rs"]
#[allow(dead_code)]
mod guard_vs_flagger;

use guard_vs_flagger::fall;

/// Mean seconds until the last of two workers let go, and mean users who met an error, over 20 plays.
fn mean_fall(weight: u64, rate: u64, failure: f64) -> (f64, f64) {
    let plays: Vec<_> = (0..20).map(|seed| fall(weight, rate, 0.001, failure, seed)).collect();
    let sum = |of: fn(&guard_vs_flagger::Fall) -> u64| plays.iter().map(of).sum::<u64>() as f64;
    (sum(|play| play.out_after) / 20_000.0, sum(|play| play.met_with_guard) / 20.0)
}

#[test]
fn a_failing_version_is_out_as_soon_as_the_specification_says() {
    for (weight, rate, failure, seconds, users) in [
        (10, 200, 1.0, 1.2, 25.0),
        (10, 200, 0.5, 1.5, 25.0),
        (10, 200, 0.2, 3.2, 25.0),
        (10, 200, 0.1, 12.0, 50.0),
        (50, 200, 1.0, 1.2, 120.0),
        (5, 20, 1.0, 6.0, 6.5),
        (5, 5, 1.0, 25.0, 6.5),
        (10, 2000, 1.0, 1.2, 200.0),
    ] {
        let (out, met) = mean_fall(weight, rate, failure);
        println!("weight {weight}, {rate} rps, {failure}: out after {out:.2} s, {met:.1} users");
        assert!(out <= seconds, "weight {weight}, {rate} rps, {failure}: {out} s");
        assert!(met <= users, "weight {weight}, {rate} rps, {failure}: {met} users");
    }
}
