//! A count as a table with bars, or as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::super::report::json_line;
use super::super::style::{self, paint, plain, FAINT, GOOD, STRONG, WARNING};
use super::flow::Flow;
use crate::config::Rollout;
use crate::engine::Reason;

/// The width of a bar for everybody, in characters.
const BAR: u64 = 40;

#[derive(Serialize)]
struct Line<'a> {
    rollout: &'a str,
    version: &'a str,
    weight: f64,
    share: f64,
    users: u64,
    moved_in: u64,
    moved_out: u64,
}

/// A line for each version.
pub fn json(flow: &Flow<'_>, out: &mut dyn Write) -> io::Result<()> {
    for (position, tally) in flow.versions.iter().enumerate() {
        let line = Line {
            rollout: flow.rollout,
            version: tally.name,
            weight: tally.weight.percent(),
            share: flow.share(tally.users),
            users: tally.users,
            moved_in: flow.moved_in(position),
            moved_out: flow.moved_out(position),
        };
        json_line(out, &line)?;
    }
    Ok(())
}

/// The table of one rollout. `before` is the old configuration, if there is one, and its rollout of
/// the same name, if that has one.
pub fn text(
    flow: &Flow<'_>,
    rollout: &Rollout,
    before: Option<Option<&Rollout>>,
    keys: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let noun = if keys == 1 { "key" } else { "keys" };
    let head =
        format!("{} {noun} as {}, salt {}", grouped(keys), plain(&flow.carrier), plain(flow.salt));
    writeln!(out, "{}  {}", paint(STRONG, flow.rollout), paint(FAINT, head))?;
    let width = flow.versions.iter().map(|tally| tally.name.len()).max().unwrap_or(0).max(7);
    writeln!(out, "  {:width$}  {:>9}  {:>9}  {:>11}", "version", "wanted", "actual", "users")?;
    for (position, tally) in flow.versions.iter().enumerate() {
        let wanted = format!("{} %", tally.weight.percent());
        let actual = format!("{:.3} %", flow.share(tally.users));
        let bar = bar(tally.users, flow.total);
        let bar = if bar.is_empty() { bar } else { paint(style::version(position), bar) };
        let gone = if position >= flow.present { " (gone)" } else { "" };
        let row = format!(
            "{:width$}  {wanted:>9}  {actual:>9}  {:>11}  {bar}",
            tally.name,
            grouped(tally.users)
        );
        writeln!(out, "  {}{gone}", row.trim_end())?;
    }
    reasons(flow, out)?;
    match before {
        None => Ok(()),
        Some(None) => writeln!(out, "  The rollout is new: there is nothing to compare with."),
        Some(Some(before)) => moves(flow, rollout, before, out),
    }
}

/// What each version had and has, and who moves.
pub fn before_and_after(
    flow: &Flow<'_>,
    before: &Rollout,
    rollout: &Rollout,
    out: &mut dyn Write,
) -> io::Result<()> {
    let width = flow.versions.iter().map(|tally| tally.name.len()).max().unwrap_or(0).max(7);
    writeln!(out, "  {:width$}  {:>9}  {:>9}", "version", "before", "after")?;
    for (position, tally) in flow.versions.iter().enumerate() {
        let old: u64 = flow.versions.iter().filter_map(|later| later.from.get(position)).sum();
        let (old, new) = (flow.share(old), flow.share(tally.users));
        let name = paint(style::version(position), format!("{:width$}", tally.name));
        writeln!(out, "  {name}  {:>9}  {:>9}", format!("{old:.3} %"), format!("{new:.3} %"))?;
    }
    moves(flow, rollout, before, out)
}

/// Why, where it is not by the hash for everybody.
fn reasons(flow: &Flow<'_>, out: &mut dyn Write) -> io::Result<()> {
    let hashed = flow.reasons.get(Reason::Hash.index()).copied().unwrap_or_default();
    if hashed == flow.total {
        return Ok(());
    }
    let counted = Reason::ALL.iter().zip(&flow.reasons).filter(|(_, count)| **count > 0);
    let words: Vec<String> =
        counted.map(|(reason, count)| format!("{} {}", reason.as_str(), grouped(*count))).collect();
    writeln!(out, "  by reason: {}", words.join(", "))
}

fn moves(
    flow: &Flow<'_>,
    rollout: &Rollout,
    before: &Rollout,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (moved, needed) = (flow.moved(), flow.needed());
    if moved == 0 {
        return writeln!(out, "  {}", paint(GOOD, "Nobody moves."));
    }
    writeln!(
        out,
        "  {} of {} move ({} %):",
        grouped(moved),
        grouped(flow.total),
        flow.share(moved)
    )?;
    let flows = flow.flows();
    let width = |end: fn(&(&str, &str, u64)) -> usize| flows.iter().map(end).max().unwrap_or(0);
    let (left, right) = (width(|flow| flow.0.len()), width(|flow| flow.1.len()));
    for (from, to, users) in &flows {
        writeln!(
            out,
            "    {from:left$} -> {to:right$}  {:>11}  {:.3} %",
            grouped(*users),
            flow.share(*users)
        )?;
    }
    if moved == needed {
        writeln!(out, "  {}", paint(GOOD, "Nobody moves who need not."))?;
    } else {
        let why = causes(rollout, before);
        let words = format!(
            "{} move who need not: the new weights take {} moves.{why}",
            grouped(moved - needed),
            grouped(needed)
        );
        writeln!(out, "  {}", paint(WARNING, words))?;
    }
    if rollout.pin.is_some() && before.pin.is_some() {
        writeln!(out, "  Users with a pin stay where they are, as long as it holds.")?;
    }
    Ok(())
}

/// What makes users move without need.
fn causes(rollout: &Rollout, before: &Rollout) -> String {
    let mut causes = Vec::new();
    if rollout.salt != before.salt {
        causes.push(format!("the salt was {}", plain(&before.salt)));
    }
    if rollout.scheme != before.scheme {
        causes.push("the hashScheme was another".to_owned());
    }
    if rollout.hash_key != before.hash_key {
        causes.push("hashKey was another".to_owned());
    }
    let names = |rollout: &Rollout| -> Vec<String> {
        rollout.versions.iter().map(|version| version.name.clone()).collect()
    };
    if names(rollout) != names(before) {
        causes.push(format!("the versions were {}", names(before).join(", ")));
    }
    if causes.is_empty() {
        String::new()
    } else {
        format!(" Before, {}.", causes.join("; "))
    }
}

/// A bar as wide as the share of `users`, to an eighth of a character.
fn bar(users: u64, total: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(users) * u128::from(BAR) * 8;
    let eighths = eighths.checked_div(u128::from(total)).unwrap_or(0) as usize;
    let part = PARTS.get(eighths % 8).copied().unwrap_or_default();
    // Somebody is more than nobody.
    let least = if users > 0 && eighths == 0 { "▏" } else { part };
    format!("{}{least}", "█".repeat(eighths / 8))
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let all: Vec<String> = [0, 999, 1000, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_bar_is_as_wide_as_the_share() {
        assert_eq!(bar(50, 100), "█".repeat(20));
        assert_eq!(bar(1, 100), "▍".to_owned());
        assert_eq!(
            (bar(1, 1_000_000), bar(0, 10), bar(0, 0)),
            ("▏".into(), String::new(), String::new())
        );
    }
}
