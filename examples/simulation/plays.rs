//! What the report prints and the tests hold: hours in which both versions are alike, hours at the edge of what is
//! allowed, and the way back of a version that was out.

use cohort::engine::guard::{Pair, Phase};

use super::{Guarded, Poisson, Random, Rule, Traffic, HOUR, LOOK};

/// Requests a second.
pub const RATES: [f64; 4] = [5.0, 20.0, 200.0, 2000.0];
/// Which part of them the version gets.
pub const WEIGHTS: [f64; 4] = [0.01, 0.05, 0.1, 0.5];
/// Which part of the answers of both versions fails.
pub const BASES: [f64; 8] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.10];

/// Every rate with every weight and every share of failures.
pub fn situations() -> Vec<(f64, f64, f64)> {
    let mut situations = Vec::new();
    for rate in RATES {
        for weight in WEIGHTS {
            situations.extend(BASES.map(|base| (rate, weight, base)));
        }
    }
    situations
}

/// How often each rule takes out a version that fails as stable does, in so many hours.
pub fn alike(
    rate: f64,
    weight: f64,
    base: f64,
    hours: u64,
    rules: &mut [Box<dyn Rule>],
) -> Vec<u64> {
    let traffic = Traffic::new(rate, weight, base, base);
    super::alarms(rules, hours, |hour| {
        let seed =
            hour.wrapping_mul(0x1234_5678_9abc) + (base * 1e4) as u64 * 77 + (rate * weight) as u64;
        let (mut random, mut answered, traffic) = (Random(seed), Pair::default(), &traffic);
        move |_| {
            traffic.draw(&mut random, &mut answered);
            answered
        }
    })
}

/// In how many of so many hours the guard takes out a version whose odds of failing are exactly twice stable's.
pub fn at_the_edge(weight: f64, rate: f64, stable: f64, hours: u64) -> u64 {
    let odds = 2.0 * stable / (1.0 - stable);
    let share = odds / (1.0 + odds);
    let mut rule = Guarded::limit(0.0);
    let traffic = Halves::new(weight, rate);
    let tripped = (0..hours).filter(|hour| {
        let seed = hour.wrapping_mul(0x9876_5432_1abc) + (stable * 1e4) as u64;
        let (mut random, mut answered) = (Random(seed), Pair::default());
        rule.begin(0, answered);
        (LOOK..=HOUR).step_by(LOOK as usize).any(|now| {
            traffic.draw(&mut random, &mut answered, share, stable);
            rule.look(now, answered)
        })
    });
    tripped.count() as u64
}

/// Arrivals at both versions, whatever share of them is bad.
pub struct Halves {
    ours: Poisson,
    theirs: Poisson,
}

impl Halves {
    pub fn new(weight: f64, rate: f64) -> Self {
        let of = |part| Poisson::new(rate * part * 0.25);
        Self { ours: of(weight), theirs: of(1.0 - weight) }
    }

    /// What comes between two looks: of the version's answers the share `version` is bad, of stable's `stable`.
    pub fn draw(&self, random: &mut Random, answered: &mut Pair, version: f64, stable: f64) {
        self.ours.answer(random, &mut answered.version, version);
        self.theirs.answer(random, &mut answered.stable, stable);
    }
}

/// How often the guard with a limit of 20 % takes out a version of which 5 % is slow, in so many hours in which both
/// versions slow down together for about a minute every ten.
pub fn slow_together(weight: f64, rate: f64, hours: u64) -> u64 {
    let traffic = Halves::new(weight, rate);
    let mut rules: [Box<dyn Rule>; 1] = [Box::new(Guarded::limit(0.2))];
    let trips = super::alarms(&mut rules, hours, |hour| {
        let (mut random, mut answered, traffic) =
            (Random(hour * 17 + 1), Pair::default(), &traffic);
        let (mut next, mut until, mut share) = ((random.wait(600.0) * 4.0) as u64, 0, 0.05);
        move |look| {
            if look >= next {
                until = look + (random.wait(60.0) * 4.0) as u64;
                share = 0.3 + 0.6 * random.unit();
                next = until + (random.wait(600.0) * 4.0) as u64;
            }
            let both = if look < until { share } else { 0.05 };
            traffic.draw(&mut random, &mut answered, both, both);
            answered
        }
    });
    trips[0]
}

/// What came of an hour in which a version was tried again every five minutes.
pub struct Recovery {
    pub failures: u64,
    /// How many trials ended, and how many of them in full traffic.
    pub trials: u64,
    pub returns: u64,
}

/// An hour of a version of which this share fails, with `retryAfter: 5m`. One within the limit of 5 % is put out at
/// the start.
pub fn recovery(share: f64, weight: f64, rate: f64, play: u64) -> Recovery {
    let [full, tenth, theirs] =
        [weight, weight / 10.0, 1.0 - weight].map(|part| Poisson::new(rate * part * 0.25));
    let (mut random, mut answered) = (Random(play * 977 + 5), Pair::default());
    let mut guarded = Guarded::new(r#""retryAfter": "5m""#);
    guarded.begin(0, answered);
    if share <= 0.03 {
        // Twenty looks at nothing but failures put it out.
        for look in 1..=20 {
            answered.version.answers += 5;
            answered.version.failures += 5;
            answered.stable.answers += 45;
            guarded.step(look * LOOK, answered);
        }
        assert_eq!(guarded.record.phase, Phase::Out);
    }
    let (began, mut trials, mut returns) = (answered.version.failures, 0, 0);
    for look in 21..=HOUR / LOOK {
        let phase = guarded.record.phase;
        let arrivals = match phase {
            Phase::In => Some(&full),
            Phase::Probing => Some(&tenth),
            Phase::Out => None,
        };
        if let Some(arrivals) = arrivals {
            arrivals.answer(&mut random, &mut answered.version, share);
        }
        theirs.answer(&mut random, &mut answered.stable, 0.001);
        let after = guarded.step(look * LOOK, answered);
        if phase == Phase::Probing && after != Phase::Probing {
            trials += 1;
            returns += u64::from(after == Phase::In);
        }
    }
    Recovery { failures: answered.version.failures - began, trials, returns }
}
