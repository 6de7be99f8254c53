//! What versions have answered: in all, and of late.

use crate::config::Millis;

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
    /// What came since `earlier`; nothing where counting began anew.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(earlier.answers),
            failures: self.failures.saturating_sub(earlier.failures),
            slow: self.slow.saturating_sub(earlier.slow),
        }
    }

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
    pub fn since(self, earlier: Self) -> Self {
        Self {
            version: self.version.since(earlier.version),
            stable: self.stable.since(earlier.stable),
        }
    }

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

/// How all answers stood at moments of the sliding window, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    pub(super) marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub at: Millis,
    pub answered: Pair,
}

impl Window {
    /// Into how many parts a window is cut. What is counted came within it, all but at most a part.
    pub const PARTS: usize = 16;

    /// A window that begins now.
    pub fn begin(now: Millis, answered: Pair) -> Self {
        Self { marks: vec![Mark { at: now, answered }] }
    }

    /// Notes how all answers stand at `now`, where a part has gone by.
    pub fn pass(&mut self, length: Millis, now: Millis, answered: Pair) {
        if !self.is_due(length, now) {
            return;
        }
        // One stays, so that what came since the last look, however long ago, is seen.
        let old = self.marks.iter().filter(|mark| mark.at.saturating_add(length) <= now).count();
        let old = old.min(self.marks.len().saturating_sub(1));
        self.marks.drain(..old);
        if self.marks.len() >= Self::PARTS {
            self.marks.remove(0);
        }
        self.marks.push(Mark { at: now, answered });
    }

    /// Whether a part has gone by since the last note.
    pub fn is_due(&self, length: Millis, now: Millis) -> bool {
        let part = (length / Self::PARTS as Millis).max(1);
        self.marks.last().is_none_or(|mark| now.saturating_sub(mark.at) >= part)
    }

    /// What came within the window; where nobody has looked for longer, since then.
    pub fn figures(&self, length: Millis, now: Millis, answered: Pair) -> Figures {
        let within = |mark: &&Mark| mark.at.saturating_add(length) >= now;
        match self.marks.iter().find(within).or(self.marks.last()) {
            Some(Mark { at, answered: then }) => {
                Figures { answered: answered.since(*then), over: now.saturating_sub(*at) }
            }
            None => Figures::default(),
        }
    }
}
