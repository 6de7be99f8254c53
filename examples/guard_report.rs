//! The guard beside thresholds and beside Flagger, in simulated time: how often each takes out a version that is
//! as well as stable, how soon one that is not, and how many forged keys an attacker needs.
//!
//! The seeds are fixed: the same code prints the same page. `cargo run --release --example guard_report 20 20` plays
//! fewer hours and plays; `... keys` prints the forged keys alone, and `... evidence` the figures of the picture.

#[path = "simulation/mod.rs"]
mod simulation;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::{env, thread};

use cohort::config::Millis;
use cohort::engine::guard::Pair;

use simulation::scenarios::{alarms, Scenario};
use simulation::{
    forged, plays, Flagger, Guarded, Poisson, Random, Rule, Thresholds, Traffic, LOOK,
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("keys") => return forged_keys(),
        Some("evidence") => return evidence(),
        _ => {}
    }
    let mut numbers =
        arguments.iter().map(|text| text.parse().expect("HOURS PLAYS, `keys` or `evidence`"));
    let hours: u64 = numbers.next().unwrap_or(1_000);
    let plays: u64 = numbers.next().unwrap_or(100);
    println!("# The guard in simulated time");
    println!();
    println!(
        "Made by `cargo run --release --example guard_report {hours} {plays}`: hours a cell, and plays. \
         The guard is the real one, with a look every 250 ms; arrivals are Poisson's. *Thresholds* is what the guard was \
         before: ratios over 30 s, at least 50 answers, more than the limit and twice stable's. *Flagger* looks once a \
         minute and takes the version back with the fifth bad look; in its favour a minute without answers is \
         none. The seeds are those of the specification."
    );
    same_share(hours);
    beyond(hours.min(300));
    detection(plays);
    at_the_edge(hours);
    slowness(hours.min(100), plays.min(60));
    alone(plays.min(60));
    recovery(plays.min(40));
    forged_keys();
}

/// Plays `cells` on every processor; what came of each, in order.
fn each<C: Sync, R: Send>(cells: &[C], play: impl Fn(&C) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(cell) = cells.get(at) else { return };
                let result = play(cell);
                results.lock().expect("no other one panicked").push((at, result));
            });
        }
    });
    let mut results = results.into_inner().expect("none panicked");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn same_share(hours: u64) {
    let cells = plays::situations();
    let names =
        ["thresholds, 5 %", "**guard, 5 %**", "Flagger, 5 %", "thresholds, 1 %", "**guard, 1 %**"];
    let counts = each(&cells, |&(rate, weight, base)| {
        let hours = if rate > 1000.0 { (hours / 5).max(1) } else { hours };
        let mut rules: [Box<dyn Rule>; 5] = [
            Box::new(Thresholds::new(0.05, 50)),
            Box::new(Guarded::limit(0.05)),
            Box::new(Flagger::new(0.05)),
            Box::new(Thresholds::new(0.01, 50)),
            Box::new(Guarded::limit(0.01)),
        ];
        let trips = plays::alike(rate, weight, base, hours, &mut rules);
        (hours, trips)
    });
    println!("\n## False trips, both versions failing alike\n");
    println!("Trips in 1,000 hours, by the share of errors of both, which are independent. Each hour begins a rollout.\n");
    println!("| requests a second | weight | rule and limit | 0 | 0.1 % | 0.5 % | 1 % | 2 % | 3 % | 5 % | 10 % |");
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (row, cells) in counts.chunks(plays::BASES.len()).enumerate() {
        let (rate, weight) = (plays::RATES[row / 4], plays::WEIGHTS[row % 4] * 100.0);
        for (rule, name) in names.iter().enumerate() {
            print!("| {rate} | {weight} % | {name} |");
            for (hours, trips) in cells {
                print!(" {:.0} |", trips[rule] as f64 * 1000.0 / *hours as f64);
            }
            println!();
        }
    }
    let in_all: u64 = counts.iter().map(|(hours, _)| hours).sum();
    println!("\nIn all {in_all} hours for each rule. Trips in them:\n");
    for (rule, name) in names.iter().enumerate() {
        println!("- {name}: {}", counts.iter().map(|(_, trips)| trips[rule]).sum::<u64>());
    }
}

fn beyond(hours: u64) {
    let places = [(0.1, 200.0), (0.1, 20.0), (0.5, 200.0), (0.05, 5.0)];
    let mut cells = Vec::new();
    for (_, scenario) in Scenario::ALL {
        cells.extend(places.map(|(weight, rate)| (scenario, weight, rate)));
    }
    let counts = each(&cells, |&(scenario, weight, rate)| {
        let mut rules: [Box<dyn Rule>; 4] = [
            Box::new(Thresholds::new(0.05, 50)),
            Box::new(Guarded::limit(0.05)),
            Box::new(Guarded::limit(0.01)),
            Box::new(Flagger::new(0.05)),
        ];
        alarms(scenario, rate, weight, hours, &mut rules)
    });
    println!("\n## False trips beyond independence\n");
    println!("Trips in 1,000 hours, from {hours} hours a cell: thresholds 5 %, **guard 5 %**, guard 1 %, Flagger 5 %.\n");
    println!("| both versions alike | weight 10 %, 200/s | 10 %, 20/s | 50 %, 200/s | 5 %, 5/s |");
    println!("|---|---:|---:|---:|---:|");
    for ((name, _), row) in Scenario::ALL.iter().zip(counts.chunks(places.len())) {
        print!("| {name} |");
        for trips in row {
            let [old, new, strict, flagger] =
                [0, 1, 2, 3].map(|at| trips[at] as f64 * 1000.0 / hours as f64);
            print!(" {old:.0}, **{new:.0}**, {strict:.0}, {flagger:.0} |");
        }
        println!();
    }
}

fn rule(at: usize) -> Box<dyn Rule> {
    match at {
        0 => Box::new(Thresholds::new(0.05, 50)),
        1 => Box::new(Guarded::limit(0.05)),
        2 => Box::new(Guarded::limit(0.01)),
        3 => Box::new(Flagger::new(0.05)),
        _ => Box::new(Flagger::new(0.01)),
    }
}

/// The median time until a version that fails by `more` than stable is out, the users who met that, and in which
/// share of the plays it was found within half an hour.
fn found(
    which: usize,
    weight: f64,
    rate: f64,
    base: f64,
    more: f64,
    onset: Millis,
    plays: u64,
) -> (Millis, f64, u64) {
    const END: Millis = 1_800_000;
    let (before, after) = (
        Traffic::new(rate, weight, base, base),
        Traffic::new(rate, weight, (base + more).min(1.0), base),
    );
    let (mut delays, mut users, mut rule) = (Vec::new(), 0.0, rule(which));
    for play in 0..plays {
        let (mut random, mut answered) = (Random(play * 7919 + 13), Pair::default());
        rule.begin(0, answered);
        let change = if onset == 0 { 0 } else { onset + random.below(240) * LOOK };
        let (mut now, mut then) = (0, 0);
        let mut out = END;
        while now < change + END {
            let traffic = if now >= change { &after } else { &before };
            traffic.draw(&mut random, &mut answered);
            if now < change {
                then = answered.version.failures;
            }
            now += LOOK;
            if rule.look(now, answered) {
                if now <= change {
                    rule.begin(now, answered);
                    continue;
                }
                out = now - change;
                break;
            }
        }
        delays.push(out);
        let all = 10_000.0 * weight;
        users += all * (1.0 - (1.0 - 1.0 / all).powf((answered.version.failures - then) as f64));
    }
    delays.sort_unstable();
    let seen = delays.iter().filter(|delay| **delay < END).count() as u64;
    (delays[(delays.len() - 1) / 2], users / plays as f64, seen * 100 / plays)
}

fn detection(plays: u64) {
    println!("\n## How soon a version that fails more than stable is out\n");
    println!(
        "Median seconds, and the mean number of users (of 10,000) who met an error. \"–\": not within half an hour in most \
         of {plays} plays, with the share that was."
    );
    let mut places = vec![
        (0.001, 0, 0.1, 200.0),
        (0.001, 0, 0.05, 20.0),
        (0.001, 0, 0.05, 5.0),
        (0.001, 0, 0.5, 200.0),
    ];
    places.extend([
        (0.001, 0, 0.1, 2000.0),
        (0.001, 600_000, 0.1, 200.0),
        (0.01, 0, 0.1, 200.0),
        (0.03, 0, 0.1, 200.0),
    ]);
    let more = [0.01, 0.02, 0.05, 0.10, 0.20, 0.50, 1.0];
    let mut cells = Vec::new();
    for place in &places {
        for more in more {
            cells.extend([0, 1, 2, 3, 4].map(|which| (which, *place, more)));
        }
    }
    let all = each(&cells, |&(which, (base, onset, weight, rate), more)| {
        found(which, weight, rate, base, more, onset, plays)
    });
    for ((base, onset, weight, rate), rows) in places.iter().zip(all.chunks(5 * more.len())) {
        let when = if *onset == 0 { "from the first request on" } else { "ten minutes later" };
        println!(
            "\nWeight {} %, {rate} requests a second, {} % errors anyway, {when}:\n",
            weight * 100.0,
            base * 100.0
        );
        println!("| more errors | thresholds, 5 % | **guard, 5 %** | guard, 1 % | Flagger, 5 % | Flagger, 1 % |");
        println!("|---:|---:|---:|---:|---:|---:|");
        for (more, row) in more.iter().zip(rows.chunks(5)) {
            print!("| +{:.0} % |", more * 100.0);
            for (delay, users, seen) in row {
                if *seen < 50 {
                    print!(" – ({seen} %) |");
                } else {
                    print!(" {:.2} s, {users:.0} |", *delay as f64 / 1000.0);
                }
            }
            println!();
        }
    }
}

/// How the evidence goes in one play at weight 10 and 200 requests a second: what happens, second, thousandths.
fn evidence() {
    /// When something begins to go wrong, and how long that is shown.
    const CHANGE: Millis = 5_000;
    const END: Millis = 12_000;
    for (name, version, stable) in [
        ("every answer of the version fails", 1.0, 0.005),
        ("a fifth of the version's answers fails", 0.2, 0.005),
        ("half of the answers of both versions fails", 0.5, 0.5),
        ("both versions stay well", 0.005, 0.005),
    ] {
        let (before, after) =
            (Traffic::new(200.0, 0.1, 0.005, 0.005), Traffic::new(200.0, 0.1, version, stable));
        let (mut random, mut answered, mut rule) =
            (Random(1), Pair::default(), Guarded::limit(0.05));
        for now in (LOOK..=END).step_by(LOOK as usize) {
            let traffic = if now > CHANGE { &after } else { &before };
            traffic.draw(&mut random, &mut answered);
            let is_out = rule.look(now, answered);
            println!("{name}\t{}\t{}", now as f64 / 1000.0, rule.record.nearness(&rule.guard));
            if is_out {
                break;
            }
        }
    }
}

/// The worst that the guard allows: the version's odds are exactly twice stable's, and there is no limit.
fn at_the_edge(hours: u64) {
    let mut cells = Vec::new();
    for (weight, rate) in [(0.1, 20.0), (0.5, 20.0), (0.1, 200.0), (0.5, 200.0), (0.9, 200.0)] {
        cells.extend([0.005, 0.03, 0.2].map(|stable| (weight, rate, stable)));
    }
    let counts =
        each(&cells, |&(weight, rate, stable)| plays::at_the_edge(weight, rate, stable, hours));
    println!("\n## At the edge of what is allowed\n");
    println!(
        "The version's odds of failing are exactly twice stable's, and `maxFailureRatio` is 0. Trips of 1,000 starts of an \
         hour; by the bound 2.85 are allowed.\n"
    );
    println!("| weight | requests a second | stable fails | trips |\n|---:|---:|---:|---:|");
    for ((weight, rate, stable), trips) in cells.iter().zip(counts) {
        let of = trips as f64 * 1000.0 / hours as f64;
        println!("| {} % | {rate} | {} % | {of:.2} |", weight * 100.0, stable * 100.0);
    }
}

/// Both slow down together for a minute every ten; then the version alone.
fn slowness(hours: u64, plays: u64) {
    println!("\n## Slowness\n");
    println!("`maxSlowRatio` 20 %, 5 % are slow anyway. False trips of 1,000 hours in which both slow down together for a minute every ten; median seconds until a version that is slow alone, ten minutes after its start, is out.\n");
    println!("| weight | requests a second | false trips | 30 % slow | 50 % | 80 % | 100 % |\n|---:|---:|---:|---:|---:|---:|---:|");
    let places = [(0.1, 200.0), (0.1, 20.0), (0.5, 200.0)];
    let lines = each(&places, |&(weight, rate)| {
        let trips = plays::slow_together(weight, rate, hours);
        let traffic = plays::Halves::new(weight, rate);
        let mut rule = Guarded::limit(0.2);
        let delays = [0.3, 0.5, 0.8, 1.0].map(|slow| {
            let mut delays: Vec<u64> = (0..plays)
                .map(|play| {
                    let (mut random, mut answered) = (Random(play * 5 + 3), Pair::default());
                    rule.begin(0, answered);
                    for look in 1..9_600 {
                        let version = if look > 2400 { slow } else { 0.05 };
                        traffic.draw(&mut random, &mut answered, version, 0.05);
                        if rule.look(look * LOOK, answered) {
                            if look > 2400 {
                                return look - 2400;
                            }
                            rule.begin(look * LOOK, answered);
                        }
                    }
                    9_600 - 2400
                })
                .collect();
            median_seconds(&mut delays)
        });
        (trips, delays)
    });
    for ((weight, rate), (trips, delays)) in places.iter().zip(lines) {
        print!("| {} % | {rate} | {:.0} |", weight * 100.0, trips as f64 * 1000.0 / hours as f64);
        delays.iter().for_each(|delay| print!(" {delay:.2} s |"));
        println!();
    }
}

/// The median of delays that are counted in looks.
fn median_seconds(delays: &mut [u64]) -> f64 {
    delays.sort_unstable();
    (delays[delays.len() / 2] * LOOK) as f64 / 1000.0
}

/// High weights, up to a version that has all of the traffic.
fn alone(plays: u64) {
    println!("\n## High weights\n");
    println!("Limit 5 %, from the first request on, median seconds.\n");
    println!("| weight | requests a second | 50 % errors | 100 % errors |\n|---:|---:|---:|---:|");
    let mut cells = Vec::new();
    for weight in [0.9, 0.99, 1.0] {
        cells.extend([200.0, 5.0].map(|rate| (weight, rate)));
    }
    let lines = each(&cells, |&(weight, rate)| {
        [0.5, 1.0].map(|share| {
            let mut rule = Guarded::limit(0.05);
            rule.alone = weight >= 1.0;
            let (ours, theirs) =
                (Poisson::new(rate * weight * 0.25), Poisson::new(rate * (1.0 - weight) * 0.25));
            let mut delays: Vec<u64> = (0..plays)
                .map(|play| {
                    let (mut random, mut answered) = (Random(play * 3 + 1), Pair::default());
                    rule.begin(0, answered);
                    for look in 1..=7_200 {
                        ours.answer(&mut random, &mut answered.version, share);
                        if weight < 1.0 {
                            theirs.answer(&mut random, &mut answered.stable, 0.001);
                        }
                        if rule.look(look * LOOK, answered) {
                            return look;
                        }
                    }
                    7_200
                })
                .collect();
            median_seconds(&mut delays)
        })
    });
    for ((weight, rate), [half, all]) in cells.iter().zip(lines) {
        println!("| {} % | {rate} | {half:.2} s | {all:.2} s |", weight * 100.0);
    }
}

/// An hour with a version that stays as it is, and is tried again every five minutes.
fn recovery(plays: u64) {
    println!("\n## The way back\n");
    println!("An hour with `retryAfter: 5m` and a limit of 5 %: failed requests, and returns into full traffic. A version within the limit is put out at the start.\n");
    println!("| the version fails | weight 10 %, 200/s: failed, returns | 10 %, 20/s | 5 %, 5/s |\n|---:|---:|---:|---:|");
    let shares = [1.0, 0.5, 0.2, 0.1, 0.03, 0.001];
    let places = [(0.1, 200.0), (0.1, 20.0), (0.05, 5.0)];
    let mut cells = Vec::new();
    for share in shares {
        cells.extend(places.map(|(weight, rate)| (share, weight, rate)));
    }
    let lines = each(&cells, |&(share, weight, rate)| {
        let (mut failed, mut returns) = (0, 0);
        for play in 0..plays {
            let hour = plays::recovery(share, weight, rate, play);
            failed += hour.failures;
            returns += hour.returns;
        }
        (failed as f64 / plays as f64, returns as f64 / plays as f64)
    });
    for (share, row) in shares.iter().zip(lines.chunks(places.len())) {
        print!("| {:.1} % |", share * 100.0);
        row.iter().for_each(|(failed, returns)| print!(" {failed:.0}, {returns:.1} |"));
        println!();
    }
}

fn forged_keys() {
    println!("\n## Forged keys\n");
    println!(
        "How many keys one attacker needs who makes the version fail for each of them, on both workers, as often as \
         it counts, while 0.1 % of everybody else's requests fail: the fewest that took it out within ten minutes in most of 11 plays, with \
         `guard: {{}}` and 10,000 other users.\n"
    );
    println!("| weight | requests a second of others | all keys at once | one after the other |\n|---:|---:|---:|---:|");
    let cells = [(5, 5.0), (5, 20.0), (10, 20.0), (10, 200.0), (50, 200.0)];
    let lines = each(&cells, |&(weight, rate)| {
        [true, false].map(|at_once| forged::fewest(weight, rate, at_once, 11))
    });
    for ((weight, rate), [at_once, spread]) in cells.iter().zip(lines) {
        println!("| {weight} % | {rate} | {at_once} | {spread} |");
    }
}
