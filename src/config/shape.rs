//! How an object of the configuration is declared: once, for the reader and for the schema.

/// Declares the shape of an object: its keys, what stands under them, and what they mean.
///
/// `required`, `optional` or `defaulted` stands before the type; the doc comments and the defaults go
/// into the schema. `also` is JSON that is merged into the object's schema, for what goes together.
macro_rules! shape {
    (
        $(#[doc = $about:literal])+
        $name:ident: $allowed:literal {
            $(
                $(#[doc = $doc:literal])+
                $key:literal $field:ident: $need:ident $type:ty $(= $default:expr)?,
            )+
        }
        $(also $also:literal)?
    ) => {
        $(#[doc = $about])+
        pub(in crate::config) struct $name {
            $($(#[doc = $doc])+ pub(in crate::config) $field: $crate::config::read::Field<$type>,)+
            /// Whether there were unknown keys.
            #[allow(dead_code)]
            pub(in crate::config) odd: bool,
        }

        impl $crate::config::read::Read for $name {
            fn read(
                at: &$crate::config::place::Place<'_>,
                problems: &mut $crate::config::place::Problems,
            ) -> Option<Self> {
                let object = $crate::config::read::Object::open(at, &[$($key),+], $allowed, problems)?;
                Some(Self {
                    $($field: object.$need($key, $($crate::config::value::Value::from($default),)? problems),)+
                    odd: object.odd,
                })
            }

            fn allowed() -> String {
                $allowed.to_owned()
            }

            #[cfg(not(target_arch = "wasm32"))]
            fn schema(
                definitions: &mut $crate::config::schema::Definitions,
            ) -> $crate::config::schema::Json {
                definitions.object(stringify!($name), &[$($about),+], |object, definitions| {
                    $(
                        let schema = <$type as $crate::config::read::Read>::schema(definitions);
                        let required = stringify!($need) == "required";
                        let default = None $(.or(Some($crate::config::value::Value::from($default))))?;
                        object.property($key, &[$($doc),+], schema, required, default);
                    )+
                    $(object.also($also);)?
                })
            }
        }
    };
}

/// Declares what is written as a string and kept as one, because `good` holds of it.
macro_rules! text {
    ($(#[doc = $about:literal])+ $name:ident: $allowed:literal, $pattern:literal, $good:expr) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(in crate::config) struct $name(pub(in crate::config) String);

        impl $crate::config::read::Text for $name {
            const ALLOWED: &'static str = $allowed;
            const PATTERN: &'static str = $pattern;

            fn parse(text: &str) -> Option<Self> {
                let good: fn(&str) -> bool = $good;
                good(text).then(|| Self(text.to_owned()))
            }
        }
    };
}

/// Reads and describes a checked type by its shape.
macro_rules! read_by_shape {
    ($type:ty, $shape:ty, $check:expr) => {
        impl $crate::config::read::Read for $type {
            fn read(
                at: &$crate::config::place::Place<'_>,
                problems: &mut $crate::config::place::Problems,
            ) -> Option<Self> {
                let shape = <$shape as $crate::config::read::Read>::read(at, problems)?;
                $check(shape, at, problems)
            }

            fn allowed() -> String {
                <$shape as $crate::config::read::Read>::allowed()
            }

            #[cfg(not(target_arch = "wasm32"))]
            fn schema(
                definitions: &mut $crate::config::schema::Definitions,
            ) -> $crate::config::schema::Json {
                <$shape as $crate::config::read::Read>::schema(definitions)
            }
        }
    };
}

pub(super) use {read_by_shape, shape, text};
