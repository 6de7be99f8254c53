//! Which headers a configuration has removed early.

use std::collections::HashSet;

use crate::config::{Config, Rollout};

/// The headers to remove before the first route is chosen, and what is not removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// In the configuration's order, each once.
    pub headers: Vec<String>,
    /// Route headers that stay, because decisions are inherited by them alone.
    pub kept: Vec<String>,
    /// Rollouts that inherit by `baggage` once their route header is removed.
    pub by_baggage: Vec<String>,
}

impl Removal {
    pub fn of(config: &Config) -> Self {
        let [mut headers, mut kept, mut by_baggage] = [(); 3].map(|()| Names::default());
        for rollout in &config.rollouts {
            let route = rollout.output.route_header.as_str();
            match &rollout.inherit {
                Some(inherit) if !inherit.baggage => kept.push(route),
                inherit => {
                    headers.push(route);
                    if inherit.is_some() {
                        by_baggage.push(&rollout.name);
                    }
                }
            }
            others(rollout).for_each(|name| headers.push(name));
        }
        headers.listed.retain(|name| !kept.known.contains(name));
        Self { headers: headers.owned(), kept: kept.owned(), by_baggage: by_baggage.owned() }
    }
}

/// The request headers beside the route header that routes and upstreams may act on.
fn others(rollout: &Rollout) -> impl Iterator<Item = &str> {
    let versions = rollout.versions.iter().flat_map(|version| &version.request_headers);
    let cluster = rollout.output.cluster_header.iter();
    cluster.chain(versions.map(|(name, _)| name)).map(|name| name.as_str())
}

/// Names in the order in which they came, each once.
#[derive(Default)]
struct Names<'a> {
    listed: Vec<&'a str>,
    known: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn push(&mut self, name: &'a str) {
        if self.known.insert(name) {
            self.listed.push(name);
        }
    }

    fn owned(self) -> Vec<String> {
        self.listed.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(more: &str) -> Removal {
        let text = format!(
            r#"{{"rollouts": [{{"name": "r", "versions": [{{"name": "a"}},
                {{"name": "b", "weight": 1, "requestHeaders": {{"x-new": "on"}}}}], "hashKey": [{{"cookie": "u"}}] {more}}}]}}"#
        );
        Removal::of(&Config::from_json(text.as_bytes()).unwrap())
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_header_that_the_filter_sets_is_removed() {
        assert_eq!(removal("").headers, names(&["x-cohort-r", "x-new"]));
        let output = r#", "output": {"routeHeader": "x-route", "responseHeader": "x-seen", "reasonHeader": "x-why"}"#;
        assert_eq!(removal(output).headers, names(&["x-route", "x-new"]));
    }

    #[test]
    fn a_header_that_is_inherited_by_stays_unless_baggage_carries_the_same() {
        let by_header = removal(r#", "inherit": {"addresses": ["10.0.0.0/8"]}"#);
        assert_eq!(
            (by_header.headers, by_header.kept),
            (names(&["x-new"]), names(&["x-cohort-r"]))
        );
        let both = removal(r#", "inherit": {"addresses": ["10.0.0.0/8"], "baggage": true}"#);
        assert_eq!(both.headers, names(&["x-cohort-r", "x-new"]));
        assert_eq!((both.kept, both.by_baggage), (vec![], names(&["r"])));
    }
}
