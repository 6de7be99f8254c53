//! `cohort simulate`: many keys through every rollout.

mod flow;
mod keys;
mod table;

use std::cell::Cell;
use std::io::{self, Write};
use std::net::IpAddr;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::{Output, Simulate};
use super::report::{self, json_line};
use super::source::{self, Unreadable};
use super::style::{paint, plain, BAD, STRONG, WARNING};
use super::Exit;
use crate::bucket::VersionIndex;
use crate::config::{Config, Millis, Rollout};
use crate::engine::{
    decide, split_in_force, Decision, Plan, Reason, Request, Standing, Surroundings,
};

use flow::Flow;
use keys::{Carrier, Keys};

/// How many made-up users a change is tried on.
const MADE_UP: u64 = 10_000;

/// From how many decisions on a progress bar is worth showing.
const LONG: u64 = 500_000;

pub fn run(args: &Simulate, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let keys = match population(args) {
        Ok(keys) => keys,
        Err((file, why)) => return complain(err, &file, &why),
    };
    let new = match report::only(&args.file, out, err)? {
        Ok(config) => Plan::new(config),
        Err(exit) => return Ok(exit),
    };
    let old = match &args.against {
        None => None,
        Some(file) => match report::only(file, out, err)? {
            Ok(config) => Some(Plan::new(config)),
            Err(exit) => return Ok(exit),
        },
    };
    let now = args.at.unwrap_or_else(super::now);
    for plan in std::iter::once(&new).chain(&old) {
        for rollout in plan.rollouts() {
            let carrier = Carrier::of(rollout);
            if let Some(key) = keys.unfit(&carrier) {
                let file = args.keys_from.as_deref().unwrap_or_default();
                let why = format!(
                    "the key \"{}\" cannot be the {carrier} that rollout {} is keyed by",
                    key.escape_ascii(),
                    rollout.name
                );
                return complain(err, file, &why);
            }
        }
    }
    let simulation = Simulation { keys: &keys, now };
    if args.column.is_none() {
        if let Some(line) = keys.looks_like_csv() {
            let file = plain(args.keys_from.as_deref().unwrap_or_default());
            let (mark, line) = (paint(WARNING, "warning:"), line.escape_ascii());
            writeln!(
                err,
                "{}: {mark} the lines look like CSV ({line}), and a whole line is taken for a key; name a \
                 column with --column",
                paint(STRONG, file)
            )?;
        }
    }
    if args.list {
        simulation.list(&new, old.as_ref(), args.output, out)?;
    } else {
        simulation.compare(&new, old.as_ref(), args, out)?;
    }
    Ok(Exit::Good)
}

fn complain(err: &mut dyn Write, file: &str, why: &str) -> io::Result<Exit> {
    writeln!(err, "{} {}: {why}", paint(BAD, "cohort:"), plain(file))?;
    Ok(Exit::Unreadable)
}

/// The keys that the command line asks for; else the file that has none, and why.
fn population(args: &Simulate) -> Result<Keys, (String, String)> {
    let Some(file) = &args.keys_from else { return Ok(Keys::MadeUp(args.keys)) };
    let no = |why: String| (file.clone(), why);
    let inputs = [Some(&args.file), args.against.as_ref(), Some(file)];
    if inputs.iter().flatten().filter(|input| **input == "-").count() > 1 {
        return Err(no("standard input can be only one of the files".into()));
    }
    let text = source::bytes(file).map_err(|why: Unreadable| no(why.to_string()))?;
    let keys = match &args.column {
        Some(column) => Keys::column(&text, column).map_err(no)?,
        None => Keys::lines(text),
    };
    if keys.count() == 0 {
        Err(no("found no keys, allowed: one a line".into()))
    } else {
        Ok(keys)
    }
}

/// What to put through rollouts, and when.
struct Simulation<'a> {
    keys: &'a Keys,
    now: Millis,
}

/// The surroundings of a made-up request.
struct Client(Option<IpAddr>);

impl Surroundings for Client {
    fn client_address(&self) -> Option<IpAddr> {
        self.0
    }

    fn random(&self) -> Option<[u8; 16]> {
        None
    }
}

/// One rollout of a configuration, ready to decide.
struct Side<'a> {
    plan: &'a Plan,
    rollout: &'a Rollout,
    standing: Standing<'a>,
    carrier: Carrier<'a>,
    /// Whether a key is what the carrier yields, and not what it carries.
    captured: bool,
}

impl<'a> Side<'a> {
    fn new(
        plan: &'a Plan,
        rollout: &'a Rollout,
        simulation: &Simulation<'_>,
        turn: &'a Cell<u32>,
    ) -> Self {
        let split = split_in_force(rollout, simulation.now, None);
        let carrier = Carrier::of(rollout);
        let captured = simulation.keys.are_captured(&carrier);
        Self { plan, rollout, standing: Standing { split, holds: &[], turn }, carrier, captured }
    }

    fn decide(&self, key: &[u8], scratch: &mut Vec<u8>) -> Decision {
        let (headers, address) = self.carrier.request(key, scratch);
        let client = Client(address);
        let request = Request::new(self.plan, &headers, &client);
        let request = if self.captured { request.with_key(key) } else { request };
        decide(self.plan.config(), self.rollout, &self.standing, &request, &mut ())
    }

    fn name(&self, version: VersionIndex) -> &'a str {
        self.rollout.versions.get(version).map_or("", |version| version.name.as_str())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    rollout: &'a str,
    key: std::borrow::Cow<'a, str>,
    bucket: Option<u32>,
    /// The version before, of a key that moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    version: &'a str,
}

impl Line<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { rollout, key, bucket, from, version } = self;
        let bucket = bucket.map_or("-".into(), |bucket| bucket.to_string());
        let from = from.map_or(String::new(), |from| format!("{from} -> "));
        writeln!(out, "{rollout} {} {bucket} {from}{version}", plain(key))
    }
}

impl Simulation<'_> {
    /// A line for each key; with an old configuration for each that moves.
    fn list(
        &self,
        plan: &Plan,
        old: Option<&Plan>,
        output: Output,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let (mut key, mut scratch) = (Vec::new(), Vec::new());
        let turn = Cell::new(0);
        for rollout in plan.rollouts() {
            let side = Side::new(plan, rollout, self, &turn);
            let before = old.and_then(|old| {
                let position = old.rollout_named(&rollout.name)?;
                Some(Side::new(old, old.rollouts().get(position)?, self, &turn))
            });
            if old.is_some() && before.is_none() {
                // Whoever is in a new rollout has not come from anywhere.
                continue;
            }
            for position in 0..self.keys.count() {
                self.keys.write(position, &side.carrier, &mut key);
                let decision = side.decide(&key, &mut scratch);
                let version = side.name(decision.version);
                let from = before.as_ref().map(|before| {
                    self.keys.write(position, &before.carrier, &mut key);
                    before.name(before.decide(&key, &mut scratch).version)
                });
                if from == Some(version) {
                    continue;
                }
                self.keys.write(position, &side.carrier, &mut key);
                let line = Line {
                    rollout: &rollout.name,
                    key: String::from_utf8_lossy(&key),
                    bucket: decision.bucket,
                    from,
                    version,
                };
                match output {
                    Output::Json => json_line(out, &line)?,
                    Output::Text => line.text(out)?,
                }
            }
        }
        Ok(())
    }

    /// Puts every key through one rollout, and through what it was before.
    fn flow<'a>(
        &self,
        after: &Side<'a>,
        before: Option<&Side<'a>>,
        done: &dyn Fn(u64),
    ) -> Flow<'a> {
        let (mut flow, columns) = Flow::new(after, before);
        let (mut key, mut scratch) = (Vec::new(), Vec::new());
        for position in 0..self.keys.count() {
            self.keys.write(position, &after.carrier, &mut key);
            let decision = after.decide(&key, &mut scratch);
            let earlier = before.map(|before| {
                self.keys.write(position, &before.carrier, &mut key);
                let version = before.decide(&key, &mut scratch).version;
                columns.get(version).copied().unwrap_or_default()
            });
            flow.count(decision.version, decision.reason, earlier);
            if position.is_multiple_of(0x4000) {
                done(0x4000 * (1 + u64::from(before.is_some())));
            }
        }
        flow
    }

    fn compare(
        &self,
        new: &Plan,
        old: Option<&Plan>,
        args: &Simulate,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let passes = new.rollouts().len() as u64 * (1 + u64::from(old.is_some()));
        let bar = progress(self.keys.count() * passes);
        // Nobody probes here, so that it does not matter whose turn it is.
        let turn = Cell::new(0);
        let mut flows = Vec::new();
        for rollout in new.rollouts() {
            let after = Side::new(new, rollout, self, &turn);
            let before = old.and_then(|plan| {
                let position = plan.rollout_named(&rollout.name)?;
                Some(Side::new(plan, plan.rollouts().get(position)?, self, &turn))
            });
            flows.push(self.flow(&after, before.as_ref(), &|decisions| bar.inc(decisions)));
        }
        bar.finish_and_clear();
        for (index, (flow, rollout)) in flows.iter().zip(new.rollouts()).enumerate() {
            match args.output {
                Output::Json => table::json(flow, out)?,
                Output::Text => {
                    if index > 0 {
                        writeln!(out)?;
                    }
                    let before = old.map(|plan| {
                        plan.rollout_named(&rollout.name).and_then(|at| plan.rollouts().get(at))
                    });
                    table::text(flow, rollout, before, self.keys.count(), out)?;
                }
            }
        }
        if args.output == Output::Text {
            gone(new.config(), old, out)?;
        }
        Ok(())
    }
}

/// Who among made-up users moves in the rollout called `name`, as a table of before and after.
pub fn moved(
    before: &Plan,
    after: &Plan,
    name: &str,
    now: Millis,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rollout = |plan: &Plan| plan.rollout_named(name);
    let (Some(old), Some(new)) = (rollout(before), rollout(after)) else { return Ok(()) };
    let (Some(old), Some(new)) = (before.rollouts().get(old), after.rollouts().get(new)) else {
        return Ok(());
    };
    let (keys, turn) = (Keys::MadeUp(MADE_UP), Cell::new(0));
    let simulation = Simulation { keys: &keys, now };
    let after = Side::new(after, new, &simulation, &turn);
    let before = Side::new(before, old, &simulation, &turn);
    let flow = simulation.flow(&after, Some(&before), &|_| ());
    table::before_and_after(&flow, old, new, out)
}

/// Names the rollouts that are in the old configuration only.
fn gone(new: &Config, old: Option<&Plan>, out: &mut dyn Write) -> io::Result<()> {
    let old = old.map(Plan::rollouts).unwrap_or_default();
    for rollout in old.iter().filter(|old| !new.rollouts.iter().any(|new| new.name == old.name)) {
        writeln!(
            out,
            "\n{} is gone: the route table's default decides for all of its users.",
            rollout.name
        )?;
    }
    if new.rollouts.is_empty() {
        writeln!(out, "The configuration has no rollouts: there is nothing to simulate.")?;
    }
    Ok(())
}

/// A bar on standard error, on a terminal and for long runs only.
fn progress(decisions: u64) -> ProgressBar {
    if decisions < LONG {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(decisions);
    if let Ok(style) =
        ProgressStyle::with_template("  {bar:40.cyan} {percent:>3} %  {human_pos} decisions")
    {
        bar.set_style(style);
    }
    bar
}

/// Every reason, for counting by it.
const REASONS: usize = Reason::ALL.len();
