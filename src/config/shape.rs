//! How the configuration is declared: what may stand where, as data that one reader walks and that the
//! JSON Schema is made from.

use super::value::Value;

/// What may stand at a place of the configuration.
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A switch that can only be on.
    True,
    Text(&'static Text),
    /// One of a few words.
    Word(&'static [&'static str]),
    Number(Number),
    Span(Span),
    /// As many entries or more, all of a kind.
    List(&'static Kind, usize),
    /// As many entries or more, all of a kind, under keys that the configuration's author chooses.
    Map(&'static Text, &'static Kind, usize),
    /// Known keys.
    Object(&'static Object),
}

/// An object with known keys.
pub(super) struct Object {
    /// What it is called in the schema.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) name: &'static str,
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) about: &'static [&'static str],
    /// JSON that is merged into the object's schema, for what goes together.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) also: &'static str,
    /// What may stand here, in words that follow "allowed:".
    pub(super) allowed: &'static str,
    pub(super) fields: &'static [Field],
}

impl Object {
    /// The documentation is for people and editors: the module goes without.
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
    pub(super) const fn new(
        name: &'static str,
        about: &'static [&'static str],
        also: &'static str,
        allowed: &'static str,
        fields: &'static [Field],
    ) -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            name,
            #[cfg(not(target_arch = "wasm32"))]
            about,
            #[cfg(not(target_arch = "wasm32"))]
            also,
            allowed,
            fields,
        }
    }
}

/// A key of an object.
pub(super) struct Field {
    pub(super) key: &'static str,
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) about: &'static [&'static str],
    pub(super) need: Need,
    pub(super) kind: Kind,
}

/// What it means that a key is not there.
pub(super) enum Need {
    /// That it is missing.
    Required,
    /// Nothing.
    Optional,
    /// The same as this value.
    Default(Scalar<'static>),
}

impl Field {
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
    pub(super) const fn new(
        key: &'static str,
        about: &'static [&'static str],
        need: Need,
        kind: Kind,
    ) -> Self {
        Self {
            key,
            #[cfg(not(target_arch = "wasm32"))]
            about,
            need,
            kind,
        }
    }
}

/// What is written as a string.
pub(super) struct Text {
    /// What may stand here, in words that follow "allowed:".
    pub(super) allowed: &'static str,
    /// A regular expression for editors; empty is any string.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) pattern: &'static str,
    pub(super) good: fn(&str) -> bool,
    /// Whether ASCII letters of either case are the same, so that a map's keys are.
    pub(super) any_case: bool,
    /// What was probably meant by a text that is not good.
    pub(super) meant: Option<fn(&str) -> Option<String>>,
    /// A text that is not good, in words that follow "found", where no part of it may ever be shown.
    pub(super) secret: Option<fn(&str) -> String>,
}

impl Text {
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
    pub(super) const fn new(
        allowed: &'static str,
        pattern: &'static str,
        good: fn(&str) -> bool,
    ) -> Self {
        Self {
            allowed,
            #[cfg(not(target_arch = "wasm32"))]
            pattern,
            good,
            any_case: false,
            meant: None,
            secret: None,
        }
    }

    /// The same, in upper or lower case.
    pub(super) const fn in_any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    /// The same, with a guess at what was meant.
    pub(super) const fn with_guess(self, meant: fn(&str) -> Option<String>) -> Self {
        Self { meant: Some(meant), ..self }
    }

    /// The same, never shown but in the words of `found`.
    pub(super) const fn kept_secret(self, found: fn(&str) -> String) -> Self {
        Self { secret: Some(found), ..self }
    }
}

/// A number in a range, with no more than so many decimals; read in units of its last decimal.
pub(super) struct Number {
    /// Such as "a percentage".
    pub(super) noun: &'static str,
    pub(super) least: u32,
    pub(super) most: u32,
    /// 0, 3 or 6.
    pub(super) decimals: u32,
}

/// A duration in a range, read in milliseconds.
pub(super) struct Span {
    pub(super) least: u64,
    pub(super) most: u64,
    /// It is a whole multiple of this.
    pub(super) step: u64,
}

/// A value that holds no others.
#[derive(Clone, Copy)]
pub(super) enum Scalar<'a> {
    Flag(bool),
    Number(f64),
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// `None` for null, a list, an object.
    pub(super) fn of(value: &'a Value<'a>) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Number(number) => Some(Self::Number(*number)),
            Value::String(text) => Some(Self::Text(text)),
            Value::Null | Value::List(_) | Value::Object(_) => None,
        }
    }
}

/// Declares an object: what the schema calls it, its keys, what may stand under them, and what they mean.
///
/// `required`, `optional` or `default` stands before the kind, a default behind it. `also` is JSON for
/// the schema.
macro_rules! shape {
    (
        $(#[doc = $about:literal])+
        $object:ident: $name:literal, $allowed:literal {
            $(
                $(#[doc = $doc:literal])+
                $key:literal: $need:ident $kind:expr $(=> $default:expr)?,
            )+
        }
        $(also $also:literal)?
    ) => {
        $(#[doc = $about])+
        pub(in crate::config) static $object: $crate::config::shape::Object =
            $crate::config::shape::Object::new($name, &[$($about),+], concat!($($also)?), $allowed, &[$(
                $crate::config::shape::Field::new(
                    $key,
                    &[$($doc),+],
                    $crate::config::shape::shape!(@$need $($default)?),
                    $kind,
                )
            ),+]);
    };
    (@required) => { $crate::config::shape::Need::Required };
    (@optional) => { $crate::config::shape::Need::Optional };
    (@default $default:expr) => { $crate::config::shape::Need::Default($default) };
}

pub(super) use shape;
