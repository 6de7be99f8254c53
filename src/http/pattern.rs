//! Text comparisons of conditions.

use regex_lite::{Regex, RegexBuilder};

use super::semver::Comparison;

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
    Contains(Needle),
    In(Vec<Box<[u8]>>),
    /// Linear time, unanchored. A value that is not UTF-8 is seen with U+FFFD for what is not.
    Regex(Box<Regex>),
    /// Whether there is a value at all.
    Present(bool),
    /// A version that the comparison holds for; what is no version does not hold.
    Semver(Comparison),
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
            Test::Contains(needle) => needle.is_in(value),
            Test::In(texts) => texts.iter().any(|text| self.same(value, text)),
            Test::Regex(regex) => {
                value.len() <= REGEX_VALUE_LIMIT && regex.is_match(&String::from_utf8_lossy(value))
            }
            Test::Semver(comparison) => comparison.holds(value),
        }
    }

    /// What the value is compared with.
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// The whole texts of which one is asked for; `None` where they cannot be listed.
    pub fn texts(&self) -> Option<&[Box<[u8]>]> {
        match &self.test {
            Test::Exact(text) => Some(std::slice::from_ref(text)),
            Test::In(texts) => Some(texts),
            _ => None,
        }
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

/// A text to look for in others, in a time that grows with their length alone (Knuth, Morris, Pratt).
#[derive(Clone, Debug)]
pub struct Needle {
    /// In lower case where case is ignored.
    text: Box<[u8]>,
    /// For each byte how many bytes up to it are also how the text begins, without being all of them.
    borders: Box<[usize]>,
    ignore_case: bool,
}

impl Needle {
    /// A text to look for; `ignore_case` folds ASCII letters.
    pub fn new(mut text: Box<[u8]>, ignore_case: bool) -> Self {
        if ignore_case {
            text.make_ascii_lowercase();
        }
        let mut needle = Self { text, borders: Box::default(), ignore_case };
        let mut borders = Vec::with_capacity(needle.text.len());
        let mut matched = 0;
        for (at, &byte) in needle.text.iter().enumerate() {
            // The first byte cannot end a beginning of the text that is shorter than it.
            if at > 0 {
                matched = needle.step(&borders, matched, byte);
            }
            borders.push(matched);
        }
        needle.borders = borders.into();
        needle
    }

    /// The text that is looked for.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the text stands anywhere in `value`.
    pub fn is_in(&self, value: &[u8]) -> bool {
        let mut matched = 0;
        self.text.is_empty()
            || value.iter().any(|&byte| {
                let byte = if self.ignore_case { byte.to_ascii_lowercase() } else { byte };
                matched = self.step(&self.borders, matched, byte);
                matched == self.text.len()
            })
    }

    /// How many bytes of the text have come after `byte`, where `matched` of them had before.
    fn step(&self, borders: &[usize], mut matched: usize, byte: u8) -> usize {
        while self.text.get(matched) != Some(&byte) {
            let Some(before) = matched.checked_sub(1) else { return 0 };
            matched = borders.get(before).copied().unwrap_or_default();
        }
        matched + 1
    }
}

/// A regular expression with one group, and what that group matches in a value.
#[derive(Clone, Debug)]
pub struct Capture(Box<Regex>);

impl Capture {
    /// Compiles a regular expression with exactly one group.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow "found".
    pub fn compile(text: &str) -> Result<Self, String> {
        let regex = compile(text, false)?;
        match regex.captures_len() - 1 {
            1 => Ok(Self(Box::new(regex))),
            0 => Err("a regular expression without a group".to_owned()),
            count => Err(format!("a regular expression with {count} groups")),
        }
    }

    /// The regular expression's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What the group matches in `value`, byte for byte; `None` if it matches nothing.
    ///
    /// ```
    /// use cohort::http::pattern::Capture;
    /// let capture = Capture::compile(r"^GA1\.[0-9]\.([0-9]+)").unwrap();
    /// assert_eq!(capture.find(b"GA1.2.1033501218.1368477899"), Some(&b"1033501218"[..]));
    /// assert_eq!(capture.find(b"GS1"), None);
    /// ```
    pub fn find<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        if value.len() > REGEX_VALUE_LIMIT {
            return None;
        }
        let seen = String::from_utf8_lossy(value);
        let group = self.0.captures(&seen)?.get(1)?.range();
        value.get(original(value, group.start)?..original(value, group.end)?)
    }
}

impl PartialEq for Capture {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Capture {}

/// Where in `value` stands what is at `at` in its lossy UTF-8.
fn original(value: &[u8], at: usize) -> Option<usize> {
    let (mut seen, mut original) = (0, 0);
    for chunk in value.utf8_chunks() {
        let valid = chunk.valid().len();
        if at <= seen + valid {
            return Some(original + (at - seen));
        }
        seen += valid + char::REPLACEMENT_CHARACTER.len_utf8();
        original += valid + chunk.invalid().len();
    }
    (at <= seen).then_some(original)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_it_stands_and_nowhere_else() {
        // Every text of up to four letters in every value of up to eight, of two letters.
        let words = |length: u32| {
            (0..=length).flat_map(|length| {
                (0..1_u32 << length).map(move |bits| -> Vec<u8> {
                    (0..length).map(|bit| b"ab"[(bits >> bit & 1) as usize]).collect()
                })
            })
        };
        for text in words(4).filter(|text| !text.is_empty()) {
            let needle = Needle::new(text.clone().into(), false);
            let folded = Needle::new(text.to_ascii_uppercase().into(), true);
            for value in words(8) {
                let wanted = value.windows(text.len()).any(|part| part == text);
                let about = format!("{} in {}", text.escape_ascii(), value.escape_ascii());
                assert_eq!(needle.is_in(&value), wanted, "{about}");
                assert_eq!(folded.is_in(&value), wanted, "{about}, in any case");
            }
        }
        assert!(Needle::new(Box::default(), false).is_in(b""), "nothing is in everything");
    }

    #[test]
    fn what_a_group_captures_keeps_its_bytes() {
        let find = |regex: &str, value: &'static [u8]| Capture::compile(regex).unwrap().find(value);
        assert_eq!(find("=(.*)=", b"\xff=a\xfe\xc3\xa9=\xff"), Some(&b"a\xfe\xc3\xa9"[..]));
        assert_eq!(find("(.)$", b"\xc3\xa9"), Some(&b"\xc3\xa9"[..]));
        assert_eq!(find("^(.).", b"\xffa"), Some(&b"\xff"[..]));
        assert_eq!(find("a(b)?", b"a"), None, "a group that takes no part");
        assert_eq!(find("a(b*)", b"a"), Some(&b""[..]));
        let long = vec![b'a'; REGEX_VALUE_LIMIT + 1];
        assert_eq!(Capture::compile("(a)").unwrap().find(&long), None);
    }

    #[test]
    fn a_capture_has_exactly_one_group() {
        let found = |text: &str| Capture::compile(text).unwrap_err();
        assert_eq!(found("a"), "a regular expression without a group");
        assert_eq!(found("(?:a)"), "a regular expression without a group");
        assert_eq!(found("(a)(b)"), "a regular expression with 2 groups");
        assert!(found("(").contains("does not compile"));
        assert!(Capture::compile("(?P<id>a)").is_ok());
    }
}
