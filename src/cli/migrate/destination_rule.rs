//! Istio DestinationRules: the key by which their consistent hash tells users apart.

use super::super::source::tree::Node;
use super::super::yaml::Yaml;
use super::condition::service_names;
use super::ledger::Ledger;
use super::run::{Key, Run};

/// The key that a DestinationRule for `host` names.
pub fn key(run: &Run<'_>, namespace: Option<&str>, host: &str) -> Option<Key> {
    let wanted = full(host, namespace);
    run.of_kind("DestinationRule").find_map(|resource| {
        let ledger = &resource.ledger;
        let spec = resource.node.get("spec")?;
        let own = spec.get("host").and_then(Node::text)?;
        if full(own, ledger.namespace()) != wanted {
            return None;
        }
        let policies = std::iter::once(spec)
            .chain(spec.get("subsets").map(Node::items).unwrap_or_default())
            .filter_map(|holder| consistent_hash(ledger, holder));
        let sources = policies.last()?;
        resource.used.set(true);
        resource.spec();
        ledger.text(spec, "host");
        Some(Key { sources: sources.into(), note: format!("Taken from {}.", resource.from()) })
    })
}

/// A host by its full name.
fn full(host: &str, namespace: Option<&str>) -> String {
    if host.contains('.') {
        host.to_owned()
    } else {
        service_names(host, namespace).pop().unwrap_or_default()
    }
}

/// What a `trafficPolicy` hashes.
pub fn consistent_hash<'a>(ledger: &Ledger<'a>, holder: &'a Node) -> Option<Vec<Yaml>> {
    let policy = holder.get("trafficPolicy")?;
    let hash = policy.at_keys(&["loadBalancer", "consistentHash"]);
    let hash = hash.or_else(|| {
        let ports = policy.get("portLevelSettings").map(Node::items).unwrap_or_default();
        ports.iter().find_map(|port| port.at_keys(&["loadBalancer", "consistentHash"]))
    })?;
    let mut sources = Vec::new();
    if let Some(name) = ledger.text(hash, "httpHeaderName") {
        sources.push(Yaml::one("header", name));
    }
    if let Some(cookie) = hash.get("httpCookie") {
        if let Some(name) = ledger.text(cookie, "name") {
            sources.push(Yaml::one("cookie", name));
        }
    }
    if let Some(name) = ledger.text(hash, "httpQueryParameterName") {
        sources.push(Yaml::one("query", name));
    }
    if ledger.flag(hash, "useSourceIp") == Some(true) {
        sources.push(Yaml::one("address", true));
    }
    if sources.is_empty() {
        return None;
    }
    // The way down to it is read; what else is there is not.
    for keys in [
        &["trafficPolicy"][..],
        &["trafficPolicy", "loadBalancer"],
        &["trafficPolicy", "loadBalancer", "consistentHash"],
        &["trafficPolicy", "loadBalancer", "consistentHash", "httpCookie"],
    ] {
        ledger.at(holder, keys);
    }
    Some(sources)
}
