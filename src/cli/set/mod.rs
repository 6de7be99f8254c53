//! `cohort set`: weights, revisions and the kill switch changed in place.

mod edit;
mod file;

use std::io::{self, Write};

use super::args::{Output, Set};
use super::report::Report;
use super::simulate;
use super::source::tree::{Data, Node};
use super::source::{self, Document};
use super::style::{paint, plain, BAD, FAINT, GOOD, STRONG};
use super::Exit;
use crate::bucket::Weight;
use crate::config::Config;
use crate::document::suggest::closest;
use crate::engine::Plan;

use edit::{Edit, Text};

pub fn run(args: &Set, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match change(args, out, err)? {
        Ok(exit) => Ok(exit),
        Err(why) => {
            writeln!(err, "{} {}: {why}", paint(BAD, "cohort:"), plain(&args.file))?;
            Ok(Exit::Unreadable)
        }
    }
}

/// Why nothing was changed: what is asked for is not there, or cannot be done in place.
type Refused = String;

fn change(
    args: &Set,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Result<Exit, Refused>> {
    let bytes = match source::bytes(&args.file) {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Err("found text that is not UTF-8, allowed: a configuration in UTF-8".into()));
    };
    let mut before = match source::read(&args.file, text.as_bytes()) {
        Ok(file) => file.documents,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let (position, changed) = match edited(args, &text, &before) {
        Ok(edited) => edited,
        Err(why) => return Ok(Err(why)),
    };
    let mut after = match source::read(&args.file, changed.as_bytes()) {
        Ok(file) => file.documents,
        Err(_) => Vec::new(),
    };
    let Some(new) = after.get(position) else { return Ok(Err(NOT_IN_PLACE.into())) };
    if !new.problems().is_empty() {
        Report { out, err, output: Output::Text }.document(&args.file, new, false, super::now())?;
        writeln!(err, "{} {}: not changed", paint(BAD, "cohort:"), plain(&args.file))?;
        return Ok(Ok(Exit::Problems));
    }
    if let Err(why) = only_what_was_asked(args, &before, &after, position) {
        return Ok(Err(why));
    }
    let is_stream = args.file == "-";
    if is_stream && !args.dry_run {
        out.write_all(changed.as_bytes())?;
    }
    // What a pipe carries on is the configuration; what there is to say of it goes beside.
    let say: &mut dyn Write = if is_stream && !args.dry_run { err } else { out };
    let old = before.swap_remove(position).config.ok().map(Plan::new);
    let Document { carrier, config, .. } = after.swap_remove(position);
    if let Ok(config) = config {
        tell(args, carrier.as_deref(), old.as_ref(), &Plan::new(config), say)?;
    }
    if text == changed {
        writeln!(say, "  {}", paint(FAINT, "The file says so already: it is left as it is."))?;
        return Ok(Ok(Exit::Good));
    }
    if args.dry_run {
        difference(&text, &changed, say)?;
        writeln!(say, "  {}", paint(FAINT, "A dry run: nothing is written."))?;
    } else if !is_stream {
        if let Err(error) = file::replace(&args.file, changed.as_bytes()) {
            return Ok(Err(format!("cannot write: {}", source::words(&error))));
        }
    }
    Ok(Ok(Exit::Good))
}

const NOT_IN_PLACE: &str =
    "found a way of writing it that cannot be changed in place, such as an alias, a \
                            merge key or folded text, allowed: a value that stands there by itself";

/// Which configuration of the file has the rollout, and the text with the change.
fn edited(args: &Set, text: &str, documents: &[Document]) -> Result<(usize, String), Refused> {
    let mut places = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (position, document) in documents.iter().enumerate() {
        let rollouts = document.tree.as_ref().and_then(|tree| tree.get("rollouts"));
        for (index, rollout) in rollouts.map(Node::items).unwrap_or_default().iter().enumerate() {
            let name = rollout.get("name").and_then(Node::text).unwrap_or_default();
            names.push(name);
            if name == args.rollout {
                places.push((position, index, rollout));
            }
        }
    }
    let (position, index, rollout) = match places.as_slice() {
        [place] => *place,
        [] if names.is_empty() => match documents.first().map(Document::problems).as_deref() {
            Some([problem, ..]) => return Err(problem.line.clone()),
            _ => return Err("found no rollouts".into()),
        },
        [] => return Err(unknown("rollout", &args.rollout, &names)),
        several => {
            let count = several.len();
            return Err(format!("found {count} rollouts called {}, allowed: one", args.rollout));
        }
    };
    let document = documents.get(position);
    let quotes = match document.and_then(|document| document.text.as_ref()) {
        None => None,
        // Where the places in a text are not known, nothing can be changed at one.
        Some((_, None)) => return Err(NOT_IN_PLACE.into()),
        Some((_, Some(holder))) => match holder.data {
            Data::Text(_, style) => Some(style),
            _ => return Err(NOT_IN_PLACE.into()),
        },
    };
    let config = document.and_then(|document| document.config.as_ref().ok());
    let known = config.and_then(|config| config.rollouts.get(index));
    if let Some(ramp) =
        known.and_then(|known| known.ramp.as_ref()).filter(|_| !args.weights.is_empty())
    {
        let start = super::instant_text(ramp.start);
        return Err(format!(
            "found a ramp, which decides the weights from {start} on, allowed: --disable, which sends \
             everybody to stable, or a rollout without the ramp"
        ));
    }
    let place = Text::new(text, quotes);
    let mut edits = Vec::new();
    for (version, weight) in weights(args, rollout)? {
        let node = version.get("weight").ok_or(NOT_IN_PLACE)?;
        edits.push(place.replace_word(node, &percent(weight)).ok_or(NOT_IN_PLACE)?);
    }
    for (name, revision) in &args.revision {
        let version = version_named(rollout, name)?;
        edits.push(match version.get("revision") {
            Some(node) => place.replace_text(node, revision).ok_or(NOT_IN_PLACE)?,
            None => insert(&place, version, "revision", &edit::json(revision))?,
        });
    }
    if args.enable || args.disable {
        let word = if args.enable { "true" } else { "false" };
        match rollout.get("enabled") {
            Some(node) => edits.push(place.replace_word(node, word).ok_or(NOT_IN_PLACE)?),
            // On is what a rollout is that does not say so.
            None if args.enable => {}
            None => edits.push(insert(&place, rollout, "enabled", word)?),
        }
    }
    let changed = edit::apply(text, edits).ok_or(NOT_IN_PLACE)?;
    Ok((position, changed))
}

fn insert(place: &Text<'_>, node: &Node, key: &str, value: &str) -> Result<Edit, Refused> {
    place.insert(node, "name", key, value).ok_or_else(|| NOT_IN_PLACE.into())
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Refused {
    let hint =
        closest(name, known).map_or(String::new(), |hint| format!(" (did you mean {hint}?)"));
    let known: Vec<_> = known.iter().map(|name| plain(name)).collect();
    format!("found no {what} {}, allowed: {}{hint}", plain(name), known.join(", "))
}

fn version_named<'a>(rollout: &'a Node, name: &str) -> Result<&'a Node, Refused> {
    let versions = rollout.get("versions").map(Node::items).unwrap_or_default();
    let own = |version: &'a Node| version.get("name").and_then(Node::text);
    versions.iter().find(|version| own(version) == Some(name)).ok_or_else(|| {
        let known: Vec<&str> = versions.iter().filter_map(own).collect();
        unknown("version", name, &known)
    })
}

/// The weight that each version gets in the file. That of stable is not written: it has what the others
/// leave, which has to be what was asked for.
fn weights<'a>(args: &Set, rollout: &'a Node) -> Result<Vec<(&'a Node, Weight)>, Refused> {
    let versions = rollout.get("versions").map(Node::items).unwrap_or_default();
    let mut wanted: Vec<(&Node, Weight)> = Vec::new();
    let mut stable = None;
    for (name, weight) in &args.weights {
        let version = version_named(rollout, name)?;
        if version.get("weight").is_some() {
            wanted.push((version, *weight));
        } else {
            stable = Some((name, *weight));
        }
    }
    let Some((name, weight)) = stable else { return Ok(wanted) };
    let weighted: Vec<&Node> =
        versions.iter().filter(|version| version.get("weight").is_some()).collect();
    let rest = Weight::FULL.thousandths() - weight.thousandths();
    if let ([other], []) = (weighted.as_slice(), wanted.as_slice()) {
        return Ok(vec![(other, Weight::from_thousandths(rest).unwrap_or_default())]);
    }
    if wanted.len() < weighted.len() {
        return Err(format!(
            "found a weight for {name}, which is stable and gets what the others leave, allowed: the weights \
             of the others"
        ));
    }
    let sum: u32 = wanted.iter().map(|(_, weight)| weight.thousandths()).sum();
    if sum != rest {
        let sum = f64::from(sum) / 1000.0;
        return Err(format!(
            "found weights that sum to {}, allowed: 100 where {name}, which is stable, is named too",
            weight.percent() + sum
        ));
    }
    Ok(wanted)
}

/// A weight as it is written in a configuration.
fn percent(weight: Weight) -> String {
    weight.percent().to_string()
}

/// Holds the file after the change against the file before: nothing but what was asked for is another.
fn only_what_was_asked(
    args: &Set,
    before: &[Document],
    after: &[Document],
    position: usize,
) -> Result<(), Refused> {
    let same = |(at, (old, new)): (usize, (&Document, &Document))| {
        at == position || shown(old) == shown(new)
    };
    let is_same = before.len() == after.len() && before.iter().zip(after).enumerate().all(same);
    let own = |documents: &[Document]| {
        documents
            .get(position)
            .and_then(|it| it.tree.clone())
            .map(|tree| masked(args, tree).brief())
    };
    let reached = match after.get(position).map(|document| &document.config) {
        Some(Ok(config)) => reached(args, config),
        _ => false,
    };
    if is_same && reached && own(before) == own(after) {
        Ok(())
    } else {
        Err(NOT_IN_PLACE.into())
    }
}

fn shown(document: &Document) -> Option<String> {
    document.tree.as_ref().map(Node::brief)
}

/// Whether a configuration says what was asked for.
fn reached(args: &Set, config: &Config) -> bool {
    let Some(rollout) = config.rollouts.iter().find(|it| it.name == args.rollout) else {
        return false;
    };
    let version = |name: &str| rollout.version_named(name.as_bytes());
    let weights = args.weights.iter().all(|(name, weight)| {
        version(name).is_some_and(|version| rollout.split.weight(version) == *weight)
    });
    let revisions = args.revision.iter().all(|(name, revision)| {
        let version = version(name).and_then(|version| rollout.versions.get(version));
        version.is_some_and(|version| version.revision.as_ref() == Some(revision))
    });
    let enabled = if args.enable { rollout.enabled } else { !args.disable || !rollout.enabled };
    weights && revisions && enabled
}

/// A configuration without what may be changed: the weights of the rollout's versions, the revisions that
/// are named, and `enabled`.
fn masked(args: &Set, mut tree: Node) -> Node {
    let Some(rollouts) = member(&mut tree, "rollouts") else { return tree };
    let Data::List(rollouts) = &mut rollouts.data else { return tree };
    for rollout in rollouts {
        if rollout.get("name").and_then(Node::text) != Some(&args.rollout) {
            continue;
        }
        if args.enable || args.disable {
            remove(rollout, "enabled");
        }
        let Some(versions) = member(rollout, "versions") else { continue };
        let Data::List(versions) = &mut versions.data else { continue };
        for version in versions {
            let name = version.get("name").and_then(Node::text).unwrap_or_default().to_owned();
            if !args.weights.is_empty() {
                remove(version, "weight");
            }
            if args.revision.iter().any(|(named, _)| *named == name) {
                remove(version, "revision");
            }
        }
    }
    tree
}

fn member<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.data {
        Data::Object(members) => {
            members.iter_mut().find(|member| member.key == key).map(|member| &mut member.value)
        }
        _ => None,
    }
}

fn remove(node: &mut Node, key: &str) {
    if let Data::Object(members) = &mut node.data {
        members.retain(|member| member.key != key);
    }
}

/// What changes, and who moves. `before` is the configuration before, if it could be read.
fn tell(
    args: &Set,
    carrier: Option<&str>,
    before: Option<&Plan>,
    after: &Plan,
    out: &mut dyn Write,
) -> io::Result<()> {
    let carrier = carrier.map_or(String::new(), |carrier| format!(", {}", plain(carrier)));
    let place = format!("{}{carrier}", plain(&args.file));
    writeln!(out, "{}  {}", paint(STRONG, plain(&args.rollout)), paint(FAINT, place))?;
    let rollout = |plan: &Plan| plan.rollout_named(&args.rollout);
    let named = |plan: &Plan, name: &str| -> Option<String> {
        let rollout = plan.rollouts().get(rollout(plan)?)?;
        rollout.versions.get(rollout.version_named(name.as_bytes())?)?.revision.clone()
    };
    for (name, revision) in &args.revision {
        let old = before.and_then(|plan| named(plan, name)).unwrap_or_else(|| "none".into());
        let (name, old, new) = (plain(name), plain(&old), plain(revision));
        writeln!(
            out,
            "  revision of {name}: {old} -> {new}: a hold-out ends, evidence begins anew"
        )?;
    }
    let is_on = |plan: &Plan| Some(plan.rollouts().get(rollout(plan)?)?.enabled);
    match (before.and_then(is_on), is_on(after)) {
        (Some(true), Some(false)) => writeln!(out, "  enabled -> disabled: everybody gets stable")?,
        (Some(false), Some(true)) => writeln!(out, "  disabled -> enabled")?,
        _ => {}
    }
    match before {
        None => writeln!(out, "  {}", paint(GOOD, "The file had problems; now it is good.")),
        Some(before) => simulate::moved(before, after, &args.rollout, super::now(), out),
    }
}

/// The lines that change.
fn difference(before: &str, after: &str, out: &mut dyn Write) -> io::Result<()> {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let mut at = 0;
    for (number, line) in new.iter().enumerate() {
        if old.get(at) == Some(line) {
            at += 1;
            continue;
        }
        // A line is changed, or new behind the one before it.
        let is_new =
            new.len() > old.len() && old.get(at).is_none_or(|old| new.get(number + 1) == Some(old));
        if let Some(old) = old.get(at).filter(|_| !is_new) {
            writeln!(out, "  {}", paint(BAD, format!("- {}", plain(old))))?;
            at += 1;
        }
        writeln!(out, "  {}", paint(GOOD, format!("+ {}", plain(line))))?;
    }
    Ok(())
}
