//! The test: how sure it is that a version does worse than its guard allows.
//!
//! An exact sequential test of two streams of answers. What is claimed, and tested against, is that the
//! version's odds of failing are at most `times` times stable's, whatever stable's are and however they
//! move. For each block of answers an e-value is computed: a number that is 1 on average, at most, while
//! the claim holds (Turner, Ly and Grünwald, JSPI 2024). Multiplied from block to block and begun anew at
//! every moment (Shin, Ramdas and Rinaldo, NEJSDS 2023), they exceed 1 by chance once in `one_false_trip_in`,
//! however often one looks. Beside it runs the same test against the limit alone, which must hold too.
//!
//! Logarithms and powers are those of the crate `libm`, and all else is exact by IEEE 754, so that every
//! machine comes to the same bits.

use libm::{exp, log};

use crate::config::{Millis, Ratio};

/// How many shares of failures the version is tried with at once.
const SHARES: usize = 4;

/// The weight of stable's share before anything is known of it, in answers.
const PRIOR: f64 = 25.0;

/// How long stable's share is remembered.
const MEMORY: f64 = 60_000.0;

/// The most that a start may cost of false trips.
const START: f64 = 0.05;

const DAY: f64 = 86_400_000.0;
const HOUR: f64 = 3_600_000.0;

/// What a version may not do, for one cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The share of bad answers that is allowed in any case; strictly between 0 and 1.
    limit: f64,
    /// How many times stable's odds are allowed; at least 1.
    times: f64,
    /// In how many milliseconds one false trip is allowed.
    one_false_trip_in: f64,
    /// Among how many causes the false trips are shared.
    causes: f64,
}

/// From what on a version's evidence begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A version that nothing is known of.
    Start,
    /// One that was out and is tried again: little is needed.
    Trial,
}

/// The answers of one version, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answered {
    pub answers: f64,
    pub bad: f64,
}

/// What came in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    pub version: Answered,
    pub stable: Answered,
    pub length: Millis,
    /// Whether stable has no weight, so that the limit decides without it.
    pub alone: bool,
}

/// Stable's answers of the last minute or so, the older ones counting less.
pub type Remembered = Answered;

/// How much speaks against a version, for one cause: for each share that it may be failing with, the
/// odds that this is worse than allowed. From 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// That it is worse than stable by more than is allowed.
    worse: [f64; SHARES],
    /// That it is above its limit.
    above: [f64; SHARES],
}

impl Bounds {
    /// `times` is in thousandths.
    pub fn new(limit: Ratio, times: u32, one_false_trip_in: Millis, causes: usize) -> Self {
        Self {
            limit: (f64::from(limit.millionths()) / 1e6).clamp(1e-6, 1.0 - 1e-6),
            times: (f64::from(times) / 1e3).max(1.0),
            one_false_trip_in: one_false_trip_in.max(1) as f64,
            causes: causes.max(1) as f64,
        }
    }

    /// What may be lost to chance where evidence begins: against stable, and against the limit.
    fn begin(&self, from: From) -> (f64, f64) {
        match from {
            From::Start => ((DAY / self.one_false_trip_in).min(START) / self.causes, 0.05),
            From::Trial => (START / self.causes, 0.5),
        }
    }

    /// The shares that the version is tried with: all of them worse than what is allowed.
    fn shares(&self, stable: f64) -> [f64; SHARES] {
        let least = odds(self.limit).max(self.times * odds(stable));
        let step = log(49_f64.max(4.0 * least) / least) / SHARES as f64;
        let mut shares = [0.0; SHARES];
        let mut half_steps = 0.5;
        for share in &mut shares {
            let odds = least * exp(step * half_steps);
            half_steps += 1.0;
            *share = odds / (1.0 + odds);
        }
        shares
    }

    /// Whether the version did better than `limit` so surely that it may come back from a trial: the
    /// logarithm of the odds between a share that is still too high and the limit. Below -3 it may;
    /// above 0 it must not.
    pub fn relapse(&self, trial: Answered) -> f64 {
        let still = (2.0 * self.limit).min((1.0 + self.limit) / 2.0);
        likelier(trial, still, self.limit)
    }
}

impl Evidence {
    pub fn begin(bounds: &Bounds, from: From) -> Self {
        let (worse, above) = bounds.begin(from);
        Self { worse: [worse / SHARES as f64; SHARES], above: [above / SHARES as f64; SHARES] }
    }

    /// Takes in a block; `remembered` is what was known of stable before it.
    #[inline(never)]
    pub fn hear(&mut self, bounds: &Bounds, block: &Block, remembered: Remembered) {
        if block.version.answers <= 0.0 {
            return;
        }
        let stable = (remembered.bad + 0.5) / (remembered.answers + PRIOR);
        let length = block.length as f64;
        let each = bounds.causes * SHARES as f64;
        let chance = length / (bounds.one_false_trip_in * each);
        let chance_above = length / (HOUR * SHARES as f64);
        let still_to_go = -log(self.worse.iter().map(|worse| worse + chance).sum());
        // One block goes a third of the way at most: what comes all at once may be one thing.
        let most = (still_to_go / 3.0).max(2.0);
        let tried = self.worse.iter_mut().zip(self.above.iter_mut());
        for ((worse, above), share) in tried.zip(bounds.shares(stable)) {
            let against_limit = likelier(block.version, share, bounds.limit);
            let against_stable = if block.alone && block.stable.answers <= 0.0 {
                against_limit
            } else {
                ln_e_value(block.version, block.stable, share, stable, bounds.times)
            };
            *worse = ((*worse + chance) * exp(against_stable.min(most))).min(1.0);
            *above = ((*above + chance_above) * exp(against_limit.min(700.0))).min(1.0);
        }
    }

    /// Whether it is sure that the version does worse than allowed.
    pub fn is_sure(&self) -> bool {
        self.sums().into_iter().all(|sum| sum >= 1.0)
    }

    /// How near that is, in thousandths of the way from where evidence begins.
    #[inline(never)]
    pub fn nearness(&self, bounds: &Bounds, from: From) -> u32 {
        let (worse, above) = bounds.begin(from);
        let gone = |sum: f64, begun: f64| (1.0 - log(sum) / log(begun)).clamp(0.0, 1.0);
        let [worse_now, above_now] = self.sums();
        (gone(worse_now, worse).min(gone(above_now, above)) * 1000.0) as u32
    }

    /// The evidence against stable's share, and against the limit.
    #[inline(never)]
    pub fn sums(&self) -> [f64; 2] {
        [self.worse.iter().sum(), self.above.iter().sum()]
    }

    /// Every number that it is made of.
    pub(super) fn numbers(&mut self) -> impl Iterator<Item = &mut f64> {
        self.worse.iter_mut().chain(&mut self.above)
    }
}

/// What is remembered of stable after a block.
pub fn remember(remembered: Remembered, block: &Block) -> Remembered {
    let fade = exp(-(block.length as f64) / MEMORY);
    Answered {
        answers: remembered.answers * fade + block.stable.answers,
        bad: remembered.bad * fade + block.stable.bad,
    }
}

fn odds(share: f64) -> f64 {
    share / (1.0 - share)
}

/// How much likelier answers are with the share `one` than with `other`, as a logarithm.
#[inline(never)]
fn likelier(Answered { answers, bad }: Answered, one: f64, other: f64) -> f64 {
    bad * log(one / other) + (answers - bad) * log((1.0 - one) / (1.0 - other))
}

/// The logarithm of a block's e-value: how much likelier its answers are where the version fails with
/// the share `share` and stable with `stable`, than at the nearest point at which the version's odds are
/// `times` times stable's. That point is where a quadratic has its root (guard.md, "Why it is valid").
///
/// It means something where the odds of `share` are more than `times` times those of `stable`.
#[inline(never)]
pub fn ln_e_value(
    version: Answered,
    stable_answered: Answered,
    share: f64,
    stable: f64,
    times: f64,
) -> f64 {
    let (ours, theirs) = (version.answers, stable_answered.answers);
    if ours <= 0.0 || theirs <= 0.0 {
        return 0.0;
    }
    debug_assert!(odds(share) > times * odds(stable), "{share} is allowed beside {stable}");
    let more = times - 1.0;
    let a = theirs * more;
    let b = theirs * (1.0 - more * stable) + ours * (times - more * share);
    let c = ours * share + theirs * stable;
    let root = (b * b + 4.0 * a * c).sqrt();
    let nearest = if b >= 0.0 { 2.0 * c / (b + root) } else { (root - b) / (2.0 * a) };
    let allowed = times * nearest / (1.0 + more * nearest);
    likelier(version, share, allowed) + likelier(stable_answered, stable, nearest)
}
