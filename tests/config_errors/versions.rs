//! Versions, and what refers to them.

use super::{config, lines, says};
use cohort::config::{Config, Count, Ratio};

#[test]
fn two_versions_or_more_of_which_one_is_stable() {
    let versions = |versions: &str| {
        lines(&format!(r#"{{"rollouts": [{{"name": "a", "versions": {versions}}}]}}"#))
    };
    let at = "$.rollouts[0].versions";
    assert_eq!(
        versions("[]"),
        [format!("{at}: found an empty list, allowed: a list with two entries or more")]
    );
    assert_eq!(
        versions(r#"[{"name": "a"}]"#),
        [format!("{at}: found a list of one, allowed: a list with two entries or more")]
    );
    assert_eq!(
        versions(r#"[{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]"#),
        [format!("{at}: found no version without a weight, allowed: exactly one, which is stable")]
    );
    assert_eq!(
        versions(
            r#"[{"name": "a"}, {"name": "b", "weight": 99.9}, {"name": "a", "weight": 0.101}]"#
        ),
        [
            format!("{at}: found weights that sum to 100.001, allowed: a sum of at most 100"),
            format!("{at}[2].name: found \"a\" again, allowed: each name once"),
        ]
    );
    assert!(versions(
        r#"[{"name": "a", "weight": 50.0}, {"name": "b"}, {"name": "c", "weight": 50}]"#
    )
    .is_empty());
}

#[test]
fn a_weight_that_cannot_be_honoured_is_not_rounded() {
    let weight = |weight: &str, more: &str| {
        lines(&format!(
            r#"{{"rollouts": [{{"name": "a", "versions": [{{"name": "a"}}, {{"name": "b", "weight": {weight}}}]{more}}}]}}"#
        ))
    };
    for bad in ["0.0005", "33.3333", "-1", "100.001", "1e300", "\"5\"", "true", "null", "{}"] {
        assert_eq!(weight(bad, "").len(), 1, "{bad}");
    }
    for fine in ["0.001", "33.333", "100", "50.0", "0"] {
        assert!(weight(fine, "").is_empty(), "{fine}");
    }
    for scheme in ["unleash", "flagd"] {
        let more = format!(r#", "hashScheme": "{scheme}""#);
        assert!(weight("50.0", &more).is_empty());
        assert_eq!(
            weight("2.5", &more),
            [format!(
                "$.rollouts[0].versions[1].weight: found 2.5, allowed: a whole percentage from 0 to 100, because \
                 hashScheme is {scheme}"
            )]
        );
    }
    assert_eq!(
        weight("5", r#", "hashScheme": "Unleash""#),
        ["$.rollouts[0].hashScheme: found \"Unleash\", allowed: cohort, unleash or flagd (did you mean unleash?)"]
    );
}

#[test]
fn a_version_drains_without_weight_or_on_a_ramp() {
    let drain = |weight: &str, more: &str| {
        lines(&format!(
            r#"{{"rollouts": [{{"name": "a", "versions": [{{"name": "a", "drain": true}},
                {{"name": "b", "weight": {weight}, "drain": true}}]{more}}}]}}"#
        ))
    };
    assert!(drain("0", "").is_empty());
    assert_eq!(
        drain("5", ""),
        ["$.rollouts[0].versions[1].drain: found true with a weight, allowed: false, or weight 0"]
    );
    let ramp = r#", "ramp": {"start": "2026-11-21T10:00:00Z", "steps": [{"after": "0s", "weights": {"b": 0}}]}"#;
    assert!(drain("5", ramp).is_empty());
}

#[test]
fn names_of_versions_are_held_against_the_versions() {
    says(
        r#""rules": [{"name": "r", "match": [{"method": ["GET"]}], "version": "canry"}]"#,
        &["~.rules[0].version: found \"canry\", allowed: stable, canary (did you mean canary?)"],
    );
    says(
        r#""rules": [{"name": "r", "match": [{"method": ["GET"]}], "weights": {"stable": 5, "blue": 5, "canary": 101}}]"#,
        &[
            "~.rules[0].weights.stable: found \"stable\", which gets the remainder, allowed: a weight for a version \
             other than stable",
            "~.rules[0].weights.blue: found \"blue\", allowed: stable, canary",
            "~.rules[0].weights.canary: found 101, allowed: a percentage from 0 to 100 with at most three decimals",
        ],
    );
    says(
        r#""overrides": {"header": "x-v", "values": {"always": "Canary", "stable": "canary"}}"#,
        &[
            "~.overrides.values.always: found \"Canary\", allowed: stable, canary (did you mean canary?)",
            "~.overrides.values.stable: found another version for \"stable\", allowed: \"stable\", which is a \
             version's own name",
        ],
    );
    says(
        r#""guard": {"maxFailureRatio": 0.1, "fallback": "old"}, "health": {"new": {"cluster": "c"}}"#,
        &[
            "~.guard.fallback: found \"old\", allowed: stable, canary",
            "~.health.new: found \"new\", allowed: stable, canary",
        ],
    );
}

#[test]
fn a_rule_has_a_condition_and_one_consequence() {
    says(
        r#""rules": [{"name": "r"}, {"name": "r", "match": [{"method": ["GET"]}], "version": "stable", "weights": {}}]"#,
        &[
            "~.rules[0]: found an object, allowed: exactly one of version, weights",
            "~.rules[0]: found neither segment nor match, allowed: one of them or both",
            "~.rules[1]: found version and weights, allowed: exactly one of version, weights",
            "~.rules[1].name: found \"r\" again, allowed: each name once",
            "~.rules[1].weights: found an empty object, allowed: an object with one entry or more",
        ],
    );
    says(
        r#""rules": [{"name": "r", "segment": "beta", "version": "stable"}]"#,
        &["~.rules[0].segment: found \"beta\", allowed: the name of a segment, of which there is none"],
    );
}

#[test]
fn an_override_is_read_somewhere() {
    says(
        r#""overrides": {"values": {"on": "canary"}, "require": {}}"#,
        &[
            "~.overrides: found none of header, query, cookie, allowed: one of them or more",
            "~.overrides.require: found an empty object, allowed: addresses, secretHeader and secretSha256 \
             together, or all three",
        ],
    );
    says(
        r#""overrides": {"cookie": "c", "require": {"secretHeader": "x-s"}}"#,
        &["~.overrides.require: found secretHeader without secretSha256, allowed: addresses, secretHeader and \
           secretSha256 together, or all three"],
    );
}

#[test]
fn a_ramp_rises_in_time() {
    says(
        r#""ramp": {"start": "2026-11-21T10:00", "steps": [{"after": "10m", "weights": {"canary": 5}},
            {"after": "600s", "weights": {"canary": 50}}, {"weights": {"blue": 1}}]}"#,
        &[
            "~.ramp.start: found \"2026-11-21T10:00\", allowed: an instant in RFC 3339 since 1970, such as \
             2026-11-21T10:00:00Z",
            "~.ramp.steps[1].after: found \"600s\", allowed: a longer duration than that of the step before",
            "~.ramp.steps[2]: found no after, allowed: the key after, which is a duration from 0s to 3650d, such as \
             500ms, 30s, 10m, 1h or 7d",
            "~.ramp.steps[2].weights.blue: found \"blue\", allowed: stable, canary",
        ],
    );
}

#[test]
fn a_guard_has_something_to_watch() {
    says(
        r#""guard": {"slowerThan": "1s"}"#,
        &["~.guard: found slowerThan without maxSlowRatio, allowed: both or neither"],
    );
    says(
        r#""guard": {"maxFailureRatio": 1.5, "timesWorseThanStable": 0.5, "minRequests": 0.5, "retryAfter": "10ms"}"#,
        &[
            "~.guard.maxFailureRatio: found 1.5, allowed: a ratio from 0 to 1 with at most six decimals",
            "~.guard.timesWorseThanStable: found 0.5, allowed: a number from 1 to 1000 with at most three decimals",
            "~.guard.minRequests: found 0.5, allowed: a whole number from 1 to 1000000000",
            "~.guard.retryAfter: found \"10ms\", allowed: a duration from 1s to 3650d, such as 30s, 10m, 1h or 7d",
        ],
    );
    let text = config(r#""guard": {"maxSlowRatio": 0.2, "slowerThan": "500ms"}"#);
    let guard = Config::from_json(text.as_bytes()).unwrap().rollouts.remove(0).guard.unwrap();
    assert_eq!(
        (guard.window, guard.min_requests, guard.times_worse_than_stable),
        (30_000, None, 2000)
    );
    assert_eq!((guard.max_failure_ratio, guard.retry_after, guard.fallback), (None, None, 0));
    assert_eq!((guard.one_false_trip_in, guard.count), (365 * 86_400_000, Count::Users));
    // A guard that says nothing allows five percent of failures.
    let text = config(r#""guard": {}"#);
    let guard = Config::from_json(text.as_bytes()).unwrap().rollouts.remove(0).guard.unwrap();
    assert_eq!(guard.max_failure_ratio.map(Ratio::millionths), Some(50_000));
    assert_eq!(guard.latency, None);
    says(
        r#""guard": {"oneFalseTripIn": "1h", "count": "sessions"}"#,
        &[
            "~.guard.oneFalseTripIn: found \"1h\", allowed: a duration from 1d to 3650d, such as 7d",
            "~.guard.count: found \"sessions\", allowed: users or requests",
        ],
    );
}

#[test]
fn a_health_check_answers_before_the_next() {
    says(
        r#""health": {"canary": {"cluster": "c", "interval": "1s", "timeout": "2s", "path": "ready"}}"#,
        &[
            "~.health.canary.timeout: found \"2s\", allowed: a duration of at most the interval",
            "~.health.canary.path: found \"ready\", allowed: a path that starts with /, without control characters, \
             spaces and #",
        ],
    );
    let text = config(
        r#""health": {"canary": {"cluster": "c", "interval": "500ms"}, "stable": {"cluster": "s"}}"#,
    );
    let health = Config::from_json(text.as_bytes()).unwrap().rollouts.remove(0).health;
    assert_eq!(health.iter().map(|health| health.version).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((health[0].interval, health[0].timeout, health[1].timeout), (5000, 1000, 500));
    assert_eq!((health[1].path.as_str(), health[1].host.as_str()), ("/", "c"));
    assert_eq!((health[1].unhealthy_threshold, health[1].healthy_threshold), (3, 2));
}
