//! Numbers with a unit and a range.

use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

use super::shape::{Kind, Number, Span, Text};

/// A point in time or a length of it, in milliseconds; points count from the Unix epoch.
pub type Millis = u64;

/// A share of a whole in millionths: 0 to 1,000,000, so that 0.05 is 50,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// The ratio of `millionths`; `None` above 1.
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= 1_000_000 {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// Millionths, 0 to 1,000,000.
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

/// The units of a duration, in milliseconds.
const UNITS: [(&str, Millis); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The longest duration: ten years.
pub(crate) const LONGEST: Millis = 3650 * 86_400_000;

/// Reads a duration: a whole number and one unit, as in `500ms`, `30s`, `10m`, `1h`, `7d`.
///
/// ```
/// assert_eq!(cohort::config::parse_duration("10m"), Some(600_000));
/// assert_eq!(cohort::config::parse_duration("1h30m"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Millis> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let unit = text.get(digits.len()..)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<Millis>().ok()?.checked_mul(*length)
}

/// A duration in the largest unit that holds it whole.
pub(crate) fn duration_text(length: Millis) -> String {
    let unit = UNITS.iter().rev().find(|(_, unit)| length >= *unit && length.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", length / unit))
}

/// Reads an RFC 3339 instant, not before 1970; anything finer than a millisecond is cut off.
///
/// ```
/// assert_eq!(cohort::config::parse_instant("1970-01-01T01:00:00.5+01:00"), Some(500));
/// assert_eq!(cohort::config::parse_instant("2026-11-21"), None);
/// ```
pub fn parse_instant(text: &str) -> Option<Millis> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let seconds = Millis::try_from(instant.unix_timestamp()).ok()?;
    Some(seconds * 1000 + Millis::from(instant.millisecond()))
}

/// A point in time, written in RFC 3339.
pub(crate) static INSTANT: Text = Text::new(
    "an instant in RFC 3339 since 1970, such as 2026-11-21T10:00:00Z",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2})$",
    |text| parse_instant(text).is_some(),
);

/// A duration of `least` to `most` milliseconds.
pub(crate) const fn span(least: Millis, most: Millis) -> Kind {
    Kind::Span(Span { least, most, step: 1 })
}

/// A duration of `least` to `most` milliseconds, in whole seconds.
pub(crate) const fn whole_seconds(least: Millis, most: Millis) -> Kind {
    Kind::Span(Span { least, most, step: 1000 })
}

/// A whole number.
pub(crate) const fn count(least: u32, most: u32) -> Kind {
    Kind::Number(Number { noun: "a whole number", least, most, decimals: 0 })
}

/// A weight, read in thousandths of a percent.
pub(crate) const WEIGHT: Kind =
    Kind::Number(Number { noun: "a percentage", least: 0, most: 100, decimals: 3 });

/// A share, read in millionths.
pub(crate) const RATIO: Kind =
    Kind::Number(Number { noun: "a ratio", least: 0, most: 1, decimals: 6 });

/// How many times as large, read in thousandths.
pub(crate) const TIMES: Kind =
    Kind::Number(Number { noun: "a number", least: 1, most: 1000, decimals: 3 });

#[cfg(test)]
mod tests {
    use super::super::node::Problems;
    use super::super::read;
    use super::super::value::Value;
    use super::*;

    /// What `json` is read as, or the line it is refused with.
    fn read(kind: &Kind, json: &str) -> Result<u64, String> {
        read_value(kind, &Value::from_json(json.as_bytes()).unwrap())
    }

    fn read_value(kind: &Kind, value: &Value<'_>) -> Result<u64, String> {
        let mut problems = Problems::new(value);
        let node = read::read(kind, value, &mut problems);
        node.number().ok_or_else(|| problems.into_sorted().remove(0).to_string())
    }

    #[test]
    fn a_weight_is_exact_to_three_decimals_and_nothing_is_rounded() {
        for thousandths in 0..=100_000u32 {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            assert_eq!(read(&WEIGHT, &text), Ok(u64::from(thousandths)), "{text}");
        }
        for good in ["5", "5.0", "5e0", "0.5e1", "-0"] {
            assert!(read(&WEIGHT, good).is_ok(), "{good}");
        }
        for (bad, found) in [
            ("105", "105"),
            ("0.0005", "0.0005"),
            ("100.001", "100.001"),
            ("-0.001", "-0.001"),
            ("33.3333", "33.3333"),
            ("1e300", "a number above 1000000000"),
            ("null", "null"),
            ("[5]", "a list"),
        ] {
            let line = format!(
                "$: found {found}, allowed: a percentage from 0 to 100 with at most three decimals"
            );
            assert_eq!(read(&WEIGHT, bad).err(), Some(line), "{bad}");
        }
        for (bad, meant) in [("5", "5"), ("5%", "5"), (" 0.50 % ", "0.5"), ("+5", "5")] {
            let hint = format!("(did you mean {meant}?)");
            assert!(read(&WEIGHT, &format!("\"{bad}\"")).unwrap_err().ends_with(&hint), "{bad}");
        }
        for bad in ["105", "five", "%", "0.0001%"] {
            let line = read(&WEIGHT, &format!("\"{bad}\"")).unwrap_err();
            assert!(line.ends_with("three decimals"), "{line}");
        }
    }

    #[test]
    fn a_ratio_is_exact_to_six_decimals() {
        assert_eq!(read(&RATIO, "0.05"), Ok(50_000));
        assert_eq!(read(&RATIO, "0.000001"), Ok(1));
        assert_eq!(read(&RATIO, "1.0"), Ok(1_000_000));
        assert!(read(&RATIO, "0.0000001").is_err());
        assert!(read(&RATIO, "1.01").is_err());
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(read_value(&WEIGHT, &Value::Number(number)).is_err());
        }
    }

    #[test]
    fn a_duration_is_a_whole_number_and_one_unit() {
        for (text, length) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Some(length), "{text}");
        }
        for text in [
            "",
            "s",
            "30",
            "30 s",
            "-1s",
            "+1s",
            "1.5s",
            "1h30m",
            "1w",
            "30S",
            "99999999999999999999s",
            "٣s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_range_of_a_duration_is_told_in_its_own_notation() {
        assert_eq!(
            read(&span(1000, 3_600_000), "\"2h\"").err().unwrap(),
            "$: found \"2h\", allowed: a duration from 1s to 1h, such as 30s, 10m or 1h"
        );
        assert_eq!(
            read(&whole_seconds(1000, LONGEST), "\"1500ms\"").err().unwrap(),
            "$: found \"1500ms\", allowed: a duration from 1s to 3650d in whole seconds, such as 30s, 10m, 1h or 7d"
        );
        assert_eq!(read(&whole_seconds(1000, LONGEST), "\"2000ms\""), Ok(2000));
    }

    #[test]
    fn an_instant_needs_a_date_a_time_and_a_zone() {
        assert_eq!(parse_instant("2026-11-21T10:00:00Z"), Some(1_795_255_200_000));
        assert_eq!(parse_instant("2026-11-21T11:00:00.250+01:00"), Some(1_795_255_200_250));
        for text in [
            "2026-11-21",
            "2026-11-21T10:00:00",
            "2026-13-21T10:00:00Z",
            "1969-12-31T23:59:59Z",
            "",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
