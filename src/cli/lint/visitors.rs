//! Warnings of what keeps a visitor from being one person: keys that change, cookies that a browser refuses,
//! more pins than a request can carry.

use std::collections::{HashMap, HashSet};

use crate::config::{KeySource, Mode, Rollout};
use crate::http::cookie::is_within;
use crate::http::pattern::Test;
use crate::http::SetCookie;

/// Headers that another request of the same user brings with another value, and why.
const CHANGING: [(&str, &str); 15] = [
    ("x-request-id", "it is new with every request"),
    ("x-correlation-id", "it is new with every request"),
    ("traceparent", "it is new with every request"),
    ("tracestate", "it is new with every request"),
    ("x-b3-traceid", "it is new with every request"),
    ("x-b3-spanid", "it is new with every request"),
    ("b3", "it is new with every request"),
    ("x-amzn-trace-id", "it is new with every request"),
    ("x-cloud-trace-context", "it is new with every request"),
    ("x-datadog-trace-id", "it is new with every request"),
    ("date", "it is the time"),
    ("content-length", "it is the size of the body"),
    ("referer", "it is another one on every page"),
    ("cookie", "any new cookie changes it"),
    ("authorization", "it changes whenever a token is renewed"),
];

/// Of these a `capture` can read the part that stays.
const HAS_PARTS: [&str; 2] = ["cookie", "authorization"];

/// From how many pins on one request its answers and the requests after it can become too large.
const MANY_PINS: usize = 20;

/// Why a key is another one with every request of a user, where it is.
pub fn changing(source: &KeySource) -> Option<String> {
    match source {
        KeySource::Header(name, capture) => {
            let (name, why) = CHANGING.iter().find(|(other, _)| *other == name.as_str())?;
            if capture.is_some() && HAS_PARTS.contains(name) {
                return None;
            }
            let cure = match *name {
                "cookie" => "; {\"cookie\": NAME} reads one of them",
                "authorization" => "; a capture, or a header with the user's id, stays",
                _ => "",
            };
            Some(format!(
                "{name} is no user's key, because {why}, so that nobody stays anywhere{cure}"
            ))
        }
        KeySource::All(sources) => sources.iter().find_map(changing),
        KeySource::Cookie(..) | KeySource::Query(..) | KeySource::Address | KeySource::Host => None,
    }
}

/// The first host that a rollout matches and that cannot set a cookie for the cookie's domain.
pub fn outside(rollout: &Rollout, cookie: &SetCookie) -> Option<String> {
    let domain = cookie.domain.as_deref()?;
    let hosts = rollout.matches.iter().flatten().filter_map(|condition| condition.host.as_ref());
    let mut texts = hosts.flat_map(|host| match host.test() {
        // Of these hosts all that they end with is known.
        Test::Suffix(end) if end.len() > domain.len() => std::slice::from_ref(end),
        _ => host.texts().unwrap_or_default(),
    });
    let host = texts.find(|host| !is_within(host, domain))?;
    Some(String::from_utf8_lossy(host).into_owned())
}

/// How many rollouts pin the same request, where those are many: by the hosts that they match.
pub fn pins(rollouts: &[Rollout]) -> Option<usize> {
    let mut everywhere = 0;
    let mut by_host: HashMap<&[u8], usize> = HashMap::new();
    for rollout in rollouts.iter().filter(|it| it.pin.is_some() && it.mode == Mode::Enforce) {
        let Some(hosts) = rollout.hosts() else {
            everywhere += 1;
            continue;
        };
        for host in hosts.into_iter().collect::<HashSet<_>>() {
            *by_host.entry(host).or_default() += 1;
        }
    }
    let most = everywhere + by_host.values().max().copied().unwrap_or_default();
    (most >= MANY_PINS).then_some(most)
}
