//! What the rollouts of all the files write on requests, so that routes can be held against it.

use std::collections::BTreeMap;

use super::around::File;
use crate::config::Rollout;

/// The headers of the rollouts of all files.
#[derive(Default)]
pub struct Written<'a> {
    /// The rollout that each route header is of, by the header's name.
    pub routes: BTreeMap<&'a str, &'a Rollout>,
    /// The other headers that rollouts set on requests.
    pub others: Vec<&'a str>,
    /// Whether every configuration could be read, so that what is not written here is not written.
    pub is_all: bool,
}

impl<'a> Written<'a> {
    pub fn of(files: impl Iterator<Item = &'a File>) -> Self {
        let mut written = Self { is_all: true, ..Self::default() };
        let mut count = 0;
        for document in files.flat_map(|file| &file.documents) {
            count += 1;
            let Ok(config) = &document.config else {
                written.is_all = false;
                continue;
            };
            for rollout in &config.rollouts {
                written.routes.entry(rollout.output.route_header.as_str()).or_insert(rollout);
                written.others.extend(headers(rollout).skip(1));
            }
        }
        written.is_all &= count > 0;
        written
    }

    /// Whether some rollout sets a header of that name, in lower case.
    pub fn has(&self, name: &str) -> bool {
        self.routes.contains_key(name) || self.others.contains(&name)
    }
}

/// Every header that a rollout sets on requests, the route header first.
pub fn headers(rollout: &Rollout) -> impl Iterator<Item = &str> {
    let output = &rollout.output;
    let own = rollout.versions.iter().flat_map(|version| version.request_headers.iter());
    std::iter::once(&output.route_header)
        .chain(&output.cluster_header)
        .chain(own.map(|(name, _)| name))
        .map(|name| name.as_str())
}
