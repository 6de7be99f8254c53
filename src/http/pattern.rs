//! Text comparisons of conditions.

use regex_lite::{Regex, RegexBuilder};

/// The most bytes of a value that a regular expression is asked about; a longer one does not match.
///
/// With [`REGEX_PROGRAM_LIMIT`] this bounds the time that one request can spend in one expression.
pub const REGEX_VALUE_LIMIT: usize = 8 * 1024;

/// The most bytes that a compiled regular expression may take.
pub const REGEX_PROGRAM_LIMIT: usize = 64 * 1024;

/// The most characters of a regular expression (design.md section 2).
pub const REGEX_TEXT_LIMIT: usize = 1000;

/// One comparison of a text, by bytes.
#[derive(Clone, Debug)]
pub struct Pattern {
    test: Test,
    ignore_case: bool,
}

/// What a value is compared with.
#[derive(Clone, Debug)]
pub enum Test {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    In(Vec<Box<[u8]>>),
    /// Linear time, unanchored. A value that is not UTF-8 is seen with U+FFFD for what is not.
    Regex(Box<Regex>),
    /// Whether there is a value at all.
    Present(bool),
}

impl Pattern {
    /// A comparison; `ignore_case` folds ASCII letters. A [`Test::Regex`] brings its own case rule,
    /// given to [`compile`].
    pub fn new(test: Test, ignore_case: bool) -> Self {
        Self { test, ignore_case }
    }

    /// Whether `value` holds; `None` is a value that is not there, which only `present: false` accepts.
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else { return matches!(self.test, Test::Present(false)) };
        match &self.test {
            Test::Present(present) => *present,
            Test::Exact(text) => self.same(value, text),
            Test::Prefix(text) => value.get(..text.len()).is_some_and(|head| self.same(head, text)),
            Test::Suffix(text) => value
                .len()
                .checked_sub(text.len())
                .and_then(|at| value.get(at..))
                .is_some_and(|tail| self.same(tail, text)),
            Test::Contains(text) => {
                text.is_empty() || value.windows(text.len()).any(|part| self.same(part, text))
            }
            Test::In(texts) => texts.iter().any(|text| self.same(value, text)),
            Test::Regex(regex) => {
                value.len() <= REGEX_VALUE_LIMIT && regex.is_match(&String::from_utf8_lossy(value))
            }
        }
    }

    /// What the value is compared with.
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// Whether ASCII letters of either case are the same.
    pub fn ignore_case(&self) -> bool {
        self.ignore_case
    }

    fn same(&self, a: &[u8], b: &[u8]) -> bool {
        if self.ignore_case {
            a.eq_ignore_ascii_case(b)
        } else {
            a == b
        }
    }
}

/// Compiles a regular expression within the limits of this module.
///
/// # Errors
/// What is wrong with it, in words that follow "found".
pub fn compile(text: &str, ignore_case: bool) -> Result<Regex, String> {
    let length = text.chars().count();
    if length > REGEX_TEXT_LIMIT {
        return Err(format!("a regular expression of {length} characters"));
    }
    RegexBuilder::new(text)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_PROGRAM_LIMIT)
        .nest_limit(50)
        .build()
        .map_err(|error| format!("a regular expression that does not compile ({error})"))
}
