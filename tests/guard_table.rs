//! How soon a failing version is out, in the simulation of the example.

#[path = "../examples/guard_vs_flagger.rs"]
#[allow(dead_code)]
mod guard_vs_flagger;

use guard_vs_flagger::fall;

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
