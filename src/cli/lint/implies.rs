//! Whether one condition holds whenever another does, as far as it can be told from the texts.

use crate::config::{Condition, Config, Rule};
use crate::http::pattern::{Pattern, Test};
use crate::http::Network;

/// Whether `consequence` surely holds whenever `premise` does.
pub fn rule(config: &Config, premise: &Rule, consequence: &Rule) -> bool {
    let given = lists(config, premise);
    let wanted = lists(config, consequence);
    // A rule without anything to ask is refused; if it were not, nothing could be said of it.
    !given.is_empty()
        && wanted.iter().all(|wanted| {
            wanted.iter().any(always)
                || given.iter().any(|given| {
                    given.iter().all(|given| wanted.iter().any(|wanted| condition(given, wanted)))
                })
        })
}

/// The lists of which each has one that holds.
fn lists<'a>(config: &'a Config, rule: &'a Rule) -> Vec<&'a [Condition]> {
    let segment = rule.segment.and_then(|segment| config.segments.get(segment));
    let segment = segment.map(|segment| segment.any.as_slice());
    segment.into_iter().chain(rule.matches.as_deref()).collect()
}

/// Whether a condition holds for every request.
fn always(condition: &Condition) -> bool {
    self::condition(&Condition::default(), condition)
}

fn condition(premise: &Condition, consequence: &Condition) -> bool {
    // Exhaustive, so that a new part of a condition cannot be forgotten here.
    let Condition { host, path, method, headers, cookies, query, address, not } = consequence;
    let text = |given: &Option<Pattern>, wanted: &Option<Pattern>| match (given, wanted) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(given), Some(wanted)) => pattern(given, wanted),
    };
    text(&premise.host, host)
        && (path.as_ref().is_some_and(any_path) || text(&premise.path, path))
        && (method.is_empty()
            || (!premise.method.is_empty()
                && premise.method.iter().all(|one| method.contains(one))))
        && named(&premise.headers, headers)
        && named(&premise.cookies, cookies)
        && named(&premise.query, query)
        && addresses(premise.address.as_deref(), address.as_deref())
        && match (&premise.not, not) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(given), Some(wanted)) => condition(wanted, given),
        }
}

/// Every path begins with a slash.
fn any_path(path: &Pattern) -> bool {
    path.holds(Some(b"/")) && matches!(path.test(), Test::Prefix(_) | Test::Contains(_))
}

fn named<N: PartialEq>(premise: &[(N, Pattern)], consequence: &[(N, Pattern)]) -> bool {
    consequence.iter().all(|(name, wanted)| {
        premise.iter().any(|(other, given)| other == name && pattern(given, wanted))
    })
}

fn addresses(premise: Option<&[Network]>, consequence: Option<&[Network]>) -> bool {
    match (premise, consequence) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(premise), Some(consequence)) => premise.iter().all(|one| consequence.contains(one)),
    }
}

fn pattern(premise: &Pattern, consequence: &Pattern) -> bool {
    let folds = (premise.ignore_case(), consequence.ignore_case());
    match (premise.test(), consequence.test()) {
        (Test::Present(given), Test::Present(wanted)) => given == wanted,
        (Test::Present(_), _) | (_, Test::Present(false)) => false,
        (_, Test::Present(true)) => true,
        (Test::Regex(given), Test::Regex(wanted)) => {
            folds.0 == folds.1 && given.as_str() == wanted.as_str()
        }
        (Test::Semver(given), Test::Semver(wanted)) => given.as_str() == wanted.as_str(),
        _ if folds == (true, false) => false,
        (Test::Exact(text), _) => consequence.holds(Some(text)),
        (Test::In(texts), _) => texts.iter().all(|text| consequence.holds(Some(text))),
        (Test::Prefix(text), Test::Prefix(_) | Test::Contains(_))
        | (Test::Suffix(text), Test::Suffix(_) | Test::Contains(_)) => {
            consequence.holds(Some(text))
        }
        (Test::Contains(needle), Test::Contains(_)) => consequence.holds(Some(needle.text())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::{Plan, Request, Surroundings};
    use crate::http::Headers;

    struct Client(Option<IpAddr>);

    impl Surroundings for Client {
        fn client_address(&self) -> Option<IpAddr> {
            self.0
        }

        fn random(&self) -> Option<[u8; 16]> {
            None
        }
    }

    const CONDITIONS: [&str; 26] = [
        r#"{"path": {"prefix": "/"}}"#,
        r#"{"path": {"prefix": "/a"}}"#,
        r#"{"path": {"prefix": "/a/b"}}"#,
        r#"{"path": {"exact": "/a/b"}}"#,
        r#"{"path": {"exact": "/A/B", "ignoreCase": true}}"#,
        r#"{"path": {"suffix": "b"}}"#,
        r#"{"path": {"contains": "/b"}}"#,
        r#"{"path": {"in": ["/a/b", "/a/c"]}}"#,
        r#"{"path": {"regex": "b$"}}"#,
        r#"{"path": {"present": true}}"#,
        r#"{"method": ["GET"]}"#,
        r#"{"method": ["GET", "POST"]}"#,
        r#"{"header": {"x-a": {"present": true}}}"#,
        r#"{"header": {"x-a": {"present": false}}}"#,
        r#"{"header": {"x-a": {"exact": "1"}}}"#,
        r#"{"header": {"x-a": {"exact": "1"}}, "method": ["GET"]}"#,
        r#"{"header": {"x-a": {"in": ["1", "2"]}}}"#,
        r#"{"cookie": {"c": {"regex": "^x"}}}"#,
        r#"{"cookie": {"c": {"present": true}}}"#,
        r#"{"query": {"q": {"prefix": "v"}}}"#,
        r#"{"query": {"q": {"prefix": "V", "ignoreCase": true}}}"#,
        r#"{"address": ["10.0.0.0/8"]}"#,
        r#"{"address": ["10.0.0.0/8", "192.168.0.0/16"]}"#,
        r#"{"not": {"method": ["GET"]}}"#,
        r#"{"not": {"method": ["GET", "POST"]}}"#,
        r#"{"host": {"exact": "a.example"}}"#,
    ];

    fn plan() -> Plan {
        let rules: Vec<String> = CONDITIONS
            .iter()
            .enumerate()
            .map(|(n, condition)| {
                format!(r#"{{"name": "r{n}", "match": [{condition}], "version": "b"}}"#)
            })
            .collect();
        let text = format!(
            r#"{{"rollouts": [{{"name": "t", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 1}}],
                "hashKey": [{{"header": "x-a"}}], "rules": [{}]}}]}}"#,
            rules.join(", ")
        );
        Plan::new(Config::from_json(text.as_bytes()).unwrap())
    }

    /// Requests of every combination of a few values.
    fn requests() -> Vec<(Headers, Client)> {
        let mut all = Vec::new();
        for path in ["/", "/a", "/a/b", "/A/B", "/a/b/c", "/a/c?q=v1", "/b?q=V", "/xb?q="] {
            for method in ["GET", "POST", "PUT"] {
                for header in [None, Some("1"), Some("2"), Some("3")] {
                    for (cookie, address) in
                        [("c=x1", Some("10.1.1.1")), ("c=1", Some("192.168.1.1")), ("d=x", None)]
                    {
                        let host = if method == "PUT" { "a.example" } else { "b.example" };
                        let mut pairs = vec![
                            (":path", path),
                            (":method", method),
                            ("cookie", cookie),
                            (":authority", host),
                        ];
                        pairs.extend(header.map(|header| ("x-a", header)));
                        let address = address.map(|address| address.parse().unwrap());
                        all.push((pairs.into_iter().collect(), Client(address)));
                    }
                }
            }
        }
        all
    }

    #[test]
    fn what_is_said_to_follow_follows_for_every_request() {
        let plan = plan();
        let rules = &plan.rollouts()[0].rules;
        let mut pairs = 0;
        for (headers, client) in requests() {
            let request = Request::new(&plan, &headers, &client);
            for premise in rules.iter().filter(|rule| rule.holds(plan.config(), &request)) {
                for consequence in rules.iter().filter(|other| rule(plan.config(), premise, other))
                {
                    assert!(
                        consequence.holds(plan.config(), &request),
                        "{} -> {}",
                        premise.name,
                        consequence.name
                    );
                    pairs += 1;
                }
            }
        }
        assert!(pairs > 1000, "only {pairs}");
    }

    #[test]
    fn what_can_be_told_from_the_texts_is_told() {
        let plan = plan();
        let rules = &plan.rollouts()[0].rules;
        let follows = |premise: usize, consequence: usize| {
            rule(plan.config(), &rules[premise], &rules[consequence])
        };
        for (premise, consequence) in [
            (2, 1),
            (3, 2),
            (3, 4),
            (3, 5),
            (3, 6),
            (3, 7),
            (7, 1),
            (8, 9),
            (10, 11),
            (14, 12),
            (15, 14),
            (15, 10),
            (14, 16),
            (17, 18),
            (19, 20),
            (21, 22),
            (24, 23),
            (25, 0),
        ] {
            assert!(follows(premise, consequence), "{premise} -> {consequence}");
            assert!(!follows(consequence, premise), "{consequence} -> {premise}");
        }
    }
}
