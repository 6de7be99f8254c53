//! The guard's record of one version: everything that is known of it, and the state machine.
//!
//! All workers of a proxy share one record. What a worker does at a tick is one exchange: it reads the
//! record, adds what its own requests came to ([`Record::add`]), looks ([`Record::look`]), and writes
//! the record back if nobody else has written meanwhile. So every change is made by one worker, on all
//! that was known, and what order the ticks come in makes no difference.

use crate::config::{Count, Guard, Millis, Ratio};

use super::super::Hold;
use super::evidence::{remember, Answered, Block, Bounds, Evidence, From, Remembered};
use super::figures::{Figures, Pair, Totals, Window};
use super::summary::Summary;
use super::users::Sufferers;

/// The shortest block: with many workers, looks come more often than a tick.
const SHORTEST: Millis = 200;

/// After so many answers a trial is decided by what they say and not by time alone: at most 5 % of the versions that are
/// twice as bad as is allowed return (Wald).
const TELLING: u64 = 100;

/// Clocks of one proxy's workers are never so far apart: a time that is more ahead is another clock's.
const SKEW: Millis = 60_000;

/// What took a version out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Failures,
    Latency,
    Health,
    Analysis,
}

impl Cause {
    pub const ALL: [Self; 4] = [Self::Failures, Self::Latency, Self::Health, Self::Analysis];

    /// The causes that the guard's own test knows.
    pub const TESTED: [Self; 2] = [Self::Failures, Self::Latency];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Latency => "latency",
            Self::Health => "health",
            Self::Analysis => "analysis",
        }
    }

    fn of(self, totals: Totals) -> Answered {
        let bad = match self {
            Self::Failures => totals.failures,
            Self::Latency => totals.slow,
            Self::Health | Self::Analysis => 0,
        };
        Answered { answers: totals.answers as f64, bad: bad as f64 }
    }
}

/// Where a version stands with its guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    In,
    Out,
    /// Tried again with a tenth of its users.
    Probing,
}

impl Phase {
    /// Whether a version in this phase takes part in traffic.
    pub(super) fn hold(self) -> Hold {
        match self {
            Self::In => Hold::In,
            Self::Out => Hold::Out,
            Self::Probing => Hold::Probing,
        }
    }
}

/// A change of a record that people want to hear of, and what led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub event: Event,
    pub figures: Figures,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Tripped(Cause),
    Probing,
    Returned,
}

/// What one worker heard since its last exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub answered: Pair,
    /// Whose answers failed, and whose were slow.
    pub sufferers: [Sufferers; 2],
}

/// The moment of a look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// On a clock that never steps; the guard's times are of it.
    pub now: Millis,
    /// Since the Unix epoch, for the ramp.
    pub wall: Millis,
    /// How long this worker itself has known of the phase. A hold-out is measured by each worker with
    /// its own clock, from when it first saw it, so that no other clock can shorten it.
    pub known_for: Millis,
    /// Whether stable has no weight in force.
    pub alone: bool,
}

/// The guard's record of one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub phase: Phase,
    /// Counts the changes of phase.
    pub round: u32,
    /// When it tripped first, since the Unix epoch: a ramp stands still from then on.
    pub first_trip: Option<Millis>,
    /// What came since it is tried again.
    pub(super) trial: Pair,
    /// What came in the block that is under way.
    pub(super) block: Pair,
    pub(super) block_began: Millis,
    /// By position in [`Cause::TESTED`].
    pub(super) remembered: [Remembered; 2],
    pub(super) evidence: [Evidence; 2],
    pub(super) sufferers: [Sufferers; 2],
    pub(super) window: Window,
}

impl Heard {
    pub fn is_empty(&self) -> bool {
        self.answered == Pair::default() && self.sufferers.iter().all(Sufferers::is_empty)
    }
}

impl Record {
    /// The record of a version that nothing is known of; its first block began at `now`.
    pub fn new(guard: &Guard, now: Millis) -> Self {
        Self::resume(guard, &Summary::default(), now)
    }

    /// The record of a version of which only a summary is known: it stands where it stood, and what is heard of it
    /// begins at `now`.
    pub fn resume(guard: &Guard, known: &Summary, now: Millis) -> Self {
        let mut record = Self { first_trip: known.first_trip, ..Self::default() };
        record.begin(guard, known.phase, now);
        record.round = known.round;
        record
    }

    /// Whether the version takes part in traffic.
    pub fn hold(&self) -> Hold {
        self.phase.hold()
    }

    /// Takes in what a worker heard since its last tick. While the version is out that says nothing of it.
    pub fn add(&mut self, guard: &Guard, heard: &Heard, now: Millis) {
        if self.phase == Phase::Out {
            return;
        }
        self.block = self.block.and(heard.answered);
        self.window.add(heard.answered, guard.window, now);
        if self.phase == Phase::Probing {
            self.trial = self.trial.and(heard.answered);
        }
        for (known, more) in self.sufferers.iter_mut().zip(&heard.sufferers) {
            known.append(more);
        }
    }

    /// What came within the window, but not before the phase began.
    #[inline(never)]
    pub fn figures(&self, guard: &Guard, now: Millis) -> Figures {
        self.window.figures(guard.window, now)
    }

    /// How near a trip is, from 0 to 1,000, which is a version that is out.
    pub fn nearness(&self, guard: &Guard) -> u32 {
        if self.phase == Phase::Out {
            return 1000;
        }
        let from = self.from();
        let near = tested(guard).filter_map(|(cause, bounds)| {
            Some(self.evidence.get(cause as usize)?.nearness(&bounds, from))
        });
        near.max().unwrap_or(0)
    }

    /// Takes the version out.
    #[inline(never)]
    pub fn trip(&mut self, guard: &Guard, moment: &Moment, cause: Cause) -> Change {
        self.first_trip = self.first_trip.or(Some(moment.wall.max(1)));
        let figures = self.figures(guard, moment.now);
        self.change(guard, Phase::Out, moment.now, Event::Tripped(cause), figures)
    }

    /// What a worker keeps of it.
    pub fn summary(&self, guard: &Guard) -> Summary {
        Summary {
            phase: self.phase,
            round: self.round,
            first_trip: self.first_trip,
            nearness: self.nearness(guard),
            is_quiet: self.block == Pair::default(),
            block_began: self.block_began,
        }
    }

    /// Looks at what is known, and says what changed.
    #[inline(never)]
    pub fn look(&mut self, guard: &Guard, moment: &Moment) -> Option<Change> {
        let now = moment.now;
        if is_of_another_clock(self.block_began, now) {
            // What was going on goes on from here.
            self.block = Pair::default();
            self.block_began = now;
            self.window = Window::begin(now);
        }
        self.step(guard, moment)
    }

    fn step(&mut self, guard: &Guard, moment: &Moment) -> Option<Change> {
        let now = moment.now;
        if self.phase == Phase::Out {
            let figures = Figures::default();
            return is_trial_due(guard, moment)
                .then(|| self.change(guard, Phase::Probing, now, Event::Probing, figures));
        }
        self.end_block(guard, moment);
        if let Some(cause) = self.breach(guard, now) {
            return Some(self.trip(guard, moment, cause));
        }
        if self.phase == Phase::Probing && self.is_proven(guard, moment) {
            let figures = Figures { answered: self.trial, over: moment.known_for };
            return Some(self.change(guard, Phase::In, now, Event::Returned, figures));
        }
        None
    }

    #[inline(never)]
    fn change(
        &mut self,
        guard: &Guard,
        phase: Phase,
        now: Millis,
        event: Event,
        figures: Figures,
    ) -> Change {
        self.begin(guard, phase, now);
        Change { event, figures }
    }

    /// Begins a phase, and with it evidence, block and window anew.
    #[inline(never)]
    fn begin(&mut self, guard: &Guard, phase: Phase, now: Millis) {
        self.phase = phase;
        self.round = self.round.wrapping_add(1);
        self.trial = Pair::default();
        self.block = Pair::default();
        self.block_began = now;
        self.remembered = Default::default();
        self.sufferers = Default::default();
        self.window = Window::begin(now);
        let from = self.from();
        for (cause, bounds) in tested(guard) {
            if let Some(evidence) = self.evidence.get_mut(cause as usize) {
                *evidence = Evidence::begin(&bounds, from);
            }
        }
    }

    fn from(&self) -> From {
        match self.phase {
            Phase::In | Phase::Out => From::Start,
            Phase::Probing => From::Trial,
        }
    }

    /// Ends the block under way, where both have answered or the window has passed. What the answers
    /// are has no part in that.
    #[inline(never)]
    fn end_block(&mut self, guard: &Guard, moment: &Moment) {
        let Moment { now, alone, .. } = *moment;
        let length = now.saturating_sub(self.block_began);
        let since = self.block;
        let both = since.version.answers > 0 && (since.stable.answers > 0 || alone);
        if !(both && length >= SHORTEST || length >= guard.window) {
            return;
        }
        let length = length.min(guard.window);
        for (cause, bounds) in tested(guard) {
            let block = Block {
                version: cause.of(since.version),
                stable: cause.of(since.stable),
                length,
                alone,
            };
            let known = self.remembered.get_mut(cause as usize);
            if let Some((evidence, known)) = self.evidence.get_mut(cause as usize).zip(known) {
                evidence.hear(&bounds, &block, *known);
                *known = remember(*known, &block);
            }
        }
        self.block = Pair::default();
        self.block_began = now;
    }

    /// What is surely wrong with the version.
    fn breach(&self, guard: &Guard, now: Millis) -> Option<Cause> {
        if let Some(fewest) = guard.min_requests {
            let answers = self.figures(guard, now).answered.version.answers;
            // A tenth of the users bring a tenth of the answers.
            if answers < if self.phase == Phase::Probing { fewest / 10 } else { fewest } {
                return None;
            }
        }
        let sure = tested(guard).find(|(cause, _)| {
            let many = self.sufferers.get(*cause as usize).is_some_and(Sufferers::are_many);
            let sure = self.evidence.get(*cause as usize).is_some_and(Evidence::is_sure);
            sure && (many || guard.count == Count::Requests)
        });
        sure.map(|(cause, _)| cause)
    }

    /// Whether a version that is tried again may come back: it did surely well, or hardly anybody asked for a
    /// long while and what there was speaks for it. Where it only failed it never may.
    fn is_proven(&self, guard: &Guard, moment: &Moment) -> bool {
        let trial = self.trial.version;
        let elapsed = moment.known_for;
        if elapsed < guard.window {
            return false;
        }
        let mut long = guard.window.max(guard.retry_after.unwrap_or(0));
        if trial.answers >= TELLING {
            // It is the answers that decide. Should no more of them come, it ends all the same.
            long = long.saturating_mul(10);
        }
        let most = if elapsed >= long { 0.0 } else { -3.0 };
        tested(guard).all(|(cause, bounds)| {
            let answered = cause.of(trial);
            let only_bad = answered.answers > 0.0 && answered.bad >= answered.answers;
            !only_bad && bounds.relapse(answered) <= most
        })
    }
}

/// Whether a block that began at `began` did so by another clock than the one on which it is `now`.
pub(super) fn is_of_another_clock(began: Millis, now: Millis) -> bool {
    began > now.saturating_add(SKEW)
}

/// Whether a version that is out is to be tried again.
pub(super) fn is_trial_due(guard: &Guard, moment: &Moment) -> bool {
    guard.retry_after.is_some_and(|retry| moment.known_for >= retry)
}

/// The causes that are tested for, and what each allows.
fn tested(guard: &Guard) -> impl Iterator<Item = (Cause, Bounds)> + use<'_> {
    let limits = [guard.max_failure_ratio, guard.latency.map(|latency| latency.max_slow_ratio)];
    let causes = limits.iter().flatten().count();
    let bounds = move |(cause, limit): (Cause, Option<Ratio>)| {
        let Guard { times_worse_than_stable, one_false_trip_in, .. } = *guard;
        Some((cause, Bounds::new(limit?, times_worse_than_stable, one_false_trip_in, causes)))
    };
    Cause::TESTED.into_iter().zip(limits).filter_map(bounds)
}
