//! `cohort explain`: one request, step by step.

mod proxy;
mod why;
mod words;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::rc::Rc;

use serde::Serialize;

use super::args::{Explain, Output};
use super::report::{self, json_line};
use super::style::{self, paint, FAINT, STRONG};
use super::Exit;
use crate::bucket::Split;
use crate::config::{Choice, Mode, Rollout};
use crate::engine::{decide, Decision, Plan, Reason, Request, Saw, Standing, Verdict, Witness};
use crate::filter::{Identity, LoadedConfig, Stream};

use proxy::{Change, Proxy};

pub fn run(args: &Explain, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let config = match report::only(&args.file, out, err)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let proxy = Proxy {
        request: headers(args).collect(),
        address: args.address,
        principal: args.principal.clone(),
        now: args.at.unwrap_or_else(super::now),
        changes: RefCell::default(),
    };
    let loaded = Rc::new(LoadedConfig::new(Plan::new(config), 0, &Identity::default(), None));
    let mut stream = Stream::new(Rc::clone(&loaded));
    stream.on_request_headers(&proxy);
    stream.on_response_headers(&proxy, true);
    let changes = proxy.changes.take();
    let request = Request::new(&loaded.plan, &proxy.request, &proxy);
    let explained = loaded.rollouts().map(|loaded_rollout| {
        let rollout = loaded_rollout.config;
        if !rollout.applies(&request) {
            return Explained { rollout, split: &rollout.split, steps: Vec::new(), decision: None };
        }
        let split = loaded_rollout.split(proxy.now);
        let turn = &loaded_rollout.state.probe_turn;
        let standing = Standing { split, holds: &[], turn };
        let mut steps = Steps { rollout, steps: Vec::new() };
        let decision = decide(loaded.plan.config(), rollout, &standing, &request, &mut steps);
        Explained { rollout, split, steps: steps.steps, decision: Some(decision) }
    });
    let explained: Vec<Explained<'_>> = explained.collect();
    match args.output {
        Output::Json => json(&explained, &changes, out)?,
        Output::Text => {
            for explained in &explained {
                explained.text(loaded.plan.config(), &request, out)?;
                writeln!(out)?;
            }
            effects(&changes, out)?;
        }
    }
    Ok(Exit::Good)
}

/// The header map as a proxy has it.
fn headers(args: &Explain) -> impl Iterator<Item = (&str, &str)> {
    let url = &args.url;
    let pseudo = [
        (":method", args.method.as_str()),
        (":scheme", &url.scheme),
        (":authority", &url.authority),
        (":path", &url.target),
    ];
    pseudo
        .into_iter()
        .chain(args.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// The steps of a decision on a rollout, in order.
struct Steps<'a> {
    rollout: &'a Rollout,
    steps: Vec<Step>,
}

struct Step {
    reason: Reason,
    verdict: Verdict,
    saw: String,
}

impl Witness for Steps<'_> {
    fn step(&mut self, step: Reason, verdict: Verdict, saw: Saw<'_>) {
        let saw = words::saw(self.rollout, saw);
        self.steps.push(Step { reason: step, verdict, saw });
    }
}

/// What there is to say of one rollout.
struct Explained<'a> {
    rollout: &'a Rollout,
    split: &'a Split,
    steps: Vec<Step>,
    /// `None`: the request is not one that the rollout decides.
    decision: Option<Decision>,
}

impl Explained<'_> {
    fn text(
        &self,
        config: &crate::config::Config,
        request: &Request<'_>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let rollout = self.rollout;
        writeln!(out, "{}", paint(STRONG, &rollout.name))?;
        let Some(decision) = &self.decision else {
            let why = why::none_of(rollout.matches.as_deref().unwrap_or_default(), request);
            return writeln!(out, "  does not decide this request: {why}");
        };
        let mut rules = rollout.rules.iter();
        for step in &self.steps {
            let rule = if step.reason == Reason::Rule { rules.next() } else { None };
            let detail = match (step.reason, step.verdict, rule) {
                (Reason::Rule, Verdict::Passed, Some(rule)) => why::rule(config, rule, request),
                (Reason::Rule, Verdict::Decided(_), Some(rule))
                    if matches!(rule.choice, Choice::Weights(_)) =>
                {
                    words::keys(rollout, request)
                }
                (Reason::Hash, ..) => words::keys(rollout, request),
                _ => String::new(),
            };
            let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
            let name = format!("{:<9}", step.reason.as_str());
            match step.verdict {
                Verdict::Passed => writeln!(out, "  {}  {}{detail}", paint(FAINT, name), step.saw)?,
                Verdict::Decided(version) => {
                    let chosen = paint(style::version(version), self.name(version));
                    writeln!(out, "  {}  {}{detail} -> {chosen}", paint(STRONG, name), step.saw)?;
                }
            }
        }
        let version = paint(style::version(decision.version), self.name(decision.version));
        writeln!(out, "  {version}, reason {}", paint(STRONG, decision.reason.as_str()))?;
        self.buckets(decision, out)?;
        if rollout.mode == Mode::Shadow {
            writeln!(out, "  shadow mode: this is counted and logged, and changes nothing")?;
        }
        if rollout.is_watched() {
            writeln!(
                out,
                "  {}",
                paint(FAINT, "taken to be healthy: a version held out would give way to FALLBACK")
            )?;
        }
        Ok(())
    }

    /// Who owns which buckets.
    fn buckets(&self, decision: &Decision, out: &mut dyn Write) -> io::Result<()> {
        let rule = decision.rule.and_then(|rule| self.rollout.rules.get(rule));
        let (split, whose) = match rule.map(|rule| (&rule.choice, &rule.name)) {
            Some((Choice::Weights(split), name)) => (split, format!(" (by rule {name})")),
            _ => (self.split, String::new()),
        };
        let owners: Vec<String> = split
            .ranges()
            .iter()
            .map(|range| {
                let share = split.weight(range.version).percent();
                let owner = format!(
                    "{} {}-{} ({share} %)",
                    self.name(range.version),
                    range.start,
                    range.end - 1
                );
                let here = decision
                    .bucket
                    .is_some_and(|bucket| (range.start..range.end).contains(&bucket));
                if here {
                    paint(style::version(range.version), owner)
                } else {
                    owner
                }
            })
            .collect();
        let all = self.rollout.scheme.buckets();
        let bucket = match decision.bucket {
            Some(bucket) => format!("bucket {bucket} of {all}"),
            None => format!("of {all} buckets"),
        };
        writeln!(out, "  {bucket}{whose}: {}", owners.join(", "))
    }

    fn name(&self, version: usize) -> &str {
        self.rollout.versions.get(version).map_or("", |version| version.name.as_str())
    }
}

/// What the proxy and the client would see.
fn effects(changes: &[Change], out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    for change in changes {
        lines.push(match change {
            Change::Set(name, value) => format!("request   {name}: {value}"),
            Change::Remove(name) => format!("request   without {name}, which the client sent"),
            Change::Answer(name, value) | Change::AnswerAlso(name, value) => {
                format!("response  {name}: {value}")
            }
        });
    }
    if lines.is_empty() {
        return writeln!(out, "no headers change");
    }
    let has_example = lines.iter().any(|line| line.contains(&proxy::example_id()));
    let has_cookie = lines.iter().any(|line| line.starts_with("response  set-cookie: "));
    for (holds, note) in [
        (has_example, "(the anonymous id is an example: the proxy makes up a random one)"),
        (has_cookie, "(cookies go out only on an answer that no shared cache may keep)"),
    ] {
        if holds {
            lines.push(paint(FAINT, note));
        }
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

#[derive(Serialize)]
struct Line<'a> {
    rollout: &'a str,
    version: Option<&'a str>,
    reason: Option<&'a str>,
    bucket: Option<u32>,
    rule: Option<&'a str>,
    headers: BTreeMap<&'a str, &'a str>,
}

fn json(explained: &[Explained<'_>], changes: &[Change], out: &mut dyn Write) -> io::Result<()> {
    let mut claimed = BTreeSet::new();
    for explained in explained {
        let rollout = explained.rollout;
        let mut line = Line {
            rollout: &rollout.name,
            version: None,
            reason: None,
            bucket: None,
            rule: None,
            headers: BTreeMap::new(),
        };
        if let Some(decision) = &explained.decision {
            line.version = Some(explained.name(decision.version));
            line.reason = Some(decision.reason.as_str());
            line.bucket = decision.bucket;
            let rule = decision.rule.and_then(|rule| rollout.rules.get(rule));
            line.rule = rule.map(|rule| rule.name.as_str());
            let mine = match rollout.mode {
                Mode::Enforce => written(rollout, decision),
                Mode::Shadow => Vec::new(),
            };
            // Of two rollouts that would write the same header the first does; each has a member of the baggage.
            for name in mine.into_iter().filter(|name| claimed.insert(*name) || *name == BAGGAGE) {
                for change in changes {
                    match change {
                        Change::Set(set, value) if set == name => {
                            line.headers.insert(name, value);
                        }
                        _ => {}
                    }
                }
            }
        }
        json_line(out, &line)?;
    }
    Ok(())
}

const BAGGAGE: &str = "baggage";

/// The request headers that a decision is written in.
fn written<'a>(rollout: &'a Rollout, decision: &Decision) -> Vec<&'a str> {
    let own = rollout.on_request(decision.version).map(|(write, _)| write.header.as_str());
    own.chain(rollout.output.baggage.then_some(BAGGAGE)).collect()
}
