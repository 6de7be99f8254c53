//! Warnings: what is legal in a configuration and surely not meant.

pub mod around;
mod chains;
mod earlier;
mod hosts;
mod implies;
mod routes;
mod tables;
mod visitors;
mod written;

use crate::bucket::VersionIndex;
use crate::config::{Choice, Config, Millis, Path, PathSegment, Rollout};
use crate::http::SetCookie;

use super::instant_text;
use super::source::tree::{Data, Node, Position};
use super::source::{Document, Finder};
use super::style::plain;

use earlier::Earlier;

pub use chains::chains;
pub use routes::routes;
pub use tables::tables;
pub use written::Written;

/// Something that is legal and surely not meant.
#[derive(Debug)]
pub struct Warning {
    pub at: Position,
    /// The path in the configuration, or what else it is about.
    pub place: String,
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
        let mut earlier = Earlier::default();
        for (position, rollout) in config.rollouts.iter().enumerate() {
            let place = Place { path: Path::default().key("rollouts").index(position), rollout };
            place.rules(config, &mut found);
            place.key(&mut found);
            place.cookies(&mut found);
            earlier.compare(rollout, &place.path, &mut found);
            place.ramp(now, &mut found);
        }
        hosts::impossible(config, &mut found);
        if let Some(pins) = visitors::pins(&config.rollouts) {
            let text = format!(
                "{pins} of them pin the same request: a browser sends all of these cookies with every \
                 request, and servers take no more than some kilobytes of headers"
            );
            found.push((Path::default().key("rollouts"), text));
        }
    }
    let finder = document.tree.as_ref().map(Finder::new);
    let at = |path: &Path| finder.as_ref().map_or(document.at, |finder| finder.of(path));
    let warning =
        |(path, text): (Path, String)| Warning { at: at(&path), place: path.to_string(), text };
    let mut warnings: Vec<Warning> = found.into_iter().map(warning).collect();
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

/// Among how many rules of a rollout one is looked for that leaves nothing for another.
const RULES: usize = 1000;

/// One rollout, and where it stands.
struct Place<'a> {
    path: Path,
    rollout: &'a Rollout,
}

impl Place<'_> {
    /// A rule that an earlier one leaves nothing for.
    fn rules(&self, config: &Config, found: &mut Found) {
        let rules = self.rollout.rules.get(..RULES).unwrap_or(&self.rollout.rules);
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
            if let Some((host, domain)) =
                visitors::outside(self.rollout, cookie).zip(cookie.domain.as_deref())
            {
                let text = format!(
                    "{} is not in {domain}, so that a browser would refuse the cookie there: it is handed \
                     out without a domain",
                    plain(&host)
                );
                found.push((self.path.key(key).key("cookie"), text));
            }
        }
    }

    /// Keys that tell no users apart, and weights that nobody's key is ever held against.
    fn key(&self, found: &mut Found) {
        let rollout = self.rollout;
        for (index, source) in rollout.hash_key.iter().enumerate() {
            if let Some(text) = visitors::changing(source) {
                found.push((self.path.key("hashKey").index(index), text));
            }
        }
        if !rollout.hash_key.is_empty() || rollout.anonymous_id.is_some() {
            return;
        }
        let mut weighted = (0..rollout.versions.len()).filter(|&version| version != rollout.stable);
        let version = weighted.find(|&version| self.has_weight(version));
        let version = version.and_then(|version| rollout.versions.get(version));
        let stable = rollout.versions.get(rollout.stable);
        if let (Some(version), Some(stable)) = (version, stable) {
            let text = format!(
                "{} has weight, and there is no hashKey or anonymousId to tell users apart by: everybody \
                 gets {}",
                version.name, stable.name
            );
            found.push((self.path.key("versions"), text));
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

    /// Whether a version has weight at some time, by the rollout or a rule.
    fn has_weight(&self, version: VersionIndex) -> bool {
        let rollout = self.rollout;
        let ramp = rollout.ramp.iter().flat_map(|ramp| ramp.steps.iter().map(|step| &step.split));
        let rules = rollout.rules.iter().filter_map(|rule| match &rule.choice {
            Choice::Version(_) => None,
            Choice::Weights(split) => Some(split),
        });
        std::iter::once(&rollout.split).chain(ramp).chain(rules).any(|split| split.has(version))
    }
}
