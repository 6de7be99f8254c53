//! What is wrong with a file, for people and for scripts.

use std::io::{self, Write};

use serde::Serialize;

use super::args::Output;
use super::lint::{self, Warning};
use super::source::{self, Document, Problem, Unreadable};
use super::style::{paint, plain, BAD, STRONG, WARNING};
use super::Exit;
use crate::config::{Config, Millis};

/// Says what is wrong: for people on standard error, for scripts on standard output.
pub struct Report<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    pub output: Output,
}

impl Report<'_> {
    /// A file that could not be read, or has nothing for us in it.
    pub fn unreadable(&mut self, file: &str, why: &Unreadable) -> io::Result<Exit> {
        match self.output {
            Output::Text => {
                writeln!(self.err, "{} {}: {why}", paint(BAD, "cohort:"), plain(file))?;
            }
            Output::Json => {
                let why = why.to_string();
                json_line(self.out, &Line { file, kind: Kind::Unreadable { why: &why } })?;
            }
        }
        Ok(Exit::Unreadable)
    }

    /// Everything that is wrong with a configuration, then its warnings as of `now`.
    pub fn document(
        &mut self,
        file: &str,
        document: &Document,
        several: bool,
        now: Millis,
    ) -> io::Result<Exit> {
        let problems = document.problems();
        let carrier = document.carrier.as_deref().filter(|_| several);
        self.problems(file, carrier, problems.iter().copied())?;
        for warning in lint::warnings(document, now) {
            self.warning(file, &warning)?;
        }
        Ok(if problems.is_empty() { Exit::Good } else { Exit::Problems })
    }

    /// Problems of one configuration, or of the file beside its configurations; `carrier` is said where a
    /// file has several.
    pub fn problems<'p>(
        &mut self,
        file: &str,
        carrier: Option<&str>,
        problems: impl Iterator<Item = &'p Problem>,
    ) -> io::Result<()> {
        let mut left = 0_usize;
        for (count, problem) in problems.enumerate() {
            if count < MOST {
                self.problem(file, carrier, problem)?;
            } else {
                left += 1;
            }
        }
        if left > 0 && self.output == Output::Text {
            writeln!(
                self.err,
                "{} and {left} problems more",
                paint(STRONG, format!("{}:", plain(file)))
            )?;
        }
        Ok(())
    }

    fn problem(&mut self, file: &str, carrier: Option<&str>, problem: &Problem) -> io::Result<()> {
        let Problem { at, path, found, allowed, hint, line } = problem;
        match self.output {
            Output::Text => {
                let place = paint(STRONG, format!("{}:{at}:", plain(file)));
                let whose = carrier.map_or(String::new(), |name| format!(" (in {})", plain(name)));
                writeln!(self.err, "{place} {}{whose}", plain(line))
            }
            Output::Json => {
                let (line, column) = (at.line, at.column);
                let kind = Kind::Problem { line, column, path, found, allowed, hint };
                json_line(self.out, &Line { file, kind })
            }
        }
    }

    pub fn warning(&mut self, file: &str, warning: &Warning) -> io::Result<()> {
        let Warning { at, place, text } = warning;
        match self.output {
            Output::Text => {
                let where_it_is = paint(STRONG, format!("{}:{at}:", plain(file)));
                let text: Vec<_> = text.lines().map(plain).collect();
                let (mark, place) = (paint(WARNING, "warning:"), plain(place));
                writeln!(self.err, "{where_it_is} {mark} {place}: {}", text.join("\n"))
            }
            Output::Json => {
                let (path, warning) = (place.as_str(), text.as_str());
                let kind = Kind::Warning { line: at.line, column: at.column, path, warning };
                json_line(self.out, &Line { file, kind })
            }
        }
    }
}

/// How many problems of one configuration are said one by one.
const MOST: usize = 1000;

/// What `--output json` says of a file.
#[derive(Serialize)]
pub struct Line<'a> {
    pub file: &'a str,
    #[serde(flatten)]
    pub kind: Kind<'a>,
}

/// One thing to say of a file.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind<'a> {
    Unreadable {
        why: &'a str,
    },
    Problem {
        line: usize,
        column: usize,
        path: &'a str,
        found: &'a str,
        allowed: &'a str,
        hint: &'a Option<String>,
    },
    Warning {
        line: usize,
        column: usize,
        path: &'a str,
        warning: &'a str,
    },
    Good {
        line: usize,
        column: usize,
        carrier: &'a Option<String>,
        rollouts: &'a [&'a str],
    },
    /// A filter of ours whose configuration comes by discovery.
    Discovered {
        line: usize,
        column: usize,
        carrier: &'a str,
    },
}

/// `value` as JSON on a line of its own.
pub fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The one configuration in `file`, for a command that takes one; what is wrong with it is said.
pub fn only(
    file: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Result<Config, Exit>> {
    let mut report = Report { out, err, output: Output::Text };
    let read = source::bytes(file).and_then(|bytes| source::documents(file, &bytes));
    let mut documents = match read {
        Ok(documents) => documents,
        Err(why) => return Ok(Err(report.unreadable(file, &why)?)),
    };
    let count = documents.len();
    let Some(document) = documents.pop().filter(|_| count == 1) else {
        let why = format!("found {count} configurations of this filter, allowed: one");
        return Ok(Err(report.unreadable(file, &Unreadable::Io(why))?));
    };
    if document.config.is_err() {
        report.document(file, &document, false, super::now())?;
    }
    Ok(document.config.map_err(|_| Exit::Problems))
}
