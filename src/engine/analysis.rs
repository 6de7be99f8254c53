//! Checks against a metrics server: what an answer says, and the state machine over it (design.md section 7).

use crate::config::{Check, Millis, OnNoData, Value};
use crate::document::numbers;
use crate::document::value::number_text;

use crate::http::query::encoded;

use super::health::is_due;
use super::Hold;

/// The longest answer that is read, in bytes.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// One number; an infinity is one.
    Number(f64),
    /// No element, or NaN, as of a share of nothing.
    NoData,
    /// Nothing that says anything.
    Unusable(Unusable),
}

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The proxy would not send the question.
    NotSent,
    NoAnswer,
    /// An HTTP status other than 200.
    Status(u16),
    TooLong,
    NotJson,
    /// JSON that is not the query API's, or tells of an error.
    NoResult,
    /// A vector of several elements.
    Several(usize),
    /// A matrix, a string, or a type that is not known.
    NotOneNumber,
    NotANumber,
}

impl Answer {
    /// What the query API answered: its HTTP status, `None` where there was no answer in time, and its body,
    /// `None` where it was too long to be read.
    pub fn of(status: Option<u16>, body: Option<&[u8]>) -> Self {
        Self::read(status, body).unwrap_or_else(Self::Unusable)
    }

    fn read(status: Option<u16>, body: Option<&[u8]>) -> Result<Self, Unusable> {
        let status = status.ok_or(Unusable::NoAnswer)?;
        if status != 200 {
            return Err(Unusable::Status(status));
        }
        let body = body.ok_or(Unusable::TooLong)?;
        let answer = Value::from_json(body).map_err(|_| Unusable::NotJson)?;
        let data = answer.get("data").ok_or(Unusable::NoResult)?;
        let (Some(Value::String(status)), Some(Value::String(kind)), Some(Value::List(result))) =
            (answer.get("status"), data.get("resultType"), data.get("result"))
        else {
            return Err(Unusable::NoResult);
        };
        if status != "success" {
            return Err(Unusable::NoResult);
        }
        let sample = match (&**kind, result.as_slice()) {
            ("scalar", sample) => sample,
            ("vector", []) => return Ok(Self::NoData),
            ("vector", [one]) => match one.get("value") {
                Some(Value::List(sample)) => sample.as_slice(),
                _ => return Err(Unusable::NotANumber),
            },
            ("vector", several) => return Err(Unusable::Several(several.len())),
            _ => return Err(Unusable::NotOneNumber),
        };
        let [_, Value::String(text)] = sample else { return Err(Unusable::NotANumber) };
        Ok(match &**text {
            "NaN" => Self::NoData,
            "+Inf" | "Inf" => Self::Number(f64::INFINITY),
            "-Inf" => Self::Number(f64::NEG_INFINITY),
            text => Self::Number(numbers::number(text).ok_or(Unusable::NotANumber)?),
        })
    }

    /// The answer, in words that follow "gave". Nothing in it is the server's own text, which could repeat a
    /// secret that it was sent.
    pub fn told(&self) -> String {
        let text = match self {
            Self::Number(f64::INFINITY) => "+Inf",
            Self::Number(f64::NEG_INFINITY) => "-Inf",
            Self::Number(number) => return number_text(*number),
            Self::NoData => "no data",
            Self::Unusable(why) => match why {
                Unusable::NotSent => "it cannot be asked; does the proxy have one of that name?",
                Unusable::NoAnswer => "no answer in time",
                Unusable::Status(status) => return format!("status {status}"),
                Unusable::TooLong => "an answer of more than 65536 bytes",
                Unusable::NotJson => "an answer that is not JSON",
                Unusable::NoResult => "an answer without a result",
                Unusable::Several(count) => {
                    return format!("a vector of {count} elements, where one number is needed");
                }
                Unusable::NotOneNumber => "a matrix or text, where one number is needed",
                Unusable::NotANumber => "a sample without a number",
            },
        };
        text.to_owned()
    }
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
    /// The request target of the question.
    pub fn target(&self) -> String {
        format!("/api/v1/query?query={}", encoded(&self.query))
    }

    /// The limit that `answer` is beyond, in words that follow it.
    pub fn limit(&self, answer: Answer) -> String {
        let Answer::Number(number) = answer else { return "onNoData is fail".to_owned() };
        match (self.min, self.max) {
            (Some(least), _) if number < least => format!("below min {}", number_text(least)),
            (_, Some(most)) => format!("above max {}", number_text(most)),
            _ => String::new(),
        }
    }

    /// What `answer` says of the version.
    pub fn look(&self, answer: Answer) -> Look {
        match answer {
            Answer::Number(number) => {
                let low = self.min.is_some_and(|least| number < least);
                let high = self.max.is_some_and(|most| number > most);
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
    /// When the next question is due, on the clock that never steps.
    pub next: Millis,
    /// Counts the changes of `hold`.
    pub round: u32,
    /// When it first took the version out, since the Unix epoch: a ramp stands still from then on.
    pub first_trip: Option<Millis>,
    /// The last number, in thousandths; one below 0 is 0.
    pub value: u64,
    /// Whether the last question had no usable answer, which has been logged.
    pub unusable: bool,
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
        let due = is_due(self.next, check.interval, now);
        due.then(|| Self { next: now.saturating_add(check.interval), ..*self })
    }

    /// The state after `answer` came, at `wall` since the Unix epoch, to a question that was asked in `round`.
    pub fn heard(
        &self,
        check: &Check,
        round: u32,
        answer: Answer,
        wall: Millis,
    ) -> (Self, Option<CheckEvent>) {
        let mut next = Self { unusable: matches!(answer, Answer::Unusable(_)), ..*self };
        if let Answer::Number(number) = answer {
            next.value = (number * 1000.0).round() as u64;
        }
        // What was asked before the version was tried again speaks of the time before.
        if round == self.round {
            next.after(check, check.look(answer), wall)
        } else {
            (next, None)
        }
    }

    /// The state after a look at `wall` since the Unix epoch.
    ///
    /// A version that is tried again comes back with the first good look, and goes out again with the first
    /// bad one.
    pub fn after(&self, check: &Check, look: Look, wall: Millis) -> (Self, Option<CheckEvent>) {
        let bad = match look {
            Look::Good => 0,
            Look::Bad => self.bad.saturating_add(1),
            Look::Nothing => return (*self, None),
        };
        let next = Self { bad, ..*self };
        match self.hold {
            Hold::In if bad >= check.failures => next.trip(wall),
            Hold::Probing if look == Look::Bad => next.trip(wall),
            Hold::Probing => next.change(Hold::In, CheckEvent::Returned),
            Hold::In | Hold::Out => (next, None),
        }
    }

    /// The state of a version that has been out for `known_for`, where it is tried again after
    /// `retry_after`. It is asked about an interval later: what is known at `now` is of the time before.
    pub fn retry(
        &self,
        check: &Check,
        retry_after: Option<Millis>,
        known_for: Millis,
        now: Millis,
    ) -> Option<Self> {
        let due = self.hold == Hold::Out && retry_after.is_some_and(|retry| known_for >= retry);
        let next = now.saturating_add(check.interval);
        due.then(|| Self { next, ..self.change(Hold::Probing, CheckEvent::Probing).0 })
    }

    fn trip(&self, wall: Millis) -> (Self, Option<CheckEvent>) {
        let first_trip = self.first_trip.or(Some(wall.max(1)));
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
        bytes.extend_from_slice(&self.value.to_le_bytes());
        bytes.push(u8::from(self.unusable));
        bytes
    }

    /// Reads a record; `None` if it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&hold, rest) = bytes.split_first()?;
        let (bad, rest) = rest.split_first_chunk::<4>()?;
        let (round, rest) = rest.split_first_chunk::<4>()?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let (first_trip, rest) = rest.split_first_chunk::<8>()?;
        let (value, rest) = rest.split_first_chunk::<8>()?;
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
            first_trip: Some(Millis::from_le_bytes(*first_trip)).filter(|at| *at > 0),
            value: u64::from_le_bytes(*value),
            unusable: match rest {
                [0] => false,
                [1] => true,
                _ => return None,
            },
        })
    }
}
