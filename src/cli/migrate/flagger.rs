//! Flagger Canaries: an analysis as a ramp and a guard, session affinity as a pin, A/B matches as rules.

use super::super::source::tree::{Data, Node};
use super::draft::{duration, go_duration, percent, Draft};
use super::ledger::Ledger;
use super::matches::{condition, crossed, hosts};
use super::yaml::Yaml;

/// The most steps that a ramp is written out to.
const STEPS: usize = 100;

pub fn draft(node: &Node, file: &str) -> Draft {
    let ledger = Ledger::new(node);
    let mut draft = Draft::new(format!("Canary {} in {file}", ledger.name()), ledger.short_name());
    let output = format!("x-cohort-{}", draft.name);
    let spec = ledger.get(node, "spec").unwrap_or(node);
    let target =
        ledger.done(spec, "targetRef").and_then(|target| target.get("name")).map(Node::brief);
    let service = ledger.get(spec, "service");
    let name = service
        .and_then(|service| ledger.text(service, "name"))
        .or(target)
        .unwrap_or_else(|| draft.name.clone());
    draft.version("primary", None, format!("Was service {name}-primary."));
    draft.version("canary", Some(0.0), format!("Was service {name}-canary."));
    draft.change(format!(
        "the proxy's routes choose by header {output}: canary or primary; Flagger's are not needed"
    ));
    if let Some(service) = service {
        requests(&ledger, service, node, &mut draft);
    }
    draft.sticky();
    if let Some(analysis) =
        ledger.get(spec, "analysis").or_else(|| ledger.get(spec, "canaryAnalysis"))
    {
        let interval =
            ledger.text(analysis, "interval").and_then(|text| go_duration(&text)).unwrap_or(60_000);
        affinity(&ledger, analysis, &mut draft);
        rules(&ledger, analysis, &mut draft);
        ramp(&ledger, analysis, interval, &mut draft);
        guard(&ledger, analysis, interval, &mut draft);
    }
    if ledger.done(spec, "skipAnalysis").is_some_and(|skip| matches!(skip.data, Data::Bool(true))) {
        draft.change(
            "skipAnalysis: the new version goes live at once; here, set the canary's weight to 100",
        );
    }
    draft.lose_rest(&ledger, |path| match path.trim_start_matches("spec.") {
        "progressDeadlineSeconds" | "autoscalerRef" | "revertOnDeletion" | "suspend" => {
            Some("is about the deployment, which stays with whatever rolls it out")
        }
        "provider" | "ingressRef" | "routeRef" | "gatewayRef" => {
            Some("the filter is in the proxy itself")
        }
        rest if rest.contains("webhooks") => {
            Some("nothing is called; a guard looks at the traffic itself")
        }
        rest if rest.contains("alerts") => Some("alert on cohort_guard_trips_total"),
        rest if rest.contains("threshold") && !rest.contains("metrics") => {
            Some("a guard trips at the first window that is bad")
        }
        rest if rest.contains("metrics") => Some("a guard counts failures and slow answers only"),
        rest if rest.contains("mirror") => Some("mirroring stays with the route"),
        rest if rest.contains("iterations") => Some("the rules hold until they are taken out"),
        rest if rest.starts_with("service") => Some("stays with the service and its routes"),
        rest if rest.contains("match[") => Some("a condition cannot ask for it: it is wider now"),
        _ => None,
    });
    draft
}

/// Which requests it is about.
fn requests<'a>(ledger: &Ledger<'a>, service: &'a Node, node: &'a Node, draft: &mut Draft) {
    let names = ledger.texts(service, "hosts");
    let namespace = node.at_keys(&["metadata", "namespace"]).and_then(Node::text);
    let listed = ledger.get(service, "match").map(Node::items).unwrap_or_default();
    let read: Option<Vec<Yaml>> = listed.iter().map(|one| condition(ledger, one, draft)).collect();
    let conditions: Vec<Yaml> = read
        .unwrap_or_default()
        .into_iter()
        .filter(|condition| *condition != Yaml::one("path", Yaml::one("prefix", "/")))
        .collect();
    let conditions = if conditions.len() < listed.len() { Vec::new() } else { conditions };
    draft.matches = crossed(&hosts(&names, namespace), &conditions);
}

fn affinity<'a>(ledger: &Ledger<'a>, analysis: &'a Node, draft: &mut Draft) {
    let Some(affinity) = ledger.get(analysis, "sessionAffinity") else {
        draft.change("a user stays with a version: without sessionAffinity Flagger draws lots for every request");
        return;
    };
    let name =
        ledger.text(affinity, "cookieName").unwrap_or_else(|| format!("cohort-{}", draft.name));
    let seconds = ledger.number(affinity, "maxAge").filter(|age| *age >= 1.0).unwrap_or(86_400.0);
    let mut cookie = Yaml::one("name", name).with("maxAge", duration(seconds as u64 * 1000));
    for key in ["domain", "path", "sameSite"] {
        if let Some(text) = ledger.text(affinity, key) {
            cookie = cookie.with(key, text);
        }
    }
    for key in ["secure", "httpOnly", "partitioned"] {
        if let Some(Data::Bool(value)) = affinity.get(key).map(|node| &node.data) {
            ledger.done(affinity, key);
            cookie = cookie.with(key, *value);
        }
    }
    draft.put("pin", Yaml::one("cookie", cookie), &["Was sessionAffinity."]);
    draft.change(
        "the cookie remembers either version: Flagger's cookieName keeps users on the canary only",
    );
}

/// An A/B test: whoever matches gets the canary.
fn rules<'a>(ledger: &Ledger<'a>, analysis: &'a Node, draft: &mut Draft) {
    let listed = ledger.get(analysis, "match").map(Node::items).unwrap_or_default();
    let mut conditions = Vec::new();
    for one in listed {
        match condition(ledger, one, draft) {
            Some(condition) => conditions.push(condition),
            None => draft.lose("one of analysis.match: nothing of it can be asked for here, so that it chooses nobody"),
        }
    }
    if !conditions.is_empty() {
        draft
            .rules
            .push(Yaml::one("name", "ab-test").with("match", conditions).with("version", "canary"));
    }
}

fn ramp<'a>(ledger: &Ledger<'a>, analysis: &'a Node, interval: u64, draft: &mut Draft) {
    let listed: Vec<f64> = ledger
        .done(analysis, "stepWeights")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|node| match node.data {
            Data::Number(number) => Some(number),
            _ => None,
        })
        .collect();
    let step = ledger.number(analysis, "stepWeight").filter(|step| *step > 0.0);
    let most = ledger.number(analysis, "maxWeight").unwrap_or(100.0).clamp(0.0, 100.0);
    let mut weights = Vec::new();
    if !listed.is_empty() {
        weights.extend(listed.iter().map(|weight| percent(weight.clamp(0.0, 100.0))));
    } else if let Some(step) = step {
        let mut weight = step;
        while weight < most && weights.len() < STEPS {
            weights.push(percent(weight));
            weight += step;
        }
        weights.push(percent(most));
    }
    if weights.is_empty() {
        return;
    }
    let steps: Vec<Yaml> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            let after =
                if index == 0 { "0s".to_owned() } else { duration(interval * index as u64) };
            Yaml::one("after", after).with("weights", Yaml::one("canary", *weight))
        })
        .collect();
    let last = weights.last().copied().unwrap_or_default();
    draft.put(
        "ramp",
        Yaml::map()
            .noted(
                "start",
                "2100-01-01T00:00:00Z",
                &["Set this to the moment when the release begins."],
            )
            .with("steps", steps),
        &[],
    );
    draft.change(format!(
        "the ramp begins at its start and stays at {last} %; Flagger begins with a new revision, and promotes it at the end"
    ));
}

fn guard<'a>(ledger: &Ledger<'a>, analysis: &'a Node, interval: u64, draft: &mut Draft) {
    let mut guard = Yaml::map().with("window", duration(interval.clamp(1000, 3_600_000)));
    let mut watches = false;
    for metric in ledger.get(analysis, "metrics").map(Node::items).unwrap_or_default() {
        let limit = |bound: &str| {
            let range = metric.at_keys(&["thresholdRange", bound]);
            match &range.or_else(|| metric.get("threshold"))?.data {
                Data::Number(number) => Some(*number),
                _ => None,
            }
        };
        let (key, value) =
            match (metric.get("name").and_then(Node::text), limit("min"), limit("max")) {
                (Some("request-success-rate"), Some(least), _)
                    if (0.0..=100.0).contains(&least) =>
                {
                    ("maxFailureRatio", percent((100.0 - least) * 10_000.0) / 1_000_000.0)
                }
                (Some("request-duration"), _, Some(most)) if most >= 1.0 => ("slowerThan", most),
                _ => continue,
            };
        for known in ["name", "interval", "thresholdRange", "threshold"] {
            ledger.done(metric, known);
        }
        watches = true;
        if key == "slowerThan" {
            guard = guard.with(key, duration(value as u64)).with("maxSlowRatio", 0.01);
            draft.change("request-duration is Flagger's 99th percentile: a hundredth of the answers may be slower");
        } else {
            guard = guard.with(key, value);
            draft.change("a guard trips only where the canary is also timesWorseThanStable times worse (2) than primary");
        }
    }
    if watches {
        draft.put("guard", guard, &["Was analysis.metrics."]);
        draft.change("a trip takes the canary out in every proxy at once, and Flagger's roll-back of the deployment is yours");
    }
}
