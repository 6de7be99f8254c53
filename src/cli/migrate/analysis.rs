//! Checks against a Prometheus: Flagger's MetricTemplates and Argo's AnalysisTemplates as `analysis`.

use super::super::source::tree::Node;
use super::super::yaml::{shown, Yaml};
use super::draft::Draft;
use super::ledger::{number_of, plain_text, Ledger};
use super::run::{Resource, Run};
use super::units::{distinct, duration, go_duration, label};

/// A server that is asked: `http://prometheus.monitoring:9090`.
struct Server {
    host: String,
    /// The cluster's name in a proxy of Istio.
    cluster: String,
}

impl Server {
    fn new(address: &str) -> Option<Self> {
        let (scheme, rest) = address.split_once("://")?;
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '@', '{', ' ']) {
            return None;
        }
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().ok()?),
            None => (authority, if scheme == "https" { 443 } else { 80 }),
        };
        let full = match name.split('.').count() {
            2 => format!("{name}.svc.cluster.local"),
            _ => name.to_owned(),
        };
        Some(Self { host: authority.to_owned(), cluster: format!("outbound|{port}||{full}") })
    }
}

/// The checks of a rollout.
#[derive(Default)]
pub struct Checks(Vec<Yaml>);

impl Checks {
    /// Adds a check; the limits are `min` and `max`.
    fn add(
        &mut self,
        name: &str,
        version: &str,
        server: &Server,
        query: &str,
        limits: [Option<f64>; 2],
    ) {
        let taken = |name: &str| self.0.iter().any(|check| check.get("name") == Some(&name.into()));
        let name = distinct(&label(name), taken);
        let [min, max] = limits;
        let check = Yaml::one("name", name)
            .with("version", version)
            .with("cluster", server.cluster.as_str())
            .with("host", server.host.as_str())
            .with("query", query.trim())
            .maybe("min", min)
            .maybe("max", max);
        self.0.push(check);
    }

    /// How often the last check asks and after how many bad answers it decides.
    fn pace(&mut self, interval: Option<u64>, failures: Option<f64>) {
        let Some(check) = self.0.pop() else { return };
        let interval = interval.filter(|length| (5_000..=3_600_000).contains(length));
        let failures = failures.filter(|count| *count >= 1.0 && count.fract() == 0.0);
        self.0.push(check.maybe("interval", interval.map(duration)).maybe("failures", failures));
    }

    /// Has the last check take so long and send these headers.
    fn send(&mut self, timeout: Option<u64>, headers: Option<Yaml>) {
        let Some(check) = self.0.pop() else { return };
        let timeout = timeout.filter(|length| *length > 0).map(duration);
        self.0.push(check.maybe("timeout", timeout).maybe("requestHeaders", headers));
    }

    /// Leaves the last check out where another one asks the same.
    fn once(&mut self) {
        let Some(last) = self.0.pop() else { return };
        let bare = last.clone().without(&["name"]);
        if !self.0.iter().any(|check| check.clone().without(&["name"]) == bare) {
            self.0.push(last);
        }
    }

    /// Puts the checks into the rollout.
    pub fn put(self, draft: &mut Draft) {
        if self.0.is_empty() {
            return;
        }
        let above = ["The cluster is what a proxy of Istio calls the server: change it where yours has another name."];
        draft.put("analysis", Yaml::List(self.0), &above);
    }
}

/// A query with its placeholders filled in; `Err`: the one that nothing fills.
fn filled(query: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) = after.split_once("}}").ok_or_else(|| after.to_owned())?;
        out.push_str(before);
        out.push_str(&value(name.trim()).ok_or_else(|| name.trim().to_owned())?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The metrics of a Canary that a MetricTemplate or a query of their own describes.
pub fn flagger<'a>(
    run: &Run<'_>,
    ledger: &Ledger<'a>,
    spec: &'a Node,
    analysis: &'a Node,
    target: &str,
    draft: &mut Draft,
) {
    let mut checks = Checks::default();
    let interval = analysis.get("interval").and_then(plain_text);
    for metric in ledger.list(analysis, "metrics") {
        let field = |keys: &[&str]| metric.at_keys(keys).and_then(plain_text);
        let name = field(&["name"]).unwrap_or_default();
        let template = field(&["templateRef", "name"]).and_then(|template| {
            let namespace = field(&["templateRef", "namespace"]);
            run.find(&["MetricTemplate"], namespace.as_deref().or(ledger.namespace()), &template)
        });
        let found = match template {
            Some(template) => of_template(template),
            None => field(&["query"]).zip(spec.get("metricsServer").and_then(plain_text)),
        };
        let Some((query, address)) = found else { continue };
        let value = |name: &str| match name {
            "namespace" => Some(ledger.namespace().unwrap_or("default").to_owned()),
            "target" | "name" | "service" => Some(target.to_owned()),
            "interval" => field(&["interval"]).or_else(|| interval.clone()),
            name => field(&["templateVariables", name.strip_prefix("variables.")?]),
        };
        let query = match filled(&query, value) {
            Ok(query) => query,
            Err(name) => {
                draft.lose(format!(
                    "metric {}: nothing says what {} is in its query",
                    shown(&name),
                    shown(&name)
                ));
                continue;
            }
        };
        let Some(server) = Server::new(&address) else {
            draft.lose(format!(
                "metric {}: {} is no address of a server without a path",
                shown(&name),
                shown(&address)
            ));
            continue;
        };
        let limit = |bound: &str| metric.at_keys(&["thresholdRange", bound]).and_then(number_of);
        let limits = [limit("min"), limit("max").or(metric.get("threshold").and_then(number_of))];
        if limits == [None, None] {
            draft.lose(format!("metric {}: it has no thresholdRange", shown(&name)));
            continue;
        }
        checks.add(&name, "canary", &server, &query, limits);
        let failures = analysis.get("threshold").and_then(number_of);
        checks.pace(interval.as_deref().and_then(go_duration), failures);
        draft.change(format!("metric {} is a check", Yaml::from(metric).shown()));
        ledger.all(metric);
        ledger.done(analysis, "threshold");
        ledger.done(spec, "metricsServer");
    }
    checks.put(draft);
}

/// The query and the address of a MetricTemplate for a Prometheus.
fn of_template(template: &Resource<'_>) -> Option<(String, String)> {
    let spec = template.node.get("spec")?;
    let provider = spec.get("provider")?;
    let kind = provider.get("type").and_then(plain_text)?;
    if kind != "prometheus" {
        return None;
    }
    let ledger = &template.ledger;
    template.spec();
    ledger.get(spec, "provider");
    ledger.text(provider, "type");
    Some((ledger.text(spec, "query")?, ledger.text(provider, "address")?))
}

/// The AnalysisTemplates that a strategy names, in the background or in a step.
pub fn argo<'a>(
    run: &Run<'_>,
    ledger: &Ledger<'a>,
    strategy: &'a Node,
    version: &str,
    draft: &mut Draft,
) {
    let mut checks = Checks::default();
    let steps = strategy.get("steps").map(Node::items).unwrap_or_default().iter();
    let analyses = ["analysis", "prePromotionAnalysis", "postPromotionAnalysis"];
    let own = analyses.iter().filter_map(|key| strategy.get(key));
    for analysis in own.chain(steps.filter_map(|step| step.get("analysis"))) {
        for reference in analysis.get("templates").map(Node::items).unwrap_or_default() {
            let Some(name) = reference.get("templateName").and_then(plain_text) else { continue };
            let kinds = ["AnalysisTemplate", "ClusterAnalysisTemplate"];
            let Some(template) = run.find(&kinds, ledger.namespace(), &name) else { continue };
            template_metrics(template, analysis, version, &mut checks, draft);
        }
    }
    checks.put(draft);
}

fn template_metrics(
    template: &Resource<'_>,
    analysis: &Node,
    version: &str,
    checks: &mut Checks,
    draft: &mut Draft,
) {
    let ledger = &template.ledger;
    let Some(spec) = template.spec() else { return };
    let argument = |name: &str| {
        let name = name.strip_prefix("args.")?;
        let listed = |holder: &Node| {
            let items = holder.get("args").map(Node::items).unwrap_or_default();
            let same =
                |item: &&Node| item.get("name").and_then(plain_text).as_deref() == Some(name);
            items.iter().find(same).and_then(|item| item.get("value")).and_then(plain_text)
        };
        listed(analysis).or_else(|| listed(spec))
    };
    for metric in ledger.list(spec, "metrics") {
        let field = |keys: &[&str]| metric.at_keys(keys).and_then(plain_text);
        let name = field(&["name"]).unwrap_or_default();
        let query = field(&["provider", "prometheus", "query"]);
        let Some((query, address)) = query.zip(field(&["provider", "prometheus", "address"]))
        else {
            continue;
        };
        let mut left_out = |why: String| draft.lose(format!("metric {}: {why}", shown(&name)));
        let texts = (filled(&query, argument), filled(&address, argument));
        let (query, address) = match texts {
            (Ok(query), Ok(address)) => (query, address),
            (Err(name), _) | (_, Err(name)) => {
                left_out(format!("nothing says what {} is", shown(&name)));
                continue;
            }
        };
        let Some(server) = Server::new(&address) else {
            left_out(format!("{} is no address of a server without a path", shown(&address)));
            continue;
        };
        let conditions = [("successCondition", false), ("failureCondition", true)];
        let mut limits = [None, None];
        let mut whole = true;
        for (key, is_failure) in conditions {
            if let Some(text) = field(&[key]) {
                match bounds(&text, is_failure) {
                    Some([min, max]) => limits = [limits[0].or(min), limits[1].or(max)],
                    None => {
                        left_out(format!(
                            "{key} {} is no comparison of result[0] with numbers",
                            shown(&text)
                        ));
                        whole = false;
                    }
                }
            }
        }
        if !whole || limits == [None, None] {
            continue;
        }
        checks.add(&name, version, &server, &query, limits);
        let failures = field(&["failureLimit"]).map_or(Some(0.0), |text| text.parse().ok());
        let interval = field(&["interval"]).as_deref().and_then(go_duration);
        checks.pace(interval, failures.map(|limit: f64| limit + 1.0));
        let provider = metric.at_keys(&["provider", "prometheus"]);
        let longest = interval.unwrap_or(30_000);
        let timeout = provider.and_then(|it| it.get("timeout")).and_then(number_of);
        let timeout = timeout.map(|seconds| (seconds * 1000.0) as u64);
        if timeout.is_some_and(|timeout| timeout > longest) {
            draft.lose(format!(
                "metric {}: its timeout, which is longer than interval",
                shown(&name)
            ));
        }
        let headers = provider.and_then(|it| it.get("headers")).map(|headers| {
            headers.items().iter().fold(Yaml::map(), |map, header| {
                let text = |key: &str| header.get(key).and_then(plain_text).unwrap_or_default();
                map.with(&text("key"), text("value"))
            })
        });
        checks.send(timeout.filter(|timeout| *timeout <= longest), headers);
        for key in ["authentication", "insecure"] {
            if let Some(value) = provider.and_then(|it| it.get(key)) {
                let value = Yaml::from(value).shown();
                draft.lose(format!(
                    "metric {}: {key} {value} (the proxy's cluster sees to it)",
                    shown(&name)
                ));
            }
        }
        checks.once();
        draft.change(format!(
            "metric {} is a check, which counts bad answers in a row",
            Yaml::from(metric).without(&["provider"]).shown()
        ));
        ledger.all(metric);
        ledger.done(spec, "args");
    }
}

/// The least and the most that a condition of Argo takes for good.
fn bounds(condition: &str, is_failure: bool) -> Option<[Option<f64>; 2]> {
    let (mut min, mut max) = (None, None);
    // All parts of a success hold, any part of a failure is enough.
    let parts: Vec<&str> = condition.split(if is_failure { "||" } else { "&&" }).collect();
    for part in parts {
        let part = part.trim();
        let rest = part.strip_prefix("result[0]").or_else(|| part.strip_prefix("result"))?.trim();
        let operator = ["<=", ">=", "<", ">"].into_iter().find(|sign| rest.starts_with(sign))?;
        let number: f64 = rest.strip_prefix(operator)?.trim().parse().ok()?;
        let is_least = operator.starts_with('>') != is_failure;
        let slot = if is_least { &mut min } else { &mut max };
        if slot.is_some() {
            return None;
        }
        *slot = Some(number);
    }
    Some([min, max])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_argo_are_limits() {
        assert_eq!(bounds("result[0] >= 0.95", false), Some([Some(0.95), None]));
        assert_eq!(
            bounds("result[0] > 0.05 || result[0] < 0.01", true),
            Some([Some(0.01), Some(0.05)])
        );
        assert_eq!(bounds("result < 5 && result > 1", false), Some([Some(1.0), Some(5.0)]));
        for other in [
            "len(result) == 0",
            "result[0] == 1",
            "result[1] > 2",
            "result[0] >= 1 || isNaN(result[0])",
            "",
        ] {
            assert_eq!(bounds(other, false), None, "{other}");
        }
    }

    #[test]
    fn placeholders_are_filled_or_named() {
        let value = |name: &str| (name == "namespace").then(|| "shop".to_owned());
        assert_eq!(filled("a{{ namespace }}b{{namespace}}", value), Ok("ashopbshop".into()));
        assert_eq!(filled("a{{ other }}", value), Err("other".into()));
    }

    #[test]
    fn an_address_is_a_host_and_a_cluster() {
        let server = Server::new("http://prometheus.monitoring:9090").unwrap();
        assert_eq!(server.host, "prometheus.monitoring:9090");
        assert_eq!(server.cluster, "outbound|9090||prometheus.monitoring.svc.cluster.local");
        assert!(Server::new("http://host/path").is_none() && Server::new("host").is_none());
    }
}
