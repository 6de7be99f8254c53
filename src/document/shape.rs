//! How the configuration is declared: what may stand where, as data that one reader walks and that the
//! JSON Schema is made from.

use super::value::Value;

/// What may stand at a place of the configuration.
pub(crate) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A switch that can only be on.
    True,
    Text(&'static Text),
    /// One of a few words.
    Word(&'static [&'static str]),
    Number(Number),
    /// Any number, with whatever decimals.
    Real,
    Span(Span),
    /// As many entries or more, all of a kind.
    List(&'static Kind, usize),
    /// As many entries or more, all of a kind, under keys that the configuration's author chooses.
    Map(&'static Text, &'static Kind, usize),
    /// Known keys.
    Object(&'static Object),
}

/// An object with known keys.
pub(crate) struct Object {
    /// What it is called in the schema.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) name: &'static str,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) about: &'static [&'static str],
    /// JSON that is merged into the object's schema, for what goes together.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) also: &'static str,
    /// What may stand here, in words that follow "allowed:".
    pub(crate) allowed: &'static str,
    pub(crate) fields: &'static [Field],
}

impl Object {
    /// The documentation is for people and editors: the module goes without.
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
    pub(crate) const fn new(
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
pub(crate) struct Field {
    pub(crate) key: &'static str,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) about: &'static [&'static str],
    pub(crate) need: Need,
    pub(crate) kind: Kind,
}

/// What it means that a key is not there.
pub(crate) enum Need {
    /// That it is missing.
    Required,
    /// Nothing.
    Optional,
    /// The same as this value.
    Default(Scalar<'static>),
}

impl Field {
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
    pub(crate) const fn new(
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
pub(crate) struct Text {
    /// What may stand here, in words that follow "allowed:".
    pub(crate) allowed: &'static str,
    /// A regular expression for editors; empty is any string.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) pattern: &'static str,
    pub(crate) good: fn(&str) -> bool,
    /// Whether ASCII letters of either case are the same, so that a map's keys are.
    pub(crate) any_case: bool,
    /// What was probably meant by a text that is not good.
    pub(crate) meant: Option<fn(&str) -> Option<String>>,
    /// A text that is not good, in words that follow "found", where no part of it may ever be shown.
    pub(crate) secret: Option<fn(&str) -> String>,
}

impl Text {
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
    pub(crate) const fn new(
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
    pub(crate) const fn in_any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    /// The same, with a guess at what was meant.
    pub(crate) const fn with_guess(self, meant: fn(&str) -> Option<String>) -> Self {
        Self { meant: Some(meant), ..self }
    }

    /// The same, never shown but in the words of `found`.
    pub(crate) const fn kept_secret(self, found: fn(&str) -> String) -> Self {
        Self { secret: Some(found), ..self }
    }
}

/// A number in a range, with no more than so many decimals; read in units of its last decimal.
pub(crate) struct Number {
    /// Such as "a percentage".
    pub(crate) noun: &'static str,
    pub(crate) least: u32,
    pub(crate) most: u32,
    /// 0, 3 or 6.
    pub(crate) decimals: u32,
}

/// A duration in a range, read in milliseconds.
pub(crate) struct Span {
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// It is a whole multiple of this.
    pub(crate) step: u64,
}

/// A value that holds no others.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Flag(bool),
    Number(f64),
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// `None` for null, a list, an object.
    pub(crate) fn of(value: &'a Value<'a>) -> Option<Self> {
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
/// the schema. The second name is that of the view by which the object is read: a struct with a node for
/// each key. A key that is misspelt in a reader does not compile, and one that nobody reads is dead code.
macro_rules! shape {
    (
        $(#[doc = $about:literal])+
        $object:ident, $view:ident: $name:literal, $allowed:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident = $key:literal: $need:ident $kind:expr $(=> $default:expr)?,
            )+
        }
        $(also $also:literal)?
    ) => {
        $(#[doc = $about])+
        pub(crate) static $object: $crate::document::shape::Object =
            $crate::document::shape::Object::new($name, &[$($about),+], concat!($($also)?), $allowed, &[$(
                $crate::document::shape::Field::new(
                    $key,
                    &[$($doc),+],
                    $crate::document::shape::shape!(@$need $($default)?),
                    $kind,
                )
            ),+]);

        $(#[doc = $about])+
        pub(crate) struct $view<'n, 'a> {
            $(
                $(#[doc = $doc])+
                pub(crate) $field: &'n $crate::document::node::Node<'a>,
            )+
        }

        impl<'n, 'a> $view<'n, 'a> {
            /// The keys of the object at `node`; `node` itself for each of them where it is no object, so
            /// that what is below a value that is not there is not there either.
            pub(crate) fn of(node: &'n $crate::document::node::Node<'a>) -> Self {
                // In the order of the declaration, as the reader left them.
                let mut keys = node.entries().iter();
                Self { $($field: keys.next().unwrap_or(node)),+ }
            }
        }
    };
    (@required) => { $crate::document::shape::Need::Required };
    (@optional) => { $crate::document::shape::Need::Optional };
    (@default $default:expr) => { $crate::document::shape::Need::Default($default) };
}

/// Declares the words of an enumeration: the kind of its value, and the function that reads one. Each word
/// stands beside what it means, so that neither can be forgotten.
macro_rules! words {
    ($kind:ident, $read:ident: $type:ty { $($word:literal => $value:expr),+ $(,)? }) => {
        const $kind: $crate::document::shape::Kind =
            $crate::document::shape::Kind::Word(&[$($word),+]);

        /// What the word at `node` means; `None` where there is none.
        fn $read(node: &$crate::document::node::Node<'_>) -> Option<$type> {
            match node.text()? {
                $($word => Some($value),)+
                _ => None,
            }
        }
    };
}

pub(crate) use {shape, words};
