//! Warnings: what is legal in a configuration and surely not meant.

pub mod around;
mod implies;

use crate::config::{Config, Millis, Path, PathSegment, Rollout};
use crate::http::SetCookie;

use super::instant_text;
use super::source::tree::{Data, Node, Position};
use super::source::{place_of, Document};

/// Something that is legal and surely not meant.
#[derive(Debug)]
pub struct Warning {
    pub at: Position,
    pub path: Path,
    pub text: String,
}

/// How far off the start of a ramp is still taken for meant: 30 days.
const SOON: Millis = 30 * 86_400_000;

/// Every warning about a document as of `now`, in the document's order.
pub fn warnings(document: &Document, now: Millis) -> Vec<Warning> {
    let mut found = Vec::new();
    if let Some(tree) = &document.tree {
        words(tree, &mut Path::default(), &mut found);
    }
    if let Ok(config) = &document.config {
        for (position, rollout) in config.rollouts.iter().enumerate() {
            let place = Place { path: Path::default().key("rollouts").index(position), rollout };
            let earlier = config.rollouts.get(..position).unwrap_or_default();
            place.rules(config, &mut found);
            place.cookies(&mut found);
            place.salt(earlier, &mut found);
            place.header(earlier, &mut found);
            place.ramp(now, &mut found);
        }
    }
    let at = |path: &Path| document.tree.as_ref().map_or(document.at, |tree| place_of(tree, path));
    let mut warnings: Vec<Warning> =
        found.into_iter().map(|(path, text)| Warning { at: at(&path), path, text }).collect();
    warnings.sort_by_key(|warning| warning.at);
    warnings
}

type Found = Vec<(Path, String)>;

/// Words that one reader of YAML takes for a boolean and another for a text.
fn words(node: &Node, path: &mut Path, found: &mut Found) {
    match &node.data {
        Data::Word(value, word) => found.push((
            path.clone(),
            format!(
                "{word} without quotes is the boolean {value} to Kubernetes and Envoy; \
                 write \"{word}\" for the text, {value} for the boolean"
            ),
        )),
        Data::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.segments.push(PathSegment::Index(index));
                words(item, path, found);
                path.segments.pop();
            }
        }
        Data::Object(members) => {
            for member in members {
                path.segments.push(PathSegment::Key(member.key.clone()));
                words(&member.value, path, found);
                path.segments.pop();
            }
        }
        _ => {}
    }
}

trait Below {
    fn key(&self, key: &str) -> Path;
    fn index(&self, index: usize) -> Path;
}

impl Below for Path {
    fn key(&self, key: &str) -> Path {
        let mut below = self.clone();
        below.segments.push(PathSegment::Key(key.to_owned()));
        below
    }

    fn index(&self, index: usize) -> Path {
        let mut below = self.clone();
        below.segments.push(PathSegment::Index(index));
        below
    }
}

/// One rollout, and where it stands.
struct Place<'a> {
    path: Path,
    rollout: &'a Rollout,
}

impl Place<'_> {
    /// A rule that an earlier one leaves nothing for.
    fn rules(&self, config: &Config, found: &mut Found) {
        let rules = &self.rollout.rules;
        for (later, rule) in rules.iter().enumerate() {
            let earlier = rules.get(..later).unwrap_or_default();
            let blocking = earlier.iter().find(|earlier| implies::rule(config, rule, earlier));
            if let Some(blocking) = blocking {
                let text = format!(
                    "can never decide, because rule {} comes first and holds whenever this one does",
                    blocking.name
                );
                found.push((self.path.key("rules").index(later), text));
            }
        }
    }

    fn cookies(&self, found: &mut Found) {
        let pin = self.rollout.pin.as_ref().map(|pin| ("pin", &pin.cookie));
        let id = self.rollout.anonymous_id.as_ref().map(|cookie| ("anonymousId", cookie));
        for (key, cookie) in pin.into_iter().chain(id) {
            if let SetCookie { domain: Some(domain), secure: None | Some(false), .. } = cookie {
                let text = format!(
                    "a cookie for all of {domain} without secure: true, so that any of its hosts can \
                     be sent it, and can set it, over plain http"
                );
                found.push((self.path.key(key).key("cookie"), text));
            }
        }
    }

    fn salt(&self, earlier: &[Rollout], found: &mut Found) {
        let same = |other: &&Rollout| {
            other.salt == self.rollout.salt && other.scheme == self.rollout.scheme
        };
        if let Some(other) = earlier.iter().find(same) {
            let text = format!(
                "has the salt of rollout {} ({}), so that the same users are first in both",
                other.name, other.salt
            );
            found.push((self.path.clone(), text));
        }
    }

    /// A route header that an earlier rollout always writes first.
    fn header(&self, earlier: &[Rollout], found: &mut Found) {
        let header = &self.rollout.output.route_header;
        let takes =
            |other: &&Rollout| other.matches.is_none() && other.output.route_header == *header;
        if let Some(other) = earlier.iter().find(takes) {
            let text = format!(
                "never writes {header}, because rollout {} comes first and matches every request",
                other.name
            );
            found.push((self.path.clone(), text));
        }
    }

    /// A ramp that is over, or whose start is still the placeholder of an example.
    fn ramp(&self, now: Millis, found: &mut Found) {
        let Some(ramp) = &self.rollout.ramp else { return };
        let path = self.path.key("ramp");
        let length = ramp.steps.last().map_or(0, |step| step.after);
        let end = ramp.start.saturating_add(length);
        if now >= end {
            let text = format!(
                "reached its last step at {}; write the weights of that step into versions and \
                 remove the ramp",
                instant_text(end)
            );
            found.push((path, text));
        } else if ramp.start > now.saturating_add(SOON) {
            let text = format!(
                "is {}, more than 30 days from now; until then the weights of versions hold",
                instant_text(ramp.start)
            );
            found.push((path.key("start"), text));
        }
    }
}
