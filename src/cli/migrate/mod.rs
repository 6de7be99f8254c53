//! `cohort migrate`: what people have today, as a configuration.
//!
//! Each source has a file. All of them read through a ledger, so that what is not carried over is named.

mod draft;
mod flagger;
mod ingress;
mod ledger;
mod matches;
mod traffic_tag;
mod virtual_service;
mod yaml;

use std::io::{self, Write};

use super::args::{Migrate, Output};
use super::report::Report;
use super::source::tree::Node;
use super::source::{self, yaml as reader};
use super::style::{paint, BAD};
use super::Exit;
use draft::Draft;
use yaml::{document, Yaml};

/// What a file may hold for this command.
const ALLOWED: &str = "an Ingress with ingress-nginx canary annotations, a Flagger Canary, an Istio VirtualService \
                       with weights, or a Higress traffic-tag configuration";

pub fn run(args: &Migrate, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut drafts = Vec::new();
    let mut passed = Vec::new();
    for file in &args.files {
        let text = match source::bytes(file).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => return complain(err, file, "found bytes that are not UTF-8, allowed: YAML or JSON"),
            Err(why) => return complain(err, file, &why.to_string()),
        };
        let documents = match reader::read(&text) {
            Ok(documents) => documents,
            Err(fault) => {
                let why = format!("found {}, allowed: YAML or JSON", fault.what);
                return complain(err, &format!("{file}:{}", fault.at), &why);
            }
        };
        let file = if file == "-" { "standard input" } else { file };
        for document in &documents {
            resource(document, file, &mut drafts, &mut passed);
        }
    }
    if drafts.is_empty() {
        return complain(err, &args.files.join(", "), &format!("found nothing to migrate, allowed: {ALLOWED}"));
    }
    distinct(&mut drafts);
    let text = page(drafts, &passed);
    out.write_all(text.as_bytes())?;
    check(&text, out, err)
}

fn complain(err: &mut dyn Write, file: &str, why: &str) -> io::Result<Exit> {
    writeln!(err, "{} {file}: {why}", paint(BAD, "cohort:"))?;
    Ok(Exit::Unreadable)
}

fn resource(node: &Node, file: &str, drafts: &mut Vec<Draft>, passed: &mut Vec<String>) {
    let kind = node.get("kind").and_then(Node::text);
    if node.get("items").is_some() && node.get("apiVersion").is_some() {
        for item in node.get("items").map(Node::items).unwrap_or_default() {
            resource(item, file, drafts, passed);
        }
        return;
    }
    let made = match kind {
        _ if ingress::is_one(node) => vec![ingress::draft(node, file)],
        Some("Canary") => vec![flagger::draft(node, file)],
        Some("VirtualService") => virtual_service::drafts(node, file),
        _ => traffic_tag::drafts(node, file),
    };
    if made.is_empty() {
        let name = ledger::Ledger::new(node).name();
        let what = kind.map_or_else(|| "a document".to_owned(), |kind| format!("{kind} {name}"));
        passed.push(format!("{what} in {file} says nothing about versions: passed over."));
    }
    drafts.extend(made);
}

/// Gives rollouts of the same name a number.
fn distinct(drafts: &mut [Draft]) {
    let mut taken: Vec<String> = Vec::new();
    for draft in drafts {
        let mut number = 2;
        let mut name = draft.name.clone();
        while taken.contains(&name) {
            let short: String = draft.name.chars().take(58).collect();
            name = format!("{short}-{number}");
            number += 1;
        }
        if name != draft.name {
            draft.change(format!("the rollout {} is called {name}: there is another of that name", draft.name));
            draft.name.clone_from(&name);
        }
        taken.push(name);
    }
}

fn page(drafts: Vec<Draft>, passed: &[String]) -> String {
    let mut text = String::new();
    for line in passed {
        yaml::comment(line, 0, &mut text);
    }
    let rollouts: Vec<Yaml> = drafts.into_iter().map(Draft::finish).collect();
    text.push_str(&document(&Yaml::one("rollouts", rollouts)));
    text
}

/// Says what the filter would not take in the configuration that was printed.
fn check(text: &str, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let documents = source::documents("migrated.yaml", text.as_bytes()).unwrap_or_default();
    let mut report = Report { out, err, output: Output::Text };
    let mut worst = Exit::Good;
    for document in documents.iter().filter(|document| document.config.is_err()) {
        worst = worst.max(report.document("the result", document)?);
    }
    Ok(worst)
}
