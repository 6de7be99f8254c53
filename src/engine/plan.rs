//! A configuration made ready for requests: what can be looked up instead of searched.

use smallvec::SmallVec;

use crate::config::{Config, Content, Rollout, Write};
use crate::http::{fold, length_bit, HeaderName};
use crate::index::Index;

/// A configuration with its indexes. The cost of a request depends on the rollouts that can match its
/// host, not on how many there are.
#[derive(Debug, Default)]
pub struct Plan {
    config: Config,
    /// Rollouts that can only match one of a few hosts, by host in lower case, in order.
    by_host: Index<Vec<usize>>,
    /// Rollouts that may match any host, in order.
    any_host: Vec<usize>,
    by_name: Index<usize>,
    /// Every cookie name that the configuration asks for, sorted.
    cookies: Vec<String>,
    owned: Owned,
}

impl Plan {
    pub fn new(config: Config) -> Self {
        let mut plan =
            Self { cookies: cookie_names(&config), owned: Owned::new(&config), ..Self::default() };
        for (position, rollout) in config.rollouts.iter().enumerate() {
            plan.by_name.update(rollout.name.as_bytes(), |it| *it = position);
            let Some(hosts) = rollout.hosts() else {
                plan.any_host.push(position);
                continue;
            };
            for host in hosts {
                plan.by_host.update(host, |rollouts| {
                    if rollouts.last() != Some(&position) {
                        rollouts.push(position);
                    }
                });
            }
        }
        plan.config = config;
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

    /// The positions of the rollouts that can match a request to `host`, in order. It is asked for only
    /// where a rollout depends on it.
    pub fn candidates<'h>(
        &self,
        host: impl FnOnce() -> Option<&'h [u8]>,
    ) -> impl Iterator<Item = usize> + '_ {
        let host = if self.by_host.is_empty() { None } else { host() };
        let by_host = host.and_then(|host| self.by_host.get(host.iter().copied()));
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
        self.by_name.get(name.as_bytes().iter().copied()).copied()
    }

    /// Whose header `name` is, in whatever spelling; `None` if it is none of ours.
    pub fn owner(&self, name: &[u8]) -> Option<&Owner> {
        self.owned.get(name)
    }

    /// How many headers, by their folded names, only we may set on responses.
    pub fn response_headers(&self) -> usize {
        self.owned.answers
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
    /// Whether responses carry it: then no upstream may bring it either.
    pub answers: bool,
}

/// Every header name that only we may set, folded, with a first look that turns most others away.
#[derive(Debug)]
struct Owned {
    /// For each last byte the lengths of the names that end with it, as bits. (Most begin alike.)
    lengths: [u64; 256],
    names: Index<Owner>,
    /// How many of them responses carry.
    answers: usize,
}

impl Default for Owned {
    fn default() -> Self {
        Self { lengths: [0; 256], names: Index::default(), answers: 0 }
    }
}

impl Owned {
    fn new(config: &Config) -> Self {
        let mut owned = Self::default();
        for (position, rollout) in config.rollouts.iter().enumerate() {
            for Write { header, content } in rollout.writes() {
                let inherits = content == Content::Route && rollout.inherit.is_some();
                let mut is_new = false;
                owned.add(header, |owner| {
                    owner.heirs.extend(inherits.then_some(position));
                    is_new = !content.is_on_request() && !owner.answers;
                    owner.answers |= is_new;
                });
                owned.answers += usize::from(is_new);
            }
            if let Some(header) = rollout.secret_header() {
                owned.add(header, |_| {});
            }
        }
        owned
    }

    /// Adds a name, and what is `known` of it.
    fn add(&mut self, name: &HeaderName, known: impl FnOnce(&mut Owner)) {
        let name: Vec<u8> = fold(name.as_str().as_bytes()).collect();
        let last = name.last().copied().unwrap_or_default();
        if let Some(lengths) = self.lengths.get_mut(usize::from(last)) {
            *lengths |= length_bit(name.len());
        }
        self.names.update(&name, known);
    }

    fn get(&self, name: &[u8]) -> Option<&Owner> {
        let last = fold(name).next_back()?;
        let lengths = self.lengths.get(usize::from(last))?;
        if lengths & length_bit(name.len()) == 0 {
            return None;
        }
        self.names.get(fold(name))
    }
}

/// Every cookie name that a decision may ask for, sorted, each once.
fn cookie_names(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for condition in config.segments.iter().flat_map(|segment| &segment.any) {
        condition.each_cookie(&mut |name| add(name, &mut names));
    }
    for rollout in &config.rollouts {
        rollout.each_cookie(&mut |name, _| add(name, &mut names));
    }
    names
}

/// Adds a name where it belongs among those sorted, if it is not there. Sorting them at the end would
/// bring many times more code into the module.
fn add(name: &str, names: &mut Vec<String>) {
    if let Err(at) = names.binary_search_by(|other| other.as_str().cmp(name)) {
        names.insert(at, name.to_owned());
    }
}
