//! `cohort validate`: all that is wrong with configurations.

use std::io::{self, Write};

use super::args::{Output, Validate};
use super::lint::around::{self, File};
use super::report::{json_line, Kind, Line, Report};
use super::source::{self, resource, yaml, Document, Unreadable};
use super::style::{paint, GOOD, STRONG};
use super::Exit;
use crate::config::Millis;

pub fn run(args: &Validate, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut report = Report { out, err, output: args.output };
    let mut worst = Exit::Good;
    let now = args.at.unwrap_or_else(super::now);
    let mut read = Vec::new();
    let mut whole = false;
    for file in &args.files {
        if std::path::Path::new(file).is_dir() {
            whole = true;
            worst = worst.max(folder(file, now, &mut read, &mut report)?);
        } else {
            match one(file) {
                Err(why) => worst = worst.max(report.unreadable(file, &why)?),
                Ok(file) => {
                    worst = worst.max(say(&file, now, &mut report)?);
                    read.push(file);
                }
            }
        }
    }
    for (file, warning) in around::warnings(&read, whole) {
        report.warning(file, &warning)?;
    }
    Ok(worst)
}

/// Every file of a folder that has a configuration of this filter, and what stands around it.
fn folder(
    folder: &str,
    now: Millis,
    read: &mut Vec<File>,
    report: &mut Report<'_>,
) -> io::Result<Exit> {
    let files = match source::files(folder) {
        Ok(files) => files,
        Err(why) => return report.unreadable(folder, &why),
    };
    let mut worst = Exit::Good;
    let mut any = false;
    for name in files {
        match one(&name) {
            // It is somebody else's, and may say something about the way to ours.
            Err(Unreadable::Nothing) => read.extend(around(&name, Vec::new())),
            Err(why) => worst = worst.max(report.unreadable(&name, &why)?),
            Ok(mut file) => {
                file.documents.retain(by_its_looks);
                any |= !file.documents.is_empty();
                worst = worst.max(say(&file, now, report)?);
                read.push(file);
            }
        }
    }
    match any || worst != Exit::Good {
        true => Ok(worst),
        false => report.unreadable(folder, &Unreadable::Nothing),
    }
}

/// Whether a document of a folder, where anything may lie, is a configuration of this filter.
fn by_its_looks(document: &Document) -> bool {
    let keys = document.tree.as_ref().map(|tree| (tree.get("rollouts"), tree.get("segments")));
    document.carrier.is_some()
        || keys.is_some_and(|(rollouts, segments)| rollouts.or(segments).is_some())
}

fn one(name: &str) -> Result<File, Unreadable> {
    let bytes = source::bytes(name)?;
    let documents = source::documents(name, &bytes)?;
    Ok(parts(name, &bytes, documents))
}

fn around(name: &str, documents: Vec<Document>) -> Option<File> {
    source::bytes(name).ok().map(|bytes| parts(name, &bytes, documents))
}

fn parts(name: &str, bytes: &[u8], documents: Vec<Document>) -> File {
    let trees = std::str::from_utf8(bytes).ok().and_then(|text| yaml::read(text).ok());
    let mut others = trees.unwrap_or_default();
    others.retain(|tree| tree.get("apiVersion").is_none());
    File { name: name.to_owned(), documents, resources: resource::all(bytes), others }
}

fn say(file: &File, now: Millis, report: &mut Report<'_>) -> io::Result<Exit> {
    let mut worst = Exit::Good;
    for document in &file.documents {
        worst = worst.max(report.document(&file.name, document, now)?);
        good(&file.name, document, report.output, report.out)?;
    }
    Ok(worst)
}

/// The line of a configuration that is good.
fn good(file: &str, document: &Document, output: Output, out: &mut dyn Write) -> io::Result<()> {
    let Ok(config) = &document.config else { return Ok(()) };
    let names: Vec<&str> = config.rollouts.iter().map(|rollout| rollout.name.as_str()).collect();
    if output == Output::Json {
        let Document { at, carrier, .. } = document;
        let kind = Kind::Good { line: at.line, column: at.column, carrier, rollouts: &names };
        return json_line(out, &Line { file, kind });
    }
    let rollouts = match names.as_slice() {
        [] => "no rollouts, does nothing".to_owned(),
        [name] => format!("1 rollout: {name}"),
        names => format!("{} rollouts: {}", names.len(), names.join(", ")),
    };
    let carrier = document.carrier.as_ref().map_or(String::new(), |carrier| format!(" {carrier}:"));
    writeln!(
        out,
        "{}{carrier} {}, {rollouts}",
        paint(STRONG, format!("{file}:")),
        paint(GOOD, "good")
    )
}
