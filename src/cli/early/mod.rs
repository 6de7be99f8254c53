//! `cohort early`: what makes a proxy remove the output headers that clients send before it chooses a
//! route, whether the filter is there or not.

mod print;
mod removal;

use std::io::{self, Write};

use super::args::{Early, Output};
use super::report::Report;
use super::source::resource::{self, Resource};
use super::source::{self, Document, Unreadable};
use super::Exit;

pub use print::{connection_manager, contexts, gateways};
pub use removal::Removal;

pub fn run(args: &Early, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut worst = Exit::Good;
    let (mut plugins, mut resources) = (Vec::new(), Vec::new());
    for file in &args.files {
        let mut report = Report { out, err, output: Output::Text };
        let bytes = match source::bytes(file) {
            Ok(bytes) => bytes,
            Err(why) => {
                worst = worst.max(report.unreadable(file, &why)?);
                continue;
            }
        };
        let here = resource::all(&bytes);
        match source::documents(file, &bytes) {
            Ok(documents) => {
                for document in documents {
                    if document.config.is_err() {
                        worst = worst.max(report.document(file, &document, false, super::now())?);
                    }
                    let carrier = here.iter().find(|one| one.carries(&document)).cloned();
                    plugins.push((document, carrier));
                }
            }
            // A file that only has routes or Gateways says where a policy belongs.
            Err(Unreadable::Nothing { .. }) if !here.is_empty() => {}
            Err(why) => worst = worst.max(report.unreadable(file, &why)?),
        }
        resources.extend(here);
    }
    if plugins.is_empty() && worst == Exit::Good {
        let file = args.files.first().map_or("-", String::as_str);
        return Report { out, err, output: Output::Text }.unreadable(file, &nothing());
    }
    let mut texts: Vec<String> = Vec::new();
    for (document, carrier) in &plugins {
        let Some(text) = text(document, carrier.as_ref(), &resources) else { continue };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    write!(out, "{}", texts.join("---\n"))?;
    Ok(worst)
}

fn nothing() -> Unreadable {
    Unreadable::Nothing { others: Vec::new(), trees: Vec::new() }
}

/// What to add for one configuration; `None` where it is bad.
fn text(document: &Document, carrier: Option<&Resource>, all: &[Resource]) -> Option<String> {
    let removal = Removal::of(document.config.as_ref().ok()?);
    Some(match carrier {
        Some(plugin) if plugin.kind == "EnvoyExtensionPolicy" => {
            print::client_traffic_policies(plugin, all, &removal)
        }
        Some(plugin) => print::envoy_filter(plugin, &removal),
        None => print::connection_manager(&removal),
    })
}
