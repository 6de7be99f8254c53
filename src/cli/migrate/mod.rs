//! `cohort migrate`: what people have today, as a configuration and the routes that go with it.
//!
//! Each source has a file. All of them read through a [`ledger::Ledger`], so that what is not carried over
//! is named, and build a [`draft::Draft`].

mod analysis;
mod argo;
mod condition;
mod contour;
mod destination_rule;
mod draft;
mod envoy;
mod flagd;
mod flagger;
mod http_route;
mod ingress;
mod json_logic;
mod ledger;
mod matches;
mod page;
mod run;
mod table;
mod traefik;
mod traffic_split;
mod traffic_tag;
mod units;
mod unleash;
mod virtual_service;

use std::io::{self, Write};

use super::args::{Migrate, Output};
use super::report::Report;
use super::source::tree::{Data, Member, Node};
use super::source::{self, yaml as reader};
use super::style::{paint, BAD};
use super::yaml::{escaped, shown};
use super::Exit;
use run::{Made, Resource, Run};

/// What a file may hold for this command.
const ALLOWED: &str = "an Ingress with ingress-nginx canary annotations, a Flagger Canary, an Argo Rollout, \
    a VirtualService, HTTPRoute, TrafficSplit, TraefikService, HTTPProxy or Envoy route table with weights, \
    a Higress traffic-tag configuration, or flags of flagd or Unleash";

pub fn run(args: &Migrate, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut documents = Vec::new();
    for file in &args.files {
        let read = source::bytes(file).map_err(|why| (file.clone(), why.to_string()));
        match read.and_then(|bytes| read_documents(file, &bytes)) {
            Ok(read) => documents.extend(read.into_iter().map(|node| (file.as_str(), node))),
            Err((place, why)) => return complain(err, &place, &why),
        }
    }
    let Some(text) = migrated(&documents) else {
        let is_rule = |(_, node): &(&str, Node)| {
            node.get("kind").and_then(Node::text) == Some("DestinationRule")
        };
        let hint = if documents.iter().any(is_rule) {
            " (a DestinationRule names the key: give the VirtualService or HTTPRoute along with it)"
        } else {
            ""
        };
        let why = format!("found nothing to migrate, allowed: {ALLOWED}{hint}");
        return complain(err, &args.files.join(", "), &why);
    };
    out.write_all(text.as_bytes())?;
    check(&text, out, err)
}

/// What one file becomes; nothing where it cannot be read or has nothing to migrate.
#[cfg(test)]
pub fn text(file: &str, bytes: &[u8]) -> Option<String> {
    let documents = read_documents(file, bytes).ok()?;
    migrated(&documents.into_iter().map(|node| (file, node)).collect::<Vec<_>>())
}

/// The documents of a file; else where it cannot be read, and why.
fn read_documents(file: &str, bytes: &[u8]) -> Result<Vec<Node>, (String, String)> {
    let no = |place: String, found: &str| (place, format!("found {found}, allowed: YAML or JSON"));
    let text =
        std::str::from_utf8(bytes).map_err(|_| no(file.to_owned(), "bytes that are not UTF-8"))?;
    let documents = match reader::read(text) {
        Ok(documents) => documents,
        Err(_) if is_template(text) => {
            let why = "found a template, allowed: what it renders to (render it first: helm template CHART | cohort migrate -)";
            return Err((file.to_owned(), why.to_owned()));
        }
        Err(fault) => return Err(no(format!("{file}:{}", fault.at), &fault.what)),
    };
    let tidied: Result<Vec<Node>, String> = documents.into_iter().map(tidy).collect();
    let documents = tidied.map_err(|why| {
        let (at, why) = why.split_once(' ').unwrap_or(("1:1", &why));
        (format!("{file}:{at}"), why.to_owned())
    })?;
    if is_template(text) && documents.iter().any(has_braces) {
        let why = "found a template, allowed: what it renders to (render it first: helm template CHART | cohort migrate -)";
        return Err((file.to_owned(), why.to_owned()));
    }
    Ok(documents)
}

/// Whether a text has actions of Go templates, as Helm charts have.
fn is_template(text: &str) -> bool {
    text.match_indices("{{").any(|(at, _)| {
        let rest = text.get(at + 2..).unwrap_or_default();
        let inner =
            rest.split("}}").next().unwrap_or_default().trim_start_matches('-').trim_start();
        rest.contains("}}")
            && (inner.starts_with(['.', '$', '/'])
                || [
                    "if ",
                    "if(",
                    "else",
                    "end",
                    "range ",
                    "with ",
                    "include ",
                    "template ",
                    "define ",
                    "tpl ",
                    "printf ",
                    "default ",
                    "toYaml ",
                    "quote ",
                    "block ",
                ]
                .iter()
                .any(|word| inner.starts_with(word)))
    })
}

/// Whether an action of a template stands in a resource that could be migrated.
fn has_braces(node: &Node) -> bool {
    const KINDS: [&str; 10] = [
        "Ingress",
        "Canary",
        "Rollout",
        "VirtualService",
        "DestinationRule",
        "HTTPRoute",
        "GRPCRoute",
        "HTTPProxy",
        "TrafficSplit",
        "TraefikService",
    ];
    let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
    let braces = |node: &Node| node.text().is_some_and(is_template);
    KINDS.contains(&kind) && any_text(node, &braces)
}

fn any_text(node: &Node, is: &impl Fn(&Node) -> bool) -> bool {
    is(node)
        || node.items().iter().any(|item| any_text(item, is))
        || node
            .members()
            .iter()
            .any(|member| member.key.contains("{{") || any_text(&member.value, is))
}

/// The tree with its merge keys followed; an error where a key stands twice.
fn tidy(mut node: Node) -> Result<Node, String> {
    match &mut node.data {
        Data::List(items) => {
            let tidied: Result<Vec<Node>, String> =
                std::mem::take(items).into_iter().map(tidy).collect();
            *items = tidied?;
        }
        Data::Object(members) => {
            let mut own: Vec<Member> = Vec::new();
            let mut merged: Vec<Node> = Vec::new();
            for member in std::mem::take(members) {
                let value = tidy(member.value)?;
                if member.key == "<<" {
                    match value.data {
                        Data::Object(_) => merged.push(value),
                        Data::List(items) => merged.extend(items),
                        _ => return Err(format!("{} found a merge key without an object, allowed: an object or a list of them", member.at)),
                    }
                    continue;
                }
                if let Some(first) = own.iter().find(|other| other.key == member.key) {
                    return Err(format!(
                        "{} found the key {} twice ({} in line {}, {} here), allowed: each key once",
                        member.at,
                        shown(&member.key),
                        super::yaml::Yaml::from(&first.value).inline(),
                        first.at.line,
                        super::yaml::Yaml::from(&value).inline(),
                    ));
                }
                own.push(Member { value, ..member });
            }
            for other in merged {
                let Data::Object(others) = other.data else { continue };
                for member in others {
                    if !own.iter().any(|known| known.key == member.key) {
                        own.push(member);
                    }
                }
            }
            *members = own;
        }
        _ => {}
    }
    Ok(node)
}

/// The page that documents become; nothing where there is nothing to migrate.
fn migrated(documents: &[(&str, Node)]) -> Option<String> {
    let mut resources = Vec::new();
    for (file, node) in documents {
        let file = if *file == "-" { "standard input" } else { file };
        gather(node, file, &mut resources);
    }
    page::page(&Run::new(resources))
}

/// Adds the resources of a document: the items of a list, the virtual hosts of an Envoy configuration.
fn gather<'a>(node: &'a Node, file: &'a str, resources: &mut Vec<Resource<'a>>) {
    if node.get("items").is_some() && node.get("apiVersion").is_some() {
        for item in node.get("items").map(Node::items).unwrap_or_default() {
            gather(item, file, resources);
        }
        return;
    }
    let hosts = if is_resource(node) { Vec::new() } else { envoy::hosts_of(node) };
    if hosts.is_empty() {
        resources.push(Resource::new(node, file));
    }
    resources.extend(hosts.into_iter().map(|host| Resource::new(host, file)));
}

fn is_resource(node: &Node) -> bool {
    let kind = node.get("kind").and_then(Node::text);
    // An EnvoyFilter or a ConfigMap carries an Envoy configuration.
    node.get("apiVersion").is_some() && kind.is_some_and(|kind| kind != "EnvoyFilter")
}

/// What a resource becomes, by its kind.
fn make(run: &Run<'_>, resource: &Resource<'_>) -> Made {
    match resource.kind() {
        "Ingress" if ingress::is_one(resource.node) => ingress::make(run, resource),
        "Canary" => flagger::make(run, resource),
        "Rollout" => argo::make(run, resource),
        "VirtualService" => virtual_service::make(run, resource),
        "HTTPRoute" | "GRPCRoute" => http_route::make(run, resource),
        "HTTPProxy" => contour::make(run, resource),
        "TrafficSplit" => traffic_split::make(run, resource),
        "TraefikService" => traefik::make(run, resource),
        _ if flagd::is_one(resource.node) => flagd::make(run, resource),
        _ if unleash::is_one(resource.node) => unleash::make(run, resource),
        _ if envoy::is_one(resource.node) => envoy::make(run, resource),
        _ if traffic_tag::is_one(resource.node) => traffic_tag::make(run, resource),
        _ => Made::default(),
    }
}

fn complain(err: &mut dyn Write, file: &str, why: &str) -> io::Result<Exit> {
    writeln!(err, "{} {}: {}", paint(BAD, "cohort:"), escaped(file), escaped(why))?;
    Ok(Exit::Unreadable)
}

/// Says what the filter would not take in the configuration that was printed.
fn check(text: &str, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let documents = source::documents("migrated.yaml", text.as_bytes()).unwrap_or_default();
    let mut report = Report { out, err, output: Output::Text };
    let mut worst = Exit::Good;
    for document in documents.iter().filter(|document| document.config.is_err()) {
        worst = worst.max(report.document("the result", document, false, super::now())?);
    }
    Ok(worst)
}

#[cfg(test)]
mod tests;
