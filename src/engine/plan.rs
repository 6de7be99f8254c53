//! A configuration made ready for requests: what can be looked up instead of searched.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::config::{Condition, Config, KeySource, Rollout};
use crate::http::{fold, pattern::Test};

use super::index::Index;

/// A configuration with its indexes. The cost of a request depends on the rollouts that can match its
/// host, not on how many there are.
#[derive(Debug, Default)]
pub struct Plan {
    config: Config,
    /// Rollouts that can only match one of a few hosts, by host in lower case, in order.
    by_host: Index<Vec<usize>>,
    /// Rollouts that may match any host, in order.
    any_host: Vec<usize>,
    by_name: BTreeMap<String, usize>,
    /// Every cookie name that the configuration asks for, sorted.
    cookies: Vec<String>,
    owned: Owned,
}

impl Plan {
    pub fn new(config: Config) -> Self {
        let mut plan = Self { config, ..Self::default() };
        let mut by_host: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (position, rollout) in plan.config.rollouts.iter().enumerate() {
            plan.by_name.insert(rollout.name.clone(), position);
            match hosts(rollout) {
                Some(hosts) => {
                    for host in hosts {
                        let rollouts = by_host.entry(host).or_default();
                        if rollouts.last() != Some(&position) {
                            rollouts.push(position);
                        }
                    }
                }
                None => plan.any_host.push(position),
            }
        }
        plan.by_host = Index::new(by_host);
        plan.cookies = cookie_names(&plan.config);
        plan.owned = Owned::new(&plan.config);
        plan
    }

    /// The configuration itself.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The rollouts, in the configuration's order.
    pub fn rollouts(&self) -> &[Rollout] {
        &self.config.rollouts
    }

    /// The positions of the rollouts that can match a request to `host`, in order.
    pub fn candidates(&self, host: Option<&[u8]>) -> impl Iterator<Item = usize> + '_ {
        let by_host = match host {
            Some(host) if !self.by_host.is_empty() => self.by_host.get(host.iter().copied()),
            _ => None,
        };
        let mut bound = by_host.map_or(&[][..], Vec::as_slice).iter().copied().peekable();
        let mut free = self.any_host.iter().copied().peekable();
        std::iter::from_fn(move || match (bound.peek(), free.peek()) {
            (Some(a), Some(b)) if a < b => bound.next(),
            (Some(_), None) => bound.next(),
            _ => free.next(),
        })
    }

    /// The position of the rollout called `name`.
    pub fn rollout_named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Whose header `name` is, in whatever spelling; `None` if it is none of ours.
    pub fn owner(&self, name: &[u8]) -> Option<&Owner> {
        self.owned.get(name)
    }

    pub(super) fn cookie_count(&self) -> usize {
        self.cookies.len()
    }

    pub(super) fn cookie_position(&self, name: &[u8]) -> Option<usize> {
        self.cookies.binary_search_by(|known| known.as_bytes().cmp(name)).ok()
    }
}

/// A header name that no client may bring.
#[derive(Debug, Default, Clone)]
pub struct Owner {
    /// Rollouts with `inherit` whose route header this is: their peers may bring it.
    pub heirs: SmallVec<[usize; 1]>,
}

/// Every header name that only we may set, folded, with a first look that turns most others away.
#[derive(Debug)]
struct Owned {
    /// For each first byte the lengths of the names that begin with it, as bits.
    lengths: [u64; 256],
    names: Index<Owner>,
}

impl Default for Owned {
    fn default() -> Self {
        Self { lengths: [0; 256], names: Index::default() }
    }
}

impl Owned {
    fn new(config: &Config) -> Self {
        let mut names: BTreeMap<Vec<u8>, Owner> = BTreeMap::new();
        for (position, rollout) in config.rollouts.iter().enumerate() {
            let output = &rollout.output;
            let secret =
                rollout.overrides.as_ref().and_then(|overrides| overrides.require.secret.as_ref());
            let ours = [Some(&output.route_header), output.cluster_header.as_ref()]
                .into_iter()
                .chain([output.response_header.as_ref(), output.reason_header.as_ref()])
                .chain([secret.map(|secret| &secret.header)])
                .flatten()
                .chain(
                    rollout
                        .versions
                        .iter()
                        .flat_map(|v| v.request_headers.iter().map(|(name, _)| name)),
                );
            for name in ours {
                let owner = names.entry(fold(name.as_str().as_bytes()).collect()).or_default();
                if rollout.inherit.is_some()
                    && *name == output.route_header
                    && !owner.heirs.contains(&position)
                {
                    owner.heirs.push(position);
                }
            }
        }
        let mut owned = Self::default();
        for name in names.keys() {
            let first = name.first().copied().unwrap_or_default();
            if let Some(lengths) = owned.lengths.get_mut(usize::from(first)) {
                *lengths |= length_bit(name.len());
            }
        }
        owned.names = Index::new(names);
        owned
    }

    fn get(&self, name: &[u8]) -> Option<&Owner> {
        let first = fold(name).next()?;
        let lengths = self.lengths.get(usize::from(first))?;
        if lengths & length_bit(name.len()) == 0 {
            return None;
        }
        self.names.get(fold(name))
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// The hosts that a rollout can match, in lower case; `None` if that cannot be listed.
fn hosts(rollout: &Rollout) -> Option<Vec<Vec<u8>>> {
    let mut hosts = Vec::new();
    for condition in rollout.matches.as_ref()? {
        match condition.host.as_ref()?.test() {
            Test::Exact(host) => hosts.push(host.to_ascii_lowercase()),
            Test::In(list) => hosts.extend(list.iter().map(|host| host.to_ascii_lowercase())),
            _ => return None,
        }
    }
    Some(hosts)
}

/// Every cookie name that a decision may ask for, sorted, each once.
fn cookie_names(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    let conditions = config.segments.iter().flat_map(|segment| &segment.any);
    let conditions = conditions.chain(config.rollouts.iter().flat_map(|rollout| {
        let rules = rollout.rules.iter().filter_map(|rule| rule.matches.as_ref());
        rollout.matches.iter().chain(rules).flatten()
    }));
    for condition in conditions {
        for part in std::iter::successors(Some(condition), |part: &&Condition| part.not.as_deref())
        {
            names.extend(part.cookies.iter().map(|(name, _)| name.clone()));
        }
    }
    for rollout in &config.rollouts {
        names.extend(rollout.hash_key.iter().filter_map(|source| match source {
            KeySource::Cookie(name) => Some(name.clone()),
            _ => None,
        }));
        names.extend(rollout.anonymous_id.iter().map(|cookie| cookie.name.clone()));
        names.extend(rollout.pin.iter().map(|pin| pin.cookie.name.clone()));
        names.extend(rollout.overrides.iter().filter_map(|overrides| overrides.cookie.clone()));
    }
    names.sort_unstable();
    names.dedup();
    names
}
