//! What may stand in a document, as expressions of CEL over the document as plain data, made from the very
//! declarations that read it.
//!
//! CEL has no functions of one's own and no recursion. So every kind of object has a variable that gathers
//! its instances, all of them, in lists of lists, and each of its checks walks that variable. An object that
//! holds itself is followed [`DEEPEST`] levels down.

mod values;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::shape::{Field, Kind, Need, Object};

pub(crate) use values::millis;
use values::{allowed, values};

/// How many levels of an object inside itself are looked at.
const DEEPEST: usize = 3;

/// A named expression that others refer to as `variables.NAME`.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) expression: String,
}

/// An expression that holds for a good document, and what to say where it does not.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) expression: String,
    pub(crate) message: String,
}

/// The variables, in an order in which each refers to earlier ones, and the checks, the outer before the
/// inner, for the documents in `root`, which is a list of objects.
pub(crate) fn checks(top: &'static Object, root: &str) -> (Vec<Variable>, Vec<Check>) {
    let mut kinds = Kinds::default();
    let first = kinds.meet(top, 0, "$");
    if let Some(first) = kinds.all.get_mut(first) {
        first.sources.entry(1).or_default().push(root.to_owned());
    }
    let mut variables = Vec::new();
    let mut checks = Vec::new();
    for position in kinds.sorted() {
        let Some(kind) = kinds.all.get(position) else { continue };
        let gathered: Vec<(String, usize)> = kind
            .sources
            .iter()
            .map(|(depth, parts)| {
                let name = format!("{}{}_{depth}", kind.object.name, kind.level).to_lowercase();
                variables.push(Variable { name: name.clone(), expression: parts.join(" + ") });
                (format!("variables.{name}"), *depth)
            })
            .collect();
        let (object, level, path) = (kind.object, kind.level, kind.path.clone());
        for (expression, message) in predicates(object, &path) {
            let everywhere: Vec<String> =
                gathered.iter().map(|(list, depth)| all(list, *depth, &expression)).collect();
            checks.push(Check { expression: everywhere.join(" && "), message });
        }
        for field in object.fields {
            kinds.pass_on(object, level, field, &gathered);
        }
    }
    (variables, checks)
}

/// `predicate`, which is about `x`, for every instance in a list of lists of that depth.
pub(crate) fn all(list: &str, depth: usize, predicate: &str) -> String {
    nested(list, depth, "all", predicate)
}

/// `inner` over the lists that hold the instances, one level above them.
fn map(list: &str, depth: usize, inner: &str) -> String {
    match depth {
        1 => inner.replace("LIST", list),
        _ => nested(list, depth - 1, "map", &inner.replace("LIST", "x")),
    }
}

fn nested(list: &str, depth: usize, macro_name: &str, inner: &str) -> String {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut text = list.to_owned();
    for level in 0..depth {
        let name = match level + 1 == depth {
            true => "x",
            false => names.get(level).copied().unwrap_or("i"),
        };
        text.push_str(&format!(".{macro_name}({name}, "));
        if level + 1 < depth {
            text.push_str(name);
        }
    }
    text + inner + &")".repeat(depth)
}

/// The kinds of objects, with where their instances are found.
#[derive(Default)]
struct Kinds {
    all: Vec<Gathered>,
}

struct Gathered {
    object: &'static Object,
    /// How often the object stands inside itself on the way here.
    level: usize,
    /// A place where it stands.
    path: String,
    /// Lists of lists of instances, by their depth.
    sources: BTreeMap<usize, Vec<String>>,
    /// The kinds that stand below it.
    below: Vec<usize>,
}

impl Kinds {
    /// The position of an object's kind, with all that stands below it.
    fn meet(&mut self, object: &'static Object, level: usize, path: &str) -> usize {
        if let Some(known) = self.position(object, level) {
            return known;
        }
        let position = self.all.len();
        self.all.push(Gathered {
            object,
            level,
            path: path.to_owned(),
            sources: BTreeMap::new(),
            below: Vec::new(),
        });
        for field in object.fields {
            let Some((inner, steps)) = object_of(&field.kind) else { continue };
            let Some(level) = self.level_of(object, level, inner) else { continue };
            let path = format!("{path}.{}{}", field.key, "[*]".repeat(steps));
            let below = self.meet(inner, level, &path);
            if let Some(here) = self.all.get_mut(position) {
                here.below.push(below);
            }
        }
        position
    }

    /// The level at which `inner` stands below `object`; `None` where it is not followed.
    fn level_of(&self, object: &Object, level: usize, inner: &Object) -> Option<usize> {
        match object.name == inner.name {
            true => Some(level + 1).filter(|level| *level < DEEPEST),
            false => Some(0),
        }
    }

    fn position(&self, object: &Object, level: usize) -> Option<usize> {
        self.all.iter().position(|kind| kind.object.name == object.name && kind.level == level)
    }

    /// Every kind before those below it.
    fn sorted(&self) -> Vec<usize> {
        let mut done = Vec::new();
        self.visit(0, &mut done);
        done.reverse();
        done
    }

    fn visit(&self, position: usize, done: &mut Vec<usize>) {
        if done.contains(&position) {
            return;
        }
        for below in self.all.get(position).map_or(&[][..], |kind| &kind.below) {
            self.visit(*below, done);
        }
        done.push(position);
    }

    /// Hands the instances below a field to their kind.
    fn pass_on(
        &mut self,
        object: &Object,
        level: usize,
        field: &Field,
        gathered: &[(String, usize)],
    ) {
        let Some((inner, steps)) = object_of(&field.kind) else { return };
        let level = self.level_of(object, level, inner);
        let Some(position) = level.and_then(|level| self.position(inner, level)) else { return };
        for (list, depth) in gathered {
            let (expression, deeper) = instances(&field.kind, field.key, list, *depth);
            if let Some(kind) = self.all.get_mut(position) {
                debug_assert!(deeper == depth + steps);
                kind.sources.entry(deeper).or_default().push(expression);
            }
        }
    }
}

/// The object that is at the end of lists and maps, and how many of these there are.
fn object_of(kind: &Kind) -> Option<(&'static Object, usize)> {
    match kind {
        Kind::Object(object) => Some((object, 0)),
        Kind::List(entry, _) | Kind::Map(_, entry, _) => {
            object_of(entry).map(|(object, steps)| (object, steps + 1))
        }
        _ => None,
    }
}

/// The instances under `key` of those in `list`, and how deep they lie.
fn instances(kind: &Kind, key: &str, list: &str, depth: usize) -> (String, usize) {
    match kind {
        Kind::Object(_) => {
            let found = format!(
                "LIST.filter(y, {} && type({}) == map).map(y, {})",
                has("y", key),
                at("y", key),
                at("y", key)
            );
            (map(list, depth, &found), depth)
        }
        _ => {
            // Deeper lists are looked for in the order in which they stand inside each other.
            let mut text = below(kind, &at("x", key));
            text = format!("{} ? {text} : []", has("x", key));
            (
                nested(list, depth, "map", &text),
                depth + object_of(kind).map_or(0, |(_, steps)| steps),
            )
        }
    }
}

/// The objects in a list or map that `value` should be; none where it is not.
fn below(kind: &Kind, value: &str) -> String {
    match kind {
        Kind::List(Kind::Object(_), _) => {
            format!("(type({value}) == list ? {value}.filter(y, type(y) == map) : [])")
        }
        Kind::Map(_, Kind::Object(_), _) => format!(
            "(type({value}) == map ? {value}.filter(y, type({value}[y]) == map).map(y, {value}[y]) : [])"
        ),
        Kind::List(entry, _) => {
            format!("(type({value}) == list ? {value}.map(z, {}) : [])", below(entry, "z"))
        }
        Kind::Map(_, entry, _) => {
            let inner = below(entry, &format!("{value}[z]"));
            format!("(type({value}) == map ? {value}.map(z, {inner}) : [])")
        }
        _ => "[]".to_owned(),
    }
}

pub(crate) fn has(object: &str, key: &str) -> String {
    format!("{} in {object}", quoted(key))
}

pub(crate) fn at(object: &str, key: &str) -> String {
    format!("{object}[{}]", quoted(key))
}

/// A text as CEL writes it.
pub(crate) fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

fn quoted_list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(quoted).collect::<Vec<_>>().join(", "))
}

/// What must hold for one instance `x` of an object, and what to say where it does not.
fn predicates(object: &'static Object, path: &str) -> Vec<(String, String)> {
    let keys = object.fields.iter().map(|field| field.key);
    let names: Vec<&str> = keys.clone().collect();
    let mut found = vec![(
        format!("x.all(k, k in {})", quoted_list(keys)),
        format!("{path}: found an unknown key, allowed: {}", names.join(", ")),
    )];
    for field in object.fields {
        if matches!(field.need, Need::Required) {
            let allowed = allowed(&field.kind);
            let message = format!(
                "{path}: found no {0}, allowed: the key {0}, which is {allowed}",
                field.key
            );
            found.push((has("x", field.key), message));
        }
    }
    if let Ok(Json::Object(also)) = serde_json::from_str::<Json>(object.also) {
        for (word, value) in &also {
            if let Some(expression) = together(word, value) {
                found.push((expression, format!("{path}: allowed: {}", object.allowed)));
            }
        }
    }
    for field in object.fields {
        let place = format!("{path}.{}", field.key);
        for (expression, path, allowed) in values(&field.kind, &at("x", field.key), &place) {
            let guarded = format!("!({}) || {expression}", has("x", field.key));
            found.push((guarded, format!("{path}: allowed: {allowed}")));
        }
    }
    found
}

/// A keyword of JSON Schema about which keys go together, for `x`; `None` for any other.
fn together(word: &str, value: &Json) -> Option<String> {
    let parts = || -> Option<Vec<String>> {
        let parts = value.as_array()?.iter();
        parts.map(|part| Some(format!("({})", all_of(part)?))).collect()
    };
    Some(match word {
        "anyOf" => format!("({})", parts()?.join(" || ")),
        "oneOf" => {
            let ones: Vec<String> =
                parts()?.into_iter().map(|part| format!("({part} ? 1 : 0)")).collect();
            format!("{} == 1", ones.join(" + "))
        }
        "required" => {
            let keys = value.as_array()?.iter().filter_map(Json::as_str);
            keys.map(|key| has("x", key)).collect::<Vec<_>>().join(" && ")
        }
        "dependentRequired" => {
            let mut all = Vec::new();
            for (key, wanted) in value.as_object()? {
                for other in wanted.as_array()?.iter().filter_map(Json::as_str) {
                    all.push(format!("(!({}) || {})", has("x", key), has("x", other)));
                }
            }
            all.join(" && ")
        }
        "minProperties" => format!("size(x) >= {value}"),
        "maxProperties" => format!("size(x) <= {value}"),
        "not" => format!("!({})", all_of(value)?),
        _ => return None,
    })
}

/// Every keyword of a schema.
fn all_of(schema: &Json) -> Option<String> {
    let parts = schema.as_object()?.iter().map(|(word, value)| together(word, value));
    Some(parts.collect::<Option<Vec<_>>>()?.join(" && "))
}

#[cfg(test)]
mod tests {
    use super::values::escapes;
    use super::*;

    #[test]
    fn a_pattern_is_one_of_re2() {
        assert_eq!(escapes(r"^[^\u0000-\u0020\u007f]+$"), r"^[^\x{0000}-\x{0020}\x{007f}]+$");
        assert_eq!(escapes("^a$"), "^a$");
    }

    #[test]
    fn instances_lie_in_lists_of_lists() {
        assert_eq!(all("l", 1, "x > 0"), "l.all(x, x > 0)");
        assert_eq!(all("l", 3, "x > 0"), "l.all(a, a.all(b, b.all(x, x > 0)))");
        assert_eq!(map("l", 2, "LIST.map(y, y)"), "l.map(x, x.map(y, y))");
    }

    #[test]
    fn which_keys_go_together_is_told_of_x() {
        let also: Json = serde_json::from_str(
            r#"{"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "dependentRequired": {"a": ["c"]}}"#,
        )
        .unwrap();
        assert_eq!(
            all_of(&also).unwrap(),
            r#"(!("a" in x) || "c" in x) && ((("a" in x)) ? 1 : 0) + ((("b" in x)) ? 1 : 0) == 1"#
                .replace("(((", "((")
                .replace("x)) ?", "x) ?")
        );
    }
}
