//! What rollouts share: their names, the cookies of a browser, the headers of a request.

use crate::http::headers::fold;
use crate::http::{HeaderName, SetCookie};
use crate::index::Index;

use super::cookie::CookieKeys;
use super::lists::{each_handed, writes, CookieUse};
use super::overrides::{OverridesKeys, RequireKeys};
use super::pin::PinKeys;
use super::rollout::RolloutKeys;
use super::version::again;
use super::{KeySource, Output, Overrides, Pin, Version};
use crate::document::node::{Node, Problems};
use crate::document::value::shortened;

/// What the rollouts take, noted one after the other.
#[derive(Default)]
pub(super) struct Shared {
    names: Firsts,
    /// Cookies that are read for something else than a pin.
    cookies: Firsts,
    pins: Firsts,
    /// Headers that are written, folded.
    headers: Firsts,
}

/// What one rollout takes, of what could be read of it: one with another problem is held against the others too.
#[derive(Default)]
pub(super) struct Taken {
    /// The position in the configuration.
    pub(super) index: usize,
    pin: Option<String>,
    secret: Option<HeaderName>,
}

/// The parts of a rollout that take something.
pub(super) struct Parts<'a> {
    pub(super) hash_key: &'a [KeySource],
    pub(super) anonymous_id: Option<&'a SetCookie>,
    pub(super) pin: Option<&'a Pin>,
    pub(super) overrides: Option<&'a Overrides>,
    pub(super) output: Option<&'a Output>,
    pub(super) versions: &'a [Version],
}

impl Shared {
    /// Notes what the rollout at `index`, which is that at `node`, takes.
    pub(super) fn note(
        &mut self,
        index: usize,
        node: &Node<'_>,
        parts: &Parts<'_>,
        problems: &mut Problems<'_>,
    ) -> Taken {
        let mut taken = Taken { index, ..Taken::default() };
        let name = RolloutKeys::of(node).name;
        if let Some(text) = name.text() {
            if self.names.note(text, index).is_some() {
                again(text, name, problems);
            }
        }
        let Parts { hash_key, anonymous_id, pin, overrides, output, versions } = *parts;
        each_handed(hash_key, anonymous_id, pin, overrides, &mut |name, use_for| match use_for {
            CookieUse::Pin => taken.pin = Some(name.to_owned()),
            CookieUse::Key | CookieUse::AnonymousId | CookieUse::Override => {
                self.cookies.note(name, index);
            }
            // A rule may look at a pin.
            CookieUse::Condition => {}
        });
        for write in output.into_iter().flat_map(|output| writes(output, versions)) {
            self.headers.note(&folded(write.header), index);
        }
        taken.secret =
            overrides.and_then(|it| it.require.secret.as_ref()).map(|secret| secret.header.clone());
        taken
    }

    /// Notes what a rollout takes that another one has; all of them have been noted.
    pub(super) fn check(&mut self, node: &Node<'_>, taken: &Taken, problems: &mut Problems<'_>) {
        if let Some(name) = &taken.pin {
            let other = self.pins.note(name, taken.index).or_else(|| self.cookies.find(name));
            if let Some(other) = other {
                let found = format!("{}, which $.rollouts[{other}] uses too", shortened(name));
                let node = CookieKeys::of(PinKeys::of(RolloutKeys::of(node).pin).cookie).name;
                problems.add(node, &found, "a cookie of its own");
            }
        }
        if let Some(name) = &taken.secret {
            if let Some(other) = self.headers.find(&folded(name)) {
                let keys = OverridesKeys::of(RolloutKeys::of(node).overrides);
                let node = RequireKeys::of(keys.require).secret_header;
                let shown = node.text().unwrap_or_default();
                let found = format!("{}, which $.rollouts[{other}] sets", shortened(shown));
                problems.add(node, &found, "a header of its own");
            }
        }
    }
}

/// Names, and which of several had each first: rollouts, versions, rules.
#[derive(Default)]
pub(super) struct Firsts(Index<Option<usize>>);

impl Firsts {
    /// The one that had `name` before; if none had, `index` has it now.
    pub(super) fn note(&mut self, name: &str, index: usize) -> Option<usize> {
        let mut before = None;
        self.0.update(name.as_bytes(), |first| {
            before = *first;
            first.get_or_insert(index);
        });
        before
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.get(name.bytes()).copied().flatten()
    }
}

fn folded(name: &HeaderName) -> String {
    fold(name.as_str().as_bytes()).map(char::from).collect()
}
