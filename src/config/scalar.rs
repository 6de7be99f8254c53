//! Numbers with a unit and a range.

use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

use crate::bucket::Weight;

use super::place::{Place, Problems};
use super::read::{Read, Text};
#[cfg(not(target_arch = "wasm32"))]
use super::schema::{Definitions, Json};
use super::value::{shortened, Value};

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
pub(super) const LONGEST: Millis = 3650 * 86_400_000;

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
fn duration_text(length: Millis) -> String {
    let unit = UNITS.iter().rev().find(|(_, unit)| length >= *unit && length % unit == 0);
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
pub(super) struct Instant(pub(super) Millis);

impl Text for Instant {
    const ALLOWED: &'static str = "an instant in RFC 3339 since 1970, such as 2026-11-21T10:00:00Z";
    const PATTERN: &'static str =
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2})$";

    fn parse(text: &str) -> Option<Self> {
        parse_instant(text).map(Self)
    }
}

/// A duration of `LEAST` to `MOST` milliseconds, in whole multiples of `STEP`.
pub(super) struct Span<const LEAST: Millis, const MOST: Millis, const STEP: Millis>(
    pub(super) Millis,
);

impl<const LEAST: Millis, const MOST: Millis, const STEP: Millis> Read for Span<LEAST, MOST, STEP> {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        span(at, [LEAST, MOST, STEP], problems).map(Self)
    }

    fn allowed() -> String {
        allowed_span([LEAST, MOST, STEP])
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"})
    }
}

fn span(at: &Place<'_>, range: [Millis; 3], problems: &mut Problems) -> Option<Millis> {
    let [least, most, step] = range;
    let found = match at.value() {
        Value::String(text) => {
            let length = parse_duration(text);
            let good =
                length.filter(|length| (least..=most).contains(length) && length % step == 0);
            if good.is_some() {
                return good;
            }
            shortened(text)
        }
        other => other.in_words(),
    };
    problems.add(at, found, allowed_span(range));
    None
}

fn allowed_span([least, most, step]: [Millis; 3]) -> String {
    let (least, most) = (duration_text(least), duration_text(most));
    let examples = if step == 1 { ", such as 500ms," } else { " in whole seconds, such as" };
    format!("a duration from {least} to {most}{examples} 30s, 10m, 1h or 7d")
}

/// A whole number from `LEAST` to `MOST`.
pub(super) struct Count<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<const LEAST: u32, const MOST: u32> Read for Count<LEAST, MOST> {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(at, [LEAST, MOST, 1], Self::allowed, problems).map(Self)
    }

    fn allowed() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }
}

impl Read for Weight {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(at, [0, 100, 1000], Self::allowed, problems).and_then(Self::from_thousandths)
    }

    fn allowed() -> String {
        "a percentage from 0 to 100 with at most three decimals".to_owned()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"type": "number", "minimum": 0, "maximum": 100})
    }
}

impl Read for Ratio {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(at, [0, 1, 1_000_000], Self::allowed, problems).and_then(Self::from_millionths)
    }

    fn allowed() -> String {
        "a ratio from 0 to 1 with at most six decimals".to_owned()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"type": "number", "minimum": 0, "maximum": 1})
    }
}

/// How many times as large, in thousandths: 1 to 1,000.
pub(super) struct Times(pub(super) u32);

impl Read for Times {
    fn read(at: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(at, [1, 1000, 1000], Self::allowed, problems).map(Self)
    }

    fn allowed() -> String {
        "a number from 1 to 1000 with at most three decimals".to_owned()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({"type": "number", "minimum": 1, "maximum": 1000})
    }
}

/// A number from `least` to `most` in parts of one `scale`th.
fn decimal(
    at: &Place<'_>,
    [least, most, scale]: [u32; 3],
    allowed: fn() -> String,
    problems: &mut Problems,
) -> Option<u32> {
    if let Value::Number(number) = at.value() {
        let parts = (number * f64::from(scale)).round();
        // A division rounds correctly, so this is the number whose shortest text has no more decimals
        // than `scale` has, and no other.
        if parts / f64::from(scale) == *number
            && (f64::from(least)..=f64::from(most)).contains(number)
        {
            return Some(parts as u32);
        }
    }
    problems.add(at, at.value().in_words(), allowed());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Read>(json: &str) -> Result<T, String> {
        let value = Value::from_json(json.as_bytes()).unwrap();
        let mut problems = Problems::default();
        let read = T::read(&Place::top(&value), &mut problems);
        read.ok_or_else(|| problems.into_sorted().remove(0).to_string())
    }

    #[test]
    fn a_weight_is_exact_to_three_decimals_and_nothing_is_rounded() {
        for thousandths in 0..=100_000u32 {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            assert_eq!(read::<Weight>(&text).map(Weight::thousandths), Ok(thousandths), "{text}");
        }
        for good in ["5", "5.0", "5e0", "0.5e1", "-0"] {
            assert!(read::<Weight>(good).is_ok(), "{good}");
        }
        for (bad, found) in [
            ("105", "105"),
            ("0.0005", "0.0005"),
            ("100.001", "100.001"),
            ("-0.001", "-0.001"),
            ("33.3333", "33.3333"),
            ("1e300", "a number above 1000000000"),
            ("\"5\"", "a string \"5\""),
            ("null", "null"),
            ("[5]", "a list"),
        ] {
            let line = format!(
                "$: found {found}, allowed: a percentage from 0 to 100 with at most three decimals"
            );
            assert_eq!(read::<Weight>(bad).err(), Some(line), "{bad}");
        }
    }

    #[test]
    fn a_ratio_is_exact_to_six_decimals() {
        assert_eq!(read::<Ratio>("0.05").map(Ratio::millionths), Ok(50_000));
        assert_eq!(read::<Ratio>("0.000001").map(Ratio::millionths), Ok(1));
        assert_eq!(read::<Ratio>("1.0").map(Ratio::millionths), Ok(1_000_000));
        assert!(read::<Ratio>("0.0000001").is_err());
        assert!(read::<Ratio>("1.01").is_err());
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let value = Value::Number(number);
            assert!(Weight::read(&Place::top(&value), &mut Problems::default()).is_none());
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
            read::<Span<1000, 3_600_000, 1>>("\"2h\"").err().unwrap(),
            "$: found \"2h\", allowed: a duration from 1s to 1h, such as 500ms, 30s, 10m, 1h or 7d"
        );
        assert_eq!(
            read::<Span<1000, LONGEST, 1000>>("\"1500ms\"").err().unwrap(),
            "$: found \"1500ms\", allowed: a duration from 1s to 3650d in whole seconds, such as 30s, 10m, 1h or 7d"
        );
        assert_eq!(read::<Span<1000, LONGEST, 1000>>("\"2000ms\"").unwrap().0, 2000);
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
