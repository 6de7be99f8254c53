//! What is printed: the configuration, then the routes, each a document.

use std::collections::HashSet;

use super::super::yaml::{comment, document, shown, Yaml};
use super::draft::Draft;
use super::ledger::Read;
use super::make;
use super::run::{Made, Resource, Run};

/// The page; nothing where there is nothing to migrate.
pub fn page(run: &Run<'_>) -> Option<String> {
    let mut made: Vec<(&Resource<'_>, Made)> = Vec::new();
    // What drives another comes first: it takes what it drives with it.
    let drives = |resource: &&Resource<'_>| resource.kind() == "Rollout";
    let (first, then): (Vec<_>, Vec<_>) = run.resources.iter().partition(drives);
    for resource in first.into_iter().chain(then) {
        if resource.used.get() {
            continue;
        }
        let mut one = make(run, resource);
        one.drafts.iter_mut().for_each(Draft::complete);
        if !one.drafts.is_empty() {
            made.push((resource, one));
        }
    }
    if made.is_empty() {
        return None;
    }
    let mut above = notes(run, &made);
    // What was read and is nowhere to be found word for word is named as well.
    let first = written(&above, &made);
    let words = words(&first);
    for (resource, one) in &mut made {
        let values = missing(&words, resource);
        if let Some(draft) = one.drafts.last_mut() {
            draft.said_otherwise(values);
        }
    }
    for resource in run.resources.iter().filter(|resource| resource.used.get()) {
        for (path, value) in missing(&words, resource) {
            above.push(format!(
                "{path}: {} of {} has another form here.",
                shown(&value),
                resource.from()
            ));
        }
    }
    Some(written(&above, &made))
}

/// Comments about what became no rollout.
fn notes(run: &Run<'_>, made: &[(&Resource<'_>, Made)]) -> Vec<String> {
    let mut notes = Vec::new();
    for resource in &run.resources {
        let is_made = made.iter().any(|(other, _)| std::ptr::eq(*other, resource));
        if is_made {
            continue;
        }
        let from = resource.from();
        if !resource.used.get() && resource.kind() == "DestinationRule" {
            notes.push(format!(
                "{from} says nothing about versions that the other files divide: passed over."
            ));
            continue;
        }
        if !resource.used.get() {
            notes.push(format!("{from} says nothing about versions: passed over."));
            continue;
        }
        let rest = resource.ledger.rest();
        if !rest.is_empty() {
            notes.push(format!("Not carried over from {from}:"));
            notes.extend(rest.into_iter().map(|(path, value)| format!("- {path}: {value}")));
        }
    }
    notes
}

fn written(above: &[String], made: &[(&Resource<'_>, Made)]) -> String {
    let mut text = String::new();
    above.iter().for_each(|line| comment(line, 0, &mut text));
    let drafts = made.iter().flat_map(|(_, one)| &one.drafts);
    let rollouts: Vec<Yaml> = drafts.map(Draft::finish).collect();
    text.push_str(&document(&Yaml::one("rollouts", rollouts)));
    for routes in made.iter().flat_map(|(_, one)| &one.routes) {
        text.push_str("---\n");
        routes.above.iter().for_each(|line| comment(line, 0, &mut text));
        text.push_str(&document(&routes.document));
    }
    text
}

/// The words of a page: what stands between blanks and brackets, and between quotes.
fn words(page: &str) -> HashSet<&str> {
    const EDGE: [char; 13] = ['{', '}', '[', ']', '(', ')', ',', ':', ';', '"', '\'', '#', '.'];
    let mut words = HashSet::new();
    for line in page.lines() {
        for word in line.split(' ') {
            let word = word.trim_matches(EDGE);
            words.insert(word);
            words.extend(word.split(EDGE));
            words.extend(word.split([':', '=', '/', '?']));
        }
        for quote in ['"', '\''] {
            words.extend(line.split(quote));
        }
        let anchored = line.split("^(?:").skip(1);
        words.extend(anchored.filter_map(|rest| rest.split(")$").next()));
        words.insert(line.split_once(": ").map_or(line, |(_, value)| value));
    }
    words
}

/// Maps whose keys are the source's own words, like their values.
const NAMED_BY_THE_SOURCE: [&str; 3] = ["sourceLabels", "matchLabels", "labels"];

/// Whether a key that leads to a value is a word of the source, and none of the words.
fn lacks_key(words: &HashSet<&str>, keys: &[String]) -> bool {
    let mut of_the_source = false;
    keys.iter().any(|key| {
        // The kinds' own keys have no hyphen, but for annotations, which have a slash too.
        let is_word = of_the_source || (key.contains('-') && !key.contains('/'));
        of_the_source = NAMED_BY_THE_SOURCE.contains(&key.as_str());
        is_word && !words.contains(key.as_str())
    })
}

/// The values of a resource that were read and are none of the words, or whose key is not.
fn missing(words: &HashSet<&str>, resource: &Resource<'_>) -> Vec<(String, String)> {
    let mut values = resource.ledger.read_values();
    values.retain(|Read { keys, value, .. }| {
        if lacks_key(words, keys) {
            return true;
        }
        let written = super::super::yaml::scalar(value);
        let bare = written.trim_matches(['"', '\'']);
        let trimmed = value.trim_matches(['{', '}', '[', ']', '(', ')', ',', ':', ';', '#', '.']);
        // What is true and what is not, the key says.
        !["", "true", "false"].contains(&value.as_str())
            && ![written.as_str(), bare, value.as_str(), trimmed]
                .iter()
                .any(|form| words.contains(form))
    });
    values.into_iter().map(|read| (read.path, read.value)).collect()
}
