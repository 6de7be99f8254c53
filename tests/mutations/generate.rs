//! Every way to get one thing of the full example wrong.

use std::sync::LazyLock;

use cohort::config::{Path, PathSegment};

/// Its text is the full example's, or of its own.
type Value = cohort::config::Value<'static>;

/// One mistake in an otherwise good document.
pub struct Mutation {
    /// `misspelled`, `mistyped`, `duplicated`, `removed` or `out of range`.
    pub kind: &'static str,
    /// Where the mistake is, as a problem names it.
    pub path: String,
    /// JSON text, in which a key may stand twice.
    pub document: String,
}

/// The full example of the design.
pub fn full() -> Value {
    Value::from_json(include_bytes!("../cases/full.json")).unwrap()
}

/// All of them.
pub fn mutations() -> &'static [Mutation] {
    static ALL: LazyLock<Vec<Mutation>> = LazyLock::new(generate);
    &ALL
}

fn generate() -> Vec<Mutation> {
    let full = full();
    let mut all = Vec::new();
    for path in paths(&full) {
        let value = find(&full, &path);
        let mut add = |kind, at: &[PathSegment], document: &Value| {
            let path = Path { segments: at.to_vec() }.to_string();
            all.push(Mutation { kind, path, document: json(document) });
        };
        for wrong in mistyped(value) {
            add(
                "mistyped",
                &path,
                &with(&full, &path, |entries, key| set(entries, key, wrong.clone())),
            );
        }
        let Some((PathSegment::Key(key), above)) = path.split_last() else { continue };
        add("duplicated", &path, &with(&full, &path, duplicate));
        if !is_chosen(above) {
            let misspelled = format!("{key}z");
            let mut at = above.to_vec();
            at.push(PathSegment::Key(misspelled.clone()));
            add(
                "misspelled",
                &at,
                &with(&full, &path, |entries, key| rename(entries, key, &misspelled)),
            );
        }
    }
    for line in include_str!("removed.txt").lines().filter(|line| !line.starts_with('#')) {
        let (path, at) = line.split_once(' ').unwrap();
        let document = with(&full, &named(&full, path), remove);
        all.push(Mutation { kind: "removed", path: at.to_owned(), document: json(&document) });
    }
    for line in include_str!("out_of_range.txt").lines().filter(|line| !line.starts_with('#')) {
        let (path, wrong) = line.split_once(' ').unwrap();
        let wrong = Value::from_json(wrong.as_bytes()).unwrap();
        let document =
            with(&full, &named(&full, path), |entries, key| set(entries, key, wrong.clone()));
        all.push(Mutation {
            kind: "out of range",
            path: path.to_owned(),
            document: json(&document),
        });
    }
    all
}

/// Whether the keys of the object at `path` are the author's own to choose.
fn is_chosen(path: &[PathSegment]) -> bool {
    let key = |segment: Option<&PathSegment>| match segment {
        Some(PathSegment::Key(key)) => key.clone(),
        _ => String::new(),
    };
    let in_condition =
        path.iter().any(|segment| ["match", "segments"].contains(&key(Some(segment)).as_str()));
    let last = key(path.last());
    ["segments", "requestHeaders", "values", "weights", "health"].contains(&last.as_str())
        || in_condition && ["header", "cookie", "query"].contains(&last.as_str())
}

/// Values of other types than that of `value`.
fn mistyped(value: &Value) -> [Value; 2] {
    let other = match value {
        Value::Null | Value::Bool(_) => Value::from("yes"),
        Value::Number(_) => Value::from("7"),
        Value::String(_) => Value::Number(7.0),
        Value::List(_) => Value::Object(Vec::new()),
        Value::Object(_) => Value::List(Vec::new()),
    };
    [Value::Null, other]
}

/// The way to every value below the top.
fn paths(value: &Value) -> Vec<Vec<PathSegment>> {
    let below: Vec<(PathSegment, &Value)> = match value {
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (PathSegment::Key(key.to_string()), value)).collect()
        }
        Value::List(values) => values
            .iter()
            .enumerate()
            .map(|(index, value)| (PathSegment::Index(index), value))
            .collect(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for (segment, value) in below {
        all.push(vec![segment.clone()]);
        all.extend(paths(value).into_iter().map(|rest| [vec![segment.clone()], rest].concat()));
    }
    all
}

/// The path that reads `text`.
fn named(value: &Value, text: &str) -> Vec<PathSegment> {
    let mut paths = paths(value).into_iter();
    paths
        .find(|path| Path { segments: path.clone() }.to_string() == text)
        .unwrap_or_else(|| panic!("the full example has no {text}"))
}

fn find<'a>(value: &'a Value, path: &[PathSegment]) -> &'a Value {
    path.iter().fold(value, |value, segment| match (value, segment) {
        (Value::Object(_), PathSegment::Key(key)) => value.get(key).unwrap(),
        (Value::List(values), PathSegment::Index(index)) => &values[*index],
        _ => unreachable!("a path of the same document"),
    })
}

/// A copy in which `edit` was done to the object or list that holds `path`, at its position there.
fn with(value: &Value, path: &[PathSegment], edit: impl Fn(&mut Value, usize)) -> Value {
    let mut copy = value.clone();
    let (last, above) = path.split_last().unwrap();
    let mut holder = &mut copy;
    for segment in above {
        let position = position(holder, segment);
        holder = match holder {
            Value::Object(entries) => &mut entries[position].1,
            Value::List(values) => &mut values[position],
            _ => unreachable!("a path of the same document"),
        };
    }
    let position = position(holder, last);
    edit(holder, position);
    copy
}

fn position(holder: &Value, segment: &PathSegment) -> usize {
    match (holder, segment) {
        (Value::Object(entries), PathSegment::Key(key)) => {
            entries.iter().position(|(other, _)| other == key).unwrap()
        }
        (_, PathSegment::Index(index)) => *index,
        _ => unreachable!("a path of the same document"),
    }
}

fn set(holder: &mut Value, position: usize, value: Value) {
    match holder {
        Value::Object(entries) => entries[position].1 = value,
        Value::List(values) => values[position] = value,
        _ => unreachable!("only objects and lists hold values"),
    }
}

fn remove(holder: &mut Value, position: usize) {
    match holder {
        Value::Object(entries) => drop(entries.remove(position)),
        Value::List(values) => drop(values.remove(position)),
        _ => unreachable!("only objects and lists hold values"),
    }
}

fn duplicate(holder: &mut Value, position: usize) {
    if let Value::Object(entries) = holder {
        entries.push(entries[position].clone());
    }
}

fn rename(holder: &mut Value, position: usize, name: &str) {
    if let Value::Object(entries) = holder {
        entries[position].0 = name.to_owned().into();
    }
}

/// JSON text that reads back as `value`, keys that stand twice included.
pub fn json(value: &Value) -> String {
    let text = |text: &str| serde_json::to_string(text).unwrap();
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(string) => text(string),
        Value::List(values) => {
            format!("[{}]", values.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Value::Object(entries) => {
            let entries =
                entries.iter().map(|(key, value)| format!("{}:{}", text(key), json(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}
