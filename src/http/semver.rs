//! Versions of programs and comparisons of them (semver.org, version 2.0.0, section 11).

use std::cmp::Ordering;

/// A comparison such as `>=2.3.0 <3`: every part of it holds.
#[derive(Clone, Debug)]
pub struct Comparison {
    text: Box<str>,
    parts: Vec<(Operator, Box<str>)>,
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Each operator, those first that begin with another one.
const OPERATORS: [(&str, Operator); 5] = [
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Equal),
];

impl Comparison {
    /// Reads a comparison; `None` if it is none. A version without an operator is that version.
    ///
    /// ```
    /// use cohort::http::semver::Comparison;
    /// let comparison = Comparison::parse(">=2.3.0 <3").unwrap();
    /// assert!(comparison.holds(b"2.10.0") && !comparison.holds(b"3.0.0"));
    /// assert!(Comparison::parse("^2").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text.trim_matches(' ');
        while !rest.is_empty() {
            let known = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
            let (sign, operator) = known.copied().unwrap_or(("", Operator::Equal));
            let behind = rest.get(sign.len()..)?.trim_start_matches(' ');
            let (version, next) = behind.split_once(' ').unwrap_or((behind, ""));
            Version::parse(version.as_bytes())?;
            parts.push((operator, version.into()));
            rest = next.trim_start_matches(' ');
        }
        (!parts.is_empty()).then(|| Self { text: text.into(), parts })
    }

    /// Whether `value` is a version for which every part holds.
    pub fn holds(&self, value: &[u8]) -> bool {
        let Some(value) = Version::parse(value) else { return false };
        self.parts.iter().all(|(operator, bound)| {
            Version::parse(bound.as_bytes()).is_some_and(|bound| {
                let order = value.precedence(&bound);
                match operator {
                    Operator::Equal => order.is_eq(),
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    Operator::GreaterOrEqual => order.is_ge(),
                }
            })
        })
    }

    /// The comparison as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A version, as the text that it was read from. Build metadata has no part in the order.
struct Version<'a> {
    /// Major, minor and patch; one that is missing is 0.
    core: [&'a [u8]; 3],
    /// What stands behind the hyphen; empty for a release.
    pre_release: &'a [u8],
}

impl<'a> Version<'a> {
    /// Reads a version. Minor and patch may be missing (`2.3` is 2.3.0) where nothing stands behind them.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (text, build) = halves(text, b'+');
        let (core, pre_release) = halves(text, b'-');
        let mut numbers: [&[u8]; 3] = [b"0"; 3];
        let mut count = 0;
        for number in core.split(|&byte| byte == b'.') {
            *numbers.get_mut(count)? = number;
            count += 1;
            if !is_number(number) || has_leading_zero(number) {
                return None;
            }
        }
        let is_whole = count == 3 || (pre_release.is_none() && build.is_none());
        let good = is_whole
            && build.is_none_or(|build| identifiers(build).all(is_identifier))
            && pre_release.is_none_or(|text| {
                identifiers(text).all(|one| is_identifier(one) && !has_leading_zero(one))
            });
        good.then(|| Self { core: numbers, pre_release: pre_release.unwrap_or_default() })
    }

    fn precedence(&self, other: &Self) -> Ordering {
        let cores = self.core.iter().zip(&other.core).map(|(a, b)| by_number(a, b));
        let core = cores.fold(Ordering::Equal, Ordering::then);
        core.then_with(|| match (self.pre_release, other.pre_release) {
            (b"", b"") => Ordering::Equal,
            (b"", _) => Ordering::Greater,
            (_, b"") => Ordering::Less,
            (one, other) => by_identifiers(one, other),
        })
    }
}

/// What stands before and after the first `between`.
fn halves(text: &[u8], between: u8) -> (&[u8], Option<&[u8]>) {
    let mut halves = text.splitn(2, |&byte| byte == between);
    (halves.next().unwrap_or_default(), halves.next())
}

fn identifiers(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'.')
}

fn is_identifier(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn has_leading_zero(text: &[u8]) -> bool {
    is_number(text) && text.len() > 1 && text.starts_with(b"0")
}

/// Without leading zeros, the longer number is the larger one.
fn by_number(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

fn by_identifiers(one: &[u8], other: &[u8]) -> Ordering {
    let (mut ones, mut others) = (identifiers(one), identifiers(other));
    loop {
        let order = match (ones.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => match (is_number(one), is_number(other)) {
                (true, true) => by_number(one, other),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => one.cmp(other),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_semver_org() {
        let rising = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0-0",
            "2",
            "10.0.0",
            "99999999999999999999.0.0",
            "100000000000000000000.0.0",
        ];
        for (at, one) in rising.iter().enumerate() {
            for (other_at, other) in rising.iter().enumerate() {
                let [one_version, other_version] =
                    [one, other].map(|text| Version::parse(text.as_bytes()).expect(text));
                let order = one_version.precedence(&other_version);
                assert_eq!(order, at.cmp(&other_at), "{one} and {other}");
            }
        }
        let comparison = Comparison::parse("1.0.0").unwrap();
        assert!(comparison.holds(b"1.0.0+build.01") && comparison.holds(b"1"));
    }

    #[test]
    fn what_is_no_version_is_in_no_range() {
        let any = Comparison::parse(">=0.0.0-0").unwrap();
        for good in ["0", "1.2", "1.2.3", "1.2.3-a.b-c.7", "1.2.3+b", "1.2.3-x+b.007"] {
            assert!(any.holds(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " ",
            "v1.2.3",
            "1.",
            "1.2.",
            ".1",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "1.2-a",
            "1+b",
            "1.x",
            "-1",
            "1.2.3 ",
            "1,2",
            "\u{661}.0.0",
        ] {
            assert!(!any.holds(bad.as_bytes()), "{bad:?}");
        }
        assert!(!any.holds(b"1.2.\xff"));
    }

    #[test]
    fn a_comparison_is_operators_and_versions() {
        for (text, good, bad) in [
            (
                ">=2.3.0 <3",
                &["2.3.0", "2.3", "2.10.1", "3.0.0-rc.1"][..],
                &["2.2.9", "3", "2.3.0-rc"][..],
            ),
            ("= 1.2.3", &["1.2.3", "1.2.3+x"], &["1.2.4", "1.2.3-x"]),
            ("  > 1   <=  2.0.0-rc.2 ", &["1.0.1", "2.0.0-rc.1"], &["1", "2"]),
            ("1.2", &["1.2.0"], &["1.2.1"]),
        ] {
            let comparison = Comparison::parse(text).expect(text);
            assert!(good.iter().all(|version| comparison.holds(version.as_bytes())), "{text}");
            assert!(!bad.iter().any(|version| comparison.holds(version.as_bytes())), "{text}");
        }
        for bad in
            ["", " ", ">=", "^1", "~1.2", "1 || 2", ">=v1", "1.x", "=>1", "==1", ">1,<2", "> =1"]
        {
            assert!(Comparison::parse(bad).is_none(), "{bad:?}");
        }
    }
}
