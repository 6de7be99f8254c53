//! How soon a failing version is out of traffic, and how often a good one is: Cohort's guard beside a
//! controller that looks once a minute.
//!
//! `cargo run --release --example guard_vs_flagger` prints the tables of `docs/guard.md`. The guard is
//! the real one, driven by simulated time as the filter drives it; the controller is its documented loop.
//! The assumptions stand in `docs/guard.md` beside the tables.

#[path = "simulation/mod.rs"]
pub(crate) mod simulation;

use std::fmt::Write;

use cohort::config::Millis;
use cohort::engine::guard::{Heard, Moment, Pair, Phase, Record};

use simulation::{guard, Flagger, Guarded, Random, Rule, Traffic, LOOK};

/// How fine the simulated time is.
const STEP: Millis = 5;
/// The workers of the simulated proxy; they look at different moments.
const WORKERS: u64 = 2;
const USERS: u64 = 10_000;
/// How often each line of the first table is played.
const PLAYS: u64 = 20;
/// How many hours each line of the second table lasts.
const HOURS: u64 = 100;

fn main() {
    print!("{}", report());
}

/// The shares of failures that versions have anyway.
const BASES: [f64; 3] = [0.001, 0.01, 0.03];

/// Both tables, as Markdown.
pub fn report() -> String {
    let mut text = String::from(
        "| weight | requests a second | errors anyway | errors then | Cohort: out after | users who met an error | Flagger: out after | users who met an error |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut lines: Vec<(u64, u64, f64, u64)> = Vec::new();
    for base in BASES {
        lines.extend([100, 50, 20, 10].map(|percent| (10, 200, base, percent)));
    }
    lines.extend([
        (50, 200, 0.001, 50),
        (10, 20, 0.001, 50),
        (10, 2000, 0.001, 50),
        (5, 20, 0.001, 100),
    ]);
    for (weight, rate, base, percent) in lines {
        let plays: Vec<Fall> = (0..PLAYS)
            .map(|seed| Canary::new(weight, rate, base, percent as f64 / 100.0).fall(seed))
            .collect();
        let mean = |of: fn(&Fall) -> u64| plays.iter().map(of).sum::<u64>() as f64 / PLAYS as f64;
        let _ = writeln!(
            text,
            "| {weight} % | {rate} | {:.1} % | {percent} % | {:.1} s | {:.0} | {} s | {:.0} |",
            base * 100.0,
            mean(|play| play.out_after) / 1000.0,
            mean(|play| play.met_with_guard),
            Flagger::INTERVAL * Millis::from(Flagger::THRESHOLD) / 1000,
            mean(|play| play.met_with_controller),
        );
    }
    text.push_str(
        "\n| errors of both versions | Cohort: taken out | Flagger: taken out |\n|---:|---:|---:|\n",
    );
    for base in [0.001, 0.01, 0.03, 0.05] {
        let (ours, theirs) = false_alarms(base, HOURS);
        let _ = writeln!(
            text,
            "| {:.1} % | {ours} times in {HOURS} hours | {theirs} times |",
            base * 100.0
        );
    }
    text
}

/// A canary that begins to fail.
#[derive(Clone, Copy)]
pub struct Canary {
    /// In percent.
    pub weight: u64,
    /// Requests a second, of both versions.
    pub rate: u64,
    /// The share of stable's answers that fail, and of the canary's until then.
    pub base: f64,
    /// The share of its answers that fail then.
    pub failure: f64,
    /// When it begins; 0 is its first request.
    pub onset: Millis,
    /// The guard's `maxFailureRatio`.
    pub limit: f64,
}

/// What came of one play.
pub struct Fall {
    /// When the last worker let go of the version, counted from when it began to fail.
    pub out_after: Millis,
    pub met_with_guard: u64,
    pub met_with_controller: u64,
}

/// One worker of the simulated proxy: what it heard and has not shared yet, and what it knows.
#[derive(Default)]
struct Worker {
    heard: Heard,
    phase: Phase,
}

impl Canary {
    /// One that fails from its first request on, under a guard as it is by default.
    pub fn new(weight: u64, rate: u64, base: f64, failure: f64) -> Self {
        Self { weight, rate, base, failure, onset: 0, limit: 0.05 }
    }

    pub fn fall(self, seed: u64) -> Fall {
        let Self { weight, rate, base, failure, onset, limit } = self;
        let guard = guard(&format!(r#""maxFailureRatio": {limit}"#));
        let mut random = Random(seed);
        let mut record = Record::new(&guard, 0);
        let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::default()).collect();
        let mut with_guard = vec![false; USERS as usize];
        let mut with_controller = with_guard.clone();
        let mut out_after = None;
        let end = onset + Flagger::INTERVAL * Millis::from(Flagger::THRESHOLD);
        let mut sent = 0;
        // When the next request after now comes, at that rate on average.
        let gap = 1000.0 / rate as f64;
        for now in (0..end).step_by(STEP as usize) {
            for (number, worker) in workers.iter_mut().enumerate() {
                // Each at its own moment, which is another one in every play.
                let phase = (seed * 35 + number as u64 * 125) % LOOK;
                if now % LOOK != phase {
                    continue;
                }
                record.add(&guard, &std::mem::take(&mut worker.heard), now);
                record.look(&guard, &Moment { now, wall: now, known_for: 0, alone: false });
                worker.phase = record.phase;
            }
            if out_after.is_none() && workers.iter().all(|worker| worker.phase == Phase::Out) {
                assert!(now >= onset, "it was well when it was taken out");
                out_after = Some(now - onset);
            }
            while (sent as f64) * gap < (now + STEP) as f64 {
                sent += 1;
                let user = random.below(USERS);
                let worker = random.below(WORKERS) as usize;
                let canary = user < USERS * weight / 100;
                let fails = random.unit() < if canary && now >= onset { failure } else { base };
                let Some(worker) = workers.get_mut(worker) else { continue };
                let Pair { version, stable } = &mut worker.heard.answered;
                if !canary {
                    stable.answers += 1;
                    stable.failures += u64::from(fails);
                    continue;
                }
                if fails && now >= onset {
                    with_controller[user as usize] = true;
                }
                if worker.phase == Phase::In {
                    version.answers += 1;
                    version.failures += u64::from(fails);
                    if fails {
                        worker.heard.sufferers[0].add(user as u32);
                        with_guard[user as usize] |= now >= onset;
                    }
                }
            }
        }
        Fall {
            out_after: out_after.unwrap_or(end - onset),
            met_with_guard: met(&with_guard),
            met_with_controller: met(&with_controller),
        }
    }
}

fn met(users: &[bool]) -> u64 {
    users.iter().filter(|met| **met).count() as u64
}

/// How often the guard and the controller take out a version that fails no more than stable does, in so many
/// hours at weight 10 and 200 requests a second. Each hour begins a rollout, and so does each time that it was taken
/// out.
fn false_alarms(base: f64, hours: u64) -> (u64, u64) {
    let traffic = Traffic::new(200.0, 0.1, base, base);
    let mut rules: [Box<dyn Rule>; 2] =
        [Box::new(Guarded::limit(0.05)), Box::new(Flagger::new(0.05))];
    let trips = simulation::alarms(&mut rules, hours, |hour| {
        let (mut random, mut answered, traffic) =
            (Random(hour ^ 0x5eed), Pair::default(), &traffic);
        move |_| {
            traffic.draw(&mut random, &mut answered);
            answered
        }
    });
    (trips[0], trips[1])
}
