//! A picture as tables for people and as lines for scripts.

use std::io::{self, Write};

use serde::Serialize;

use super::super::report::json_line;
use super::super::style::{self, paint, plain, BAD, FAINT, GOOD, STRONG};
use super::picture::{Picture, Version};
use super::Asked;

/// What is shown.
pub struct View<'a> {
    pub picture: &'a Picture,
    /// What was in the `seconds` of the rate.
    pub recent: &'a Picture,
    pub seconds: Option<f64>,
    pub asked: &'a Asked,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename = "plugin")]
struct PluginLine<'a> {
    plugin: &'a str,
    valid: bool,
    rejected: f64,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename = "version")]
struct VersionLine<'a> {
    plugin: &'a str,
    rollout: &'a str,
    version: &'a str,
    asked: Option<f64>,
    weight: Option<f64>,
    share: Option<f64>,
    requests: f64,
    rate: Option<f64>,
    failures: f64,
    failed: Option<f64>,
    p50: Option<f64>,
    p99: Option<f64>,
    held_out: bool,
    causes: Vec<&'a str>,
    evidence: Option<f64>,
    failing_checks: Vec<&'a str>,
}

/// One version and what there is to say of it.
struct Row<'a> {
    version: &'a Version,
    asked: Option<f64>,
    /// Percent of the requests.
    share: Option<f64>,
    rate: Option<f64>,
    /// Percent of the answers.
    failed: Option<f64>,
}

impl View<'_> {
    pub fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        for (plugin, state) in &self.picture.plugins {
            let (valid, rejected) = (!state.is_invalid, state.rejected);
            json_line(out, &PluginLine { plugin, valid, rejected })?;
            for (rollout, versions) in &state.rollouts {
                for name in versions.keys() {
                    let Some(row) = self.row(plugin, rollout, name) else { continue };
                    let version = row.version;
                    let failing = version.checks.iter().filter(|(_, (_, failing))| *failing);
                    let line = VersionLine {
                        plugin,
                        rollout,
                        version: name,
                        asked: row.asked,
                        weight: version.weight,
                        share: row.share.map(rounded),
                        requests: version.requests,
                        rate: row.rate.map(rounded),
                        failures: version.failures,
                        failed: row.failed.map(rounded),
                        p50: version.quantile(0.5).map(rounded),
                        p99: version.quantile(0.99).map(rounded),
                        held_out: version.held_out,
                        causes: version.causes(),
                        evidence: version.evidence,
                        failing_checks: failing.map(|(check, _)| check.as_str()).collect(),
                    };
                    json_line(out, &line)?;
                }
            }
        }
        Ok(())
    }

    pub fn text(&self, wants: &[String], out: &mut dyn Write) -> io::Result<()> {
        for (plugin, state) in &self.picture.plugins {
            for (rollout, versions) in &state.rollouts {
                let whose =
                    if plugin.is_empty() { String::new() } else { format!("  plugin {plugin}") };
                writeln!(out, "{}{}", paint(STRONG, plain(rollout)), paint(FAINT, plain(&whose)))?;
                let width = versions.keys().map(|name| plain(name).chars().count()).max();
                let width = width.unwrap_or(0).max(7);
                let name = format!("{:width$}", "version");
                writeln!(
                    out,
                    "  {name}    asked  in force    share    req/s   failed       p50       p99  state"
                )?;
                for (position, name) in versions.keys().enumerate() {
                    let Some(row) = self.row(plugin, rollout, name) else { continue };
                    let line = row.text();
                    let name = format!("{:width$}", plain(name));
                    let name = paint(style::version(position), name);
                    writeln!(out, "  {name} {}{}", line, row.state())?;
                }
                for (name, version) in versions {
                    for (check, (value, failing)) in &version.checks {
                        let value = value.map_or("no answer".into(), |value| value.to_string());
                        let verdict =
                            if *failing { paint(BAD, "fails") } else { paint(GOOD, "holds") };
                        let (check, name) = (plain(check), plain(name));
                        writeln!(out, "  check {check} of {name}: {value}, {verdict}")?;
                    }
                }
            }
        }
        let is_valid = self.picture.plugins.values().all(|plugin| !plugin.is_invalid);
        let word = if is_valid { paint(GOOD, "valid") } else { paint(BAD, "not valid") };
        writeln!(out, "configuration: {word}")?;
        for want in wants {
            writeln!(out, "{} {}", paint(BAD, "wants a person:"), plain(want))?;
        }
        Ok(())
    }

    fn row(&self, plugin: &str, rollout: &str, name: &str) -> Option<Row<'_>> {
        let versions = self.picture.plugins.get(plugin)?.rollouts.get(rollout)?;
        let version = versions.get(name)?;
        let requests: f64 = versions.values().map(|version| version.requests).sum();
        let recent = self.recent.plugins.get(plugin)?.rollouts.get(rollout)?.get(name)?;
        let percent = |part: f64, whole: f64| (whole > 0.0).then(|| part * 100.0 / whole);
        Some(Row {
            version,
            asked: self.asked.get(&(rollout.to_owned(), name.to_owned())).copied(),
            share: percent(version.requests, requests),
            rate: self.seconds.filter(|it| *it > 0.0).map(|seconds| recent.requests / seconds),
            failed: percent(version.failures, version.responses),
        })
    }
}

impl Row<'_> {
    fn text(&self) -> String {
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{} %", short(value)),
            None => "-".to_owned(),
        };
        let time = |share| match self.version.quantile(share) {
            Some(time) => format!("{} ms", short(time)),
            None => "-".to_owned(),
        };
        let rate = self.rate.map_or("-".to_owned(), short);
        format!(
            "{:>8} {:>9} {:>8} {rate:>8} {:>8} {:>9} {:>9}",
            percent(self.asked),
            percent(self.version.weight),
            percent(self.share),
            percent(self.failed),
            time(0.5),
            time(0.99)
        )
    }

    fn state(&self) -> String {
        let version = self.version;
        if version.held_out {
            let causes: Vec<_> = version.causes().into_iter().map(plain).collect();
            let why =
                if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
            return format!("  {}", paint(BAD, format!("held out{why}")));
        }
        match version.evidence.filter(|evidence| *evidence > 0.0) {
            Some(evidence) => format!("  evidence {:.0} %", evidence * 100.0),
            None => String::new(),
        }
    }
}

/// A number in as few digits as a person needs.
fn short(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
