//! The text of a scrape, as Prometheus reads it, to the series of this filter.

use std::collections::BTreeMap;

/// The series of this filter in one scrape.
#[derive(Debug, Default)]
pub struct Scrape {
    pub samples: Vec<Sample>,
    /// How long the proxy has been running, in seconds.
    pub uptime: Option<f64>,
}

/// One line of a scrape.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// Without the labels, and without `_bucket` of a histogram.
    pub name: &'static str,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The counters and gauges of design.md section 6.
const NAMES: [&str; 11] = [
    "cohort_requests_total",
    "cohort_responses_total",
    "cohort_failures_total",
    "cohort_version_weight",
    "cohort_version_held_out",
    "cohort_guard_trips_total",
    "cohort_guard_evidence",
    "cohort_analysis_value",
    "cohort_analysis_failing",
    "cohort_config_invalid",
    "cohort_config_rejected_total",
];

/// The buckets of this histogram are read, each with its bound in the label `le`.
pub const DURATION: &str = "cohort_request_duration_milliseconds";

/// Every label that the filter writes.
const LABELS: [&str; 9] = [
    "plugin",
    "rollout",
    "rollout_version",
    "reason",
    "code_class",
    "source",
    "cause",
    "what",
    "check",
];

/// Reads a scrape. Lines that are no samples of this filter are passed over.
pub fn read(text: &str) -> Scrape {
    let mut scrape = Scrape::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        match sample(line) {
            Some(sample) => scrape.samples.push(sample),
            None => {
                if let Some(rest) = line.strip_prefix("envoy_server_uptime{} ") {
                    scrape.uptime = rest.trim().parse().ok();
                }
            }
        }
    }
    scrape
}

fn sample(line: &str) -> Option<Sample> {
    if !line.starts_with("cohort_") {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (full, rest) = line.split_at_checked(end)?;
    let (mut labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => quoted_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    if let Some(whole) = full.strip_suffix("_bucket") {
        let mangled = whole.strip_prefix(DURATION)?;
        labels.extend(mangled_labels(mangled)?);
        return Some(Sample { name: DURATION, labels, value });
    }
    // A name may be the beginning of another: the longest counts.
    let names = NAMES.iter().copied().filter(|name| full.starts_with(name));
    let name = names.max_by_key(|name| name.len())?;
    labels.extend(mangled_labels(full.strip_prefix(name)?)?);
    Some(Sample { name, labels, value })
}

/// `name="value",...}` and what follows.
fn quoted_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, value) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut letters = value.char_indices();
        loop {
            match letters.next()? {
                (at, '"') => {
                    rest = value.get(at + 1..)?;
                    break;
                }
                (_, '\\') => match letters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (_, letter) => text.push(letter),
            }
        }
        labels.insert(name.trim().to_owned(), text);
    }
}

/// The labels in a name from which no tag rule took them: `_rollout___checkout___rollout_version___canary___`,
/// in which every character that a name cannot have is an underscore. `None` where there is something else.
fn mangled_labels(name: &str) -> Option<Vec<(String, String)>> {
    // With some tag rules of several, what is left is separators.
    let parts: Vec<&str> = name
        .split("___")
        .map(|part| part.trim_matches('_'))
        .filter(|part| !part.is_empty())
        .collect();
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut is_new = false;
    for part in parts {
        if LABELS.contains(&part) && !is_new {
            labels.push((part.to_owned(), String::new()));
            is_new = true;
        } else {
            let (_, value) = labels.last_mut()?;
            if !is_new {
                value.push_str("___");
            }
            value.push_str(part);
            is_new = false;
        }
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_sample_is_read_with_tags_and_without() {
        let wanted = labels(&[
            ("plugin", "shop.cohort"),
            ("rollout", "checkout"),
            ("rollout_version", "canary"),
            ("reason", "HASH"),
        ]);
        let tagged = r#"cohort_requests_total{plugin="shop.cohort",rollout="checkout",rollout_version="canary",reason="HASH"} 12"#;
        assert_eq!(
            sample(tagged),
            Some(Sample { name: "cohort_requests_total", labels: wanted.clone(), value: 12.0 })
        );
        // Every character outside of [A-Za-z0-9_:] is an underscore there, the dot in a plugin's name too.
        let mangled = "cohort_requests_total_plugin___shop_cohort___rollout___checkout___rollout_version___canary___reason___HASH___{} 12";
        let mut plain = wanted;
        plain.insert("plugin".into(), "shop_cohort".into());
        assert_eq!(
            sample(mangled),
            Some(Sample { name: "cohort_requests_total", labels: plain, value: 12.0 })
        );
    }

    #[test]
    fn a_bucket_is_read_with_tags_and_without() {
        let wanted = labels(&[("rollout", "a"), ("rollout_version", "b"), ("le", "2.5")]);
        for line in [
            r#"cohort_request_duration_milliseconds_bucket{rollout="a",rollout_version="b",le="2.5"} 3"#,
            r#"cohort_request_duration_milliseconds_rollout___a___rollout_version___b____bucket{le="2.5"} 3"#,
        ] {
            let sample = sample(line).unwrap();
            assert_eq!((sample.name, &sample.labels), (DURATION, &wanted), "{line}");
        }
        for other in
            ["cohort_request_duration_milliseconds_sum{} 3", "cohort_unheard_of_total{} 1", "up 1"]
        {
            assert_eq!(sample(other), None, "{other}");
        }
    }

    #[test]
    fn a_scrape_has_the_uptime_and_escapes_are_undone() {
        let scrape = read(
            "# TYPE cohort_config_invalid gauge\ncohort_config_invalid{plugin=\"a\\\"b\\\\c\\n\"} 1 1700000000\n\
             envoy_server_uptime{} 42\nenvoy_other{} 1\n",
        );
        assert_eq!(scrape.uptime, Some(42.0));
        assert_eq!(scrape.samples[0].label("plugin"), "a\"b\\c\n");
        assert_eq!(scrape.samples.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_text_ends_the_reader(text in "(cohort_requests_total|cohort_)[-a-z_{}\"\\\\=, 0-9\n]{0,60}") {
            read(&text);
        }
    }
}
