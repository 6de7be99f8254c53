//! Conditions of JsonLogic, in which flagd's targeting is written.

use super::super::source::tree::{Data, Node};
use super::super::yaml::{shown, Yaml};
use super::condition::{and, not, on};
use super::ledger::{number_of, plain_text};
use super::matches::Read;

/// Attributes of an evaluation context, and the headers that stand for them.
#[derive(Default)]
pub struct Attributes {
    pub seen: Vec<String>,
}

impl Attributes {
    /// The header that stands for an attribute: `userId` is `x-user-id`.
    pub fn header(&mut self, name: &str) -> Option<String> {
        let mut header = String::from("x-");
        let mut before_lower = false;
        for letter in name.chars() {
            match letter {
                'A'..='Z' => {
                    if before_lower {
                        header.push('-');
                    }
                    header.push(letter.to_ascii_lowercase());
                }
                'a'..='z' | '0'..='9' => header.push(letter),
                '_' | '-' | '.' | ' ' => header.push('-'),
                _ => return None,
            }
            before_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        }
        if name.is_empty() || name.starts_with('$') {
            return None;
        }
        let line = if name == "targetingKey" {
            header = "x-user-id".into();
            format!("the targeting key is read from header {header}: change it to what your requests carry")
        } else {
            format!(
                "attribute {} is read from header {header}: change it to what your requests carry",
                shown(name)
            )
        };
        if !self.seen.contains(&line) {
            self.seen.push(line);
        }
        Some(header)
    }
}

/// The name of `{"var": NAME}`, or the first of `{"var": [NAME, default]}`.
pub fn variable(node: &Node) -> Option<&str> {
    let var = operator(node).filter(|(name, _)| *name == "var")?.1;
    var.text().or_else(|| var.items().first().and_then(Node::text))
}

/// The operator of an expression and its arguments.
pub fn operator(node: &Node) -> Option<(&str, &Node)> {
    match node.members() {
        [only] => Some((only.key.as_str(), &only.value)),
        _ => None,
    }
}

/// An expression as conditions any of which is enough; `Err`: what it asks that they cannot.
pub fn conditions(
    node: &Node,
    shared: Option<&Node>,
    seen: &mut Attributes,
) -> Result<Vec<Yaml>, String> {
    let whole = || Yaml::from(node).shown();
    let Some((name, arguments)) = operator(node) else { return Err(whole()) };
    let items = arguments.items();
    match (name, items) {
        ("$ref", _) => {
            let named = arguments.text().and_then(|name| shared?.get(name));
            named.map_or_else(|| Err(whole()), |node| conditions(node, None, seen))
        }
        ("and", [_, ..]) => {
            let mut all = vec![Yaml::map()];
            for item in items {
                let one = conditions(item, shared, seen)?;
                let mut both = Vec::new();
                for left in &all {
                    for right in &one {
                        both.push(and(left, right).ok_or_else(whole)?);
                    }
                }
                all = both;
            }
            Ok(all)
        }
        ("or", [_, ..]) => {
            let mut any = Vec::new();
            for item in items {
                any.extend(conditions(item, shared, seen)?);
            }
            Ok(any)
        }
        ("!", [one]) => negated(conditions(one, shared, seen)?).ok_or_else(whole),
        ("!", []) => negated(conditions(arguments, shared, seen)?).ok_or_else(whole),
        _ => single(name, arguments, node, seen).ok_or_else(whole),
    }
}

/// That none of the conditions holds.
fn negated(all: Vec<Yaml>) -> Option<Vec<Yaml>> {
    let mut none = Yaml::map();
    for condition in &all {
        none = and(&none, &not(condition))?;
    }
    Some(vec![none])
}

/// A comparison of one attribute.
fn single(name: &str, arguments: &Node, node: &Node, seen: &mut Attributes) -> Option<Vec<Yaml>> {
    if name == "var" || name == "!!" {
        let holder =
            if name == "var" { node } else { arguments.items().first().unwrap_or(arguments) };
        let header = seen.header(variable(holder)?)?;
        return good(on("header", &header, Yaml::one("present", true)));
    }
    let items = arguments.items();
    let (left, right) = (items.first()?, items.get(1)?);
    let literal = |node: &Node| (!node.is_container()).then(|| plain_text(node)).flatten();
    let (attribute, text, negative) = match name {
        "==" | "===" | "!=" | "!==" => {
            let (attribute, other) = variable(left)
                .map(|name| (name, right))
                .or(variable(right).map(|name| (name, left)))?;
            (attribute, Yaml::one("exact", literal(other)?), name.starts_with('!'))
        }
        "in" => match (variable(left), variable(right)) {
            (Some(attribute), None) => {
                let values: Option<Vec<Yaml>> =
                    right.items().iter().map(|item| literal(item).map(Yaml::from)).collect();
                let values = values.filter(|values| !values.is_empty())?;
                (attribute, Yaml::one("in", values), false)
            }
            (None, Some(attribute)) => (attribute, Yaml::one("contains", literal(left)?), false),
            _ => return None,
        },
        "starts_with" => (variable(left)?, Yaml::one("prefix", literal(right)?), false),
        "ends_with" => (variable(left)?, Yaml::one("suffix", literal(right)?), false),
        "sem_ver" => {
            let operator = right.text()?;
            let version = literal(items.get(2)?)?;
            (variable(left)?, Yaml::one("semver", semver(operator, &version)?), operator == "!=")
        }
        _ => return None,
    };
    let condition = on("header", &seen.header(attribute)?, text);
    good(if negative { not(&condition) } else { condition })
}

fn good(condition: Yaml) -> Option<Vec<Yaml>> {
    let mut read = Read { condition: Yaml::map(), lost: Vec::new() };
    read.join("", Some(condition));
    read.whole().cloned().map(|condition| vec![condition])
}

/// A comparison of versions.
pub fn semver(operator: &str, version: &str) -> Option<String> {
    let number = |at: usize| version.split('.').nth(at).and_then(|part| part.parse::<u64>().ok());
    Some(match operator {
        "=" | "!=" => format!("={version}"),
        "<" | "<=" | ">" | ">=" => format!("{operator}{version}"),
        // The same major, or the same major and minor.
        "^" => format!(">={version} <{}.0.0", number(0)? + 1),
        "~" => format!(">={version} <{}.{}.0", number(0)?, number(1)? + 1),
        _ => return None,
    })
}

/// A weight that is written as a number.
pub fn weight(node: Option<&Node>) -> Option<f64> {
    match node {
        None => Some(1.0),
        Some(node) => {
            let plain = matches!(node.data, Data::Number(_));
            number_of(node).filter(|weight| plain && *weight >= 0.0)
        }
    }
}
