//! From a value to a type: what every part of the configuration does, and the parts that all share.
//!
//! A reader notes what is wrong and goes on, so that one mistake does not hide the next. What it
//! returns is only used where nothing was wrong anywhere.

use super::place::{Place, Problems};
#[cfg(not(target_arch = "wasm32"))]
use super::schema::{Definitions, Json};
use super::suggest::closest;
use super::value::{shortened, Value};

/// What can stand at a place of the configuration.
pub(super) trait Read: Sized {
    /// Reads what stands at `at`; `None` after noting a problem.
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self>;

    /// What may stand here, in words that follow "allowed:".
    fn allowed() -> String;

    /// The same for editors.
    #[cfg(not(target_arch = "wasm32"))]
    fn schema(definitions: &mut Definitions) -> Json;
}

/// What is written as a string.
pub(super) trait Text: Sized {
    const ALLOWED: &'static str;
    /// A regular expression for editors; empty is any string.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))]
    const PATTERN: &'static str = "";
    /// The only strings there are, if they are few.
    const WORDS: &'static [&'static str] = &[];
    /// Whether no part of the value may ever be shown.
    const SECRET: bool = false;

    fn parse(text: &str) -> Option<Self>;

    /// A text that cannot be parsed, in words that follow "found".
    fn found(text: &str) -> String {
        shortened(text)
    }

    /// What was probably meant by a text that cannot be parsed.
    fn meant(text: &str) -> Option<String> {
        closest(text, Self::WORDS).map(str::to_owned)
    }
}

impl<T: Text> Read for T {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        match at.value() {
            Value::String(text) => {
                let parsed = T::parse(text);
                if parsed.is_none() {
                    problems.add_with_hint(at, T::found(text), Self::allowed(), T::meant(text));
                }
                parsed
            }
            other => {
                let found = if T::SECRET { other.kind().to_owned() } else { other.in_words() };
                problems.add(at, found, Self::allowed());
                None
            }
        }
    }

    fn allowed() -> String {
        match T::WORDS.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => T::ALLOWED.to_owned(),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        super::schema::text(T::PATTERN, T::WORDS)
    }
}

impl Read for bool {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        match at.value() {
            Value::Bool(value) => Some(*value),
            other => {
                problems.add(at, other.in_words(), Self::allowed());
                None
            }
        }
    }

    fn allowed() -> String {
        "true or false".to_owned()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"type": "boolean"})
    }
}

/// A switch that can only be on.
pub(super) struct True;

impl Read for True {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        if *at.value() == Value::Bool(true) {
            return Some(Self);
        }
        problems.add(at, at.value().in_words(), Self::allowed());
        None
    }

    fn allowed() -> String {
        "true".to_owned()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"const": true})
    }
}

/// A list of `LEAST` entries or more; `None` for one that cannot be read.
pub(super) struct List<T, const LEAST: usize>(pub(super) Vec<Option<T>>);

impl<T, const LEAST: usize> List<T, LEAST> {
    /// The entries, if all of them could be read.
    pub(super) fn whole(self) -> Option<Vec<T>> {
        self.0.into_iter().collect()
    }
}

impl<T: Read, const LEAST: usize> Read for List<T, LEAST> {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        if !is_list(at, LEAST, problems) {
            return None;
        }
        Some(Self(at.entries().map(|entry| T::read(&entry, problems)).collect()))
    }

    fn allowed() -> String {
        at_least("a list", LEAST)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(definitions: &mut Definitions) -> Json {
        super::schema::list(T::schema(definitions), LEAST)
    }
}

fn is_list(at: &Place<'_>, least: usize, problems: &mut Problems) -> bool {
    let found = match at.value() {
        Value::List(values) if values.len() >= least => return true,
        Value::List(values) if values.len() == 1 => "a list of one".to_owned(),
        other => other.kind().to_owned(),
    };
    problems.add(at, found, at_least("a list", least));
    false
}

fn at_least(what: &str, least: usize) -> String {
    match least {
        0 => what.to_owned(),
        1 => format!("{what} with one entry or more"),
        2 => format!("{what} with two entries or more"),
        _ => format!("{what} with {least} entries or more"),
    }
}

/// An object whose keys the configuration's author chooses, `LEAST` or more, in the order they stand.
pub(super) struct Map<K, T, const LEAST: usize>(pub(super) Vec<(K, Option<T>)>);

impl<K, T, const LEAST: usize> Map<K, T, LEAST> {
    /// The entries, if all of them could be read.
    pub(super) fn whole(self) -> Option<Vec<(K, T)>> {
        self.0.into_iter().map(|(key, value)| value.map(|value| (key, value))).collect()
    }
}

impl<K: Text + PartialEq, T: Read, const LEAST: usize> Read for Map<K, T, LEAST> {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        match at.value() {
            Value::Object(entries) if entries.len() >= LEAST => {}
            other => {
                problems.add(at, other.kind().to_owned(), Self::allowed());
                return None;
            }
        }
        let mut map: Vec<(K, Option<T>)> = Vec::new();
        for entry in at.entries() {
            let text = entry.key().unwrap_or_default();
            match K::parse(text) {
                Some(key) if map.iter().any(|(other, _)| *other == key) => {
                    duplicate(&entry, problems)
                }
                Some(key) => map.push((key, T::read(&entry, problems))),
                None => {
                    let found = format!("the key {}", K::found(text));
                    problems.add_with_hint(&entry, found, K::ALLOWED.to_owned(), K::meant(text));
                }
            }
        }
        Some(Self(map))
    }

    fn allowed() -> String {
        at_least("an object", LEAST)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(definitions: &mut Definitions) -> Json {
        super::schema::map(K::schema(definitions), T::schema(definitions), LEAST)
    }
}

fn duplicate(at: &Place<'_>, problems: &mut Problems) {
    problems.add(at, "a duplicate key".to_owned(), "each key once".to_owned());
}

/// What stands under a key of an object.
pub(super) enum Field<T> {
    /// Nothing.
    Absent,
    /// Something that cannot be read, and a problem was noted.
    Bad,
    Given(T),
}

impl<T> Field<T> {
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(super) fn as_given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn from_read(read: Option<T>) -> Self {
        read.map_or(Self::Bad, Self::Given)
    }
}

/// An object with known keys, which are now read one by one.
pub(super) struct Object<'p> {
    at: &'p Place<'p>,
    /// Keys that an unknown key was probably meant to be: they are not missing, they are misspelled.
    misspelled: Vec<&'static str>,
    /// Whether there were unknown keys.
    pub(super) odd: bool,
}

impl<'p> Object<'p> {
    /// Notes unknown and duplicate keys; `None` if this is no object.
    pub(super) fn open(
        at: &'p Place<'p>,
        known: &'static [&'static str],
        allowed: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Object(entries) = at.value() else {
            problems.add(at, at.value().kind().to_owned(), allowed.to_owned());
            return None;
        };
        let mut object = Self { at, misspelled: Vec::new(), odd: false };
        for (position, (entry, (key, _))) in at.entries().zip(entries).enumerate() {
            if entries.iter().take(position).any(|(other, _)| other == key) {
                duplicate(&entry, problems);
            } else if !known.contains(&key.as_str()) {
                let meant = closest(key, known);
                object.misspelled.extend(meant);
                object.odd = true;
                let found = "an unknown key".to_owned();
                problems.add_with_hint(&entry, found, known.join(", "), meant.map(str::to_owned));
            }
        }
        Some(object)
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: Read>(&self, key: &'static str, problems: &mut Problems) -> Field<T> {
        let field = self.optional(key, problems);
        if field.is_absent() {
            let allowed = format!("the key {key}, which is {}", T::allowed());
            problems.add(self.at, format!("no {key}"), allowed);
            return Field::Bad;
        }
        field
    }

    /// The value of a key that may be there.
    pub(super) fn optional<T: Read>(&self, key: &'static str, problems: &mut Problems) -> Field<T> {
        match self.at.find(key) {
            Some(place) => Field::from_read(T::read(&place, problems)),
            None if self.misspelled.contains(&key) => Field::Bad,
            None => Field::Absent,
        }
    }

    /// The value of a key, or `default` where it is not there.
    pub(super) fn defaulted<T: Read>(
        &self,
        key: &'static str,
        default: Value,
        problems: &mut Problems,
    ) -> Field<T> {
        match self.optional(key, problems) {
            Field::Absent => Field::from_read(T::read(&Place::top(&default), problems)),
            field => field,
        }
    }
}

/// Notes if not exactly one of `keys` is there; `odd` objects have been told already if none is.
pub(super) fn exactly_one(
    at: &Place<'_>,
    keys: &[&'static str],
    odd: bool,
    problems: &mut Problems,
) {
    let given: Vec<&str> = keys.iter().copied().filter(|key| at.find(key).is_some()).collect();
    let found = match given.as_slice() {
        [_] => return,
        [] if odd => return,
        [] => at.value().kind().to_owned(),
        several => several.join(" and "),
    };
    problems.add(at, found, format!("exactly one of {}", keys.join(", ")));
}
