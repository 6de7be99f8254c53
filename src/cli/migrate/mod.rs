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
const ALLOWED: &str =
    "an Ingress with ingress-nginx canary annotations, a Flagger Canary, an Istio VirtualService \
                       with weights, or a Higress traffic-tag configuration";

pub fn run(args: &Migrate, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut made = Made::default();
    for file in &args.files {
        let read = source::bytes(file).map_err(|why| (file.clone(), why.to_string()));
        if let Err((place, why)) = read.and_then(|bytes| made.read(file, &bytes)) {
            return complain(err, &place, &why);
        }
    }
    let Some(text) = made.page() else {
        return complain(
            err,
            &args.files.join(", "),
            &format!("found nothing to migrate, allowed: {ALLOWED}"),
        );
    };
    out.write_all(text.as_bytes())?;
    check(&text, out, err)
}

/// What one file becomes; nothing where it cannot be read or has nothing to migrate.
#[cfg(test)]
pub fn text(file: &str, bytes: &[u8]) -> Option<String> {
    let mut made = Made::default();
    made.read(file, bytes).ok()?;
    made.page()
}

/// What the files of a command line have become.
#[derive(Default)]
struct Made {
    drafts: Vec<Draft>,
    /// Comments about resources that say nothing about versions.
    passed: Vec<String>,
}

impl Made {
    /// Reads a file; else says where it cannot be read, and why.
    fn read(&mut self, file: &str, bytes: &[u8]) -> Result<(), (String, String)> {
        let no =
            |place: String, found: &str| (place, format!("found {found}, allowed: YAML or JSON"));
        let text = std::str::from_utf8(bytes)
            .map_err(|_| no(file.to_owned(), "bytes that are not UTF-8"))?;
        let documents =
            reader::read(text).map_err(|fault| no(format!("{file}:{}", fault.at), &fault.what))?;
        let file = if file == "-" { "standard input" } else { file };
        documents.iter().for_each(|document| self.resource(document, file));
        Ok(())
    }

    fn resource(&mut self, node: &Node, file: &str) {
        let kind = node.get("kind").and_then(Node::text);
        if node.get("items").is_some() && node.get("apiVersion").is_some() {
            for item in node.get("items").map(Node::items).unwrap_or_default() {
                self.resource(item, file);
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
            let what =
                kind.map_or_else(|| "a document".to_owned(), |kind| format!("{kind} {name}"));
            self.passed.push(format!("{what} in {file} says nothing about versions: passed over."));
        }
        self.drafts.extend(made);
    }

    /// The configuration; nothing where there is nothing to migrate.
    fn page(mut self) -> Option<String> {
        if self.drafts.is_empty() {
            return None;
        }
        distinct(&mut self.drafts);
        let mut text = String::new();
        for line in &self.passed {
            yaml::comment(line, 0, &mut text);
        }
        let rollouts: Vec<Yaml> = self.drafts.into_iter().map(Draft::finish).collect();
        text.push_str(&document(&Yaml::one("rollouts", rollouts)));
        Some(text)
    }
}

fn complain(err: &mut dyn Write, file: &str, why: &str) -> io::Result<Exit> {
    writeln!(err, "{} {file}: {why}", paint(BAD, "cohort:"))?;
    Ok(Exit::Unreadable)
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
            draft.change(format!(
                "the rollout {} is called {name}: there is another of that name",
                draft.name
            ));
            draft.name.clone_from(&name);
        }
        taken.push(name);
    }
}

/// Says what the filter would not take in the configuration that was printed.
fn check(text: &str, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let documents = source::documents("migrated.yaml", text.as_bytes()).unwrap_or_default();
    let mut report = Report { out, err, output: Output::Text };
    let mut worst = Exit::Good;
    for document in documents.iter().filter(|document| document.config.is_err()) {
        worst = worst.max(report.document("the result", document, super::now())?);
    }
    Ok(worst)
}
