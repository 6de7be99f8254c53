//! The tables of `docs/guard.md` are what the example prints, and say what the page says of them.

#[path = "../examples/guard_vs_flagger.rs"]
#[allow(dead_code)]
mod guard_vs_flagger;

use guard_vs_flagger::{noise_trips, report};

const PAGE: &str = include_str!("../docs/guard.md");

#[test]
fn the_tables_of_the_page_are_those_that_the_example_prints() {
    for table in report().split("\n\n") {
        let table = table.trim_end();
        assert!(PAGE.contains(table), "docs/guard.md does not have this table:\n{table}");
    }
}

#[test]
fn a_healthy_canary_stays_through_hours_of_noise() {
    for (failure, min_requests) in [(0.001, 50), (0.005, 100), (0.01, 200)] {
        let trips: Vec<u64> =
            (0..20).filter(|seed| noise_trips(failure, min_requests, 1_000 + seed)).collect();
        assert_eq!(trips, [0; 0], "hours in which {failure} of errors tripped {min_requests}");
    }
}

#[test]
fn noise_above_the_limit_does_trip() {
    // The check above could not fail were the guard asleep.
    assert!((0..20).any(|seed| noise_trips(0.045, 50, seed)));
}
