//! The frozen arithmetic (design.md section 4), held against vectors of an independent murmur3 and
//! against its own promises.

use cohort::bucket::{Split, Weight};
use cohort::hash::{murmur3_32, Scheme};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vector {
    salt: String,
    key_hex: String,
    hash: u32,
    cohort: u32,
    unleash: u32,
    flagd: u32,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn buckets_are_those_of_an_independent_murmur3() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("vectors/buckets.json")).expect("the vectors are JSON");
    assert!(vectors.len() > 1000, "only {} vectors", vectors.len());
    for vector in vectors {
        let (salt, key) = (vector.salt.as_bytes(), unhex(&vector.key_hex));
        let name = format!("salt {:?} key {}", vector.salt, vector.key_hex);
        assert_eq!(murmur3_32(&[salt, b":", &key]), vector.hash, "{name}");
        assert_eq!(Scheme::Cohort.bucket(salt, &key), vector.cohort, "{name}");
        assert_eq!(Scheme::Unleash.bucket(salt, &key) + 1, vector.unleash, "{name}");
        assert_eq!(Scheme::Flagd.bucket(salt, &key), vector.flagd, "{name}");
    }
}

fn weight(thousandths: u32) -> Weight {
    Weight::from_thousandths(thousandths).expect("at most 100 %")
}

fn split(scheme: Scheme, weights: &[u32], stable: usize) -> Split {
    let weights: Vec<Weight> = weights.iter().map(|thousandths| weight(*thousandths)).collect();
    Split::new(scheme, &weights, stable)
}

fn owned(split: &Split, scheme: Scheme, version: usize) -> u32 {
    (0..scheme.buckets()).filter(|bucket| split.owner(*bucket) == version).count() as u32
}

#[test]
fn a_hundred_percent_is_the_most() {
    assert_eq!(Weight::from_thousandths(100_000), Some(Weight::FULL));
    assert_eq!(Weight::from_thousandths(100_001), None);
}

#[test]
fn a_thousandth_of_a_percent_is_one_bucket() {
    let split = split(Scheme::Cohort, &[0, 1], 0);
    assert_eq!(split.owner(0), 1);
    assert_eq!(split.owner(1), 0);
    assert_eq!(owned(&split, Scheme::Cohort, 1), 1);
}

#[test]
fn the_first_grows_from_below_the_last_from_above_and_those_between_follow_the_first() {
    let split = split(Scheme::Cohort, &[10_000, 0, 20_000, 30_000], 1);
    let ranges: Vec<(u32, u32, usize)> =
        split.ranges().iter().map(|range| (range.start, range.end, range.version)).collect();
    assert_eq!(
        ranges,
        [(0, 10_000, 0), (10_000, 30_000, 2), (30_000, 70_000, 1), (70_000, 100_000, 3)]
    );
}

#[test]
fn unleash_ranges_follow_in_order_and_stable_has_the_rest() {
    let split = split(Scheme::Unleash, &[10_000, 0, 20_000], 1);
    assert_eq!([0, 9, 10, 29, 30, 99].map(|bucket| split.owner(bucket)), [0, 0, 2, 2, 1, 1]);
}

#[test]
fn flagd_ranges_follow_in_listed_order_with_stable_in_its_place() {
    let split = split(Scheme::Flagd, &[10_000, 0, 20_000], 1);
    assert_eq!([0, 9, 10, 79, 80, 99].map(|bucket| split.owner(bucket)), [0, 0, 1, 1, 2, 2]);
}

/// Weights of up to `most` versions beside stable, in thousandths of a percent, at most 100 % in all.
fn weights(most: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..=100_000u32, 1..=most).prop_map(|weights| {
        let mut left = 100_000;
        weights
            .into_iter()
            .map(|weight| {
                let share = weight % (left + 1);
                left -= share;
                share
            })
            .collect()
    })
}

fn with_stable(weights: &[u32], stable: usize) -> (Vec<u32>, usize) {
    let stable = stable % (weights.len() + 1);
    let mut all = weights.to_vec();
    all.insert(stable, 0);
    (all, stable)
}

proptest! {
    #[test]
    fn every_version_owns_exactly_its_weight(weights in weights(6), stable in 0..7usize) {
        let (all, stable) = with_stable(&weights, stable);
        let split = split(Scheme::Cohort, &all, stable);
        for (version, weight) in all.iter().enumerate() {
            let wanted = if version == stable { 100_000 - all.iter().sum::<u32>() } else { *weight };
            prop_assert_eq!(owned(&split, Scheme::Cohort, version), wanted);
            prop_assert_eq!(split.weight(version).thousandths(), wanted);
        }
        let ends = split.ranges().iter().map(|range| range.end);
        let starts = split.ranges().iter().skip(1).map(|range| range.start);
        prop_assert!(ends.zip(starts).all(|(end, start)| end == start));
        prop_assert_eq!(split.ranges().last().map(|range| range.end), Some(100_000));
    }

    #[test]
    fn with_two_versions_beside_stable_a_changed_weight_moves_users_only_to_or_from_stable(
        before in (0..=50_000u32, 0..=50_000u32),
        after in 0..=50_000u32,
        first in any::<bool>(),
        stable in 0..3usize,
    ) {
        let weights = |a, b| {
            let (all, stable) = with_stable(&[a, b], stable);
            split(Scheme::Cohort, &all, stable)
        };
        let old = weights(before.0, before.1);
        let new = if first { weights(after, before.1) } else { weights(before.0, after) };
        let stable = old.stable();
        for bucket in 0..100_000 {
            let (from, to) = (old.owner(bucket), new.owner(bucket));
            prop_assert!(from == to || from == stable || to == stable);
        }
    }

    #[test]
    fn a_raised_weight_moves_nobody_out(
        weights in weights(5), version in 0..5usize, more in 0..100_000u32, stable in 0..6usize,
        scheme in prop::sample::select(vec![Scheme::Cohort, Scheme::Unleash]),
    ) {
        // The version whose weight is raised is the first or the last, which grow from the ends.
        let version = if version.is_multiple_of(2) { 0 } else { weights.len() - 1 };
        prop_assume!(scheme == Scheme::Cohort || version == weights.len() - 1 );
        let mut raised = weights.clone();
        raised[version] += more % (100_001 - weights.iter().sum::<u32>());
        let (old, stable_at) = with_stable(&weights, stable);
        let (new, _) = with_stable(&raised, stable);
        let (old, new) = (split(scheme, &old, stable_at), split(scheme, &new, stable_at));
        let version = if version >= stable_at { version + 1 } else { version };
        for bucket in 0..scheme.buckets() {
            prop_assert!(old.owner(bucket) != version || new.owner(bucket) == version);
        }
    }

    #[test]
    fn a_bucket_is_always_within_its_scheme(salt in ".{0,40}", key in prop::collection::vec(any::<u8>(), 0..80)) {
        for scheme in [Scheme::Cohort, Scheme::Unleash, Scheme::Flagd] {
            prop_assert!(scheme.bucket(salt.as_bytes(), &key) < scheme.buckets());
        }
    }
}

/// The share of a million keys is the weight within five standard deviations of the binomial.
#[test]
fn a_million_keys_divide_as_the_weights_say() {
    const KEYS: u32 = 1_000_000;
    let weights = [500, 12_345, 0, 33_333];
    let split = split(Scheme::Cohort, &weights, 2);
    let mut counts = [0u32; 4];
    for key in 0..KEYS {
        let bucket = Scheme::Cohort.bucket(b"checkout", format!("user-{key}").as_bytes());
        counts[split.owner(bucket)] += 1;
    }
    for (version, count) in counts.into_iter().enumerate() {
        let share = split.weight(version).percent() / 100.0;
        let mean = f64::from(KEYS) * share;
        let sigma = (f64::from(KEYS) * share * (1.0 - share)).sqrt();
        assert!(
            (f64::from(count) - mean).abs() <= 5.0 * sigma,
            "version {version}: {count}, expected {mean}"
        );
    }
}

/// Chi-squared over the ten by ten table of two salts' deciles: 81 degrees of freedom, and 142 is
/// passed by one independent pair in 30,000.
#[test]
fn two_salts_put_the_same_users_in_independent_places() {
    const KEYS: u32 = 200_000;
    for other in ["search", "checkout2", "checkout:", "a"] {
        let mut table = [[0u32; 10]; 10];
        for key in 0..KEYS {
            let key = format!("user-{key}");
            let decile = |salt: &str| {
                (Scheme::Cohort.bucket(salt.as_bytes(), key.as_bytes()) / 10_000) as usize
            };
            table[decile("checkout")][decile(other)] += 1;
        }
        let expected = f64::from(KEYS) / 100.0;
        let chi: f64 = table
            .iter()
            .flatten()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        assert!(chi < 142.0, "salts checkout and {other}: chi-squared {chi}");
    }
}
