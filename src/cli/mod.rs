//! The native command `cohort` (design.md section 8).
//!
//! `source` finds configurations in files, `report` prints what is wrong with them, and each other
//! module is one subcommand.

mod args;
mod early;
mod explain;
mod lint;
mod migrate;
mod policy;
mod report;
mod set;
mod simulate;
mod source;
mod status;
mod style;
mod validate;
mod values;
mod yaml;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::config;
use args::{Cli, Color, Command};

/// Runs the command with these arguments, the name of the program first, and these streams.
pub fn run_with(args: &[&str], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    match Cli::try_parse_from(args) {
        Ok(cli) => carry_out(cli.command, out, err).map(ExitCode::from),
        Err(error) => write!(err, "{error}").map(|()| Exit::Unreadable.into()),
    }
}

/// Runs the command with the arguments and streams of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let mut out = io::BufWriter::new(anstream::stdout().lock());
    let mut err = anstream::stderr().lock();
    let done =
        carry_out(cli.command, &mut out, &mut err).and_then(|code| out.flush().map(|()| code));
    match done {
        Ok(code) => code.into(),
        // Who closed our standard output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere left to say so if this fails too.
            let _ = writeln!(err, "cohort: cannot write: {error}");
            Exit::Unreadable.into()
        }
    }
}

fn carry_out(command: Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match command {
        Command::Validate(args) => validate::run(&args, out, err),
        Command::Explain(args) => explain::run(&args, out, err),
        Command::Simulate(args) => simulate::run(&args, out, err),
        Command::Migrate(args) => migrate::run(&args, out, err),
        Command::Status(args) => status::run(&args, out, err),
        Command::Set(args) => set::run(&args, out, err),
        Command::Early(args) => early::run(&args, out, err),
        Command::Schema(args) if args.admission_policy => {
            write!(out, "{}", policy::manifest())?;
            Ok(Exit::Good)
        }
        Command::Schema(_) => {
            let schema = serde_json::to_string_pretty(&config::schema())?;
            writeln!(out, "{schema}")?;
            Ok(Exit::Good)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "cohort", &mut Flat(out));
            Ok(Exit::Good)
        }
        Command::Man => man(out),
    }
}

/// The manual: the command, then each subcommand, as one page.
fn man(out: &mut dyn Write) -> io::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).title("COHORT").render(&mut Flat(out))?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let name = subcommand.get_name();
        writeln!(out, ".SH \"COHORT {}\"", name.to_uppercase())?;
        let page = clap_mangen::Man::new(subcommand.clone());
        page.render_synopsis_section(&mut Flat(out))?;
        page.render_description_section(&mut Flat(out))?;
        page.render_options_section(&mut Flat(out))?;
        page.render_extra_section(&mut Flat(out))?;
    }
    Ok(Exit::Good)
}

/// A writer of known size around one of unknown size.
struct Flat<'a>(&'a mut dyn Write);

impl Write for Flat<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The time of this machine.
fn now() -> config::Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        config::Millis::try_from(since.as_millis()).unwrap_or(config::Millis::MAX)
    })
}

/// A point in time as RFC 3339 in UTC; its milliseconds since 1970 where the calendar ends before it.
fn instant_text(at: config::Millis) -> String {
    let nanoseconds = i128::from(at) * 1_000_000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|instant| instant.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{at} ms after 1970"))
}

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    Good,
    /// There is a problem in a configuration.
    Problems,
    /// Something could not be read.
    Unreadable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Good => Self::SUCCESS,
            Exit::Problems => Self::from(1),
            Exit::Unreadable => Self::from(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of the golden tests, cut short at many places.
    fn pieces() -> Vec<(String, Vec<u8>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/files");
        let mut pieces = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            pieces.extend(
                (0..bytes.len()).step_by(13).map(|end| (name.clone(), bytes[..end].to_vec())),
            );
        }
        pieces
    }

    #[test]
    fn a_file_cut_short_anywhere_ends_nothing_but_itself() {
        let pieces = pieces();
        assert!(pieces.len() > 500, "only {}", pieces.len());
        for (name, bytes) in pieces {
            for document in source::documents(&name, &bytes).unwrap_or_default() {
                lint::warnings(&document, 0);
            }
            migrate::text(&name, &bytes);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_ends_the_command(text in "[-a-z0-9:{}\\[\\],&*!|>'\"#%@`\\\\ \t\n]{0,60}") {
            let _ = source::documents("any.yaml", text.as_bytes());
            let _ = source::documents("any.json", text.as_bytes());
            migrate::text("any.yaml", text.as_bytes());
        }
    }
}
