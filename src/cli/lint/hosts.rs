//! Warnings of hosts that no request has.

use crate::config::{Condition, Config, Path};
use crate::http::pattern::{Pattern, Test};

use super::super::style::plain;
use super::{Below, Found};

/// Every comparison with a host that no request has.
pub fn impossible(config: &Config, found: &mut Found) {
    let root = Path::default();
    for segment in &config.segments {
        conditions(&segment.any, &root.key("segments").key(&segment.name), found);
    }
    for (position, rollout) in config.rollouts.iter().enumerate() {
        let path = root.key("rollouts").index(position);
        conditions(rollout.matches.as_deref().unwrap_or_default(), &path.key("match"), found);
        for (position, rule) in rollout.rules.iter().enumerate() {
            let path = path.key("rules").index(position).key("match");
            conditions(rule.matches.as_deref().unwrap_or_default(), &path, found);
        }
    }
}

fn conditions(list: &[Condition], path: &Path, found: &mut Found) {
    for (position, condition) in list.iter().enumerate() {
        let (mut condition, mut path) = (condition, path.index(position));
        loop {
            if let Some((text, why)) = condition.host.as_ref().and_then(first) {
                let text = format!("no request has the host \"{}\": {why}", plain(&text));
                found.push((path.key("host"), text));
            }
            let Some(not) = &condition.not else { break };
            (condition, path) = (&**not, path.key("not"));
        }
    }
}

/// The first text of a comparison that stands in no host, and why.
fn first(pattern: &Pattern) -> Option<(String, &'static str)> {
    let (texts, is_whole) = match pattern.test() {
        Test::Exact(text) => (std::slice::from_ref(text), true),
        Test::In(texts) => (texts.as_slice(), true),
        Test::Prefix(text) | Test::Suffix(text) => (std::slice::from_ref(text), false),
        Test::Contains(_) | Test::Regex(_) | Test::Present(_) | Test::Semver(_) => return None,
    };
    texts.iter().find_map(|text| {
        let why = why(text, is_whole)?;
        Some((String::from_utf8_lossy(text).into_owned(), why))
    })
}

/// Why `text` is no host, or where it is not `is_whole`, no part of one.
fn why(text: &[u8], is_whole: bool) -> Option<&'static str> {
    if text.is_empty() && is_whole {
        Some("it is empty")
    } else if text.contains(&b'*') {
        Some("a star stands for itself; {\"suffix\": \".example.com\"} takes all that end so")
    } else if !text.is_ascii() {
        Some("clients send such a name in ASCII, as xn--...")
    } else if text.iter().any(|byte| byte.is_ascii_whitespace() || b"/?#@,\\".contains(byte)) {
        Some("a host is a name or an address, and nothing else")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_can_have_is_no_mistake_and_what_it_cannot_is_one() {
        for text in
            ["shop.example.com", "shop.example.com.", "a_b", "[::1]", "xn--bcher-kva.example"]
        {
            assert_eq!(why(text.as_bytes(), true), None, "{text}");
        }
        for text in [".example.com", "shop:", ""] {
            assert_eq!(why(text.as_bytes(), false), None, "{text}");
        }
        for text in ["*.example.com", "bücher.example", "shop/", "a b", "u@h"] {
            assert!(why(text.as_bytes(), true).is_some(), "{text}");
            assert!(why(text.as_bytes(), false).is_some(), "{text}");
        }
        assert!(why(b"", true).is_some());
    }
}
