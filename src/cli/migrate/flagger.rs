//! Flagger Canaries: an analysis as a ramp and a guard, A/B matches as rules.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::condition::{crossed, hosts};
use super::draft::{Draft, Version};
use super::http_route::{backend, on_a_gateway, Rule};
use super::ledger::{number_of, plain_text, Ledger};
use super::matches::istio;
use super::run::{Key, Made, Resource, Routes, Run};
use super::table::lost;
use super::units::{duration, go_duration, percent};
use super::{analysis, destination_rule, http_route, virtual_service};

/// The most steps that a ramp is written out to.
const STEPS: usize = 100;

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let (ledger, node) = (&resource.ledger, resource.node);
    let short = ledger.short_name().unwrap_or("rollout");
    let mut draft = Draft::new(run, resource.from(), short);
    let spec = resource.spec().unwrap_or(node);
    let target = spec.at_keys(&["targetRef", "name"]).and_then(plain_text);
    let service = ledger.get(spec, "service");
    let named = service.and_then(|service| ledger.text(service, "name"));
    let name = named.or_else(|| target.clone()).unwrap_or_else(|| short.to_owned());
    for (version, weight) in [("primary", 100.0), ("canary", 0.0)] {
        let id = format!("{} {name}-{version}", ledger.namespace().unwrap_or("default"));
        let note = format!("Was service {}.", shown(&format!("{name}-{version}")));
        draft.version(version, Version { weight, note, id, ..Version::default() });
    }
    draft.settle(run);
    let listed = service.map(|service| ledger.texts(service, "hosts")).unwrap_or_default();
    // Flagger adds the service's own name to the hosts.
    let mut names = vec![name.as_str()];
    names.extend(listed.iter().filter(|host| **host != name));
    let whens = service.map(|service| ledger.list(service, "match")).unwrap_or_default();
    let mut conditions = Vec::new();
    for when in whens {
        let read = istio(ledger, when);
        if !read.lost.is_empty() {
            draft.change(format!(
                "a condition cannot ask for {}: more is decided than routed",
                lost(&read)
            ));
        }
        conditions.push(read.condition);
    }
    let every = conditions
        .iter()
        .any(|one| one.is_empty() || *one == Yaml::one("path", Yaml::one("prefix", "/")));
    let conditions = if every { Vec::new() } else { conditions };
    draft.scope(crossed(&hosts(&names, ledger.namespace()), &conditions), "");
    draft.sticky(service.and_then(|service| key(run, ledger, service, &name)));
    if let Some(analysis) =
        ledger.get(spec, "analysis").or_else(|| ledger.get(spec, "canaryAnalysis"))
    {
        let written = ledger.text(analysis, "interval");
        let interval = written.as_deref().and_then(go_duration).filter(|length| *length > 0);
        if let Some(written) = &written {
            let what = if interval.is_some() {
                "the time between two steps"
            } else {
                "it is no duration; 1m is taken"
            };
            draft.change(format!("interval {}: {what}", shown(written)));
        }
        let interval = interval.unwrap_or(60_000);
        affinity(ledger, analysis, &mut draft);
        rules(ledger, analysis, &mut draft);
        ramp(ledger, analysis, interval, &mut draft);
        guard(ledger, analysis, interval, &mut draft);
        analysis::flagger(
            run,
            ledger,
            spec,
            analysis,
            target.as_deref().unwrap_or(&name),
            &mut draft,
        );
    }
    if ledger.flag(spec, "skipAnalysis") == Some(true) {
        draft.change(
            "skipAnalysis true: Flagger makes the new version live at once; here, set the canary's weight to 100",
        );
    }
    let is_istio =
        spec.get("provider").and_then(Node::text).is_none_or(|name| name.starts_with("istio"));
    for key in ["timeout", "retries", "headers", "corsPolicy"].iter().filter(|_| is_istio) {
        if let Some(service) = service {
            ledger.done(service, key);
        }
    }
    draft.lose_rest(ledger, why);
    let routes = routes(ledger, spec, service, &name, &names, &draft);
    Made { drafts: vec![draft], routes: vec![routes] }
}

/// Why a key of a Canary has no counterpart.
fn why(path: &str) -> Option<&'static str> {
    Some(match path.trim_start_matches("spec.") {
        "progressDeadlineSeconds" | "autoscalerRef" | "revertOnDeletion" | "suspend" => {
            "is about the deployment, which stays with whatever rolls it out"
        }
        rest if rest.starts_with("targetRef") => {
            "is about the deployment, which stays with whatever rolls it out"
        }
        "provider" | "ingressRef" | "routeRef" | "upstreamRef" => {
            "the filter is in the proxy itself"
        }
        rest if rest.contains("webhooks") => {
            "nothing is called; a guard looks at the traffic itself"
        }
        rest if rest.contains("alerts") => "alert on cohort_guard_trips_total",
        "analysis.threshold" => "a guard decides by its own test, not by a number of failed checks",
        rest if rest.contains("metrics") => "a guard counts failures and slow answers only",
        rest if rest.contains("mirror") => "mirroring stays with the route",
        rest if rest.contains("iterations") => "the rules hold until they are taken out",
        rest if rest.contains("sessionAffinity") => {
            "not needed: the key makes a user keep a version"
        }
        rest if rest.starts_with("service") => "stays with the service and its routes",
        _ => return None,
    })
}

/// The key that the service's own policy names, or a DestinationRule for it.
fn key<'a>(run: &Run<'_>, ledger: &Ledger<'a>, service: &'a Node, name: &str) -> Option<Key> {
    if let Some(sources) = destination_rule::consistent_hash(ledger, service) {
        let note = "Taken from trafficPolicy.loadBalancer.consistentHash.".into();
        return Some(Key { sources: sources.into(), note });
    }
    let names = [name.to_owned(), format!("{name}-primary"), format!("{name}-canary")];
    names.iter().find_map(|name| destination_rule::key(run, ledger.namespace(), name))
}

/// Session affinity: the hash does what it is for.
fn affinity<'a>(ledger: &Ledger<'a>, analysis: &'a Node, draft: &mut Draft) {
    match ledger.get(analysis, "sessionAffinity") {
        Some(_) => draft.change(
            "no pin for sessionAffinity: a higher weight moves nobody out of the canary, so users stay in it without a cookie",
        ),
        None => draft.change(
            "a user keeps a version: without sessionAffinity Flagger chooses anew for each request",
        ),
    }
}

/// An A/B test: whoever matches gets the canary.
fn rules<'a>(ledger: &Ledger<'a>, analysis: &'a Node, draft: &mut Draft) {
    let mut conditions = Vec::new();
    for (index, when) in ledger.list(analysis, "match").iter().enumerate() {
        let read = istio(ledger, when);
        match read.whole().filter(|condition| !condition.is_empty()) {
            Some(condition) => conditions.push(condition.clone()),
            None => draft.lose(format!(
                "spec.analysis.match[{index}]: {} ({}, so that it chooses nobody)",
                Yaml::from(when).shown(),
                if read.lost.is_empty() {
                    "it has no condition".to_owned()
                } else {
                    format!("a condition cannot ask for {}", lost(&read))
                }
            )),
        }
    }
    if !conditions.is_empty() {
        draft.rule("ab-test", conditions, ("version", "canary".into()));
    }
}

fn ramp<'a>(ledger: &Ledger<'a>, analysis: &'a Node, interval: u64, draft: &mut Draft) {
    let good = |weight: &f64| (0.0..=100.0).contains(weight);
    let mut weights = Vec::new();
    for (index, node) in ledger.list(analysis, "stepWeights").iter().enumerate() {
        ledger.all(node);
        match number_of(node).filter(good) {
            Some(weight) => weights.push(percent(weight)),
            None => draft.lose(format!(
                "spec.analysis.stepWeights[{index}]: {} (it is no percentage; the step is left out)",
                Yaml::from(node).shown()
            )),
        }
    }
    let mut number = |key: &str| {
        let found = analysis.get(key).filter(|node| !node.is_container())?;
        ledger.done(analysis, key);
        let number = number_of(found).filter(good);
        if number.is_none() {
            draft.lose(format!(
                "spec.analysis.{key}: {} (it is no percentage)",
                Yaml::from(found).shown()
            ));
        }
        number
    };
    let (step, most) = (number("stepWeight"), number("maxWeight"));
    if let Some(step) = step.filter(|step| *step > 0.0 && weights.is_empty()) {
        let most = most.unwrap_or(100.0);
        let mut weight = step;
        while weight < most && weights.len() < STEPS {
            weights.push(percent(weight));
            weight += step;
        }
        weights.push(percent(most));
    }
    let Some(last) = weights.last().copied() else { return };
    let steps: Vec<(u64, f64)> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| (interval.saturating_mul(index as u64), *weight))
        .collect();
    draft.ramp("canary", &steps);
    draft.change(format!(
        "the ramp begins at its start and stays at {last} %; Flagger begins with a new revision and promotes it at the end"
    ));
}

fn guard<'a>(ledger: &Ledger<'a>, analysis: &'a Node, interval: u64, draft: &mut Draft) {
    let mut guard = Yaml::map().with("window", duration(interval.clamp(1000, 3_600_000)));
    let mut watches = false;
    for metric in ledger.list(analysis, "metrics") {
        let limit = |bound: &str| {
            let range = metric.at_keys(&["thresholdRange", bound]);
            number_of(range.or_else(|| metric.get("threshold"))?)
        };
        let name = metric.get("name").and_then(Node::text);
        let (key, value) = match (name, limit("min"), limit("max")) {
            (Some("request-success-rate"), Some(least), _) if (0.0..=100.0).contains(&least) => {
                ("maxFailureRatio", percent((100.0 - least) * 10_000.0) / 1_000_000.0)
            }
            (Some("request-duration"), _, Some(most)) if (1.0..=3_600_000.0).contains(&most) => {
                ("slowerThan", most)
            }
            _ => continue,
        };
        if guard.get(key).is_some() {
            continue;
        }
        let range = metric.get("thresholdRange").or(metric.get("threshold"));
        draft.change(format!(
            "metric {}: {} is {key}",
            name.map_or(String::new(), shown),
            range.map_or(String::new(), |range| Yaml::from(range).shown())
        ));
        for known in ["name", "thresholdRange", "threshold"] {
            ledger.done(metric, known);
        }
        watches = true;
        if key == "slowerThan" {
            guard = guard.with(key, duration(value as u64)).with("maxSlowRatio", 0.01);
            draft.change("Flagger compares the 99th percentile: one answer in a hundred may be slower (maxSlowRatio)");
        } else {
            guard = guard.with(key, value);
            draft.change("a guard trips only where the canary is also worse than primary (timesWorseThanStable)");
        }
    }
    if watches {
        draft.put("guard", guard, &["Was analysis.metrics."]);
        draft.change(
            "a guard takes the canary out of traffic; scaling the deployment back is yours",
        );
    }
}

/// The routes, in the words of the provider.
fn routes<'a>(
    ledger: &Ledger<'a>,
    spec: &'a Node,
    service: Option<&'a Node>,
    name: &str,
    names: &[&str],
    draft: &Draft,
) -> Routes {
    let get = |key: &str| service.and_then(|service| service.get(key));
    let port = get("port").and_then(number_of).map(Yaml::Number);
    let versions =
        ["canary", "primary"].map(|version| (version.to_owned(), format!("{name}-{version}")));
    let provider = spec.get("provider").and_then(Node::text).unwrap_or_default();
    let above =
        vec![format!("The routes, instead of those that Flagger writes for {}.", shown(name))];
    let whens: Vec<Yaml> =
        get("match").map(Node::items).unwrap_or_default().iter().map(Yaml::from).collect();
    if provider.is_empty() || provider.starts_with("istio") {
        let hosts: Vec<Yaml> = names.iter().map(|name| Yaml::text(*name)).collect();
        let gateways = get("gateways").filter(|gateways| !gateways.items().is_empty());
        let spec = Yaml::one("hosts", hosts).maybe("gateways", gateways.map(Yaml::from));
        let versions = versions.map(|(version, host)| {
            let number = port.clone().map(|port| Yaml::one("number", port));
            (version, Yaml::one("host", host).maybe("port", number))
        });
        // What these say is Istio's in the first place.
        let mut kept = Yaml::map();
        for key in ["rewrite", "timeout", "retries", "headers", "corsPolicy"] {
            let value = service.and_then(|service| service.get(key)).map(Yaml::from);
            kept = kept.maybe(key, value.map(|value| value.without(&["type"])));
        }
        let document = virtual_service::plain(
            name,
            ledger.namespace(),
            spec,
            (&whens, &kept),
            &draft.header(),
            &versions,
        );
        return Routes { above, document };
    }
    let hosts: Vec<Yaml> =
        names.iter().filter(|name| name.contains('.')).map(|name| Yaml::text(*name)).collect();
    let spec = match get("gatewayRefs").filter(|parents| !parents.items().is_empty()) {
        Some(parents) => {
            let spec = Yaml::one("parentRefs", Yaml::from(parents));
            if hosts.is_empty() {
                spec
            } else {
                spec.with("hostnames", hosts)
            }
        }
        None => on_a_gateway(hosts),
    };
    let versions = versions.map(|(version, host)| (version, backend(&host, port.clone()))).into();
    let whens = draft.matches().iter().map(|one| http_route::when(&one.clone().without(&["host"])));
    let mut whens: Vec<Yaml> = whens.flatten().filter(|when| !when.is_empty()).collect();
    whens.dedup();
    let rules = [Rule { whens, versions }];
    let document = http_route::plain(name, ledger.namespace(), spec, &rules, &draft.header());
    Routes { above, document }
}
