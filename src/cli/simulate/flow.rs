//! Who got which version, and who moved from where to where.

use super::{Side, REASONS};
use crate::bucket::{VersionIndex, Weight};
use crate::engine::Reason;

/// The count of one rollout.
pub struct Flow<'a> {
    pub rollout: &'a str,
    /// What carries the keys, in words.
    pub carrier: String,
    pub salt: &'a str,
    /// The versions of now in their order, then those that were only before.
    pub versions: Vec<Tally<'a>>,
    /// How many there are now: those behind were only before.
    pub present: usize,
    pub reasons: [u64; REASONS],
    pub total: u64,
}

/// The count of one version.
pub struct Tally<'a> {
    pub name: &'a str,
    pub weight: Weight,
    pub users: u64,
    /// How many came here from each version, by position; those that stayed included.
    pub from: Vec<u64>,
}

impl<'a> Flow<'a> {
    /// An empty count, and the position in it of each version of `before`.
    pub fn new(after: &Side<'a>, before: Option<&Side<'a>>) -> (Self, Vec<usize>) {
        let mut names: Vec<&'a str> =
            after.rollout.versions.iter().map(|version| version.name.as_str()).collect();
        let present = names.len();
        let mut columns = Vec::new();
        for version in before.iter().flat_map(|before| &before.rollout.versions) {
            let known = names.iter().position(|name| *name == version.name);
            columns.push(known.unwrap_or(names.len()));
            if known.is_none() {
                names.push(&version.name);
            }
        }
        let count = names.len();
        let tally = |(position, name): (usize, &&'a str)| Tally {
            name,
            weight: match after.rollout.enabled {
                true => after.standing.split.weight(position),
                false if position == after.rollout.stable => Weight::FULL,
                false => Weight::ZERO,
            },
            users: 0,
            from: vec![0; count],
        };
        let flow = Self {
            rollout: &after.rollout.name,
            carrier: after.carrier.to_string(),
            salt: &after.rollout.salt,
            versions: names.iter().enumerate().map(tally).collect(),
            present,
            reasons: [0; REASONS],
            total: 0,
        };
        (flow, columns)
    }

    /// Counts a user who gets `version`, and got the one at `earlier` before.
    pub fn count(&mut self, version: VersionIndex, reason: Reason, earlier: Option<usize>) {
        self.total += 1;
        if let Some(count) = self.reasons.get_mut(reason.index()) {
            *count += 1;
        }
        if let Some(tally) = self.versions.get_mut(version) {
            tally.users += 1;
            if let Some(count) = earlier.and_then(|earlier| tally.from.get_mut(earlier)) {
                *count += 1;
            }
        }
    }

    pub fn moved_in(&self, version: usize) -> u64 {
        let from =
            self.versions.get(version).map(|tally| tally.from.as_slice()).unwrap_or_default();
        let others = from.iter().enumerate().filter(|(earlier, _)| *earlier != version);
        others.map(|(_, count)| count).sum()
    }

    pub fn moved_out(&self, version: usize) -> u64 {
        let others = self.versions.iter().enumerate().filter(|(later, _)| *later != version);
        others.filter_map(|(_, tally)| tally.from.get(version)).sum()
    }

    /// How many moved.
    pub fn moved(&self) -> u64 {
        (0..self.versions.len()).map(|version| self.moved_in(version)).sum()
    }

    /// The least that have to move for the versions to have as many users as they have now.
    pub fn needed(&self) -> u64 {
        let gain = |version| self.moved_in(version).saturating_sub(self.moved_out(version));
        (0..self.versions.len()).map(gain).sum()
    }

    /// Each flow that is not empty: from, to, users; the largest first.
    pub fn flows(&self) -> Vec<(&'a str, &'a str, u64)> {
        let mut flows = Vec::new();
        for (position, later) in self.versions.iter().enumerate() {
            for (earlier, users) in self.versions.iter().zip(&later.from).enumerate().filter_map(
                |(earlier, (tally, users))| {
                    (earlier != position && *users > 0).then_some((tally, *users))
                },
            ) {
                flows.push((earlier.name, later.name, users));
            }
        }
        flows.sort_by_key(|(_, _, users)| std::cmp::Reverse(*users));
        flows
    }

    /// Percent of the users, to three decimals.
    pub fn share(&self, users: u64) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        (users as f64 * 100_000.0 / self.total as f64).round() / 1000.0
    }
}
