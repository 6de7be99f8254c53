//! Numbers of other people's formats as ours: names, shares, durations.

/// `text` as a name of the configuration: lower-case letters, digits, hyphens inside, at most 63.
pub fn label(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let short: String = mapped.trim_matches('-').chars().take(63).collect();
    let short = short.trim_matches('-');
    if short.is_empty() {
        "unnamed".into()
    } else {
        short.to_owned()
    }
}

/// A name like `wanted` that `taken` does not have, by a number behind it.
pub fn distinct(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2;
    while taken(&name) {
        let short: String = wanted.chars().take(58).collect();
        name = format!("{}-{number}", short.trim_end_matches('-'));
        number += 1;
    }
    name
}

/// The shares of weights that are relative to their sum, in percent with three decimals. They sum to 100
/// if any weight is above 0.
pub fn shares(weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return vec![0.0; weights.len()];
    }
    let exact: Vec<f64> = weights.iter().map(|weight| weight * 100_000.0 / total).collect();
    let mut whole: Vec<f64> = exact.iter().map(|share| share.floor()).collect();
    let mut missing = (100_000.0 - whole.iter().sum::<f64>()).round();
    // What rounding down has left goes to those that lost most.
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let lost = |index: usize| exact.get(index).map_or(0.0, |share| share - share.floor());
    order.sort_by(|a, b| lost(*b).total_cmp(&lost(*a)));
    for index in order {
        if let Some(share) = whole.get_mut(index).filter(|_| missing > 0.0) {
            *share += 1.0;
            missing -= 1.0;
        }
    }
    // A sum of nothing is -0 in floating point.
    whole.into_iter().map(|share| share / 1000.0 + 0.0).collect()
}

/// A percentage with at most three decimals.
pub fn percent(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A duration as Go and Kubernetes write it (`1m30s`), in milliseconds.
pub fn go_duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 7] = [
        ("ms", 1.0),
        ("us", 0.001),
        ("ns", 0.000_001),
        ("d", 86_400_000.0),
        ("h", 3_600_000.0),
        ("m", 60_000.0),
        ("s", 1000.0),
    ];
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        total += number.parse::<f64>().ok()? * scale;
        rest = tail.strip_prefix(unit)?;
    }
    Some(total.round() as u64)
}

/// Milliseconds as the configuration writes them, in the largest unit that is whole.
pub fn duration(millis: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_any_text() {
        let all: Vec<String> =
            ["v1.2_RC", "--", "reviews", &"x".repeat(80)].into_iter().map(label).collect();
        assert_eq!(all, ["v1-2-rc", "unnamed", "reviews", &"x".repeat(63)]);
    }

    #[test]
    fn go_durations_are_read_and_ours_are_written() {
        let all: Vec<Option<String>> =
            ["1m", "1m30s", "1h0m0s", "250ms", "1.5s", "48h", "", "x", "5"]
                .into_iter()
                .map(|text| go_duration(text).map(duration))
                .collect();
        let expected =
            ["1m", "90s", "1h", "250ms", "1500ms", "2d"].map(|text| Some(text.to_owned()));
        assert_eq!(all.get(..6), Some(&expected[..]));
        assert_eq!(all.get(6..), Some(&[None, None, None][..]));
    }

    proptest::proptest! {
        #[test]
        fn shares_sum_to_a_hundred_and_a_weight_of_nothing_gets_nothing(
            weights in proptest::collection::vec(0u32..1000, 1..20),
        ) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let shares = shares(&weights);
            let sum: f64 = shares.iter().map(|share| share * 1000.0).sum();
            let wanted = if weights.iter().any(|weight| *weight > 0.0) { 100_000.0 } else { 0.0 };
            assert!((sum - wanted).abs() < 0.001, "{shares:?}");
            for (weight, share) in weights.iter().zip(shares) {
                assert!(*weight > 0.0 || share < 0.0005, "{weights:?}");
            }
        }
    }
}
