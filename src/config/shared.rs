//! What rollouts share: their names, the cookies of a browser, the headers of a request.

use crate::http::headers::fold;
use crate::index::Index;

use super::cookie::CookieKeys;
use super::overrides::{OverridesKeys, RequireKeys};
use super::pin::PinKeys;
use super::rollout::RolloutKeys;
use super::version::again;
use crate::document::node::{Node, Problems};
use crate::document::value::{shortened, Value};

/// Notes what does not go together among the `rollouts`, by what stands in the document, so that a
/// rollout with another problem is held against the others too.
pub(super) fn check(rollouts: &[Node<'_>], problems: &mut Problems<'_>) {
    let mut names = Firsts::default();
    let mut cookies = Firsts::default();
    let mut pins = Firsts::default();
    let mut outputs = Firsts::default();
    for (index, rollout) in rollouts.iter().enumerate() {
        if let Some(name) = text(rollout.value, &["name"]) {
            if names.note(name, index).is_some() {
                again(name, RolloutKeys::of(rollout).name, problems);
            }
        }
        for cookie in [&["anonymousId", "cookie", "name"][..], &["overrides", "cookie"]] {
            if let Some(name) = text(rollout.value, cookie) {
                cookies.note(name, index);
            }
        }
        for header in output_headers(rollout.value) {
            outputs.note(&header, index);
        }
    }
    for (index, rollout) in rollouts.iter().enumerate() {
        if let Some(name) = text(rollout.value, &["pin", "cookie", "name"]) {
            let other = pins.note(name, index).or_else(|| cookies.find(name));
            if let Some(other) = other {
                let found = format!("{}, which $.rollouts[{other}] uses too", shortened(name));
                let node = CookieKeys::of(PinKeys::of(RolloutKeys::of(rollout).pin).cookie).name;
                problems.add(node, &found, "a cookie of its own");
            }
        }
        if let Some(name) = text(rollout.value, &["overrides", "require", "secretHeader"]) {
            if let Some(other) = outputs.find(&folded(name)) {
                let found = format!("{}, which $.rollouts[{other}] sets", shortened(name));
                let node =
                    RequireKeys::of(OverridesKeys::of(RolloutKeys::of(rollout).overrides).require)
                        .secret_header;
                problems.add(node, &found, "a header of its own");
            }
        }
    }
}

/// Names, and the rollout that had each first.
#[derive(Default)]
struct Firsts(Index<Option<usize>>);

impl Firsts {
    /// The rollout that had `name` before; if none had, `index` has it now.
    fn note(&mut self, name: &str, index: usize) -> Option<usize> {
        let mut before = None;
        self.0.update(name.as_bytes(), |first| {
            before = *first;
            first.get_or_insert(index);
        });
        before
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.get(name.bytes()).copied().flatten()
    }
}

/// The string at the end of `keys`.
fn text<'a>(value: &'a Value<'a>, keys: &[&str]) -> Option<&'a str> {
    match keys.iter().try_fold(value, |value, key| value.get(key))? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The headers that a rollout sets, folded.
fn output_headers(rollout: &Value<'_>) -> Vec<String> {
    let mut headers = Vec::new();
    match (text(rollout, &["output", "routeHeader"]), text(rollout, &["name"])) {
        (Some(header), _) => headers.push(folded(header)),
        (None, Some(name)) => headers.push(folded(&format!("x-cohort-{name}"))),
        (None, None) => {}
    }
    for key in ["clusterHeader", "responseHeader", "reasonHeader"] {
        headers.extend(text(rollout, &["output", key]).map(folded));
    }
    if let Some(Value::List(versions)) = rollout.get("versions") {
        for version in versions {
            if let Some(Value::Object(entries)) = version.get("requestHeaders") {
                headers.extend(entries.iter().map(|(name, _)| folded(name)));
            }
        }
    }
    headers
}

fn folded(name: &str) -> String {
    fold(name.as_bytes()).map(char::from).collect()
}
