//! How many users meet an error before a failing version is out of traffic: Cohort's guard beside a
//! controller that looks once a minute. And how often the guard takes out a version that is well.
//!
//! `cargo run --release --example guard_vs_flagger` prints the tables of `docs/guard.md`. The guard is
//! the real one ([`Watch`] and [`Latch`]), driven by simulated time as the filter drives it; the
//! controller is its documented loop. The assumptions stand in `docs/guard.md` beside the tables.

use std::fmt::Write;

use cohort::config::{Config, Guard, Millis};
use cohort::engine::{Hold, Latch, Plan, Totals, Watch};

/// How often each worker looks.
const TICK: Millis = 250;
/// How fine the simulated time is.
const STEP: Millis = 5;
/// The workers of the simulated proxy; they look at different moments.
const WORKERS: u64 = 2;
const USERS: u64 = 10_000;
/// How often each line of the first table is played.
const PLAYS: u64 = 20;
/// How many hours each line of the second table lasts.
const HOURS: u64 = 50;

/// The controller's defaults in the comparison: it looks once a minute, and takes the version back with
/// the fifth bad look.
const INTERVAL: Millis = 60_000;
const THRESHOLD: u64 = 5;

fn main() {
    print!("{}", report());
}

/// Both tables, as Markdown.
pub fn report() -> String {
    let mut text = String::from(
        "| weight | requests a second | errors | Cohort: out after | users who met an error | Flagger: out after | users who met an error |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (weight, rate, percent) in [
        (10, 200, 100),
        (10, 200, 50),
        (10, 200, 20),
        (10, 200, 10),
        (50, 200, 50),
        (10, 20, 50),
        (10, 2000, 50),
    ] {
        let failure = f64::from(percent) / 100.0;
        let plays = (0..PLAYS).map(|seed| fall(weight, rate, failure, seed));
        let (mut out, mut guarded, mut looked) = (0, 0, 0);
        for play in plays {
            out += play.out_after;
            guarded += play.met_with_guard;
            looked += play.met_with_controller;
        }
        let mean = |sum: u64| sum as f64 / PLAYS as f64;
        let _ = writeln!(
            text,
            "| {weight} % | {rate} | {percent} % | {:.1} s | {:.0} | {} s | {:.0} |",
            mean(out) / 1000.0,
            mean(guarded),
            INTERVAL * THRESHOLD / 1000,
            mean(looked),
        );
    }
    text.push_str(
        "\n| errors of both versions | minRequests 50 | 100 | 200 | 400 |\n|---:|---:|---:|---:|---:|\n",
    );
    for failure in [0.001, 0.005, 0.01, 0.02, 0.03] {
        let _ = write!(text, "| {:.1} % |", failure * 100.0);
        for fewest in [50, 100, 200, 400] {
            let trips = (0..HOURS).filter(|seed| noise_trips(failure, fewest, *seed)).count();
            let _ = write!(text, " {trips} of {HOURS} |");
        }
        text.push('\n');
    }
    text
}

/// What came of one play.
struct Fall {
    /// When the last worker let go of the version, counted from its first request.
    out_after: Millis,
    met_with_guard: u64,
    met_with_controller: u64,
}

/// The guard of a configuration that says no more than `maxFailureRatio` and `minRequests`.
pub fn guard(min_requests: u64) -> Guard {
    let text = format!(
        r#"{{"rollouts": [{{
            "name": "checkout",
            "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 10}}],
            "hashKey": [{{"header": "x-user-id"}}],
            "guard": {{"maxFailureRatio": 0.05, "minRequests": {min_requests}}}
        }}]}}"#
    );
    let config = Config::from_json(text.as_bytes()).expect("the configuration is good");
    let plan = Plan::new(config);
    plan.rollouts().first().and_then(|rollout| rollout.guard.clone()).expect("it has a guard")
}

/// A canary that fails from its first request on; stable does not.
fn fall(weight: u64, rate: u64, failure: f64, seed: u64) -> Fall {
    let guard = guard(50);
    let mut random = Random(seed);
    let mut latch = Latch::default();
    let mut workers: Vec<(Watch, Hold)> =
        (0..WORKERS).map(|_| (Watch::default(), Hold::In)).collect();
    let (mut canary, mut stable) = (Totals::default(), Totals::default());
    let mut with_guard = vec![false; USERS as usize];
    let mut with_controller = with_guard.clone();
    let mut out_after = None;
    let end = INTERVAL * THRESHOLD;
    let mut sent = 0;
    for now in (0..end).step_by(STEP as usize) {
        for (number, (watch, hold)) in workers.iter_mut().enumerate() {
            // Each at its own moment, which is another one in every play.
            let phase = (seed * 35 + number as u64 * 125) % TICK;
            if now % TICK != phase {
                continue;
            }
            watch.observe(guard.window, now, canary, stable);
            let figures = watch.figures(latch.counts_from());
            if let Some((next, _)) = latch.step(&guard, now, &figures) {
                latch = next;
            }
            *hold = latch.hold();
        }
        if out_after.is_none() && workers.iter().all(|(_, hold)| *hold == Hold::Out) {
            out_after = Some(now);
        }
        while sent * 1000 < rate * (now + STEP) {
            sent += 1;
            let user = random.below(USERS);
            let worker = random.below(WORKERS) as usize;
            let fails = random.chance() < failure;
            if user >= USERS * weight / 100 {
                stable.answers += 1;
                continue;
            }
            if fails {
                with_controller[user as usize] = true;
            }
            if workers.get(worker).is_some_and(|(_, hold)| *hold == Hold::In) {
                canary.answers += 1;
                canary.failures += u64::from(fails);
                if fails {
                    with_guard[user as usize] = true;
                }
            }
        }
    }
    Fall {
        out_after: out_after.unwrap_or(end),
        met_with_guard: met(&with_guard),
        met_with_controller: met(&with_controller),
    }
}

fn met(users: &[bool]) -> u64 {
    users.iter().filter(|met| **met).count() as u64
}

/// Whether an hour at weight 10 and 200 requests a second, with the same share of errors in both
/// versions, makes the guard trip.
pub fn noise_trips(failure: f64, min_requests: u64, seed: u64) -> bool {
    let guard = guard(min_requests);
    let mut random = Random(seed ^ 0x5eed);
    let (mut watch, latch) = (Watch::default(), Latch::default());
    let (mut canary, mut stable) = (Totals::default(), Totals::default());
    let mut errors = [random.gap(failure), random.gap(failure)];
    for now in (0..3_600_000).step_by(TICK as usize) {
        watch.observe(guard.window, now, canary, stable);
        if latch.step(&guard, now, &watch.figures(latch.counts_from())).is_some() {
            return true;
        }
        for (totals, answers, next) in [(&mut canary, 5, 0), (&mut stable, 45, 1)] {
            totals.answers += answers;
            while errors[next] <= totals.answers {
                totals.failures += 1;
                errors[next] += random.gap(failure);
            }
        }
    }
    false
}

/// Splitmix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// Evenly from 0 up to 1.
    fn chance(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// How many answers from one error to the next.
    fn gap(&mut self, failure: f64) -> u64 {
        1 + ((1.0 - self.chance()).ln() / (1.0 - failure).ln()) as u64
    }
}
