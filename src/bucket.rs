//! A number and weights to a version: who owns which buckets. Frozen (design.md section 4).

use crate::hash::Scheme;

/// A share of users in thousandths of a percent: 0 to 100,000, so that 5 % is 5,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody, 100 %.
    pub const FULL: Self = Self(100_000);

    /// A weight of `thousandths` of a percent; `None` above 100 %.
    pub const fn from_thousandths(thousandths: u32) -> Option<Self> {
        if thousandths <= Self::FULL.0 {
            Some(Self(thousandths))
        } else {
            None
        }
    }

    /// Thousandths of a percent, 0 to 100,000.
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// Percent, 0.0 to 100.0.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// The position of a version in its rollout's list, from 0.
pub type VersionIndex = usize;

/// A run of buckets that one version owns: `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: u32,
    pub end: u32,
    pub version: VersionIndex,
}

/// How a rollout's buckets are divided among its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Never empty and without gaps: the first starts at 0, the last ends at `scheme.buckets()`. Only who
    /// owns something has a place here, so that a split costs by that and not by the number of versions.
    ranges: Vec<Range>,
    /// Thousandths of a percent for each bucket.
    width: u32,
    stable: VersionIndex,
}

impl Split {
    /// Divides the buckets of `scheme` among versions, of which `stable` gets the remainder.
    ///
    /// `weights` holds one entry for each version in the configuration's order; the one at `stable` is
    /// not read. The sum of the others must not pass 100 %: whatever would be past the end is cut off.
    pub fn new(scheme: Scheme, weights: &[Weight], stable: VersionIndex) -> Self {
        let mut left = Weight::FULL.0;
        let mut weights: Vec<Weight> = weights
            .iter()
            .enumerate()
            .map(|(version, weight)| {
                let share = if version == stable { 0 } else { weight.0.min(left) };
                left -= share;
                Weight(share)
            })
            .collect();
        if let Some(weight) = weights.get_mut(stable) {
            weight.0 = left;
        }
        let ranges = match scheme {
            Scheme::Cohort => from_both_ends(&weights, stable),
            Scheme::Unleash => in_order(&weights, |version| version != stable, stable),
            Scheme::Flagd => in_order(&weights, |_| true, stable),
        };
        Self { ranges, width: Weight::FULL.0 / scheme.buckets(), stable }
    }

    /// The version that owns `bucket`; a bucket past the end belongs to stable.
    pub fn owner(&self, bucket: u32) -> VersionIndex {
        self.ranges
            .iter()
            .find(|range| bucket < range.end)
            .map_or(self.stable, |range| range.version)
    }

    /// The share of `version`, stable's remainder included; zero for a version there is not.
    pub fn weight(&self, version: VersionIndex) -> Weight {
        let own = self.ranges.iter().filter(|range| range.version == version);
        Weight(own.map(|range| (range.end - range.start) * self.width).sum())
    }

    /// Whether `version` has any share.
    pub fn has(&self, version: VersionIndex) -> bool {
        self.ranges.iter().any(|range| range.version == version)
    }

    /// Who owns which buckets, from bucket 0 upwards, without gaps and without empty ranges.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The version that gets whatever the others do not.
    pub fn stable(&self) -> VersionIndex {
        self.stable
    }
}

/// Lays ranges one behind the other and leaves out the empty ones.
struct Layout {
    ranges: Vec<Range>,
    at: u32,
}

impl Layout {
    fn new() -> Self {
        Self { ranges: Vec::new(), at: 0 }
    }

    fn push(&mut self, version: VersionIndex, width: u32) {
        if width > 0 {
            let end = self.at + width;
            self.ranges.push(Range { start: self.at, end, version });
            self.at = end;
        }
    }
}

/// The first weighted version from 0 upwards, the last from the top downwards, those between follow
/// the first; stable owns the gap, so that one changed weight moves users only to or from stable.
fn from_both_ends(weights: &[Weight], stable: VersionIndex) -> Vec<Range> {
    let weighted: Vec<(VersionIndex, u32)> = weights
        .iter()
        .enumerate()
        .filter(|(version, _)| *version != stable)
        .map(|(version, weight)| (version, weight.0))
        .collect();
    let (from_bottom, from_top) = match weighted.split_last() {
        Some((last, [])) => (std::slice::from_ref(last), None),
        Some((last, others)) => (others, Some(*last)),
        None => (weighted.as_slice(), None),
    };
    let mut layout = Layout::new();
    for &(version, width) in from_bottom {
        layout.push(version, width);
    }
    layout.push(stable, weights.get(stable).map_or(0, |weight| weight.0));
    if let Some((version, width)) = from_top {
        layout.push(version, width);
    }
    layout.ranges
}

/// Versions one behind the other in whole percents, those that `first` lets through before stable.
fn in_order(
    weights: &[Weight],
    listed: impl Fn(VersionIndex) -> bool,
    stable: VersionIndex,
) -> Vec<Range> {
    let mut layout = Layout::new();
    for (version, weight) in weights.iter().enumerate() {
        if listed(version) {
            layout.push(version, weight.0 / 1000);
        }
    }
    if !listed(stable) {
        layout.push(stable, weights.get(stable).map_or(0, |weight| weight.0 / 1000));
    }
    layout.ranges
}
