//! Argo Rollouts: steps as a ramp, header routes as rules. Where the VirtualService or HTTPRoute that a
//! Rollout drives is among the files, the rollout and its routes are made of that.

use super::super::source::tree::{Data, Node};
use super::super::yaml::{shown, Yaml};
use super::condition::{crossed, hosts, on};
use super::draft::{Draft, Version};
use super::http_route::{backend, on_a_gateway, Rule};
use super::ledger::{number_of, plain_text, Ledger};
use super::matches::{text, whole_regex};
use super::run::{Made, Resource, Routes, Run};
use super::units::{go_duration, percent};
use super::{analysis, destination_rule, http_route, virtual_service};

/// What routes the traffic of a Rollout, by the way that leads to its name.
const DRIVEN: [(&str, &[&str]); 4] = [
    ("VirtualService", &["istio", "virtualService", "name"]),
    ("HTTPRoute", &["plugins", "argoproj-labs/gatewayAPI", "httpRoute"]),
    ("TrafficSplit", &["smi", "trafficSplitName"]),
    ("TraefikService", &["traefik", "weightedTraefikServiceName"]),
];

pub fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    let ledger = &resource.ledger;
    let Some(spec) = resource.spec() else { return Made::default() };
    let Some(strategy) = ledger.get(spec, "strategy") else { return Made::default() };
    let names = if let Some(canary) = ledger.get(strategy, "canary") {
        let stable = ledger.text(canary, "stableService");
        let canary_service = ledger.text(canary, "canaryService");
        (canary, [("stable", stable), ("canary", canary_service)])
    } else if let Some(blue_green) = ledger.get(strategy, "blueGreen") {
        let active = ledger.text(blue_green, "activeService");
        let preview = ledger.text(blue_green, "previewService");
        (blue_green, [("active", active), ("preview", preview)])
    } else {
        return Made::default();
    };
    let (strategy, services) = names;
    let routing = ledger.get(strategy, "trafficRouting");
    let driven = driven(run, ledger, routing);
    let taken = driven.and_then(|driven| {
        let made = of_driven(run, driven, strategy, &services);
        driven.used.set(made.is_some());
        made
    });
    let mut made = taken.unwrap_or_else(|| own(run, resource, routing, &services));
    if let Some(draft) = made.drafts.first_mut() {
        let version = draft
            .versions
            .iter()
            .enumerate()
            .find(|(position, _)| *position != draft.stable)
            .map_or_else(|| "canary".to_owned(), |(_, version)| version.name.clone());
        draft.change(format!("the ramp and the rules are those of {}", resource.from()));
        let most = routing.and_then(|routing| ledger.number(routing, "maxTrafficWeight"));
        analysis::argo(run, ledger, strategy, &version, draft);
        steps(ledger, strategy, &version, most.unwrap_or(100.0), draft);
        draft.lose_rest(ledger, why);
    }
    made
}

fn why(path: &str) -> Option<&'static str> {
    let about_pods = [
        "template",
        "selector",
        "replicas",
        "workloadRef",
        "minReadySeconds",
        "paused",
        "restartAt",
        "revisionHistoryLimit",
        "rollbackWindow",
        "progressDeadline",
        "analysis.",
    ];
    let rest = path.strip_prefix("spec.").unwrap_or(path);
    if about_pods.iter().any(|key| rest.starts_with(key)) {
        Some("is about the pods, which stay with whatever rolls them out")
    } else if rest.contains("trafficRouting") {
        Some("the proxy's routes follow the header now")
    } else if rest.contains("nalysis") {
        Some("a guard looks at the traffic itself")
    } else if rest.contains("autoPromotion") {
        Some("nobody is promoted but by you")
    } else if rest.contains("strategy") {
        Some("is about the pods, which stay with whatever rolls them out")
    } else {
        None
    }
}

/// The resource whose weights a Rollout sets, if it is among the files.
fn driven<'r, 'a>(
    run: &'r Run<'a>,
    ledger: &Ledger<'a>,
    routing: Option<&'a Node>,
) -> Option<&'r Resource<'a>> {
    let routing = routing?;
    DRIVEN.iter().find_map(|(kind, keys)| {
        let name = routing.at_keys(keys).and_then(Node::text)?;
        let found = run.find(&[kind], ledger.namespace(), name)?;
        if let Some((_, above)) = keys.split_last() {
            ledger.at(routing, above).into_iter().for_each(|holder| ledger.all(holder));
        }
        for depth in 1..keys.len() {
            ledger.at(routing, keys.get(..depth).unwrap_or_default());
        }
        Some(found)
    })
}

/// The rollout and the routes of what a Rollout drives, if they are its two versions.
fn of_driven(
    run: &Run<'_>,
    driven: &Resource<'_>,
    strategy: &Node,
    services: &[(&str, Option<String>); 2],
) -> Option<Made> {
    let mut made = super::make(run, driven);
    if made.drafts.len() != 1 {
        return None;
    }
    let subsets = strategy.at_keys(&["trafficRouting", "istio", "destinationRule"]);
    let subset = subsets.and_then(|rule| rule.get("stableSubsetName")).and_then(plain_text);
    let [(_, stable), _] = services;
    let draft = made.drafts.first_mut()?;
    let is_stable = |version: &Version| {
        let named = |name: &Option<String>| {
            name.as_ref().is_some_and(|name| {
                version
                    .id
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                    .any(|word| word == name)
            })
        };
        named(&subset) || named(stable)
    };
    draft.stable = draft.versions.iter().position(is_stable)?;
    (draft.versions.len() == 2).then_some(made)
}

/// A rollout of the Rollout alone.
fn own(
    run: &Run<'_>,
    resource: &Resource<'_>,
    routing: Option<&Node>,
    services: &[(&str, Option<String>); 2],
) -> Made {
    let ledger = &resource.ledger;
    let short = ledger.short_name().unwrap_or("rollout");
    let mut draft = Draft::new(run, resource.from(), short);
    let [(stable_name, stable), (canary_name, canary)] = services;
    let service =
        |name: &Option<String>, version: &str| name.clone().unwrap_or(format!("{short}-{version}"));
    let (stable, canary) = (service(stable, stable_name), service(canary, canary_name));
    for (version, service, weight) in [(stable_name, &stable, 100.0), (canary_name, &canary, 0.0)] {
        let mut id = format!("{} {service}", ledger.namespace().unwrap_or("default"));
        if stable == canary {
            id += &format!(" {version}");
        }
        let note = format!("Was service {}.", shown(service));
        draft.version(version, Version { weight, note, id, ..Version::default() });
    }
    draft.settle(run);
    let note = "Put the hosts here by which it is called";
    let note = match routing {
        Some(routing) => format!("{note}; trafficRouting is {}.", Yaml::from(routing).shown()),
        None => format!("{note}."),
    };
    draft.scope(crossed(&hosts(&[short, &stable], ledger.namespace()), &[]), note);
    if let Some(routing) = ledger.root.at_keys(&["spec", "strategy"]).and_then(|strategy| {
        strategy.members().iter().find_map(|member| member.value.get("trafficRouting"))
    }) {
        ledger.all(routing);
    }
    draft.sticky(destination_rule::key(run, ledger.namespace(), &stable));
    let istio = routing.is_some_and(|routing| routing.get("istio").is_some());
    let versions = [(canary_name, &canary), (stable_name, &stable)];
    let document = if istio {
        let spec = Yaml::one("hosts", vec![Yaml::text(&stable)]);
        let rule = routing.and_then(|routing| routing.at_keys(&["istio", "destinationRule"]));
        let versions = versions.map(|(version, host)| {
            let subset = rule.and_then(|rule| rule.get(&format!("{version}SubsetName")));
            let subset = subset.and_then(plain_text);
            let host = if subset.is_some() { short } else { host.as_str() };
            ((*version).to_owned(), Yaml::one("host", host).maybe("subset", subset))
        });
        virtual_service::plain(
            short,
            ledger.namespace(),
            spec,
            (&[], &Yaml::map()),
            &draft.header(),
            &versions,
        )
    } else {
        let port = || Some(Yaml::Number(80.0));
        let versions =
            versions.map(|(version, name)| ((*version).to_owned(), backend(name, port())));
        let rules = [Rule { whens: Vec::new(), versions: versions.into() }];
        let spec = on_a_gateway(Vec::new());
        http_route::plain(short, ledger.namespace(), spec, &rules, &draft.header())
    };
    let above = vec![format!("The routes of {}: put your hosts and ports here.", resource.from())];
    Made { drafts: vec![draft], routes: vec![Routes { above, document }] }
}

/// Reads the steps: weights and pauses as a ramp, header routes as rules.
fn steps<'a>(ledger: &Ledger<'a>, strategy: &'a Node, version: &str, most: f64, draft: &mut Draft) {
    let mut ramp: Vec<(u64, f64)> = Vec::new();
    let mut elapsed: u64 = 0;
    let mut waits = false;
    let mut last_pause = None;
    for (index, step) in ledger.list(strategy, "steps").iter().enumerate() {
        let place = format!("spec.strategy.canary.steps[{index}]");
        let written = Yaml::from(step).shown();
        ledger.all(step);
        for member in step.members() {
            let value = &member.value;
            match member.key.as_str() {
                "setHeaderRoute" => header_route(ledger, value, version, &place, draft),
                _ if waits => draft.lose(format!(
                    "{place}: {written} (comes after a pause that waits for a person)"
                )),
                "setWeight" => {
                    let weight = number_of(value).map(|weight| percent(weight * 100.0 / most));
                    match weight.filter(|weight| (0.0..=100.0).contains(weight)) {
                        Some(weight) => {
                            if most != 100.0 {
                                draft.change(format!("{place}: {written} of maxTrafficWeight {most} is {weight} %"));
                            }
                            if ramp.last().is_some_and(|(after, _)| *after == elapsed) {
                                let skipped = ramp.pop().map_or(0.0, |(_, weight)| weight);
                                draft.lose(format!("setWeight {skipped}: the next weight follows without a pause"));
                            }
                            ramp.push((elapsed, weight));
                            last_pause = None;
                        }
                        None => draft.lose(format!("{place}: {written} (it is no weight from 0 to {most}; the step is left out)")),
                    }
                }
                "pause" => match value.get("duration") {
                    None => {
                        waits = true;
                        draft.lose(format!("{place}: {written} waits for a person: the ramp ends there; go on with cohort set"));
                    }
                    Some(length) => match seconds(length) {
                        Some(millis) => {
                            elapsed = elapsed.saturating_add(millis);
                            last_pause = Some(format!("{place}: {written}"));
                        }
                        None => {
                            waits = true;
                            draft.lose(format!(
                                "{place}: {written} (it is no duration: the ramp ends there)"
                            ));
                        }
                    },
                },
                "setCanaryScale" => draft.lose(format!("{place}: {written} (is about the pods)")),
                "setMirrorRoute" => {
                    draft.lose(format!("{place}: {written} (mirroring stays with the routes)"))
                }
                "analysis" | "experiment" => {
                    draft.lose(format!("{place}: {written} (a guard looks at the traffic itself)"))
                }
                _ => draft.lose(format!("{place}: {written}")),
            }
        }
    }
    if let Some(pause) = last_pause {
        draft.lose(format!("{pause} (no weight follows)"));
    }
    if let Some((_, last)) = ramp.last().copied() {
        draft.ramp(version, &ramp);
        draft.change(format!(
            "the ramp begins at its start and stays at {last} %; Argo begins with a new revision and gives it to everybody after the last step"
        ));
    }
}

/// A `setHeaderRoute` as a rule.
fn header_route<'a>(
    ledger: &Ledger<'a>,
    node: &'a Node,
    version: &str,
    place: &str,
    draft: &mut Draft,
) {
    let name = node.get("name").and_then(plain_text).unwrap_or_else(|| "header-route".into());
    let mut condition = Yaml::map();
    let listed = node.get("match").map(Node::items).unwrap_or_default();
    if listed.is_empty() {
        return draft.lose(format!(
            "{place}: {} (takes a header route away; the rule stays until you take it out)",
            Yaml::from(node).shown()
        ));
    }
    for asked in listed {
        let header = asked.get("headerName").and_then(plain_text);
        let value = asked.get("headerValue");
        let value = value.and_then(|value| match &value.data {
            Data::Object(_) => text(ledger, value),
            _ => whole_regex(&plain_text(value)?),
        });
        let part = header.zip(value).map(|(header, value)| on("header", &header, value));
        let Some(both) = part.and_then(|part| super::condition::and(&condition, &part)) else {
            return draft.lose(format!(
                "{place}: {} (a condition cannot ask for all of it; the rule is left out)",
                Yaml::from(node).shown()
            ));
        };
        condition = both;
    }
    draft.rule(&name, vec![condition], ("version", version.into()));
    draft.change(format!(
        "{place}: the rule {} applies at once, also before the ramp starts",
        shown(&name)
    ));
}

/// A pause: seconds as a number or digits, or a duration with units.
fn seconds(node: &Node) -> Option<u64> {
    match number_of(node) {
        Some(number) => {
            (0.0..=31_536_000_000.0).contains(&number).then_some((number * 1000.0) as u64)
        }
        None => go_duration(&plain_text(node)?),
    }
}
