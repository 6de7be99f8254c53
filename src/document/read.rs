//! The reader: a document and its declaration to [`Node`]s.
//!
//! It notes what is wrong and goes on, so that one mistake does not hide the next. What is made of the
//! nodes is only used where nothing was wrong anywhere.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::node::{Node, Problems, Read, Spot};
use super::numbers;
use super::scalar::{duration_text, parse_duration};
use super::shape::{Field, Kind, Need, Number, Object, Scalar, Span, Text};
use super::suggest::closest;
use super::value::{number_text, shortened, Value};
use crate::index::Index;

/// Reads the document of `problems` as a `kind`.
pub(crate) fn read<'a>(
    kind: &Kind,
    document: &'a Value<'a>,
    problems: &mut Problems<'a>,
) -> Node<'a> {
    read_at(kind, "", document, Spot::TOP, problems)
}

fn read_at<'a>(
    kind: &Kind,
    key: &'a str,
    value: &'a Value<'a>,
    spot: Spot,
    problems: &mut Problems<'a>,
) -> Node<'a> {
    let mut node = Node { read: Read::Bad, key, value, spot, has_unknown_keys: false };
    match (kind, value) {
        (Kind::List(entry, least), Value::List(values)) if values.len() >= *least => {
            node.read = Read::Nodes(list(entry, values, spot, problems));
        }
        (Kind::Map(name, entry, least), Value::Object(entries)) if entries.len() >= *least => {
            node.read = Read::Nodes(map(name, entry, entries, spot, problems));
        }
        (Kind::Object(object), Value::Object(entries)) => {
            let known = Known::of(object, entries, spot, problems);
            node.has_unknown_keys = known.has_unknown_keys;
            node.read = Read::Nodes(fields(object, entries, &known, spot, problems));
        }
        (Kind::List(_, 2..), Value::List(values)) if values.len() == 1 => {
            problems.add(&node, "a list of one", &allowed(kind));
        }
        (Kind::List(..) | Kind::Map(..) | Kind::Object(_), _) => {
            problems.add(&node, value.kind(), &allowed(kind));
        }
        _ => match Scalar::of(value).and_then(|scalar| read_scalar(kind, scalar)) {
            Some(read) => node.read = read,
            None => not_good(kind, &node, problems),
        },
    }
    node
}

fn list<'a>(
    entry: &Kind,
    values: &'a [Value<'a>],
    above: Spot,
    problems: &mut Problems<'a>,
) -> Vec<Node<'a>> {
    let mut nodes = Vec::with_capacity(values.len());
    for (position, value) in values.iter().enumerate() {
        let spot = problems.below(above, position);
        nodes.push(read_at(entry, "", value, spot, problems));
    }
    nodes
}

fn map<'a>(
    name: &Text,
    entry: &Kind,
    entries: &'a [(Cow<'a, str>, Value<'a>)],
    above: Spot,
    problems: &mut Problems<'a>,
) -> Vec<Node<'a>> {
    let mut names: Index<()> = Index::default();
    let mut is_new = |key: &str| match name.any_case {
        // As most are.
        _ if entries.len() == 1 => true,
        true => names.insert(key.to_ascii_lowercase().as_bytes()),
        false => names.insert(key.as_bytes()),
    };
    let mut nodes: Vec<Node<'a>> = Vec::with_capacity(entries.len());
    for (position, (key, value)) in entries.iter().enumerate() {
        let spot = problems.below(above, position);
        if !(name.good)(key) {
            let meant = name.meant.and_then(|meant| meant(key));
            let found = format!("the key {}", shortened(key));
            problems.add_at(spot, &found, name.allowed, meant);
        } else if is_new(key) {
            nodes.push(read_at(entry, key, value, spot, problems));
        } else {
            duplicate(spot, problems);
        }
    }
    nodes
}

/// Which keys of an object are whose.
struct Known {
    /// The entry of each field.
    places: SmallVec<[Option<usize>; 24]>,
    /// Whether there are others.
    has_unknown_keys: bool,
    /// What others were probably meant to be: those are not missing, they are misspelled.
    meant: Vec<&'static str>,
}

impl Known {
    fn of(
        object: &Object,
        entries: &[(Cow<'_, str>, Value<'_>)],
        above: Spot,
        problems: &mut Problems<'_>,
    ) -> Self {
        let places = SmallVec::from_elem(None, object.fields.len());
        let mut known = Self { places, has_unknown_keys: false, meant: Vec::new() };
        let mut unknown: Index<()> = Index::default();
        for (position, (key, _)) in entries.iter().enumerate() {
            let field = object.fields.iter().position(|field| field.key == key);
            match field.and_then(|field| known.places.get_mut(field)) {
                Some(place @ None) => *place = Some(position),
                None if unknown.insert(key.as_bytes()) => {
                    known.has_unknown_keys = true;
                    let keys: Vec<&'static str> =
                        object.fields.iter().map(|field| field.key).collect();
                    let meant = closest(key, &keys);
                    known.meant.extend(meant);
                    let spot = problems.below(above, position);
                    let hint = meant.map(str::to_owned);
                    problems.add_at(spot, "an unknown key", &keys.join(", "), hint);
                }
                _ => duplicate(problems.below(above, position), problems),
            }
        }
        known
    }
}

fn fields<'a>(
    object: &Object,
    entries: &'a [(Cow<'a, str>, Value<'a>)],
    known: &Known,
    above: Spot,
    problems: &mut Problems<'a>,
) -> Vec<Node<'a>> {
    let mut nodes = Vec::with_capacity(object.fields.len());
    for (Field { key, need, kind, .. }, place) in object.fields.iter().zip(&known.places) {
        let entry = place.and_then(|position| Some((position, entries.get(position)?)));
        nodes.push(match entry {
            Some((position, (_, value))) => {
                let spot = problems.below(above, position);
                read_at(kind, key, value, spot, problems)
            }
            None => {
                let read = match need {
                    _ if known.meant.contains(key) => Read::Bad,
                    Need::Default(scalar) => read_scalar(kind, *scalar).unwrap_or(Read::Bad),
                    Need::Optional => Read::Absent,
                    Need::Required => {
                        let allowed = format!("the key {key}, which is {}", allowed(kind));
                        problems.add_at(above, &format!("no {key}"), &allowed, None);
                        Read::Bad
                    }
                };
                Node { read, key, value: &Value::Null, spot: above, has_unknown_keys: false }
            }
        });
    }
    nodes
}

fn duplicate(spot: Spot, problems: &mut Problems<'_>) {
    problems.add_at(spot, "a duplicate key", "each key once", None);
}

/// What `scalar` is as a `kind`; `None` if it is none.
fn read_scalar<'a>(kind: &Kind, scalar: Scalar<'a>) -> Option<Read<'a>> {
    match (kind, scalar) {
        (Kind::Flag, Scalar::Flag(flag)) => Some(Read::Flag(flag)),
        (Kind::True, Scalar::Flag(true)) => Some(Read::Flag(true)),
        (Kind::Text(kind), Scalar::Text(text)) if (kind.good)(text) => Some(Read::Text(text)),
        (Kind::Word(words), Scalar::Text(text)) if words.contains(&text) => Some(Read::Text(text)),
        (Kind::Number(kind), Scalar::Number(number)) => kind.read(number).map(Read::Number),
        (Kind::Real, Scalar::Number(number)) if number.is_finite() => Some(Read::Real(number)),
        (Kind::Span(span), Scalar::Text(text)) => span.read(text).map(Read::Number),
        _ => None,
    }
}

/// Notes that a node without others below is none of its kind.
fn not_good(kind: &Kind, node: &Node<'_>, problems: &mut Problems<'_>) {
    let mut hint = None;
    let found = match (kind, node.value) {
        (Kind::Text(kind), Value::String(text)) => {
            hint = kind.meant.and_then(|meant| meant(text));
            kind.secret.map_or_else(|| shortened(text), |found| found(text))
        }
        (Kind::Text(Text { secret: Some(_), .. }), value) => value.kind().to_owned(),
        (Kind::Word(words), Value::String(text)) => {
            hint = closest(text, words).map(str::to_owned);
            shortened(text)
        }
        (Kind::Span(_), Value::String(text)) => shortened(text),
        (Kind::Number(number), Value::String(text)) => {
            // Quotes and a percent sign are not part of a number; a number would do.
            let bare = text.trim().trim_end_matches('%').trim_end();
            let meant = numbers::number(bare).filter(|meant| number.read(*meant).is_some());
            hint = meant.map(number_text);
            node.value.in_words()
        }
        (Kind::Real, Value::String(text)) => {
            hint = numbers::number(text).map(number_text);
            node.value.in_words()
        }
        (_, value) => value.in_words(),
    };
    problems.add_at(node.spot, &found, &allowed(kind), hint);
}

/// What a `kind` is, in words that follow "allowed:".
pub(crate) fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Flag => "true or false".to_owned(),
        Kind::True => "true".to_owned(),
        Kind::Text(text) => text.allowed.to_owned(),
        Kind::Word(words) => match words.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        },
        Kind::Number(number) => number.allowed(),
        Kind::Real => "a number".to_owned(),
        Kind::Span(span) => span.allowed(),
        Kind::List(_, least) => at_least("a list", *least),
        Kind::Map(_, _, least) => at_least("an object", *least),
        Kind::Object(object) => object.allowed.to_owned(),
    }
}

fn at_least(what: &str, least: usize) -> String {
    let entries = match least {
        0 => "",
        1 => " with one entry or more",
        _ => " with two entries or more",
    };
    format!("{what}{entries}")
}

impl Number {
    /// In units of the last decimal.
    fn read(&self, number: f64) -> Option<u64> {
        let scale = f64::from(10_u32.pow(self.decimals));
        let parts = (number * scale).round();
        // A division rounds correctly, so this is the number whose shortest text has no more decimals
        // than are allowed, and no other.
        let exact = parts / scale == number;
        let range = f64::from(self.least)..=f64::from(self.most);
        (exact && range.contains(&number)).then_some(parts as u64)
    }

    fn allowed(&self) -> String {
        let Self { noun, least, most, decimals } = self;
        let precision = match decimals {
            0 => "",
            3 => " with at most three decimals",
            _ => " with at most six decimals",
        };
        format!("{noun} from {least} to {most}{precision}")
    }
}

impl Span {
    /// In milliseconds.
    fn read(&self, text: &str) -> Option<u64> {
        let length = parse_duration(text)?;
        let good = (self.least..=self.most).contains(&length) && length % self.step == 0;
        good.then_some(length)
    }

    fn allowed(&self) -> String {
        let (least, most) = (duration_text(self.least), duration_text(self.most));
        let whole = if self.step == 1 { "" } else { " in whole seconds" };
        let mut text = format!("a duration from {least} to {most}{whole}");
        let fitting =
            ["500ms", "30s", "10m", "1h", "7d"].iter().filter(|it| self.read(it).is_some());
        let last = fitting.clone().count().saturating_sub(1);
        for (position, example) in fitting.enumerate() {
            text.push_str(match position {
                0 => ", such as ",
                _ if position == last => " or ",
                _ => ", ",
            });
            text.push_str(example);
        }
        text
    }
}

/// Notes if not exactly one of `keys`, which are keys of the object at `node`, is there. Where none is and
/// there are unknown keys, the problem has been noted already.
pub(crate) fn exactly_one(node: &Node<'_>, keys: &[&Node<'_>], problems: &mut Problems<'_>) {
    let mut given = String::new();
    let mut count = 0;
    for Node { key, .. } in keys {
        if node.value.get(key).is_some() {
            if count > 0 {
                given.push_str(" and ");
            }
            given.push_str(key);
            count += 1;
        }
    }
    let found = match count {
        1 => return,
        0 if node.has_unknown_keys => return,
        0 => node.value.kind(),
        _ => &given,
    };
    let names: Vec<&str> = keys.iter().map(|node| node.key).collect();
    problems.add(node, found, &format!("exactly one of {}", names.join(", ")));
}
