//! What the guard's simulations are made of: numbers by chance, and rules that look at what versions answered.
//!
//! The same seeds give the same numbers on every machine.
#![allow(dead_code, reason = "each simulation uses a part of it")]

pub mod forged;
pub mod plays;
pub mod scenarios;

use cohort::config::{Config, Guard, Millis};
use cohort::engine::guard::{Heard, Moment, Pair, Phase, Record, Totals};

pub const HOUR: Millis = 3_600_000;

/// How often a worker looks.
pub use cohort::engine::guard::TICK as LOOK;

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// The length of a wait that is `mean` long on average, and has no memory.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// How many of `count` happen that each do with the probability `share`, by the gaps between them.
    pub fn of(&mut self, count: u64, share: f64) -> u64 {
        if count == 0 || share <= 0.0 {
            return 0;
        }
        if share >= 1.0 {
            return count;
        }
        if share > 0.5 {
            return count - self.of(count, 1.0 - share);
        }
        let gap = (1.0 - share).ln();
        let (mut at, mut hits) = (0, 0);
        loop {
            at += ((1.0 - self.unit()).ln() / gap) as u64 + 1;
            if at > count {
                return hits;
            }
            hits += 1;
        }
    }
}

/// How many requests arrive in a stretch of time, by a table of cumulative probabilities.
pub struct Poisson {
    cumulative: Vec<f64>,
    from: u64,
}

impl Poisson {
    pub fn new(mean: f64) -> Self {
        let most = (mean + 12.0 * mean.sqrt() + 30.0) as u64;
        let from = (mean - 12.0 * mean.sqrt() - 10.0).max(0.0) as u64;
        let (mut cumulative, mut log, mut sum) = (Vec::new(), -mean, 0.0);
        for count in 0..=most {
            if count > 0 {
                log += mean.ln() - (count as f64).ln();
            }
            if mean == 0.0 && count > 0 {
                break;
            }
            sum += log.exp();
            if count >= from {
                cumulative.push(sum);
            }
        }
        Self { cumulative, from }
    }

    pub fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let at = self.cumulative.partition_point(|sum| *sum <= unit);
        self.from + at.min(self.cumulative.len() - 1) as u64
    }

    /// Adds so many answers, of which this share fails.
    pub fn answer(&self, random: &mut Random, totals: &mut Totals, share: f64) {
        let count = self.draw(random);
        totals.answers += count;
        totals.failures += random.of(count, share);
    }
}

/// Answers of a version and of stable, with the same share of failures or not, arriving by chance.
pub struct Traffic {
    counts: [Poisson; 4],
}

impl Traffic {
    /// `rate` requests a second, of which `weight` go to the version; of both, which share fails.
    pub fn new(rate: f64, weight: f64, version: f64, stable: f64) -> Self {
        let look = LOOK as f64 / 1000.0;
        let (ours, theirs) = (rate * weight * look, rate * (1.0 - weight) * look);
        let means =
            [ours * version, ours * (1.0 - version), theirs * stable, theirs * (1.0 - stable)];
        Self { counts: means.map(Poisson::new) }
    }

    /// What comes between two looks.
    pub fn draw(&self, random: &mut Random, pair: &mut Pair) {
        for (totals, at) in [(&mut pair.version, 0), (&mut pair.stable, 2)] {
            let failures = self.counts[at].draw(random);
            totals.failures += failures;
            totals.answers += failures + self.counts[at + 1].draw(random);
        }
    }
}

/// Something that looks at the answers, and takes the version out.
pub trait Rule {
    /// Begins with a version that nothing is known of.
    fn begin(&mut self, now: Millis, answered: Pair);
    /// Looks at all answers so far; whether it takes the version out.
    fn look(&mut self, now: Millis, answered: Pair) -> bool;
}

/// How often each rule takes the version out in so many hours, each of which begins a rollout. `play` begins an
/// hour; what it returns tells what was answered until each look, of which the first is 1.
pub fn alarms<P: FnMut(u64) -> Pair>(
    rules: &mut [Box<dyn Rule>],
    hours: u64,
    play: impl Fn(u64) -> P,
) -> Vec<u64> {
    let mut trips = vec![0; rules.len()];
    for hour in 0..hours {
        let mut answered = play(hour);
        rules.iter_mut().for_each(|rule| rule.begin(0, Pair::default()));
        for look in 1..=HOUR / LOOK {
            let (now, answered) = (look * LOOK, answered(look));
            for (rule, trips) in rules.iter_mut().zip(&mut trips) {
                if rule.look(now, answered) {
                    *trips += 1;
                    rule.begin(now, answered);
                }
            }
        }
    }
    trips
}

/// The guard with this configuration.
pub fn guard(rest: &str) -> Guard {
    let text = format!(
        r#"{{"rollouts": [{{
            "name": "checkout",
            "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 10}}],
            "hashKey": [{{"header": "x-user-id"}}],
            "guard": {{{rest}}}
        }}]}}"#
    );
    let config = Config::from_json(text.as_bytes()).expect("the configuration is good");
    config.rollouts.into_iter().next().and_then(|rollout| rollout.guard).expect("it has a guard")
}

/// The guard, driven as the filter drives it. Its users are as many as its answers.
pub struct Guarded {
    pub guard: Guard,
    pub record: Record,
    /// Whether stable has no weight.
    pub alone: bool,
    seen: Pair,
    known: (u32, Millis),
}

impl Guarded {
    pub fn new(rest: &str) -> Self {
        let comma = if rest.is_empty() { "" } else { ", " };
        let guard = guard(&format!(r#""count": "requests"{comma}{rest}"#));
        let record = Record::new(&guard, 0);
        Self { guard, record, alone: false, seen: Pair::default(), known: (0, 0) }
    }

    /// The guard with `maxFailureRatio`.
    pub fn limit(limit: f64) -> Self {
        Self::new(&format!(r#""maxFailureRatio": {limit}"#))
    }

    /// One look, whatever comes of it.
    pub fn step(&mut self, now: Millis, answered: Pair) -> Phase {
        let heard = Heard { answered: since(answered, self.seen), ..Heard::default() };
        self.seen = answered;
        self.record.add(&self.guard, &heard, now);
        let known_for = now.saturating_sub(self.known.1);
        let moment = Moment { now, wall: now, known_for, alone: self.alone };
        self.record.look(&self.guard, &moment);
        if self.record.round != self.known.0 {
            self.known = (self.record.round, now);
        }
        self.record.phase
    }
}

impl Rule for Guarded {
    fn begin(&mut self, now: Millis, answered: Pair) {
        self.record = Record::new(&self.guard, now);
        self.seen = answered;
        self.known = (0, now);
    }

    fn look(&mut self, now: Millis, answered: Pair) -> bool {
        self.step(now, answered) == Phase::Out
    }
}

/// What came between two moments at which all was counted.
fn since(now: Pair, earlier: Pair) -> Pair {
    let less = |now: Totals, earlier: Totals| Totals {
        answers: now.answers - earlier.answers,
        failures: now.failures - earlier.failures,
        slow: now.slow - earlier.slow,
    };
    Pair { version: less(now.version, earlier.version), stable: less(now.stable, earlier.stable) }
}

/// What the guard was before: ratios over a sliding window, compared with limits.
pub struct Thresholds {
    pub limit: f64,
    pub fewest: u64,
    samples: std::collections::VecDeque<(Millis, Pair)>,
}

impl Thresholds {
    const WINDOW: Millis = 30_000;

    pub fn new(limit: f64, fewest: u64) -> Self {
        Self { limit, fewest, samples: Default::default() }
    }
}

impl Rule for Thresholds {
    fn begin(&mut self, now: Millis, answered: Pair) {
        self.samples.clear();
        self.samples.push_back((now, answered));
    }

    fn look(&mut self, now: Millis, answered: Pair) -> bool {
        let settled = self.samples.len().checked_sub(2).and_then(|at| self.samples.get(at));
        if settled.is_some_and(|(at, _)| now.saturating_sub(*at) < Self::WINDOW / 60) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, answered));
        let edge = now.saturating_sub(Self::WINDOW);
        while self.samples.get(1).is_some_and(|(at, _)| *at <= edge) {
            self.samples.pop_front();
        }
        let Pair { version, stable } = since(answered, self.samples[0].1);
        if version.answers < self.fewest {
            return false;
        }
        let share = |totals: Totals| totals.failures as f64 / totals.answers.max(1) as f64;
        share(version) > self.limit + 1e-9 && share(version) > 2.0 * share(stable)
    }
}

/// A controller that looks once an interval, and takes the version back with the fifth bad look.
pub struct Flagger {
    limit: f64,
    next: Millis,
    before: Pair,
    bad: u32,
}

impl Flagger {
    pub const INTERVAL: Millis = 60_000;
    pub const THRESHOLD: u32 = 5;

    pub fn new(limit: f64) -> Self {
        Self { limit, next: 0, before: Pair::default(), bad: 0 }
    }
}

impl Rule for Flagger {
    fn begin(&mut self, now: Millis, answered: Pair) {
        *self = Self { next: now + Self::INTERVAL, before: answered, ..Self::new(self.limit) };
    }

    fn look(&mut self, now: Millis, answered: Pair) -> bool {
        if now < self.next {
            return false;
        }
        self.next += Self::INTERVAL;
        let of_late = since(answered, self.before).version;
        self.before = answered;
        // In its favour: a minute without answers is no bad look.
        if of_late.failures as f64 > self.limit * of_late.answers as f64 {
            self.bad += 1;
        }
        self.bad >= Self::THRESHOLD
    }
}
