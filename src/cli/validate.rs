//! `cohort validate`: all that is wrong with configurations.

use std::io::{self, Write};

use super::args::{Output, Validate};
use super::report::{json_line, Kind, Line, Report};
use super::source::{self, Document};
use super::style::{paint, GOOD, STRONG};
use super::Exit;

pub fn run(args: &Validate, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut worst = Exit::Good;
    let now = args.at.unwrap_or_else(super::now);
    for file in &args.files {
        let mut report = Report { out, err, output: args.output };
        let read = source::bytes(file).and_then(|bytes| source::documents(file, &bytes));
        match read {
            Err(why) => worst = worst.max(report.unreadable(file, &why)?),
            Ok(documents) => {
                for document in &documents {
                    worst = worst.max(report.document(file, document, now)?);
                    good(file, document, args.output, report.out)?;
                }
            }
        }
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
