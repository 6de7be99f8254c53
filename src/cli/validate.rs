//! `cohort validate`: all that is wrong with configurations, and with the routes beside them.

use std::io::{self, Write};

use super::args::{Output, Validate};
use super::lint::around::{self, File};
use super::lint::{self, Written};
use super::report::{json_line, Kind, Line, Report};
use super::source::{self, resource, Discovered, Document, Unreadable};
use super::style::{paint, plain, GOOD, STRONG};
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
            worst = worst.max(folder(file, &mut read, &mut report)?);
        } else {
            match one(file) {
                // Routes are held against the rollouts of other files.
                Err(Unreadable::Nothing { trees, others }) => {
                    let is_alone = lint::tables(&trees).is_empty() || args.files.len() == 1;
                    if is_alone {
                        let why = Unreadable::Nothing { trees, others };
                        worst = worst.max(report.unreadable(file, &why)?);
                    } else {
                        read.extend(around(file));
                    }
                }
                Err(why) => worst = worst.max(report.unreadable(file, &why)?),
                Ok(file) => read.push(file),
            }
        }
    }
    let written = Written::of(read.iter());
    for file in &read {
        worst = worst.max(say(file, &written, now, &mut report)?);
    }
    for (file, warning) in around::warnings(&read, whole) {
        report.warning(file, &warning)?;
    }
    Ok(worst)
}

/// Every file of a folder that has a configuration of this filter, and what stands around it.
fn folder(folder: &str, read: &mut Vec<File>, report: &mut Report<'_>) -> io::Result<Exit> {
    let files = match source::files(folder) {
        Ok(files) => files,
        Err(why) => return report.unreadable(folder, &why),
    };
    let mut worst = Exit::Good;
    let mut any = false;
    for name in files {
        match one(&name) {
            // It is somebody else's, and may say something about the way to ours.
            Err(Unreadable::Nothing { .. }) => read.extend(around(&name)),
            Err(why) => worst = worst.max(report.unreadable(&name, &why)?),
            Ok(mut file) => {
                file.documents.retain(by_its_looks);
                any |= !file.documents.is_empty();
                read.push(file);
            }
        }
    }
    match any || worst != Exit::Good {
        true => Ok(worst),
        false => report
            .unreadable(folder, &Unreadable::Nothing { others: Vec::new(), trees: Vec::new() }),
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
    let file = source::read(name, &bytes)?;
    Ok(parts(name, &bytes, file))
}

/// A file without a configuration of this filter.
fn around(name: &str) -> Option<File> {
    let bytes = source::bytes(name).ok()?;
    match source::read(name, &bytes) {
        Err(Unreadable::Nothing { trees, .. }) => {
            Some(parts(name, &bytes, source::File { trees, ..source::File::default() }))
        }
        _ => None,
    }
}

fn parts(name: &str, bytes: &[u8], file: source::File) -> File {
    let source::File { documents, discovered, others, trees } = file;
    File {
        name: name.to_owned(),
        documents,
        resources: resource::all(bytes),
        others: trees.iter().filter(|tree| tree.get("apiVersion").is_none()).cloned().collect(),
        trees,
        discovered,
        foreign: others.len(),
    }
}

fn say(
    file: &File,
    written: &Written<'_>,
    now: Millis,
    report: &mut Report<'_>,
) -> io::Result<Exit> {
    let mut worst = Exit::Good;
    let routes = lint::routes(&file.trees, &file.documents, written);
    for document in &file.documents {
        let several = file.documents.len() + file.foreign > 1;
        let found = report.document(&file.name, document, several, now)?;
        worst = worst.max(found);
        if found == Exit::Good && routes.problems.is_empty() {
            good(&file.name, document, report.output, report.out)?;
        }
    }
    discovered(&file.name, &file.discovered, report.output, report.out)?;
    if !routes.problems.is_empty() {
        worst = worst.max(Exit::Problems);
        report.problems(&file.name, None, routes.problems.iter())?;
    }
    for warning in routes.warnings.iter().chain(&lint::chains(&file.documents)) {
        report.warning(&file.name, warning)?;
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
    let carrier = document.carrier.as_ref();
    let carrier = carrier.map_or(String::new(), |carrier| format!(" {}:", plain(carrier)));
    writeln!(
        out,
        "{}{carrier} {}, {rollouts}",
        paint(STRONG, format!("{}:", plain(file))),
        paint(GOOD, "good")
    )
}

/// A line for each filter whose configuration is in another file.
fn discovered(
    file: &str,
    read: &[Discovered],
    output: Output,
    out: &mut dyn Write,
) -> io::Result<()> {
    for Discovered { carrier, at, .. } in read {
        if output == Output::Json {
            let kind = Kind::Discovered { line: at.line, column: at.column, carrier };
            json_line(out, &Line { file, kind })?;
        } else {
            let place = paint(STRONG, format!("{}:", plain(file)));
            let carrier = plain(carrier);
            writeln!(
                out,
                "{place} {carrier}: its configuration comes by discovery, from another file"
            )?;
        }
    }
    Ok(())
}
