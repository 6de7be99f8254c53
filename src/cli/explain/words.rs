//! What a step of a decision saw, in words.

use super::why::show;
use crate::config::{KeySource, Rollout};
use crate::engine::{Brought, Override, PinSeen, Request, Saw, Source, Unmet};

/// What a step of deciding `rollout` saw.
pub fn saw(rollout: &Rollout, saw: Saw<'_>) -> String {
    let rule = |position: usize| rollout.rules.get(position).map_or("", |rule| rule.name.as_str());
    match saw {
        Saw::Enabled(true) => "enabled".to_owned(),
        Saw::Enabled(false) => "enabled: false".to_owned(),
        Saw::NoOverrides => "no overrides are configured".to_owned(),
        Saw::NoOverride => "the request carries none".to_owned(),
        Saw::Override(source, value, outcome) => {
            let asked = format!("{} is {}", self::source(source), show(value));
            match outcome {
                Override::Taken => asked,
                Override::Unknown => format!("{asked}, which names no version: ignored"),
                Override::Unmet(unmet) => format!("{asked}, but {}: ignored", self::unmet(unmet)),
            }
        }
        Saw::NoInherit => "inherit is not configured".to_owned(),
        Saw::NothingBrought => "the request carries no decision".to_owned(),
        Saw::Brought(source, value, outcome) => {
            // The route header goes by its name alone.
            let place = match source {
                Source::Header(name) => name.to_string(),
                other => self::source(other),
            };
            let value = show(value);
            match outcome {
                Brought::Taken => format!("{place} of a trusted peer says {value}"),
                Brought::Untrusted => {
                    format!("{place} says {value}, but the peer is not trusted: ignored")
                }
                Brought::Unknown => format!("{place} says {value}, which is no version: ignored"),
            }
        }
        Saw::NoRules => "there are no rules".to_owned(),
        Saw::RuleFails(position) => format!("rule {} does not hold", rule(position)),
        Saw::RuleDecides(position) => format!("rule {} holds", rule(position)),
        Saw::RuleDivides(position, Some(bucket)) => {
            format!("rule {} holds, and by its weights bucket {bucket} decides", rule(position))
        }
        Saw::RuleDivides(position, None) => {
            format!("rule {} holds, but there is no key for its weights: stable", rule(position))
        }
        Saw::NoPinning => "no pin is configured".to_owned(),
        Saw::NoPin => format!("no cookie {}", pin_cookie(rollout)),
        Saw::Pin(seen) => format!("cookie {} {}", pin_cookie(rollout), self::pin(seen)),
        Saw::Key(key, bucket) => format!("key {} is in bucket {bucket}", show(key)),
        Saw::NoKey if rollout.hash_key.is_empty() && rollout.anonymous_id.is_none() => {
            "no key: no hashKey is configured".to_owned()
        }
        Saw::NoKey => "no key: none of hashKey yields one".to_owned(),
        Saw::Stable => "stable, for want of a key".to_owned(),
        Saw::HeldOut => "the version is held out of traffic".to_owned(),
    }
}

fn source(source: Source<'_>) -> String {
    match source {
        Source::Header(name) => format!("header {name}"),
        Source::Query(name) => format!("query {name}"),
        Source::Cookie(name) => format!("cookie {name}"),
        Source::Baggage => "baggage".to_owned(),
    }
}

fn unmet(unmet: Unmet) -> &'static str {
    match unmet {
        Unmet::Addresses => "the client's address is not among require.addresses",
        Unmet::NoSecret => "there is no secret header",
        Unmet::Secret => "the secret header does not hold",
    }
}

fn pin(seen: PinSeen) -> &'static str {
    match seen {
        PinSeen::Holds => "names it",
        PinSeen::HoldsById => {
            "names it, signed for the anonymous id that comes along; it is signed anew for the key"
        }
        PinSeen::NoWeight => "names a version that has no weight and does not drain",
        PinSeen::NotKept => "names a version that is not among pin.versions",
        PinSeen::Expired => "is of another generation",
        PinSeen::Worthless => "is unknown or forged: ignored",
    }
}

fn pin_cookie(rollout: &Rollout) -> &str {
    rollout.pin.as_ref().map_or("", |pin| pin.cookie.name.as_str())
}

/// Which source of the key gave what.
pub fn keys(rollout: &Rollout, request: &Request<'_>) -> String {
    let mut words = Vec::new();
    for source in &rollout.hash_key {
        let name = key_source(source);
        if request.key(source).is_some() {
            words.push(format!("from {name}"));
            return words.join(", ");
        }
        words.push(format!("no {name}"));
    }
    if let Some(cookie) = &rollout.anonymous_id {
        words.push(match request.cookie(&cookie.name).filter(|id| !id.is_empty()) {
            Some(_) => format!("from cookie {}", cookie.name),
            None if request.is_preflight() => {
                format!("no cookie {}, and a preflight gets no id", cookie.name)
            }
            None => format!("a new anonymous id in cookie {}", cookie.name),
        });
    }
    words.join(", ")
}

/// Where a key is read.
fn key_source(source: &KeySource) -> String {
    let (name, capture) = match source {
        KeySource::Header(name, capture) => (format!("header {name}"), capture),
        KeySource::Cookie(name, capture) => (format!("cookie {name}"), capture),
        KeySource::Query(name, capture) => (format!("query parameter {name}"), capture),
        KeySource::Address => return "the client address".to_owned(),
        KeySource::Host => return "the host".to_owned(),
        KeySource::All(sources) => {
            let names: Vec<String> = sources.iter().map(key_source).collect();
            return format!("({})", names.join(" and "));
        }
    };
    match capture {
        Some(capture) => format!("{name} by {}", show(capture.as_str().as_bytes())),
        None => name,
    }
}
