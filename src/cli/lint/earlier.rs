//! Warnings of what two rollouts share and should not: a salt, a header, a cookie.

use std::collections::{BTreeMap, HashMap};
use std::mem::discriminant;

use crate::config::{Content, Path, Rollout};
use crate::hash::Scheme;

use super::super::style::plain;
use super::{Below, Found};

/// What the rollouts before one have, by what may be the same.
#[derive(Default)]
pub struct Earlier<'a> {
    /// The first rollout of each salt and scheme.
    salts: HashMap<(&'a str, Scheme), &'a Rollout>,
    /// The first rollout that writes each route header on every request.
    always: HashMap<&'a str, &'a Rollout>,
    /// The first rollout that writes each header of requests (`true`) and of answers, and what stands in it.
    written: HashMap<(bool, &'a str), (Content<'a>, &'a Rollout)>,
    /// The first rollout that gives out each anonymous id: by the cookie's name, and by the host, `None` for all.
    ids: HashMap<&'a str, BTreeMap<Option<&'a [u8]>, &'a Rollout>>,
}

impl<'a> Earlier<'a> {
    /// Holds a rollout, which stands at `path`, against those before it.
    pub fn compare(&mut self, rollout: &'a Rollout, path: &Path, found: &mut Found) {
        self.salt(rollout, path, found);
        self.route(rollout, path, found);
        self.contents(rollout, path, found);
        self.id(rollout, path, found);
    }

    fn salt(&mut self, rollout: &'a Rollout, path: &Path, found: &mut Found) {
        let key = (rollout.salt.as_str(), rollout.scheme);
        let other = *self.salts.entry(key).or_insert(rollout);
        if !std::ptr::eq(other, rollout) {
            let text = format!(
                "has the salt of rollout {} ({}), so that the same users are first in both",
                other.name,
                plain(&other.salt)
            );
            found.push((path.clone(), text));
        }
    }

    /// A route header that an earlier rollout always writes first.
    fn route(&mut self, rollout: &'a Rollout, path: &Path, found: &mut Found) {
        let header = rollout.output.route_header.as_str();
        if let Some(other) = self.always.get(header) {
            let text = format!(
                "never writes {header}, because rollout {} comes first and matches every request",
                other.name
            );
            found.push((path.clone(), text));
        } else if rollout.matches.is_none() {
            self.always.insert(header, rollout);
        }
    }

    /// A header into which two rollouts write different things.
    fn contents(&mut self, rollout: &'a Rollout, path: &Path, found: &mut Found) {
        for write in rollout.writes() {
            let (header, content) = (write.header.as_str(), write.content);
            let key = (content.is_on_request(), header);
            let (other, first) = *self.written.entry(key).or_insert((content, rollout));
            if discriminant(&other) != discriminant(&content) {
                let text = format!(
                    "writes {} into {header}, into which rollout {} writes {}",
                    what(content),
                    first.name,
                    what(other)
                );
                found.push((path.key("output"), text));
            }
        }
    }

    /// The cookie of an anonymous id that an earlier rollout gives out with other attributes.
    fn id(&mut self, rollout: &'a Rollout, path: &Path, found: &mut Found) {
        let Some(cookie) = &rollout.anonymous_id else { return };
        let name = cookie.name.as_str();
        let earlier = self.ids.entry(name).or_default();
        let hosts: Vec<Option<&[u8]>> = match rollout.hosts() {
            Some(hosts) => hosts.into_iter().map(Some).collect(),
            None => vec![None],
        };
        let other = match rollout.matches {
            // On every request, and so beside whichever there is.
            None => earlier.values().next(),
            Some(_) => std::iter::once(&None).chain(&hosts).find_map(|host| earlier.get(host)),
        };
        if let Some(other) = other.filter(|other| other.anonymous_id.as_ref() != Some(cookie)) {
            let text = format!(
                "rollout {} gives out {name} with other attributes: a visitor gets those of the rollout that \
                 comes first",
                other.name
            );
            found.push((path.key("anonymousId").key("cookie"), text));
        }
        for host in hosts {
            earlier.entry(host).or_insert(rollout);
        }
    }
}

fn what(content: Content<'_>) -> &'static str {
    match content {
        Content::Route | Content::Response => "the name of a version",
        Content::Cluster => "the name of a cluster",
        Content::Own(..) => "a text of its own",
        Content::Reason => "a reason",
    }
}
