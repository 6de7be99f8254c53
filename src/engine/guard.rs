//! The guard: watches a version and takes it out of traffic (design.md section 7).
//!
//! Two halves, both pure. [`Watch`] turns ever-growing totals into a sliding window; [`Latch`] is the
//! state machine. Every worker runs both on the same totals, and the latch itself lives in one record
//! that all workers of a proxy share.

use std::collections::VecDeque;

use crate::config::{Guard, Millis, Ratio};

use super::Hold;

/// What a version has answered since its counters began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that got an answer or failed to; client aborts are not among them.
    pub answers: u64,
    pub failures: u64,
    /// Answers slower than `slowerThan`.
    pub slow: u64,
}

impl Totals {
    /// What came since `earlier`; nothing where a counter began anew.
    fn since(self, earlier: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(earlier.answers),
            failures: self.failures.saturating_sub(earlier.failures),
            slow: self.slow.saturating_sub(earlier.slow),
        }
    }

    fn went_back(self, earlier: Self) -> bool {
        self.answers < earlier.answers
            || self.failures < earlier.failures
            || self.slow < earlier.slow
    }
}

/// The answers of a version and of stable over the same stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub version: Totals,
    pub stable: Totals,
    /// The length of the stretch.
    pub over: Millis,
}

/// A version's and stable's totals over a sliding window, cut into sixtieths.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Oldest first; the newest one that is as old as the window stays, as its near edge.
    samples: VecDeque<(Millis, Totals, Totals)>,
}

impl Watch {
    /// Into how many parts a window is cut.
    pub const PARTS: u64 = 60;

    /// Hears the totals at `now`. Counters that went back (the proxy began them anew), and a clock
    /// that did, begin the window anew.
    pub fn observe(&mut self, window: Millis, now: Millis, version: Totals, stable: Totals) {
        let went_back = self
            .samples
            .back()
            .is_some_and(|(at, v, s)| now < *at || version.went_back(*v) || stable.went_back(*s));
        if went_back {
            self.samples.clear();
        }
        // The newest sample moves along until it is a part away from the one before it.
        let settled = self.samples.len().checked_sub(2).and_then(|before| self.samples.get(before));
        if settled.is_some_and(|(at, ..)| now.saturating_sub(*at) < window / Self::PARTS) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, version, stable));
        let edge = now.saturating_sub(window);
        while self.samples.get(1).is_some_and(|(at, ..)| *at <= edge) {
            self.samples.pop_front();
        }
    }

    /// What came within the window, but not before `from`.
    pub fn figures(&self, from: Millis) -> Figures {
        let newest = self.samples.back();
        let first = self.samples.iter().find(|(at, ..)| *at >= from);
        match newest.zip(first) {
            Some(((now, version, stable), (at, version_then, stable_then))) => Figures {
                version: version.since(*version_then),
                stable: stable.since(*stable_then),
                over: now.saturating_sub(*at),
            },
            None => Figures::default(),
        }
    }
}

/// What took a version out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Failures,
    Latency,
    Health,
}

impl Cause {
    pub const ALL: [Self; 3] = [Self::Failures, Self::Latency, Self::Health];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Latency => "latency",
            Self::Health => "health",
        }
    }
}

/// Where a version stands with its guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    In,
    Out {
        since: Millis,
    },
    /// Tried again with a tenth of its users.
    Probing {
        since: Millis,
    },
}

/// The guard's memory of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latch {
    pub phase: Phase,
    /// When it tripped first: a ramp stands still from then on.
    pub first_trip: Option<Millis>,
}

/// A change of a latch that people want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Tripped(Cause),
    Probing,
    Returned,
}

impl Latch {
    /// Whether the version takes part in traffic.
    pub fn hold(&self) -> Hold {
        match self.phase {
            Phase::In => Hold::In,
            Phase::Out { .. } => Hold::Out,
            Phase::Probing { .. } => Hold::Probing,
        }
    }

    /// From when on answers count: those from before the last change of phase do not.
    pub fn counts_from(&self) -> Millis {
        match self.phase {
            Phase::In => 0,
            Phase::Out { since } | Phase::Probing { since } => since,
        }
    }

    /// The latch after a look at `figures` at `now`, and what changed; `None` if nothing did.
    pub fn step(&self, guard: &Guard, now: Millis, figures: &Figures) -> Option<(Self, Event)> {
        let to = |phase, event| Some((Self { phase, ..*self }, event));
        let tripped = |cause| {
            let first_trip = self.first_trip.or(Some(now));
            Some((Self { phase: Phase::Out { since: now }, first_trip }, Event::Tripped(cause)))
        };
        match self.phase {
            Phase::In => breach(guard, guard.min_requests, figures).and_then(tripped),
            Phase::Out { since } => {
                let retry = guard.retry_after?;
                // A clock that went back must not keep the version out for longer than was asked.
                if now >= since.saturating_add(retry) || now < since {
                    return to(Phase::Probing { since: now }, Event::Probing);
                }
                None
            }
            Phase::Probing { since } => {
                // A tenth of the users bring a tenth of the answers.
                let fewest = (guard.min_requests / 10).max(1);
                if let Some(cause) = breach(guard, fewest, figures) {
                    return tripped(cause);
                }
                let elapsed = now.saturating_sub(since);
                let proven = elapsed >= guard.window && figures.version.answers >= fewest;
                // A version that hardly anybody asks for would else never return.
                let quiet = elapsed >= guard.window.max(guard.retry_after.unwrap_or(0));
                if proven || quiet || now < since {
                    return to(Phase::In, Event::Returned);
                }
                None
            }
        }
    }

    /// The latch as a record that workers share.
    pub fn to_bytes(self) -> Vec<u8> {
        let (phase, since) = match self.phase {
            Phase::In => (0, 0),
            Phase::Out { since } => (1, since),
            Phase::Probing { since } => (2, since),
        };
        let mut bytes = vec![phase];
        bytes.extend_from_slice(&since.to_le_bytes());
        bytes.extend_from_slice(&self.first_trip.unwrap_or(0).to_le_bytes());
        bytes
    }

    /// Reads a record; `None` if it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&phase, times) = bytes.split_first()?;
        let (since, first_trip) = times.split_first_chunk::<8>()?;
        let since = Millis::from_le_bytes(*since);
        let first_trip = Millis::from_le_bytes(first_trip.try_into().ok()?);
        let phase = match phase {
            0 => Phase::In,
            1 => Phase::Out { since },
            2 => Phase::Probing { since },
            _ => return None,
        };
        Some(Self { phase, first_trip: (first_trip > 0).then_some(first_trip) })
    }
}

/// What is wrong with a version that gave at least `fewest` answers.
fn breach(guard: &Guard, fewest: u64, figures: &Figures) -> Option<Cause> {
    let Figures { version, stable, .. } = figures;
    if version.answers < fewest.max(1) {
        return None;
    }
    if let Some(limit) = guard.max_failure_ratio {
        // failures / answers > times * stable.failures / stable.answers, in whole numbers.
        let ours = u128::from(version.failures) * u128::from(stable.answers.max(1)) * 1000;
        let theirs = u128::from(stable.failures)
            * u128::from(version.answers)
            * u128::from(guard.times_worse_than_stable);
        if exceeds(version.failures, version.answers, limit) && ours > theirs {
            return Some(Cause::Failures);
        }
    }
    let latency = guard.latency?;
    exceeds(version.slow, version.answers, latency.max_slow_ratio).then_some(Cause::Latency)
}

fn exceeds(part: u64, whole: u64, limit: Ratio) -> bool {
    u128::from(part) * 1_000_000 > u128::from(whole) * u128::from(limit.millionths())
}
