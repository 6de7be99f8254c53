//! `$.rollouts[].versions[]`: one named side of a rollout.

use crate::bucket::{Split, VersionIndex, Weight};
use crate::hash::Scheme;
use crate::http::HeaderName;

use super::shared::Firsts;
use super::text::{CLUSTER_NAME, FILLED, HEADER_VALUE, NAME, OWN_HEADER, REFERENCE};
use crate::document::node::{Node, Problems};
use crate::document::scalar::WEIGHT;
use crate::document::shape::{shape, Kind, Scalar};
use crate::document::suggest::closest;
use crate::document::value::{number_text, shortened};

/// One named side of a rollout. Its weight is in the rollout's split.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    /// The value of the cluster header, for Envoy routes with `cluster_header`.
    pub cluster: Option<String>,
    /// Without weight: nobody new, but those pinned stay.
    pub drain: bool,
    /// What runs under the version's name, such as an image's tag: another one is another attempt.
    pub revision: Option<String>,
    /// Set on requests that this version gets.
    pub request_headers: Vec<(HeaderName, String)>,
}

shape! {
    /// One named side of a rollout.
    VERSION, VersionKeys: "Version", "an object with name" {
        /// The version's name, unique in its rollout.
        name = "name": required Kind::Text(&NAME),
        /// Percent of users, with at most three decimals; the one version without a weight is stable.
        weight = "weight": optional WEIGHT,
        /// The cluster's name for output.clusterHeader.
        cluster = "cluster": optional Kind::Text(&CLUSTER_NAME),
        /// Nobody new, but those pinned stay; with weight 0.
        drain = "drain": default Kind::Flag => Scalar::Flag(false),
        /// What runs under the version's name, such as an image's tag. A change of it lifts a hold-out and
        /// starts the evidence anew, and moves nobody.
        revision = "revision": optional Kind::Text(&FILLED),
        /// Headers set on requests that this version gets.
        request_headers = "requestHeaders": optional Kind::Map(&OWN_HEADER, &Kind::Text(&HEADER_VALUE), 0),
    }
}

/// What [`Versions::check`] leaves to say of one version. What cannot be read is empty, and has been noted.
pub(super) fn check(node: &Node<'_>) -> Version {
    let VersionKeys { name, weight: _, cluster, drain, revision, request_headers } =
        VersionKeys::of(node);
    let header = |header: &Node<'_>| {
        Some((HeaderName::new(header.key)?, header.string().unwrap_or_default()))
    };
    Version {
        name: name.string().unwrap_or_default(),
        cluster: cluster.string(),
        drain: drain.flag().unwrap_or_default(),
        revision: revision.string(),
        request_headers: request_headers.entries().iter().filter_map(header).collect(),
    }
}

/// The weights of a rule or of a step of a ramp, by version.
pub(super) const WEIGHTS: Kind = Kind::Map(&REFERENCE, &WEIGHT, 1);

/// The versions of a rollout, as the other parts of it refer to them.
pub(super) struct Versions<'a> {
    /// In the configuration's order; `None` where the name cannot be read.
    names: Vec<Option<&'a str>>,
    /// Whether every name can be read.
    named: bool,
    /// The first version of each name.
    firsts: Firsts,
    /// What `versions` state; nothing for stable and for what cannot be read.
    weights: Vec<Weight>,
    pub(super) stable: VersionIndex,
    /// Whether there is exactly one that can be stable.
    has_stable: bool,
    scheme: Scheme,
}

impl<'a> Versions<'a> {
    /// Notes what does not go together in the list at `node`; `ramps` tells that the rollout has a ramp.
    /// Where the list cannot be read, any name may be that of a version.
    pub(super) fn check(
        node: &Node<'a>,
        scheme: Scheme,
        ramps: bool,
        problems: &mut Problems<'_>,
    ) -> Self {
        let mut versions = Self {
            names: Vec::new(),
            named: true,
            firsts: Firsts::default(),
            weights: Vec::new(),
            stable: 0,
            has_stable: false,
            scheme,
        };
        if !node.is_given() {
            versions.named = false;
            return versions;
        }
        let mut unweighted = Vec::new();
        for (index, version) in node.entries().iter().enumerate() {
            let name = VersionKeys::of(version).name.text();
            versions.names.push(name);
            match name {
                Some(name) => _ = versions.firsts.note(name, index),
                None => versions.named = false,
            }
            versions.weights.push(weight(VersionKeys::of(version).weight).unwrap_or_default());
            if version.is_given() && VersionKeys::of(version).weight.is_absent() {
                unweighted.push(index);
            }
        }
        versions.stable = unweighted.first().copied().unwrap_or(0);
        versions.has_stable = unweighted.len() == 1;
        versions.check_unweighted(&unweighted, node, problems);
        versions.check_sum(&versions.weights, node, problems);
        for (index, version) in node.entries().iter().enumerate() {
            versions.check_one(index, version, ramps, problems);
        }
        versions
    }

    fn check_unweighted(
        &self,
        unweighted: &[VersionIndex],
        node: &Node<'_>,
        problems: &mut Problems<'_>,
    ) {
        let found = match unweighted {
            [_] => return,
            [] if !node.entries().iter().all(Node::is_given) => return,
            [] => "no version without a weight".to_owned(),
            several => {
                let count = match several.len() {
                    2 => "two".to_owned(),
                    3 => "three".to_owned(),
                    count => count.to_string(),
                };
                let names: Vec<&str> =
                    several.iter().map(|index| self.name(*index).unwrap_or("?")).collect();
                format!("{count} versions without a weight ({})", names.join(", "))
            }
        };
        problems.add(node, &found, "exactly one, which is stable");
    }

    fn check_one(
        &self,
        index: VersionIndex,
        node: &Node<'_>,
        ramps: bool,
        problems: &mut Problems<'_>,
    ) {
        let keys = VersionKeys::of(node);
        if let Some(name) = self.name(index) {
            if self.firsts.find(name) != Some(index) {
                again(name, keys.name, problems);
            }
        }
        let Some(weight) = weight(keys.weight) else { return };
        self.check_whole(weight, keys.weight, problems);
        let drain = keys.drain;
        if weight != Weight::ZERO && !ramps && drain.flag() == Some(true) {
            problems.add(drain, "true with a weight", "false, or weight 0");
        }
    }

    fn check_sum(&self, weights: &[Weight], node: &Node<'_>, problems: &mut Problems<'_>) {
        let sum: u64 = weights.iter().map(|weight| u64::from(weight.thousandths())).sum();
        if sum > u64::from(Weight::FULL.thousandths()) {
            let found = format!("weights that sum to {}", number_text(sum as f64 / 1000.0));
            problems.add(node, &found, "a sum of at most 100");
        }
    }

    fn check_whole(&self, weight: Weight, node: &Node<'_>, problems: &mut Problems<'_>) {
        let scheme = match self.scheme {
            Scheme::Cohort => return,
            Scheme::Unleash => "unleash",
            Scheme::Flagd => "flagd",
        };
        if !weight.thousandths().is_multiple_of(1000) {
            let allowed =
                format!("a whole percentage from 0 to 100, because hashScheme is {scheme}");
            problems.add(node, &node.value.shown(), &allowed);
        }
    }

    /// The versions other than stable.
    pub(super) fn weighted(&self) -> impl Iterator<Item = VersionIndex> + '_ {
        (0..self.names.len()).filter(|version| *version != self.stable)
    }

    fn name(&self, index: VersionIndex) -> Option<&'a str> {
        *self.names.get(index)?
    }

    /// The version called `name`, to which the value or the key at `node` refers.
    pub(super) fn find(
        &self,
        name: &str,
        node: &Node<'_>,
        problems: &mut Problems<'_>,
    ) -> Option<VersionIndex> {
        let index = self.firsts.find(name);
        if index.is_none() && self.named {
            one_of(name, node, self.names.iter().copied().flatten(), problems);
        }
        index
    }

    /// Whether `version` is the one that is stable.
    pub(super) fn is_stable(&self, version: VersionIndex) -> bool {
        self.has_stable && version == self.stable
    }

    /// Whether `name` is the name of a version that is not `version`.
    pub(super) fn is_other(&self, name: &str, version: VersionIndex) -> bool {
        self.name(version) != Some(name) && self.firsts.find(name).is_some()
    }

    /// What `versions` state.
    pub(super) fn own_split(&self) -> Split {
        Split::new(self.scheme, &self.weights, self.stable)
    }

    /// The split of a rule's or a ramp step's weights; `None` where there are none.
    pub(super) fn split(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Split> {
        if !node.is_given() {
            return None;
        }
        let mut all = vec![Weight::ZERO; self.names.len()];
        for entry in node.entries() {
            let index = self.find(entry.key, entry, problems);
            if self.has_stable && index == Some(self.stable) {
                let found = format!("{}, which gets the remainder", shortened(entry.key));
                problems.add(entry, &found, "a weight for a version other than stable");
            }
            let Some(weight) = weight(entry) else { continue };
            self.check_whole(weight, entry, problems);
            if let Some(slot) = index.and_then(|index| all.get_mut(index)) {
                *slot = weight;
            }
        }
        self.check_sum(&all, node, problems);
        Some(Split::new(self.scheme, &all, self.stable))
    }
}

fn weight(node: &Node<'_>) -> Option<Weight> {
    Weight::from_thousandths(node.small()?)
}

/// Notes that `name` is none of `known`.
pub(super) fn one_of<'a>(
    name: &str,
    node: &Node<'_>,
    known: impl Iterator<Item = &'a str>,
    problems: &mut Problems<'_>,
) {
    let known: Vec<&str> = known.take(COMPARED).collect();
    let shown = known.get(..SHOWN).unwrap_or(&known);
    let hint = closest(name, &known).map(str::to_owned);
    let mut allowed = shown.join(", ");
    if shown.len() < known.len() {
        allowed += " or one of the others";
    }
    problems.add_at(node.spot, &shortened(name), &allowed, hint);
}

/// Of how many names one is told that they are allowed.
const SHOWN: usize = 20;

/// With how many names one is compared that was perhaps meant.
const COMPARED: usize = 100;

/// Notes that `name`, which stands at `node`, stood before.
pub(super) fn again(name: &str, node: &Node<'_>, problems: &mut Problems<'_>) {
    problems.add(node, &format!("{} again", shortened(name)), "each name once");
}
