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
            || (!premise.method.is_empty() && premise.method.iter().all(|one| method.contains(one))))
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
        (Test::Regex(given), Test::Regex(wanted)) => folds.0 == folds.1 && given.as_str() == wanted.as_str(),
        _ if folds == (true, false) => false,
        (Test::Exact(text), _) => consequence.holds(Some(text)),
        (Test::In(texts), _) => texts.iter().all(|text| consequence.holds(Some(text))),
        (Test::Prefix(text), Test::Prefix(_) | Test::Contains(_))
        | (Test::Suffix(text), Test::Suffix(_) | Test::Contains(_))
        | (Test::Contains(text), Test::Contains(_)) => consequence.holds(Some(text)),
        _ => false,
    }
}
