//! What versions have answered: in all, and of late.

use crate::config::Millis;

/// How often a worker looks at a version.
pub const TICK: Millis = 250;

/// What a version has answered, as far as it counts for its guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that got an answer or failed to; client aborts are not among them.
    pub answers: u64,
    pub failures: u64,
    /// Answers slower than `slowerThan`.
    pub slow: u64,
}

impl Totals {
    /// Both together.
    pub fn and(self, more: Self) -> Self {
        Self {
            answers: self.answers.saturating_add(more.answers),
            failures: self.failures.saturating_add(more.failures),
            slow: self.slow.saturating_add(more.slow),
        }
    }
}

/// The answers of a version under guard and of stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    pub version: Totals,
    pub stable: Totals,
}

impl Pair {
    pub fn and(self, more: Self) -> Self {
        Self { version: self.version.and(more.version), stable: self.stable.and(more.stable) }
    }
}

/// The answers of a version and of stable over the same stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub answered: Pair,
    /// The length of the stretch.
    pub over: Millis,
}

/// The answers of the sliding window, by the part of it that they came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The part under way.
    pub(super) last: Part,
    /// Those before it, newest first; from `many` on there is none.
    earlier: [Part; Window::PARTS - 1],
    many: usize,
}

/// What came from one moment on, until the next part began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub began: Millis,
    pub answered: Pair,
}

impl Window {
    /// Into how many parts a window is cut. What is counted came within it, all but at most a part.
    pub const PARTS: usize = 4;

    /// A window that begins now.
    pub fn begin(now: Millis) -> Self {
        Self { last: Part { began: now, ..Part::default() }, ..Self::default() }
    }

    /// Takes in what was heard until `now`, since the tick before. Where the part under way has had its time,
    /// that begins another one.
    pub fn add(&mut self, heard: Pair, length: Millis, now: Millis) {
        if heard == Pair::default() {
            return;
        }
        let part = (length / Self::PARTS as Millis).max(1);
        if now.saturating_sub(self.last.began) >= part {
            let began = now.saturating_sub(TICK).max(self.last.began);
            let within = |part: &&Part| part.began.saturating_add(length) >= now;
            self.many = self.earlier().iter().take_while(within).count();
            self.later(Part { began, ..Part::default() });
        }
        self.last.answered = self.last.answered.and(heard);
    }

    /// Takes a part as the one under way; the oldest goes if there is no room.
    pub(super) fn later(&mut self, part: Part) {
        self.earlier.copy_within(..Self::PARTS - 2, 1);
        if let Some(newest) = self.earlier.first_mut() {
            *newest = std::mem::replace(&mut self.last, part);
        }
        self.many = (Self::PARTS - 1).min(self.many + 1);
    }

    /// The parts before the one under way, newest first.
    pub(super) fn earlier(&self) -> &[Part] {
        self.earlier.get(..self.many).unwrap_or_default()
    }

    /// What came within the window, and in the part that was heard last.
    pub fn figures(&self, length: Millis, now: Millis) -> Figures {
        let within = |part: &&Part| part.began.saturating_add(length) >= now;
        let mut figures =
            Figures { answered: self.last.answered, over: now.saturating_sub(self.last.began) };
        for part in self.earlier().iter().take_while(within) {
            figures.answered = figures.answered.and(part.answered);
            figures.over = now.saturating_sub(part.began);
        }
        figures
    }
}
