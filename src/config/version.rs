//! `$.rollouts[].versions[]`: one named side of a rollout.

use crate::bucket::{Split, VersionIndex, Weight};
use crate::hash::Scheme;
use crate::http::HeaderName;

use super::place::{Place, Problems};
use super::read::{Field, Map, Text};
use super::shape::shape;
use super::suggest::closest;
use super::text::{ClusterName, HeaderValue, Name, OwnHeader, Reference};
use super::value::{number_text, shortened};

/// One named side of a rollout. Its weight is in the rollout's split.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    /// The value of the cluster header, for Envoy routes with `cluster_header`.
    pub cluster: Option<String>,
    /// Without weight: nobody new, but those pinned stay.
    pub drain: bool,
    /// Set on requests that this version gets.
    pub request_headers: Vec<(HeaderName, String)>,
}

shape! {
    /// One named side of a rollout.
    VersionShape: "an object with name" {
        /// The version's name, unique in its rollout.
        "name" name: required Name,
        /// Percent of users, with at most three decimals; the one version without a weight is stable.
        "weight" weight: optional Weight,
        /// The cluster's name for output.clusterHeader.
        "cluster" cluster: optional ClusterName,
        /// Nobody new, but those pinned stay; with weight 0.
        "drain" drain: defaulted bool = false,
        /// Headers set on requests that this version gets.
        "requestHeaders" request_headers: optional Map<OwnHeader, HeaderValue, 0>,
    }
}

impl VersionShape {
    pub(super) fn finish(self) -> Option<Version> {
        let headers = self.request_headers.given().map_or(Some(Vec::new()), Map::whole)?;
        Some(Version {
            name: self.name.given()?.0,
            cluster: self.cluster.given().map(|cluster| cluster.0),
            drain: self.drain.given()?,
            request_headers: headers.into_iter().map(|(name, value)| (name.0, value.0)).collect(),
        })
    }
}

/// The weights of a rule or of a step of a ramp, by version.
pub(super) type Weights = Map<Reference, Weight, 1>;

/// The versions of a rollout, as the other parts of it refer to them.
pub(super) struct Versions {
    /// In the configuration's order; `None` where the name cannot be read.
    names: Vec<Option<String>>,
    /// What `versions` state; nothing for stable and for what cannot be read.
    weights: Vec<Weight>,
    pub(super) stable: VersionIndex,
    /// Whether there is exactly one that can be stable.
    has_stable: bool,
    scheme: Scheme,
}

impl Versions {
    /// Notes what does not go together among `shapes`, which stand at `at`.
    pub(super) fn check(
        shapes: &[Option<VersionShape>],
        scheme: Scheme,
        ramps: bool,
        at: &Place<'_>,
        problems: &mut Problems,
    ) -> Self {
        let names: Vec<Option<String>> = shapes
            .iter()
            .map(|shape| {
                shape.as_ref().and_then(|shape| shape.name.as_given()).map(|name| name.0.clone())
            })
            .collect();
        let weights: Vec<Weight> = shapes
            .iter()
            .map(|shape| {
                shape
                    .as_ref()
                    .and_then(|shape| shape.weight.as_given())
                    .copied()
                    .unwrap_or_default()
            })
            .collect();
        let unweighted: Vec<VersionIndex> = shapes
            .iter()
            .enumerate()
            .filter(|(_, shape)| shape.as_ref().is_some_and(|shape| shape.weight.is_absent()))
            .map(|(index, _)| index)
            .collect();
        let stable = unweighted.first().copied().unwrap_or(0);
        let versions = Self { names, weights, stable, has_stable: unweighted.len() == 1, scheme };
        versions.check_unweighted(&unweighted, shapes.iter().all(Option::is_some), at, problems);
        versions.check_sum(&versions.weights, at, problems);
        for (index, shape) in shapes.iter().enumerate() {
            let at = at.nth(index);
            let name = versions.name(index);
            if name.is_some()
                && versions.names.iter().take(index).any(|other| other.as_deref() == name)
            {
                again(name.unwrap_or_default(), &at.at("name"), problems);
            }
            let Some(VersionShape { weight: Field::Given(weight), drain, .. }) = shape else {
                continue;
            };
            versions.check_whole(*weight, &at.at("weight"), problems);
            if *weight != Weight::ZERO && !ramps && matches!(drain, Field::Given(true)) {
                let allowed = "false, or weight 0".to_owned();
                problems.add(&at.at("drain"), "true with a weight".to_owned(), allowed);
            }
        }
        versions
    }

    fn check_unweighted(
        &self,
        unweighted: &[VersionIndex],
        all_read: bool,
        at: &Place<'_>,
        problems: &mut Problems,
    ) {
        let found = match unweighted {
            [_] => return,
            [] if !all_read => return,
            [] => "no version without a weight".to_owned(),
            several => {
                let count = match several.len() {
                    2 => "two".to_owned(),
                    3 => "three".to_owned(),
                    count => count.to_string(),
                };
                let names = several.iter().map(|index| self.name(*index).unwrap_or("?"));
                format!(
                    "{count} versions without a weight ({})",
                    names.collect::<Vec<_>>().join(", ")
                )
            }
        };
        problems.add(at, found, "exactly one, which is stable".to_owned());
    }

    fn check_sum(&self, weights: &[Weight], at: &Place<'_>, problems: &mut Problems) {
        let sum: u64 = weights.iter().map(|weight| u64::from(weight.thousandths())).sum();
        if sum > u64::from(Weight::FULL.thousandths()) {
            let found = format!("weights that sum to {}", number_text(sum as f64 / 1000.0));
            problems.add(at, found, "a sum of at most 100".to_owned());
        }
    }

    fn check_whole(&self, weight: Weight, at: &Place<'_>, problems: &mut Problems) {
        let scheme = match self.scheme {
            Scheme::Cohort => return,
            Scheme::Unleash => "unleash",
            Scheme::Flagd => "flagd",
        };
        if weight.thousandths() % 1000 != 0 {
            let allowed =
                format!("a whole percentage from 0 to 100, because hashScheme is {scheme}");
            problems.add(at, at.value().shown(), allowed);
        }
    }

    fn name(&self, index: VersionIndex) -> Option<&str> {
        self.names.get(index)?.as_deref()
    }

    /// The version called `name`, to which the value or the key at `at` refers.
    pub(super) fn find(
        &self,
        name: &str,
        at: &Place<'_>,
        problems: &mut Problems,
    ) -> Option<VersionIndex> {
        let index = self.names.iter().position(|other| other.as_deref() == Some(name));
        if index.is_none() && self.names.iter().all(Option::is_some) {
            let known: Vec<&str> = self.names.iter().flatten().map(String::as_str).collect();
            one_of(name, at, &known, problems);
        }
        index
    }

    /// Whether `name` is the name of a version that is not `version`.
    pub(super) fn is_other(&self, name: &str, version: VersionIndex) -> bool {
        self.name(version) != Some(name) && self.names.iter().flatten().any(|other| other == name)
    }

    /// What `versions` state.
    pub(super) fn own_split(&self) -> Split {
        Split::new(self.scheme, &self.weights, self.stable)
    }

    /// The split of a rule's or a ramp step's `weights`, which stand at `at`.
    pub(super) fn split(
        &self,
        weights: Weights,
        at: &Place<'_>,
        problems: &mut Problems,
    ) -> Option<Split> {
        let mut all = vec![Weight::ZERO; self.names.len()];
        for (name, weight) in weights.0 {
            let at = at.at(&name.0);
            let index = self.find(&name.0, &at, problems);
            if self.has_stable && index == Some(self.stable) {
                let found = format!("{}, which gets the remainder", shortened(&name.0));
                problems.add(&at, found, "a weight for a version other than stable".to_owned());
            }
            let Some(weight) = weight else { continue };
            self.check_whole(weight, &at, problems);
            if let Some(slot) = index.and_then(|index| all.get_mut(index)) {
                *slot = weight;
            }
        }
        self.check_sum(&all, at, problems);
        Some(Split::new(self.scheme, &all, self.stable))
    }
}

/// Notes that `name` is none of `known`.
pub(super) fn one_of(name: &str, at: &Place<'_>, known: &[&str], problems: &mut Problems) {
    let hint = closest(name, known).map(str::to_owned);
    problems.add_with_hint(at, shortened(name), known.join(", "), hint);
}

/// Notes that `name`, which stands at `at`, stood before.
pub(super) fn again(name: &str, at: &Place<'_>, problems: &mut Problems) {
    problems.add(at, format!("{} again", shortened(name)), "each name once".to_owned());
}

impl Text for Scheme {
    const ALLOWED: &'static str = "cohort, unleash or flagd";
    const WORDS: &'static [&'static str] = &["cohort", "unleash", "flagd"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "cohort" => Some(Self::Cohort),
            "unleash" => Some(Self::Unleash),
            "flagd" => Some(Self::Flagd),
            _ => None,
        }
    }
}
