//! Checks against a metrics server: what an answer says, and the state machine over it (design.md section 7).

use crate::config::{Check, Millis, OnNoData, Value};

use super::Hold;

/// The longest answer that is read, in bytes.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One number; an infinity is one.
    Number(f64),
    /// No element, or NaN, as of a share of nothing.
    NoData,
    /// Nothing that says anything, and why.
    Unusable(String),
}

impl Answer {
    /// What the query API answered: its HTTP status, `None` where there was no answer in time, and its body.
    pub fn of(status: Option<u16>, body: &[u8]) -> Self {
        match status {
            None => return Self::Unusable("no answer in time".to_owned()),
            Some(200) => {}
            Some(status) => return Self::Unusable(format!("status {status}")),
        }
        match Value::from_json(body) {
            Ok(answer) => Self::of_document(&answer).unwrap_or_else(Self::Unusable),
            Err(_) => Self::Unusable("an answer that is not JSON".to_owned()),
        }
    }

    fn of_document(answer: &Value<'_>) -> Result<Self, String> {
        if text(answer.get("status")) != Some("success") {
            return Err("an answer without status success".to_owned());
        }
        let data = answer.get("data").ok_or("an answer without data")?;
        let kind = text(data.get("resultType")).unwrap_or("no type");
        let Some(Value::List(result)) = data.get("result") else {
            return Err("an answer without a result".to_owned());
        };
        let sample = match (kind, result.as_slice()) {
            ("scalar", sample) => sample,
            ("vector", []) => return Ok(Self::NoData),
            ("vector", [one]) => match one.get("value") {
                Some(Value::List(sample)) => sample.as_slice(),
                _ => return Err("a vector without a value".to_owned()),
            },
            ("vector", several) => return Err(several_elements(several)),
            (kind, _) => return Err(format!("a {kind}, where one number is needed")),
        };
        let number = match sample {
            [_, Value::String(number)] => number.parse::<f64>(),
            _ => return Err("a sample without a number".to_owned()),
        };
        match number {
            Ok(number) if number.is_nan() => Ok(Self::NoData),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => Err("a sample that is not a number".to_owned()),
        }
    }
}

fn text<'a>(value: Option<&'a Value<'a>>) -> Option<&'a str> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// How many elements there are, and what tells the first two apart.
fn several_elements(elements: &[Value<'_>]) -> String {
    let mut names = String::new();
    for element in elements.iter().take(2) {
        let metric = element.get("metric").map_or_else(String::new, Value::shown);
        let short: String =
            metric.chars().filter(|letter| !letter.is_control()).take(120).collect();
        names.push_str(if names.is_empty() { " (" } else { ", " });
        names.push_str(&short);
    }
    format!("{} elements{names}), where one number is needed", elements.len())
}

/// What a look says of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Good,
    Bad,
    /// It says nothing.
    Nothing,
}

impl Check {
    /// What `answer` says of the version.
    pub fn look(&self, answer: &Answer) -> Look {
        match answer {
            Answer::Number(number) => {
                let low = self.min.is_some_and(|least| *number < least);
                let high = self.max.is_some_and(|most| *number > most);
                if low || high {
                    Look::Bad
                } else {
                    Look::Good
                }
            }
            Answer::NoData if self.on_no_data == OnNoData::Fail => Look::Bad,
            Answer::NoData | Answer::Unusable(_) => Look::Nothing,
        }
    }
}

/// The memory of one check, shared by all workers of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    pub hold: Hold,
    /// How many looks in a row were bad.
    pub bad: u32,
    /// When the next question is due, in milliseconds since the Unix epoch.
    pub next: Millis,
    /// Counts the changes of `hold`.
    pub round: u32,
    /// When it first took the version out, since the Unix epoch: a ramp stands still from then on.
    pub first_trip: Option<Millis>,
}

/// A change of a check that people want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckEvent {
    Tripped,
    Probing,
    Returned,
}

impl CheckState {
    /// Whether the last look was bad.
    pub fn is_failing(&self) -> bool {
        self.bad > 0
    }

    /// The state of a worker that takes the question which is due at `now`; `None` if none is. One is due
    /// as well where the clock went back, so that none waits for a time long past.
    pub fn ask(&self, check: &Check, now: Millis) -> Option<Self> {
        let due = now >= self.next || self.next - now > check.interval;
        due.then(|| Self { next: now.saturating_add(check.interval), ..*self })
    }

    /// The state after a look at `now`.
    ///
    /// A version that is tried again comes back with the first good look, and goes out again with the first
    /// bad one.
    pub fn after(&self, check: &Check, look: Look, now: Millis) -> (Self, Option<CheckEvent>) {
        let bad = match look {
            Look::Good => 0,
            Look::Bad => self.bad.saturating_add(1),
            Look::Nothing => return (*self, None),
        };
        let next = Self { bad, ..*self };
        match self.hold {
            Hold::In if bad >= check.failures => next.trip(now),
            Hold::Probing if look == Look::Bad => next.trip(now),
            Hold::Probing => next.change(Hold::In, CheckEvent::Returned),
            Hold::In | Hold::Out => (next, None),
        }
    }

    /// The state of a version that has been out for `known_for`, where it is tried again after
    /// `retry_after`.
    pub fn retry(&self, retry_after: Option<Millis>, known_for: Millis) -> Option<Self> {
        let due = self.hold == Hold::Out && retry_after.is_some_and(|retry| known_for >= retry);
        due.then(|| self.change(Hold::Probing, CheckEvent::Probing).0)
    }

    fn trip(&self, now: Millis) -> (Self, Option<CheckEvent>) {
        let first_trip = self.first_trip.or(Some(now.max(1)));
        Self { first_trip, ..*self }.change(Hold::Out, CheckEvent::Tripped)
    }

    fn change(&self, hold: Hold, event: CheckEvent) -> (Self, Option<CheckEvent>) {
        (Self { hold, round: self.round.wrapping_add(1), ..*self }, Some(event))
    }

    /// The state as a record that workers share.
    pub fn to_bytes(self) -> Vec<u8> {
        let hold = match self.hold {
            Hold::In => 0,
            Hold::Probing => 1,
            Hold::Out => 2,
        };
        let mut bytes = vec![hold];
        bytes.extend_from_slice(&self.bad.to_le_bytes());
        bytes.extend_from_slice(&self.round.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&self.first_trip.unwrap_or(0).to_le_bytes());
        bytes
    }

    /// Reads a record; `None` if it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&hold, rest) = bytes.split_first()?;
        let (bad, rest) = rest.split_first_chunk::<4>()?;
        let (round, rest) = rest.split_first_chunk::<4>()?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let first_trip = Millis::from_le_bytes(rest.try_into().ok()?);
        Some(Self {
            hold: match hold {
                0 => Hold::In,
                1 => Hold::Probing,
                2 => Hold::Out,
                _ => return None,
            },
            bad: u32::from_le_bytes(*bad),
            round: u32::from_le_bytes(*round),
            next: Millis::from_le_bytes(*next),
            first_trip: Some(first_trip).filter(|at| *at > 0),
        })
    }
}
