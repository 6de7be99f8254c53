//! What must hold for one value, as CEL.

use super::super::shape::{Kind, Number, Span, Text};
use super::{quoted, quoted_list};

/// What must hold for `value`, with its place and what is allowed there. Objects are looked at by themselves.
pub(super) fn values(kind: &Kind, value: &str, path: &str) -> Vec<(String, String, String)> {
    let one = |expression: String| vec![(expression, path.to_owned(), allowed(kind))];
    match kind {
        Kind::Flag => one(format!("type({value}) == bool")),
        Kind::True => one(format!("{value} == true")),
        Kind::Text(text) => one(self::text(text, value)),
        Kind::Word(words) => one(format!("{value} in {}", quoted_list(words.iter().copied()))),
        Kind::Number(number) => one(self::number(number, value)),
        // No list of types: CEL has lists of one type only, and int and uint are two.
        Kind::Real => one(format!("(type({value}) == int || type({value}) == double)")),
        Kind::Span(span) => one(self::span(span, value)),
        Kind::Object(_) => one(format!("type({value}) == map")),
        Kind::List(entry, least) => {
            let mut found = one(format!("type({value}) == list && size({value}) >= {least}"));
            for (expression, path, allowed) in values(entry, "v", &format!("{path}[*]")) {
                let every = format!("(type({value}) != list || {value}.all(v, {expression}))");
                found.push((every, path, allowed));
            }
            found
        }
        Kind::Map(name, entry, least) => {
            let mut found = one(format!("type({value}) == map && size({value}) >= {least}"));
            if !name.pattern.is_empty() {
                let names =
                    format!("(type({value}) != map || {value}.all(n, {}))", self::text(name, "n"));
                found.push((names, path.to_owned(), format!("keys that are {}", name.allowed)));
            }
            for (expression, path, allowed) in
                values(entry, &format!("{value}[n]"), &format!("{path}[*]"))
            {
                found.push((
                    format!("(type({value}) != map || {value}.all(n, {expression}))"),
                    path,
                    allowed,
                ));
            }
            found
        }
    }
}

fn text(text: &Text, value: &str) -> String {
    match text.pattern {
        "" => format!("type({value}) == string"),
        pattern => format!(
            "type({value}) == string && {value}.matches({})",
            quoted(&format!("(?s){}", escapes(pattern)))
        ),
    }
}

/// `\uXXXX` of ECMA-262 as RE2 writes it.
pub(super) fn escapes(pattern: &str) -> String {
    let mut parts = pattern.split("\\u");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(4));
        text.push_str(&format!("\\x{{{digits}}}{rest}"));
    }
    text
}

fn number(number: &Number, value: &str) -> String {
    let Number { least, most, decimals, .. } = number;
    let unit = 10u32.pow(*decimals);
    // What is left of a whole number of units, on either side of it; a double is not exact.
    let rest =
        format!("(double({value}) * {unit}.0 - double(int(double({value}) * {unit}.0 + 0.5)))");
    format!(
        "(type({value}) == int || type({value}) == double) && double({value}) >= {least}.0 && \
         double({value}) <= {most}.0 && {rest} < 0.0001 && {rest} > -0.0001"
    )
}

fn span(span: &Span, value: &str) -> String {
    let Span { least, most, step } = span;
    let length = millis(value);
    let whole = match step {
        1 => String::new(),
        step => format!(" && {length} % {step} == 0"),
    };
    format!(
        "type({value}) == string && {value}.matches(\"^0*[0-9]{{1,12}}(ms|s|m|h|d)$\") && \
         {length} >= {least} && {length} <= {most}{whole}"
    )
}

/// The milliseconds of a duration.
pub(crate) fn millis(value: &str) -> String {
    let number = |unit: &str| format!("int({value}.replace({}, \"\"))", quoted(unit));
    format!(
        "({value}.endsWith(\"ms\") ? {} : {value}.endsWith(\"s\") ? {} * 1000 : {value}.endsWith(\"m\") ? {} * 60000 : \
         {value}.endsWith(\"h\") ? {} * 3600000 : {} * 86400000)",
        number("ms"),
        number("s"),
        number("m"),
        number("h"),
        number("d")
    )
}

/// What may stand at a place, in words that follow "allowed:".
pub(super) fn allowed(kind: &Kind) -> String {
    super::super::read::allowed(kind)
}
